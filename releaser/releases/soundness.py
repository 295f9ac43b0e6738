"""Whether a release still is what was sealed: a quick look at its files, which reads none of their contents.

What counts is what was installed: the files that a RECORD names, the programs, the `.pth` files, the start-up module
and pyvenv.cfg. A file that a site writes beside them while it runs does not, and neither does byte code. Of each file,
size, time of change, and the bits of its mode for reading and executing are noted, and of a link its text: a copy that
keeps these is as sound as the original, wherever it lies.
"""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from releaser.durable import UnreadableStateError, encoded, read_json
from releaser.releases import startup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from releaser.releases.release import Release

Kind = Literal["changed", "missing", "added"]
FILES = "files.json"  # what each file was when the release was sealed, to name what differs
_MODE = 0o555
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


def observe(venv: Path) -> dict[str, str]:
    """Return what can be seen of each file that counts, by its path relative to the venv."""
    return _look(str(venv), _installed(str(venv)))


def digest(found: Mapping[str, str]) -> str:
    """Return one hash over what was seen."""
    text = "\n".join(f"{name}\t{seen}" for name, seen in sorted(found.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def damage(release: Release) -> Damage | None:
    """Tell what is wrong with a release; None when it is what was sealed.

    One that was sealed by an earlier releaser, which noted nothing about its files, counts as sound while it works.
    """
    if not os.path.isdir(release.venv):
        return Damage(reason=f"its venv is gone ({release.venv})", fatal=True)
    if not release.works():
        return Damage(reason=f"its interpreter is gone ({release.venv / 'bin' / 'python'})", fatal=True)
    return _lock_damage(release) or _file_damage(release)


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


def _lock_damage(release: Release) -> Damage | None:
    try:
        data = release.lock.read_bytes()
    except OSError as error:
        return Damage(reason=f"its uv.lock cannot be read ({error.strerror})")
    if hashlib.sha256(data).hexdigest() != release.manifest.lock_sha256:
        return Damage(reason="its uv.lock has been changed")
    return None


def _file_damage(release: Release) -> Damage | None:
    if not release.manifest.fingerprint:
        return None
    found = observe(release.venv)
    if digest(found) == release.manifest.fingerprint:
        return None
    differences = tuple(_differences(release, found))
    return Damage(reason=_in_words(differences), differences=differences)


def _differences(release: Release, found: Mapping[str, str]) -> Iterator[Difference]:
    """Compare with what was noted; nothing comes of it where the note is gone or has been changed too."""
    sealed = _sealed(release)
    if sealed is None:
        return
    # A name can be missing in `found` because the RECORD that has it is gone.
    now = {**found, **_look(str(release.venv), sealed.keys() - found.keys())}
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


def _look(venv: str, names: Iterable[str]) -> dict[str, str]:
    """Return what each of these is; empty for one that is not there."""
    lstat, join, kind, is_file = os.lstat, os.path.join, stat.S_ISLNK, stat.S_ISREG
    found = {}
    for name in names:
        try:
            status = lstat(join(venv, name))
        except (OSError, ValueError):
            found[name] = ""
            continue
        mode = status.st_mode
        if is_file(mode):
            found[name] = f"{status.st_size} {status.st_mtime_ns} {mode & _MODE:o}"
        else:
            found[name] = f"-> {os.readlink(join(venv, name))}" if kind(mode) else "neither a file nor a link"
    return found


def _installed(venv: str) -> set[str]:
    """Return the names of the files that count."""
    names = {"pyvenv.cfg", *(f"bin/{name}" for name in _listed(os.path.join(venv, "bin")) if name != "__pycache__")}
    for place in _site_packages(venv):
        for name in _listed(os.path.join(venv, place)):
            if name.endswith(".pth") or name == startup.MODULE:
                names.add(f"{place}/{name}")
            elif name.endswith(".dist-info"):
                record = f"{place}/{name}/RECORD"
                names.add(record)
                names.update(_recorded(os.path.join(venv, record), place))
    return names


def _site_packages(venv: str) -> list[str]:
    versions = _listed(os.path.join(venv, "lib"))
    return [f"lib/{version}/site-packages" for version in versions if version.startswith(("python", "pypy"))]


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _recorded(record: str, place: str) -> Iterator[str]:
    """Return the files that a RECORD names, relative to the venv; what lies outside is not of this venv."""
    try:
        with open(record, encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        # Of a quoted name, the csv module knows the rules; the others, nearly all, are quicker to cut.
        name = next(csv.reader([line]), [""])[0] if line.startswith('"') else line.rsplit(",", 2)[0]
        if not name or name.endswith(".pyc") or "__pycache__/" in name:
            continue
        path = f"{place}/{name}"
        if ".." in name or name.startswith("/"):
            path = os.path.normpath(os.path.join(place, name))
            if path.startswith(("..", "/")):
                continue
        yield path
