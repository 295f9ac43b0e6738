"""How the files of a release differ from what was sealed, told in packages where whole packages came, went or changed.

Pure: it compares two looks at a venv.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from packaging.utils import canonicalize_name

from releaser.locking.diff import Change, version_changes

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["changed", "missing", "added"]
_FILES_SHOWN = 3
_PACKAGES_SHOWN = 8
_SITE = "/site-packages/"
INFO = ".dist-info"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One file that is not what it was; `path` is relative to the venv."""

    path: str
    kind: Kind

    def __str__(self) -> str:
        name = self.path.rpartition(_SITE)[2]
        return f"{''.join(one if one.isprintable() else '?' for one in name)} is {self.kind}"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What differs: whole `packages`, and `files` that differ for another reason than that."""

    packages: tuple[Change, ...] = ()
    files: tuple[Difference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.packages or self.files)

    def __str__(self) -> str:
        parts = (_some(map(_in_words, self.packages), _PACKAGES_SHOWN), _some(map(str, self.files), _FILES_SHOWN))
        return "; ".join(filter(None, parts))

    def as_json(self) -> dict[str, Any]:
        """Return what `status --json` prints of it."""
        return {
            "packages": [{"name": one.name, "old": one.old, "new": one.new} for one in self.packages],
            "files": [{"path": one.path, "kind": one.kind} for one in self.files],
        }


NO_DRIFT = Drift()


def drift(sealed: Mapping[str, str], found: Mapping[str, str], owners: Mapping[str, str]) -> Drift:
    """Compare what was sealed with what is found now, each as `files.look` tells of the same names and more.

    `owners` tells of each file that is there now which package's RECORD has it, by the name of its .dist-info.
    """
    differences = tuple(_differences(sealed, found))
    packages = tuple(version_changes(packages_in(sealed), packages_in(name for name in found if found[name])))
    if not packages:
        return Drift(files=differences)
    explained = _Explained({one.name for one in packages}, found, owners)
    return Drift(packages=packages, files=tuple(one for one in differences if not explained.covers(one)))


def packages_in(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages whose metadata is among these files; several with commas between."""
    versions: dict[str, set[str]] = {}
    for info in {_top(name) for name in names if f"{INFO}/" in name}:
        if info.endswith(INFO):
            package, version = name_and_version(info)
            versions.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(found)) for package, found in versions.items()}


def name_and_version(info: str) -> tuple[str, str]:
    """Take the name of a .dist-info directory apart: `Alpha_x-1.0.dist-info` is `alpha-x` in version `1.0`."""
    name, _, version = info.removesuffix(INFO).partition("-")
    return canonicalize_name(name), version


def _differences(sealed: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Difference]:
    for name, before in sorted(sealed.items()):
        if found[name] != before:
            yield Difference(path=name, kind="changed" if found[name] else "missing")
    for name in sorted(found.keys() - sealed.keys()):
        yield Difference(path=name, kind="added")


class _Explained:
    """Which differences follow from packages that came, went or changed.

    Of a file that is gone, nothing tells whose it was: it is taken to be theirs where its top directory is, or is gone
    as a whole.
    """

    def __init__(self, names: Collection[str], found: Mapping[str, str], owners: Mapping[str, str]) -> None:
        self._names = names
        self._owned = {path for path, info in owners.items() if info and name_and_version(info)[0] in names}
        self._tops = {_top(path) for path in self._owned}
        self._left = {_top(path) for path in found if found[path]}

    def covers(self, one: Difference) -> bool:
        top = _top(one.path)
        if one.path in self._owned or (top.endswith(INFO) and name_and_version(top)[0] in self._names):
            return True
        return one.kind == "missing" and bool(top) and (top in self._tops or top not in self._left)


def _top(path: str) -> str:
    """Return the first part of a path within site-packages; empty for what lies outside."""
    _, site, within = path.partition(_SITE)
    return within.partition("/")[0] if site else ""


def _in_words(change: Change) -> str:
    if change.old is None:
        return f"{change.name} {change.new} added"
    if change.new is None:
        return f"{change.name} {change.old} removed"
    return f"{change.name} {change.old} → {change.new}"


def _some(words: Iterable[str], most: int) -> str:
    every = list(words)
    more = len(every) - most
    return f"{', '.join(every[:most])} and {more} more" if more > 0 else ", ".join(every)
