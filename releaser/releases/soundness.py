"""Whether a release still is what was sealed: a quick look at its files, which reads none of their contents.

`files` says what counts. The interpreter is looked at as well, and started only if it does not look as it did.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from releaser.durable import UnreadableStateError, encoded, read_json
from releaser.errors import ToolError
from releaser.releases.files import digest, look, look_at, observe
from releaser.releases.interpreter import Interpreter, ask, change, executable_of
from releaser.tools.process import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.releases.release import Release

Kind = Literal["changed", "missing", "added"]
# `gone`: the venv or its interpreter is not there, or does not start; `interpreter`: another one is under it.
DamageKind = Literal["gone", "interpreter", "lock", "files"]
FILES = "files.json"  # what each file was when the release was sealed, to name what differs
_SHOWN = 3
_CODE = (".py", ".so", ".pth", ".cfg", "RECORD", "METADATA", "WHEEL")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One file that is not what it was; `path` is relative to the venv."""

    path: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.path.rpartition('/site-packages/')[2]} is {self.kind}"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Why a release is not what was sealed: in words, and file by file where it is about files.

    A `fatal` one keeps anything from running on the release.
    """

    kind: DamageKind
    reason: str
    differences: tuple[Difference, ...] = ()
    fatal: bool = False

    def __str__(self) -> str:
        return self.reason


def seal_files(directory: Path) -> str:
    """Note what the files of a release are, in its directory, and return the digest for its manifest. Raises OSError.

    Nothing is synced here: the release is complete only once its manifest is there, and all is flushed before that.
    """
    found = observe(directory / "venv")
    (directory / FILES).write_bytes(encoded({"files": found}))
    return digest(found)


def damage(release: Release) -> Damage | None:
    """Tell what is wrong with a release; None when it is what was sealed.

    One that was sealed by an earlier releaser, which noted nothing about its files, counts as sound while it works.
    """
    if not os.path.isdir(release.venv):
        return Damage(kind="gone", reason=f"its venv is gone ({release.venv})", fatal=True)
    return _interpreter_damage(release) or _lock_damage(release) or _file_damage(release)


def is_own_doing(found: Damage, before: Damage | None) -> bool:
    """Whether a site itself changes these files: data, and the same as in the release before, which was renewed for it.

    One more release would be changed as well, and one more every night.
    """
    if found.fatal or before is None or not found.differences:
        return False
    known = {one.path for one in before.differences}
    return all(
        one.kind == "changed" and one.path in known and not one.path.endswith(_CODE) for one in found.differences
    )


def is_sound(release: Release) -> bool:
    """Whether a release is what was sealed."""
    return damage(release) is None


def _interpreter_damage(release: Release) -> Damage | None:
    was = release.manifest.interpreter
    if not release.works():
        what = str(release.venv / "bin" / "python")
        if was is not None and not os.path.exists(was.executable):
            what = f"{was} at {was.executable}"
        return Damage(kind="gone", reason=f"its interpreter is gone ({what})", fatal=True)
    if was is None or was.is_where_it_was(release.venv):
        return None
    executable = executable_of(release.venv)
    try:
        now = _ask(executable, tuple(look_at((executable, *was.seen)).items()))
    except ToolError as error:
        reason = f"its interpreter does not start any more ({executable}): {error.message}"
        return Damage(kind="gone", reason=reason, fatal=True)
    reason = change(was, now)
    return Damage(kind="interpreter", reason=reason, fatal=not now.runs_what_is_for(was)) if reason else None


@functools.cache
def _ask(executable: str, seen: tuple[tuple[str, str], ...]) -> Interpreter:  # noqa: ARG001 - it is part of the key
    """Ask an interpreter once, for all releases, while it looks the same."""
    return ask(Runner(environ=os.environ), executable)


def _lock_damage(release: Release) -> Damage | None:
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
    differences = tuple(_differences(release, found))
    return Damage(kind="files", reason=_in_words(differences), differences=differences)


def _differences(release: Release, found: Mapping[str, str]) -> Iterator[Difference]:
    """Compare with what was noted; nothing comes of it where the note is gone or has been changed too."""
    sealed = _sealed(release)
    if sealed is None:
        return
    # A name can be missing in `found` because the RECORD that has it is gone.
    now = {**found, **look(str(release.venv), sealed.keys() - found.keys())}
    for name, before in sorted(sealed.items()):
        if now[name] != before:
            yield Difference(path=name, kind="changed" if now[name] else "missing")
    for name in sorted(found.keys() - sealed.keys()):
        yield Difference(path=name, kind="added")


def _sealed(release: Release) -> dict[str, str] | None:
    try:
        content = read_json(release.directory / FILES)
    except (UnreadableStateError, OSError):
        return None
    files = content.get("files") if content else None
    if not isinstance(files, dict) or not all(isinstance(seen, str) for seen in files.values()):
        return None
    return files if digest(files) == release.manifest.fingerprint else None


def _in_words(differences: tuple[Difference, ...]) -> str:
    if not differences:
        return "its files have been changed"
    shown = ", ".join(map(str, differences[:_SHOWN]))
    more = len(differences) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
