"""Which versions an update may take: from settings and holds to bounds, and from bounds to words of uv. All is pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from releaser.packages.changes import name_bump, parse_version
from releaser.packages.holds import Hold, PackageHold, VersionHold
from releaser.packages.lock import Lock, Package
from releaser.site.settings import Level, VersionSettings

#: The bound of a package that uv leaves as the lock has it, since no words of uv name a commit.
AS_LOCKED = None
_HOLDERS = {"person": "by you", "rollback": "by a rollback", "setting": "by a setting", "tests": "by the tests"}


class Rules(msgspec.Struct, frozen=True):
    """The limits of an update.

    `level` is how far packages move, but for those in `levels`; `alone` are the only ones that do, if a person names
    some. `skipped` are the versions on hold by package, `kept` the packages that stay at their live version; `holders`
    says who wants that, in words.
    """

    level: Level = "all"
    levels: Mapping[str, Level] = {}
    alone: frozenset[str] = frozenset()
    skipped: Mapping[str, frozenset[str]] = {}
    kept: frozenset[str] = frozenset()
    holders: Mapping[str, str] = {}
    #: The packages of which the tests alone hold versions: a smaller upgrade than to those may be taken.
    tested: frozenset[str] = frozenset()

    def find_level(self, name: str) -> Level:
        """Return how far a package moves. One that a person names moves, whatever is set for all others."""
        level = self.levels.get(name, self.level)
        return "all" if level == "none" and name in self.alone else level

    def choose(self, names: Iterable[str]) -> frozenset[str] | None:
        """Return those of the names that uv is to upgrade; None for all of them."""
        if not self.alone and self.level != "none":
            return None
        return frozenset(name for name in self.alone or names if self.find_level(name) != "none")


class Skipped(msgspec.Struct, frozen=True):
    """A newer version that an update does not take, and why."""

    name: str
    version: str
    reason: str
    #: The package on hold that keeps it back.
    holder: str = ""

    @property
    def sentence(self) -> str:
        """The package, its version and the reason."""
        return f"{self.name} {self.version} {self.reason}"


def make_rules(settings: VersionSettings, holds: Iterable[Hold], alone: Iterable[str] = ()) -> Rules:
    """Return the rules that follow from settings and holds, and from the packages that a person has named."""
    holds = tuple(holds)
    skipped, kept, holders = dict[str, frozenset[str]](), set[str](), dict[str, str]()
    for hold in holds:
        if isinstance(hold, VersionHold):
            skipped[hold.name] = skipped.get(hold.name, frozenset()) | {hold.version}
        elif isinstance(hold, PackageHold):
            kept.add(hold.name)
        if isinstance(hold, VersionHold | PackageHold):
            holders[hold.name] = hold.reason if hold.by == "setting" else _HOLDERS[hold.by]
    others = {hold.name for hold in holds if isinstance(hold, VersionHold | PackageHold) and hold.by != "tests"}
    return Rules(
        settings.upgrade,
        settings.upgrade_packages,
        frozenset(alone),
        skipped,
        frozenset(kept),
        holders,
        frozenset(skipped) - others,
    )


def make_bounds(rules: Rules, installed: Mapping[str, str], lock: Lock) -> dict[str, str | None]:
    """Return the bounds for uv: the live version alone of a package that is kept, else all but those on hold.

    A level bounds from above: by the newest version that is live or in the lock.
    """
    bounds: dict[str, str | None] = {name: keep(installed[name]) for name in rules.kept if name in installed}
    for name, versions in rules.skipped.items():
        words = ",".join(f"!={version}" for version in sorted(versions) if not _is_from_git(version))
        if name not in bounds and words:
            bounds[name] = words
    for name in lock.versions.keys() - lock.local - rules.kept:
        level, before = _bound_by_level(rules, name, lock, installed.get(name)), bounds.get(name, "")
        if level != "":
            bounds[name] = f"{before},{level}" if before and level and level[0] == "<" else level
    return bounds


def _bound_by_level(rules: Rules, name: str, lock: Lock, installed: str | None) -> str | None:
    """Return the bound of a package by its level, in relation to the newest version that is live or in the lock."""
    level, labels = rules.find_level(name), lock.versions[name]
    versions = [version for label in (*labels, installed) if label and (version := parse_version(label))]
    if level == "all" or not versions or (level == "none" and name not in rules.levels):
        return ""
    newest = max(versions)
    if level == "none":
        return keep(next(iter(labels))) if len(labels) == 1 else AS_LOCKED
    next_one = str(newest.major + 1) if level == "minor" else f"{newest.major}.{newest.minor + 1}"
    return f"<{newest.epoch}!{next_one}" if newest.epoch else f"<{next_one}"


def keep(version: str) -> str | None:
    """Return the bound for this version alone."""
    return AS_LOCKED if _is_from_git(version) else f"=={version}"


def _is_from_git(version: str) -> bool:
    return " " in version


def lock_arguments(
    names: Sequence[str], bounds: Mapping[str, str | None], only: frozenset[str] | None = None
) -> list[str]:
    """Return the arguments of `uv lock` that upgrade all packages, or `only` some, within bounds, such as `!=1.1`.

    With bounds each package is named, since `--upgrade` forgets those of `-P` (seen with uv 0.13). One that stays is
    named, too: else uv may move it along with another. Bounds leave no trace in the lock.
    """
    if not bounds and only is None:
        return ["lock", "--upgrade"]
    words = ["lock"]
    for name in sorted({*names, *bounds}):
        bound = bounds.get(name, "")
        if bound is not AS_LOCKED and (only is None or name in only or bound.startswith("==")):
            words += ["-P", f"{name}{bound}"]
    return words


def pin_arguments(
    lock: Lock, before: Mapping[str, str], part: Collection[str], *, may_differ: bool = False
) -> list[str]:
    """Return the arguments of `uv lock` that take a part of the changes; other packages stay at the versions `before`.

    With `may_differ`, the part may have other versions. No words of uv name a commit, or the versions of several forks:
    those of the part are asked for anew, and others stay as the lock has them.
    """
    words = ["lock"]
    for name, version in sorted(before.items()):
        is_plain = is_pinnable(lock, name, version)
        if name in part:
            words += ["-P", f"{name}{keep(next(iter(lock.versions[name]))) if is_plain and not may_differ else ''}"]
        elif is_plain:
            words += ["-P", f"{name}{keep(version)}"]
    return words


def is_pinnable(lock: Lock, name: str, version: str) -> bool:
    """Return True if words of uv name the version of a package: it is from no repository, and has no forks."""
    labels = lock.versions.get(name, frozenset())
    return len(labels) == 1 and not any(map(_is_from_git, (version, *labels)))


def list_needed(lock: Lock, names: Iterable[str], among: Collection[str]) -> list[str]:
    """Return packages of a lock, each after those that it needs among some others, which come along."""
    needed: dict[str, None] = {}
    seen: set[str] = set()

    def add(name: str) -> None:
        if name not in seen:
            seen.add(name)
            for other in sorted({need for package in lock.find(name) for need in package.needs}):
                add(other)
            if name in among:
                needed[name] = None

    for name in names:
        add(name)
    return [*needed]


def find_between(rules: Rules, lock: Lock, installed: Mapping[str, str]) -> list[str]:
    """Return the packages on hold for which a lock has a version that is neither live nor newer than those on hold."""
    kept = [name for name in rules.kept if name in installed and lock.versions.get(name)]
    between = [name for name in kept if installed[name] not in lock.versions[name] and _is_from_git(installed[name])]
    for name, highest in rules.skipped.items():
        chosen = lock.versions.get(name, frozenset()) - {installed.get(name, "")}
        is_older = any(
            name_bump(held, version) == "other"
            and not (name in rules.tested and _is_smaller(installed.get(name), version, held))
            for version in chosen
            for held in highest
        )
        is_held = bool(chosen & highest)
        if name in installed and name not in between and (is_held or (is_older and not any(map(_is_from_git, chosen)))):
            between.append(name)
    return between


def _is_smaller(live: str | None, version: str, held: str) -> bool:
    """Return True if a version is in the series of the live one, and the one on hold is not: 5.2.9 for 6.0."""
    sizes = ("patch", "minor", "major")
    bump, other = name_bump(live, version), name_bump(live, held)
    return bump in sizes and other in sizes and sizes.index(bump) < sizes.index(other)


def explain_skipped(rules: Rules, lock: Lock, newest: Lock) -> tuple[Skipped, ...]:
    """Return each package that is newer in the lock that no rule has bound, with its level or the hold on it.

    That is its own, or one on a package that it needs, or one on a package that needs it.
    """
    waiting = [package for package in newest.packages if _is_newer(package, lock)]
    waiting = [package for package in waiting if not rules.alone or package.name in rules.alone]
    held = {package.name: package for package in waiting if package.name in rules.holders}
    return tuple(Skipped(package.name, package.label, *_explain(rules, lock, package, held)) for package in waiting)


def _is_newer(package: Package, lock: Lock) -> bool:
    versions = lock.versions.get(package.name)
    if not versions or package.label in versions or package.name in lock.local:
        return False
    return bool(package.source.commit) or all(name_bump(version, package.label) != "other" for version in versions)


def _explain(rules: Rules, lock: Lock, package: Package, held: Mapping[str, Package]) -> tuple[str, str]:
    if package.name in held:
        return f"is on hold {rules.holders[package.name]}", package.name
    if reason := _explain_level(rules, lock, package):
        return reason, ""
    needed = sorted(package.needs & held.keys())
    if needed:
        names = " and ".join(f"{name} {held[name].label}" for name in needed)
        verb = "is" if len(needed) == 1 else "are"
        return f"needs {names}, which {verb} on hold {rules.holders[needed[0]]}", needed[0]
    needing = sorted(name for name in held if any(package.name in other.needs for other in lock.find(name)))
    holding = needing or sorted(held)
    if not holding:
        return "was not chosen", ""
    return f"is blocked by {', '.join(holding)}, on hold {rules.holders[holding[0]]}", holding[0]


def _explain_level(rules: Rules, lock: Lock, package: Package) -> str:
    """Return why the level of a package does not let it move so far; empty if it does."""
    level = rules.find_level(package.name)
    bumps = {name_bump(version, package.label) for version in lock.versions[package.name]}
    setting = "upgrade_packages" if package.name in rules.levels else "upgrade"
    if level == "none":
        return f"stays: `{setting}` is `none` for it"
    beyond = {"all": (), "minor": ("major",), "patch": ("major", "minor")}[level]
    bump = next((bump for bump in beyond if bump in bumps), "")
    return f"is a {bump} upgrade, and `{setting}` is `{level}`" if bump else ""
