"""How the files of a release differ from what was noted of them at the seal.

There is one comparison. The quick look reads none but the files that differ in nothing but their time or mode; the
whole one, for `releaser verify`, reads all that have a hash. What differs is told in packages where whole packages
came, went or changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from packaging.utils import canonicalize_name

from releaser.errors import os_reason
from releaser.locks.changes import Change, version_changes
from releaser.releases.fingerprint import (
    FILES,
    INFO,
    digest,
    is_checkable,
    list_installed,
    look,
    matches,
    read_records,
)
from releaser.system.files import UnreadableStateError, read_state
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from releaser.releases.release import Release

_FILES_SHOWN = 3
_PACKAGES_SHOWN = 8
_SITE = "/site-packages/"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One file that is not what it was."""

    #: Relative to the venv.
    path: str
    kind: Literal["changed", "missing", "added", "permissions"]
    message: str

    @property
    def verb(self) -> str:
        """What has happened to it, in a word."""
        return "changed" if self.kind == "permissions" else self.kind

    def __str__(self) -> str:
        name = self.path.rpartition(_SITE)[2]
        return f"{''.join(one if one.isprintable() else '?' for one in name)} is {self.verb}"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What differs from what was sealed."""

    #: Whole packages that came, went or changed.
    packages: tuple[Change, ...] = ()
    #: Files that differ for another reason than that.
    files: tuple[Difference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.packages or self.files)

    def __str__(self) -> str:
        parts = (
            first_few(map(_in_words, self.packages), _PACKAGES_SHOWN),
            first_few(map(str, self.files), _FILES_SHOWN),
        )
        return "; ".join(filter(None, parts))


NO_DRIFT = Drift()


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What was noted of a venv when it was sealed; all empty where that is gone, or has been changed."""

    #: What was seen of each file that counts.
    files: Mapping[str, str] = field(default_factory=dict)
    #: Of these, the .dist-info of the package that had installed it; empty if none had.
    owners: Mapping[str, str] = field(default_factory=dict)
    #: The hashes of those that have none in a RECORD.
    hashes: Mapping[str, str] = field(default_factory=dict)
    #: What no package had installed, though it lay in site-packages.
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class _Note:
    """The file that `seal_files` writes."""

    #: By the .dist-info of the package that had installed them.
    files: Mapping[str, Mapping[str, str]]
    hashes: Mapping[str, str]
    others: frozenset[str]


def read_sealed(release: Release) -> Sealed:
    """Return what was noted when a release was sealed."""
    try:
        note = read_state(release.directory / FILES, _Note)
    except (UnreadableStateError, OSError):
        note = None
    if note is None:
        return Sealed()
    files = {path: seen for found in note.files.values() for path, seen in found.items()}
    if digest(files) != release.manifest.fingerprint:
        return Sealed()
    owners = {path: info for info, found in note.files.items() for path in found}
    return Sealed(files=files, owners=owners, hashes=note.hashes, others=note.others)


def list_to_read(recorded: Mapping[str, str]) -> dict[str, str]:
    """Return those of the recorded files of which there is a hash, but for what Python makes again."""
    return {path: hashed for path, hashed in recorded.items() if is_checkable(hashed) and "__pycache__/" not in path}


def compare(
    release: Release,
    sealed: Sealed,
    *,
    to_read: Mapping[str, str] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Drift:
    """Compare the files of a release with what was sealed; those `to_read` with the hashes that stand there.

    `advance` is called after each of these. What follows from a package that came, went or changed is told with that.
    """
    venv, reading = str(release.venv), to_read or {}
    owners = list_installed(venv)
    found = look(venv, owners.keys() | sealed.files.keys() | reading.keys())
    hashes = {**read_records(venv), **sealed.hashes}
    packages = tuple(version_changes(packages_in(sealed.files), packages_in(name for name in found if found[name])))
    changed = {one.name for one in packages}
    files = []
    for path in sorted(found):
        before, now = sealed.files.get(path), found[path]
        difference = None
        if path in reading:
            advance()
            difference = _compare_read(venv, path, before, now, reading[path])
            if release.manifest.origin == "adopted" and before == now:
                difference = None  # it was so when it was adopted, whatever RECORD says
        elif sealed.files and (before or "") != now:
            owner = (owners if now else sealed.owners).get(path, "")
            if not owner or _name_and_version(owner)[0] not in changed:
                difference = _compare_look(venv, path, before, now, hashes.get(path, ""))
        if difference:
            files.append(difference)
    return Drift(packages=packages if sealed.files else (), files=tuple(files))


def _compare_look(venv: str, path: str, before: str | None, now: str, hashed: str) -> Difference | None:
    """Compare what is seen of a file; one that differs in nothing but time or mode is read, as copies may do so."""
    if not before:
        return Difference(path=path, kind="added", message="it was not there when the release was sealed")
    if not now:
        return Difference(path=path, kind="missing", message="it is gone")
    try:
        same_size = before[:1].isdigit() and now[:1].isdigit() and before.split(" ")[0] == now.split(" ")[0]
        if same_size and is_checkable(hashed) and matches(f"{venv}/{path}", hashed):
            return _compare_mode(path, before, now)
    except OSError:
        pass
    return Difference(path=path, kind="changed", message="it is not what was sealed")


def _compare_read(venv: str, path: str, before: str | None, now: str, hashed: str) -> Difference | None:
    """Compare the contents of a file with the hash in its RECORD."""
    if not now:
        return Difference(path=path, kind="missing", message="it is gone")
    # A pipe must not be read: it would never end.
    if not now[:1].isdigit() and (not now.startswith("->") or before not in (None, now)):
        return Difference(path=path, kind="changed", message="something else is in its place")
    try:
        if matches(f"{venv}/{path}", hashed):
            return _compare_mode(path, before, now)
    except OSError as error:
        return Difference(path=path, kind="changed", message=f"it cannot be read: {os_reason(error)}")
    return Difference(path=path, kind="changed", message="it has other contents than RECORD says")


def _compare_mode(path: str, before: str | None, now: str) -> Difference | None:
    was, mode = _mode(before or ""), _mode(now)
    if not was or not mode or was == mode:
        return None
    message = f"its read and execute permissions were {was} and are {mode} now"
    return Difference(path=path, kind="permissions", message=message)


def _mode(seen: str) -> str:
    """Return the bits of the mode that count, of what was seen of a file; empty for anything else."""
    return seen.rpartition(" ")[2] if seen[:1].isdigit() else ""


def packages_in(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages whose metadata is among these files; several with commas between."""
    versions: dict[str, set[str]] = {}
    for info in {name.partition(_SITE)[2].partition("/")[0] for name in names if f"{INFO}/" in name}:
        if info.endswith(INFO):
            package, version = _name_and_version(info)
            versions.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(found)) for package, found in versions.items()}


def _name_and_version(info: str) -> tuple[str, str]:
    """Take the name of a .dist-info directory apart: `Alpha_x-1.0.dist-info` is `alpha-x` in version `1.0`."""
    name, _, version = info.removesuffix(INFO).partition("-")
    return canonicalize_name(name), version


def _in_words(change: Change) -> str:
    if change.old is None:
        return f"{change.name} {change.new} added"
    if change.new is None:
        return f"{change.name} {change.old} removed"
    return f"{change.name} {change.old} → {change.new}"
