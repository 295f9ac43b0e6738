"""Who needs whom among installed packages: what was asked for, what came along, and what does not fit together."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.tools.distributions import Distribution


class Root(NamedTuple):
    """A package that the project asks for itself, and the extras in which it does."""

    name: str
    extras: frozenset[str] = frozenset()


class Needs:
    """The needs of installed packages, in an environment with these values of markers.

    An extra counts where another package asks for it, or the project, which asks for what is `given`.
    """

    def __init__(
        self, packages: Iterable[Distribution], markers: Mapping[str, str], given: Iterable[Root] = ()
    ) -> None:
        self._packages = {one.name: one for one in packages}
        self._markers = dict(markers)
        self._given = tuple(given)
        self._extras: dict[str, set[str]] = defaultdict(set)
        for root in self._given:
            self._extras[root.name] |= {canonicalize_name(extra) for extra in root.extras}
        waiting = list(self._packages)
        while waiting:  # what is needed in an extra needs more
            for wanted in self._wanted(waiting.pop()):
                name = canonicalize_name(wanted.name)
                new = {canonicalize_name(extra) for extra in wanted.extras} - self._extras[name]
                if new and name in self._packages:
                    self._extras[name] |= new
                    waiting.append(name)

    def _wanted(self, name: str) -> list[Requirement]:
        return [one for extra in ("", *self._extras[name]) for one in self._in(name, extra)]

    def _in(self, name: str, extra: str) -> Iterator[Requirement]:
        """Yield what a package asks for here: by itself if the extra is empty, else what that adds."""
        for text in self._packages[name].requires:
            try:
                wanted = Requirement(text)
            except InvalidRequirement:  # of old; pip warns of it, and uv mends what it can
                continue
            if self._applies(wanted, extra) and not (extra and self._applies(wanted, "")):
                yield wanted

    def _applies(self, wanted: Requirement, extra: str) -> bool:
        try:
            return wanted.marker is None or wanted.marker.evaluate({**self._markers, "extra": extra})
        except (UndefinedEnvironmentName, InvalidVersion):
            return True

    def closure(self, names: Iterable[str]) -> frozenset[str]:
        """Return these packages and all installed ones that they lead to."""
        found: set[str] = set()
        waiting = [name for name in names if name in self._packages]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [one for wanted in self._wanted(name) if (one := canonicalize_name(wanted.name)) in self]
        return frozenset(found)

    def __contains__(self, name: str) -> bool:
        return name in self._packages

    def roots(self, *, imported: Iterable[str] = ()) -> tuple[Root, ...]:
        """Return what to ask for so that exactly the installed packages come: what is given, and what that lacks.

        That is what no other package needs, and what the code imports. A package that nobody asked pip for by name, and
        that only an extra of another one explains, stands for that extra.
        """
        roots = {one.name: one.extras for one in self._given if one.name in self}
        covered = set(self.closure(roots))
        unneeded = self._unneeded() - covered
        explained = self._explained(unneeded)
        for name, extra in explained.values():
            roots[name] = roots.get(name, frozenset()) | {extra}
        covered |= explained.keys()
        for name in sorted((unneeded - explained.keys()) | (set(imported) & self._packages.keys())):
            roots.setdefault(name, frozenset())
        covered |= self.closure([*roots, *explained])
        for name in sorted(self._packages):  # those that need each other in a circle
            if name not in covered:
                roots[name] = frozenset()
                covered |= self.closure([name])
        return tuple(Root(name, roots[name]) for name in sorted(roots))

    def _unneeded(self) -> set[str]:
        needed = {
            canonicalize_name(wanted.name)
            for name in self._packages
            for wanted in self._wanted(name)
            if canonicalize_name(wanted.name) != name
        }
        return self._packages.keys() - needed

    def _explained(self, names: set[str]) -> dict[str, tuple[str, str]]:
        """Find for packages that were not requested the one extra, of an installed package, that has them all."""
        if not any(one.requested for one in self._packages.values()):
            return {}  # nobody has noted what was asked for
        explained = {}
        for name in sorted(names):
            if not self._packages[name].requested:
                found = [one for one in self._whole_extras() if name in self._names_in(*one)]
                if len(found) == 1:
                    explained[name] = found[0]
        return explained

    def _whole_extras(self) -> list[tuple[str, str]]:
        """List the extras, of packages that somebody asked for, of which everything is installed."""
        return [
            (name, extra)
            for name, one in self._packages.items()
            if one.requested
            for extra in sorted(_extras_of(one))
            if (names := self._names_in(name, extra)) and names <= self._packages.keys()
        ]

    def _names_in(self, name: str, extra: str) -> set[str]:
        return {canonicalize_name(wanted.name) for wanted in self._in(name, extra)}

    def broken(self) -> tuple[str, ...]:
        """Say which needs are not met, as `pip check` does: no lock could hold these versions together."""
        found = []
        for name, one in self._packages.items():
            for wanted in self._wanted(name):
                other = self._packages.get(canonicalize_name(wanted.name))
                bare = f"{canonicalize_name(wanted.name)}{wanted.specifier}"
                if other is None:
                    found.append(f"{name} {one.version} needs {bare}, which is not installed")
                elif wanted.url is None and not admits(wanted, other.version):
                    found.append(f"{name} {one.version} needs {bare}, and {other.version} is installed")
        return tuple(dict.fromkeys(found))


def admits(wanted: Requirement, version: str) -> bool:
    """Whether a requirement is met by a version; one that is none at all, as they were once, counts as met."""
    try:
        return wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return True


def oldest_python(packages: Iterable[Distribution], version: str) -> str:
    """Return the oldest patch version of a Python that all packages are for; without the patch if they are for all."""
    short, _, patch = version.rpartition(".")
    if not patch.isdigit():  # a pre-release
        return version
    bounds = [_specifier(one.requires_python) for one in packages]
    candidates = (f"{short}.{number}" for number in range(int(patch)))
    found = next((one for one in candidates if all(bound.contains(one) for bound in bounds)), version)
    return found.removesuffix(".0")


def _specifier(text: str) -> SpecifierSet:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return SpecifierSet()


def _extras_of(one: Distribution) -> set[str]:
    found: set[str] = set()
    for text in one.requires:
        marker = text.partition(";")[2]
        parts = marker.replace("'", '"').split('"')
        found |= {
            canonicalize_name(parts[i + 1]) for i in range(len(parts) - 1) if parts[i].strip().endswith("extra ==")
        }
    return found
