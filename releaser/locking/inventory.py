"""What of an environment a lock has to hold, and what no lock can hold as it is: it did not come from an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.version import InvalidVersion, Version

from releaser.locking.needs import Needs
from releaser.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any

    from releaser.tools.distributions import Distribution, Environment

_SITE_DIRECTORIES = ("site-packages", "dist-packages")


@dataclass(frozen=True, kw_only=True)
class Unlockable:
    """A package that cannot be locked as it is installed: why, and what could be given in its place, if anything."""

    name: str
    version: str
    reason: str
    instead: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What is installed and counts (`packages`), and what does not.

    `of_the_system` are the names of those packages that are not in the environment itself, `unused` of those outside
    that nothing needs. `own` is the project itself, where it is installed as a package.
    """

    packages: tuple[Distribution, ...]
    of_the_system: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    own: Distribution | None = None

    @property
    def versions(self) -> dict[str, str]:
        """The versions by name."""
        return {one.name: one.version for one in self.packages}


def take_stock(
    environment: Environment, *, root: Path, used_modules: Iterable[str], without: Iterable[str] = ()
) -> Inventory:
    """Sort out what counts: all that is in the environment, and of the system below it what is needed or imported.

    `root` is the project, `used_modules` what its code names; what `without` names is left out.
    """
    left_out = frozenset(without)
    found = [one for one in environment.distributions if one.name not in left_out]
    own = next((one for one in found if _is_project(one, root)), None)
    candidates = [one for one in found if one is not own]
    inside = {one.name for one in candidates if not one.outside}
    used = frozenset(used_modules)
    imported = {one.name for one in candidates if one.outside and _only_its(one, candidates) & used}
    needs = Needs(candidates, environment.markers)
    kept = needs.closure(inside | imported)
    outside = [one.name for one in candidates if one.outside]
    return Inventory(
        packages=tuple(one for one in candidates if one.name in kept),
        of_the_system=tuple(name for name in outside if name in kept),
        unused=tuple(name for name in outside if name not in kept),
        own=own,
    )


def _only_its(one: Distribution, others: Iterable[Distribution]) -> frozenset[str]:
    """Return the modules of a distribution that no other one has a part in."""
    return one.modules.difference(*(other.modules for other in others if other is not one))


def _is_project(one: Distribution, root: Path) -> bool:
    directory = _directory_of(one)
    return directory is not None and directory in (str(root), str(root / "src"))


def _directory_of(one: Distribution) -> str | None:
    """Return the directory that a distribution was installed from, or lies in itself."""
    url = urlsplit(str((one.direct_url or {}).get("url", "")))
    if url.scheme == "file" and "dir_info" in (one.direct_url or {}):
        return unquote(url.path).rstrip("/")
    return one.location if _is_developed(one) else None


def _is_developed(one: Distribution) -> bool:
    """Whether it lies in a directory that a .pth file leads to, as `setup.py develop` does it."""
    return one.direct_url is None and one.location.rpartition("/")[2] not in _SITE_DIRECTORIES


def unlockable(inventory: Inventory) -> tuple[Unlockable, ...]:
    """List the packages that came from elsewhere than an index."""
    found = ((one, _origin(one)) for one in inventory.packages)
    return tuple(
        Unlockable(name=one.name, version=one.version, reason=origin[0], instead=origin[1])
        for one, origin in found
        if origin is not None
    )


def _origin(one: Distribution) -> tuple[str, str] | None:
    """Return where a package came from, in words, and what could be given for it; None if that was an index."""
    if one.direct_url is not None:
        return _direct(one.name, one.direct_url)
    if one.outside:
        return None
    if _is_developed(one):
        return f"is an editable install of {one.location}", f"{one.name} @ {one.location}"
    if one.metadata.endswith((".egg-info", ".egg")) and not one.by_pip:
        return "was installed by its setup.py, which leaves no trace of where it came from", _pin(one)
    return None


def _pin(one: Distribution) -> str:
    return f"{one.name}=={one.version}"


def _direct(name: str, said: Mapping[str, Any]) -> tuple[str, str]:
    url = Redactor().clean(str(said.get("url", "")))
    path = unquote(urlsplit(url).path)
    if isinstance(vcs := said.get("vcs_info"), dict):
        commit = str(vcs.get("commit_id", ""))
        whole = f"{vcs.get('vcs', 'git')}+{url}"
        return f"was installed from {whole} (commit {commit[:9]})", f"{name} @ {whole}@{commit}"
    if isinstance(directory := said.get("dir_info"), dict):
        what = "is an editable install of" if directory.get("editable") else "was built from the directory"
        return f"{what} {path}", f"{name} @ {path}"
    if url.startswith("file:"):
        return f"was installed from the file {path}", f"{name} @ {path}"
    return f"was installed from {url}", f"{name} @ {url}"


def differences(
    before: Mapping[str, str], after: Mapping[str, str], *, whole: bool = True, except_for: Iterable[str] = ()
) -> tuple[str, ...]:
    """Say in what two sets of versions differ; unless `before` is `whole`, what comes along with it may be new."""
    left_out = frozenset(except_for)
    names = sorted((before.keys() | (after.keys() if whole else ())) - left_out)
    return tuple(
        f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}"
        for name in names
        if not _same(before.get(name), after.get(name))
    )


def _same(one: str | None, other: str | None) -> bool:
    """Whether two versions are the same, however they are written: 1.0 is 1.0.0."""
    if one is None or other is None or one == other:
        return one == other
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False
