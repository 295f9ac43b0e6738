"""Whether a release still is what was sealed, by a quick look at its venv, its interpreter, its lock and its files."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.errors import ToolError
from releaser.releases.drift import NO_DRIFT, Drift, compare, read_sealed
from releaser.releases.fingerprint import digest, is_as_sealed, look_at, observe
from releaser.releases.interpreter import Interpreter, ask, change, executable_of
from releaser.releases.release import Release, read_manifest
from releaser.system.files import UnreadableStateError
from releaser.system.process import Runner

if TYPE_CHECKING:
    from releaser.releases.store import ReleaseStore

_CODE = (".py", ".so", ".pth", ".cfg", "RECORD", "METADATA", "WHEEL")


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Why a release is not what was sealed."""

    #: `gone`: its venv or its interpreter is not there, or does not start; `interpreter`: it is another one.
    kind: Literal["gone", "interpreter", "lock", "files"]
    reason: str
    drift: Drift = NO_DRIFT
    #: Nothing can run on the release.
    fatal: bool = False

    def __str__(self) -> str:
        return self.reason


def find_damage(release: Release) -> Damage | None:
    """Tell by a quick look what is wrong with a release; None when it is what was sealed."""
    manifest, interpreter = release.manifest, release.manifest.interpreter
    if is_as_sealed(
        str(release.directory),
        fingerprint=manifest.fingerprint,
        lock_sha256=manifest.lock_sha256,
        executable=interpreter.executable if interpreter else "",
        seen=interpreter.seen if interpreter else {},
    ):
        return None
    if not os.path.isdir(release.venv):
        return Damage(kind="gone", reason=f"its venv is gone ({release.venv})", fatal=True)
    return find_interpreter_damage(release) or find_lock_damage(release) or _find_file_damage(release)


def find_live_damage(release: Release) -> Damage | None:
    """Tell the same, and start an interpreter that could not be asked when the release was sealed."""
    return find_damage(release) or find_interpreter_damage(release, asks=release.manifest.interpreter is None)


def find_rollback_damage(release: Release) -> Damage | None:
    """Tell what keeps the site from going back to a release; None if nothing does.

    Another patch version or build of its Python does not: its packages run on that, and after an upgrade of the
    operating system all earlier releases have it. A rollback starts it before it flips.
    """
    found = find_damage(release)
    if found is None or found.kind != "interpreter" or found.fatal:
        return found
    return find_lock_damage(release) or _find_file_damage(release)


def is_fit_for_rollback(release: Release) -> bool:
    """Whether the site can go back to a release."""
    return find_rollback_damage(release) is None


def is_dead(release: Release) -> bool:
    """Whether nothing can run on a release, as its venv or its interpreter is gone, or is one for other packages."""
    found = find_live_damage(release)
    return found is not None and found.fatal


def describe_damage(directory: str) -> str | None:
    """Say what is wrong with the release in a directory; None as well where no manifest tells what it was."""
    place = Path(directory)
    try:
        manifest = read_manifest(place)
    except (UnreadableStateError, OSError):
        return None
    if manifest is None:
        return None
    found = find_damage(Release(directory=place, manifest=manifest, state="good", pinned=False))
    return str(found) if found is not None else None


def is_changed_by_site(found: Damage, before: Damage | None) -> bool:
    """Whether the site itself writes these files: it did so in the release `before`, which was replaced for it.

    Else, each night would bring another release, a restart and a mail. Code is never left to a site.
    """
    if found.fatal or before is None or found.drift.packages or not found.drift.files:
        return False
    known = {(one.path, one.verb) for one in before.drift.files}
    return all(
        (one.path, one.verb) in known
        and not one.path.endswith(_CODE)
        and (one.verb == "added" or (one.verb == "changed" and not one.path.startswith("bin/")))
        for one in found.drift.files
    )


def why_rebuild(store: ReleaseStore, live: Release, found: Damage | None) -> str:
    """Say why a live release has to be rebuilt with the damage that was `found`; empty when it has not."""
    manifest = live.manifest
    if manifest.origin == "adopted" and manifest.previous == live.id:
        return "it had lost its manifest, and no tests have passed on it"
    if found is None:
        return ""
    before = store.get(manifest.previous)
    return "" if is_changed_by_site(found, find_damage(before) if before is not None else None) else str(found)


def has_lost_python(release: Release, found: Damage | None) -> bool:
    """Whether all that is wrong is the interpreter: nobody has done anything to the release itself."""
    if found is None or found.kind not in ("gone", "interpreter"):
        return False
    return os.path.islink(release.venv / "bin" / "python")


def find_interpreter_damage(release: Release, *, asks: bool = False) -> Damage | None:
    """Tell what is wrong with the interpreter of a release; one that looks as it did is started only if this `asks`."""
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
        reason = f"its interpreter no longer starts ({executable}): {error.message}"
        return Damage(kind="gone", reason=reason, fatal=True)
    if was is None or not (reason := change(was, now)):
        return None
    return Damage(kind="interpreter", reason=reason, fatal=not now.runs_what_is_for(was))


@functools.cache
def _ask(executable: str, seen: tuple[tuple[str, str], ...]) -> Interpreter:  # noqa: ARG001 - it is part of the key
    """Ask an interpreter once, for all releases, while it looks the same."""
    return ask(Runner(environ=os.environ), executable)


def find_lock_damage(release: Release) -> Damage | None:
    """Tell what is wrong with the lock of a release."""
    try:
        data = release.lock.read_bytes()
    except OSError as error:
        return Damage(kind="lock", reason=f"its uv.lock cannot be read ({error.strerror})")
    if hashlib.sha256(data).hexdigest() != release.manifest.lock_sha256:
        return Damage(kind="lock", reason="its uv.lock has been changed")
    return None


def _find_file_damage(release: Release) -> Damage | None:
    if not release.manifest.fingerprint:
        return None
    sealed = read_sealed(release)
    if not sealed.files:
        is_same = digest(observe(str(release.venv))) == release.manifest.fingerprint
        return None if is_same else Damage(kind="files", reason="its files have been changed")
    drift = compare(release, sealed)
    return Damage(kind="files", reason=str(drift), drift=drift) if drift else None
