"""Whether a release still is what was sealed: a quick look at its files, which reads none of their contents.

`files` says what counts. The interpreter is looked at as well, and started only if it does not look as it did.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.durable import UnreadableStateError
from releaser.errors import ToolError
from releaser.releases.drift import NO_DRIFT, Difference, Drift, drift
from releaser.releases.files import digest, installed, is_as_sealed, look, look_at, observe, recorded
from releaser.releases.interpreter import Interpreter, ask, change, executable_of
from releaser.releases.records import is_checkable, matches
from releaser.releases.release import Release, read_manifest
from releaser.releases.seal import Sealed, sealed_files
from releaser.tools.process import Runner

if TYPE_CHECKING:
    from collections.abc import Mapping

# `gone`: the venv or its interpreter is not there, or does not start; `interpreter`: another one is under it.
DamageKind = Literal["gone", "interpreter", "lock", "files"]
_CODE = (".py", ".so", ".pth", ".cfg", "RECORD", "METADATA", "WHEEL")


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Why a release is not what was sealed: in words, and by packages and files where it is about these.

    A `fatal` one keeps anything from running on the release.
    """

    kind: DamageKind
    reason: str
    drift: Drift = NO_DRIFT
    fatal: bool = False

    def __str__(self) -> str:
        return self.reason


def damage(release: Release) -> Damage | None:
    """Tell what is wrong with a release; None when it is what was sealed.

    One that was sealed by an earlier releaser, which noted nothing about its files, counts as sound while it works.
    """
    if _is_as_sealed(release):
        return None
    if not os.path.isdir(release.venv):
        return Damage(kind="gone", reason=f"its venv is gone ({release.venv})", fatal=True)
    return interpreter_damage(release) or lock_damage(release) or _file_damage(release)


def _is_as_sealed(release: Release) -> bool:
    manifest, interpreter = release.manifest, release.manifest.interpreter
    return is_as_sealed(
        str(release.directory),
        fingerprint=manifest.fingerprint,
        lock_sha256=manifest.lock_sha256,
        executable=interpreter.executable if interpreter else "",
        seen=interpreter.seen if interpreter else {},
    )


def live_damage(release: Release) -> Damage | None:
    """Tell the same, and start an interpreter of which an earlier releaser has noted the version alone."""
    return damage(release) or interpreter_damage(release, asks=release.manifest.interpreter is None)


def is_dead(release: Release) -> bool:
    """Whether nothing can run on a release, as its venv or its interpreter is gone, or is one for other packages."""
    found = live_damage(release)
    return found is not None and found.fatal


def damage_in(directory: str) -> str | None:
    """Say the same of a release in a directory; None as well where no manifest tells what it was."""
    place = Path(directory)
    try:
        manifest = read_manifest(place)
    except (UnreadableStateError, OSError):
        return None
    if manifest is None:
        return None
    found = damage(Release(directory=place, manifest=manifest, state="good", pinned=False))
    return str(found) if found is not None else None


def is_own_doing(found: Damage, before: Damage | None) -> bool:
    """Whether a site itself changes these files: the same as in the release before, which was renewed for it.

    One more release would be changed as well, and one more every night. They are data, or programs that are added.
    """
    if found.fatal or before is None or found.drift.packages or not found.drift.files:
        return False
    return all(one in before.drift.files and _is_left_to_sites(one) for one in found.drift.files)


def _is_left_to_sites(one: Difference) -> bool:
    if one.path.endswith(_CODE):
        return False
    return one.kind == "added" or (one.kind == "changed" and not one.path.startswith("bin/"))


def is_sound(release: Release) -> bool:
    """Whether a release is what was sealed."""
    return damage(release) is None


def interpreter_damage(release: Release, *, asks: bool = False) -> Damage | None:
    """Tell what is wrong with the interpreter of a release; one that looks as it did is started only if this `asks`.

    An earlier releaser has noted its version alone, which without asking says nothing.
    """
    was = release.manifest.interpreter
    if not release.works():
        what = str(release.venv / "bin" / "python")
        if was is not None and not os.path.exists(was.executable):
            what = f"{was} at {was.executable}"
        return Damage(kind="gone", reason=f"its interpreter is gone ({what})", fatal=True)
    if not asks and (was is None or was.is_where_it_was(release.venv)):
        return None
    executable = executable_of(release.venv)
    try:
        now = _ask(executable, tuple(look_at((executable, *(was.seen if was else ()))).items()))
    except ToolError as error:
        reason = f"its interpreter does not start any more ({executable}): {error.message}"
        return Damage(kind="gone", reason=reason, fatal=True)
    was = was or _as_far_as_noted(release.manifest.python, now)
    reason = change(was, now)
    return Damage(kind="interpreter", reason=reason, fatal=not now.runs_what_is_for(was)) if reason else None


def _as_far_as_noted(version: str, now: Interpreter) -> Interpreter:
    """Return what an interpreter of this version was, of which nothing else is known; `3.13.0rc1` is 3.13.0 here."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    if numbers is None or f"{now.version}.".startswith(f"{numbers[0]}."):
        return now
    was = replace(now, version=numbers[0])
    return was if was.minor == now.minor else replace(was, abi="")


@functools.cache
def _ask(executable: str, seen: tuple[tuple[str, str], ...]) -> Interpreter:  # noqa: ARG001 - it is part of the key
    """Ask an interpreter once, for all releases, while it looks the same."""
    return ask(Runner(environ=os.environ), executable)


def lock_damage(release: Release) -> Damage | None:
    try:
        data = release.lock.read_bytes()
    except OSError as error:
        return Damage(kind="lock", reason=f"its uv.lock cannot be read ({error.strerror})")
    if hashlib.sha256(data).hexdigest() != release.manifest.lock_sha256:
        return Damage(kind="lock", reason="its uv.lock has been changed")
    return None


def _file_damage(release: Release) -> Damage | None:
    if not release.manifest.fingerprint:
        return None
    found = observe(release.venv)
    if digest(found) == release.manifest.fingerprint:
        return None
    sealed = sealed_files(release)
    if not sealed.files:
        return Damage(kind="files", reason="its files have been changed")
    drifted = _drift(str(release.venv), sealed, found)
    return Damage(kind="files", reason=str(drifted), drift=drifted) if drifted else None


def _drift(venv: str, sealed: Sealed, found: Mapping[str, str]) -> Drift:
    """Compare with what was noted; a file that only has another time, as a copy may have, is read."""
    # A name can be missing in `found` because the RECORD that has it is gone.
    now = {**found, **look(venv, sealed.files.keys() - found.keys())}
    drifted = drift(sealed.files, now, installed(venv))
    # Of the modules in site-packages itself, an earlier releaser noted only that they were there.
    there = {one for one in drifted.files if one.kind == "added" and one.path in sealed.others}
    drifted = replace(drifted, files=tuple(one for one in drifted.files if one not in there))
    later = [one for one in drifted.files if _differs_in_time_alone(sealed.files.get(one.path, ""), now[one.path])]
    if not later:
        return drifted
    hashes = {**recorded(venv), **sealed.hashes}
    same = {one for one in later if _is_same(f"{venv}/{one.path}", hashes.get(one.path, ""))}
    return replace(drifted, files=tuple(one for one in drifted.files if one not in same))


def _differs_in_time_alone(before: str, now: str) -> bool:
    """Whether size and mode of a file are what they were."""
    was, found = before.split(" "), now.split(" ")
    return before[:1].isdigit() and len(found) == len(was) and (was[0], was[2:]) == (found[0], found[2:])


def _is_same(path: str, hashed: str) -> bool:
    try:
        return is_checkable(hashed) and matches(path, hashed)
    except OSError:
        return False
