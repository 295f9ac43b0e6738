"""Which versions an update may take: from settings and holds to bounds, and from bounds to words of uv. All is pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.packages.changes import Bump, name_bump, newest_of, parse_version
from releaser.packages.holds import Hold, PackageHold, VersionHold
from releaser.packages.lock import Lock, Package
from releaser.releases.release import PackageChange
from releaser.site.settings import Level, VersionSettings

#: Specifiers for uv, one for each fork of the lock.
Bound: TypeAlias = tuple[str, ...] | None
#: The kinds of things that block a version.
By: TypeAlias = Literal[
    "hold", "level", "age", "constraint", "requirement", "python", "file", "yanked", "failed", "older", "uv"
]
#: The bound of a package that uv leaves as the lock has it, since no words of uv name a commit.
AS_LOCKED = None
#: The upgrades that a level does not allow.
_BEYOND: Mapping[Level, Sequence[Bump]] = {"minor": ("major",), "patch": ("major", "minor")}
_HOLDERS = {
    "person": "by you",
    "rollback": "by a rollback",
    "setting": "by a setting",
    "tests": "by the tests",
    "commit": "by a commit",
    "build": "since it does not build here",
}


class Baseline(msgspec.Struct, frozen=True):
    """The state before a resolution: the installed versions, the lock of the live release and the committed one."""

    installed: Mapping[str, str]
    live: Lock
    committed: Lock


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
    #: The lowest versions without known vulnerabilities, of packages that have some.
    fixes: Mapping[str, str] = {}
    #: Bounds by a file of the site.
    constraints: Mapping[str, str] = {}
    #: The packages that a commit of a person has lowered, with the version there.
    lowered: Mapping[str, str] = {}
    #: Only versions that were uploaded before are taken.
    cutoff: datetime | None = None
    #: The versions that cannot be installed here, with the reason.
    unfit: Mapping[str, Mapping[str, str]] = {}
    #: The packages that must not be lowered, with the version that is live or committed, whichever is newer.
    floors: Mapping[str, str] = {}
    #: The packages that stay at these versions, but for those that cannot be installed here.
    stays: Mapping[str, str] = {}
    #: The packages of which the tests alone hold versions: a smaller upgrade than to those may be taken.
    tested: frozenset[str] = frozenset()

    def find_level(self, name: str) -> Level:
        """Return how far a package moves. One that a person names moves, whatever is set for all others."""
        level = self.levels.get(name, self.level)
        return "all" if level in ("none", "security") and name in self.alone else level

    def bound_fix(self, name: str) -> str:
        """Return the bound of the lowest version without known vulnerabilities, if an update takes that one; else "".

        It does where nothing else is taken, and where newer ones are too new. If that one is on hold, a newer one of
        its series is taken.
        """
        fix, level = parse_version(self.fixes.get(name, "")), self.find_level(name)
        if fix is None or not (level == "security" or (level != "none" and self.cutoff is not None)):
            return ""
        is_refused = str(fix) in self.find_refused(name)
        return f">{fix},=={fix.major}.{fix.minor}.*" if is_refused else f"=={fix}"

    def choose(self, names: Iterable[str]) -> frozenset[str] | None:
        """Return those of the names that uv is to upgrade; None for all of them."""
        if not self.alone and self.level not in ("none", "security"):
            return None
        levels = {name: self.find_level(name) for name in self.alone or names}
        moving = (name for name, level in levels.items() if level != "none")
        return frozenset(name for name in moving if levels[name] != "security" or self.bound_fix(name))

    def find_refused(self, name: str) -> frozenset[str]:
        """Return the versions of a package that are on hold or cannot be installed here."""
        return self.skipped.get(name, frozenset()) | self.unfit.get(name, {}).keys()

    def without(self, unfit: Iterable[tuple[str, str, str]]) -> Rules:
        """Return the rules without versions that cannot be installed here, of which name, version and reason are given.

        What uv would lower is asked again.
        """
        versions = {name: dict(reasons) for name, reasons in self.unfit.items()}
        for name, version, reason in unfit:
            versions.setdefault(name, {})[version] = reason
        return msgspec.structs.replace(self, unfit=versions, floors={})


class Skipped(msgspec.Struct, frozen=True):
    """A newer version that an update does not take, or one that is not in the index any more, and why."""

    name: str
    version: str
    reason: str
    by: By = "uv"
    #: The package on hold that keeps it back.
    holder: str = ""
    #: True if the version is the live one, which stays although its index or the commit does not have it any more.
    is_live: bool = False

    @property
    def sentence(self) -> str:
        """The package, its version and the reason."""
        return f"{self.name} {self.version} {self.reason}"


def make_rules(
    settings: VersionSettings,
    holds: Iterable[Hold],
    alone: Iterable[str] = (),
    constraints: Mapping[str, str] = {},
    now: datetime | None = None,
) -> Rules:
    """Return the rules that follow from settings and holds, and from the packages that a person has named.

    Versions on hold because the index had no file for this host are asked for again.
    """
    holds = tuple(holds)
    skipped, kept, holders = dict[str, frozenset[str]](), set[str](), dict[str, str]()
    for hold in holds:
        if isinstance(hold, VersionHold) and hold.by != "index":
            skipped[hold.name] = skipped.get(hold.name, frozenset()) | {hold.version}
        elif isinstance(hold, PackageHold):
            kept.add(hold.name)
        else:
            continue
        holders[hold.name] = hold.reason if hold.by == "setting" else _HOLDERS[hold.by]
    others = {hold.name for hold in holds if isinstance(hold, VersionHold | PackageHold) and hold.by != "tests"}
    return Rules(
        settings.upgrade,
        settings.upgrade_packages,
        frozenset(alone),
        skipped,
        frozenset(kept),
        holders,
        constraints=constraints,
        cutoff=now - timedelta(seconds=settings.min_age) if settings.min_age and now else None,
        tested=frozenset(skipped) - others,
    )


def follow_people(rules: Rules, lowered: Mapping[str, str], installed: Mapping[str, str]) -> Rules:
    """Return the rules for packages that a commit of a person has lowered: the versions that they had are on hold."""
    left = {name: installed[name] for name, version in lowered.items() if installed.get(name, version) != version}
    skipped = {name: rules.skipped.get(name, frozenset()) | {version} for name, version in left.items()}
    skipped, holders = {**rules.skipped, **skipped}, dict.fromkeys(left, _HOLDERS["commit"]) | dict(rules.holders)
    lowered = {name: lowered[name] for name in left}
    return msgspec.structs.replace(rules, skipped=skipped, holders=holders, lowered=lowered)


def find_floors(rules: Rules, before: Baseline) -> dict[str, str]:
    """Return the version below which no package goes: the newest one that is live or committed.

    Only a hold, a host or a commit of a person lowers one. No rule orders the commits of a package from git. Which of
    several versions of a lock is installed is up to uv: `find_lowered_forks` looks at that.
    """
    floors = dict[str, str]()
    if rules.level == "none" and not rules.choose(before.committed.names):
        return floors  # the committed lock is deployed, also an older one
    unfit = _find_unfit(rules, before.committed)
    for name in before.committed.names:
        labels = {*before.committed.versions[name]} - rules.find_refused(name)
        labels = set() if name in unfit else labels
        labels |= {before.installed.get(name, "")} - rules.skipped.get(name, frozenset())
        labels = {rules.lowered[name]} if name in rules.lowered else labels
        is_forked = len(before.committed.find(name)) > 1
        is_free = is_forked or name in rules.kept or any(map(_is_from_git, labels))
        versions = {version: label for label in labels if (version := parse_version(label))}
        if versions and not is_free:
            floors[name] = versions[max(versions)]
    return floors


def _find_unfit(rules: Rules, lock: Lock) -> set[str]:
    """Return the packages of a lock that cannot be installed here, or need one that cannot, however far away."""
    unfit = {name for name, reasons in rules.unfit.items() if lock.versions.get(name, frozenset()) & reasons.keys()}
    while users := {package.name for package in lock.packages if package.needs & unfit} - unfit:
        unfit |= users
    return unfit


def find_lowered(floors: Mapping[str, str], lock: Lock) -> dict[str, str]:
    """Return those of the floors below which a lock is."""
    newest = {name: newest_of(lock.versions.get(name, ())) for name in floors}
    return {name: floors[name] for name, version in newest.items() if version and version < Version(floors[name])}


def find_lowered_forks(rules: Rules, before: Baseline, changes: Iterable[PackageChange]) -> dict[str, str]:
    """Return the live version of each package that the lock has in several versions, if these changes lower it."""
    return {
        change.name: change.old
        for change in changes
        if change.old and change.new and len(before.committed.find(change.name)) > 1
        if change.name not in rules.kept and change.old not in rules.find_refused(change.name)
        if name_bump(change.new, change.old) != "other"
    }


def make_bounds(rules: Rules, before: Baseline) -> dict[str, Bound]:
    """Return the bounds for uv: the one version of a package that is kept or stays, else all but those on hold.

    A level bounds from above: by the newest version that is live or in the lock.
    """
    installed = before.installed
    kept = {*rules.kept, *(name for name in rules.constraints if _is_beyond(rules, name, installed.get(name, "")))}
    stays = {name: version for name, version in rules.stays.items() if name not in kept | rules.unfit.keys()}
    bounds = {name: keep(before, name) for name in kept if name in installed}
    bounds |= {name: keep(before, name, version) for name, version in stays.items()}
    for name in {*before.committed.names, *rules.skipped, *rules.constraints, *rules.unfit} - kept - stays.keys():
        level = _bound_by_level(rules, name, before)
        refused = [f"!={version}" for version in sorted(rules.find_refused(name)) if not _is_from_git(version)]
        words = [*refused, *filter(None, [level, rules.constraints.get(name)])]
        if name in rules.floors:
            bounds[name] = _bound_from_below(before, name, rules.floors[name], words)
        elif level is AS_LOCKED or (level and level.startswith("==")):
            bounds[name] = (level,) if level else AS_LOCKED
        elif words:
            bounds[name] = (",".join(words),)
    return bounds


def _is_beyond(rules: Rules, name: str, label: str) -> bool:
    """Return True if a version is beyond `constraints`; one that is live stays there, as nothing is lowered."""
    version = parse_version(label)
    return version is not None and not SpecifierSet(rules.constraints.get(name, "")).contains(version, prereleases=True)


def _bound_by_level(rules: Rules, name: str, before: Baseline) -> str | None:
    """Return the bound of a package by its level, in relation to the newest version that is live or in the lock."""
    level, labels = rules.find_level(name), before.committed.versions.get(name, frozenset())
    newest = newest_of({*labels, before.installed.get(name, "")})
    bumps = {name_bump(label, rules.fixes.get(name)) for label in labels}
    if (bound := rules.bound_fix(name)) and bumps.isdisjoint(_BEYOND.get(level, ())):
        return bound
    is_still = level in ("none", "security")
    if level == "all" or newest is None or not labels or (is_still and name not in rules.levels):
        return ""
    if is_still:
        label = next(iter(labels))
        return AS_LOCKED if len(labels) > 1 or _is_from_git(label) else f"=={label}"
    next_one = str(newest.major + 1) if level == "minor" else f"{newest.major}.{newest.minor + 1}"
    return f"<{newest.epoch}!{next_one}" if newest.epoch else f"<{next_one}"


def _bound_from_below(before: Baseline, name: str, floor: str, words: Sequence[str]) -> Bound:
    """Return the bound of a package that uv would lower; of each fork, if the lock has several."""
    forks = before.committed.find(name)
    if len(forks) > 1:
        below = {fork.version: [f">={floor}"] if fork.version == floor else [] for fork in forks}
        return tuple(f"{','.join([*below[fork.version], *words])}{mark_fork(fork)}" for fork in forks)
    return (",".join([f">={floor}", *words]),)


def keep(before: Baseline, name: str, version: str = "") -> Bound:
    """Return the bound for the live version of a package alone, or another one; of each fork, if there are several."""
    version = version or before.installed[name]
    forks = before.live.find(name)
    if _is_from_git(version):
        return AS_LOCKED
    if len(forks) > 1 and version in before.live.versions[name]:
        return tuple(f"=={fork.version}{mark_fork(fork)}" for fork in forks)
    return (f"=={version}",)


def mark_fork(fork: Package) -> str:
    """Return the marker of a fork, in words of uv."""
    return f" ; {' or '.join(f'({marker})' for marker in fork.markers)}" if fork.markers else ""


def _is_from_git(version: str) -> bool:
    return " " in version


def lock_arguments(names: Sequence[str], bounds: Mapping[str, Bound], only: frozenset[str] | None = None) -> list[str]:
    """Return the arguments of `uv lock` that upgrade all packages, or `only` some, within bounds, such as `!=1.1`.

    With bounds each package is named, since `--upgrade` forgets those of `-P` (seen with uv 0.13). One that stays is
    named, too: else uv may move it along with another. Bounds leave no trace in the lock.
    """
    if not bounds and only is None:
        return ["lock", "--upgrade"]
    words = ["lock"]
    for name in sorted({*names, *bounds}):
        for bound in bounds.get(name, ("",)) or ():
            if only is None or name in only or bound.startswith(("==", ">=")):
                words += ["-P", f"{name}{bound}"]
    return words


def is_pinnable(lock: Lock, name: str, version: str) -> bool:
    """Return True if words of uv name the version of a package: it is from no repository, and has no forks."""
    labels = lock.versions.get(name, frozenset())
    return len(labels) == 1 and not any(map(_is_from_git, (version, *labels)))


def sort_by_needs(lock: Lock, names: Iterable[str]) -> list[str]:
    """Return packages of a lock, each after those that it needs: it needs more than they do."""
    needs = {package.name: package.needs for package in lock.packages}

    def count(name: str) -> int:
        needed = [name]
        for each in needed:
            needed += needs.get(each, frozenset()).difference(needed)
        return len(needed)

    return sorted(sorted(names), key=count)


def find_between(rules: Rules, lock: Lock, before: Baseline) -> list[str]:
    """Return the packages on hold for which a lock has a version that is neither live nor newer than those on hold."""
    installed = before.installed
    kept = [name for name in rules.kept if name in installed and lock.versions.get(name)]
    between = [name for name in kept if installed[name] not in lock.versions[name] and _is_from_git(installed[name])]
    for name, highest in rules.skipped.items():
        versions = lock.versions.get(name, frozenset())
        forks = before.live.versions.get(name, frozenset()) if len(before.live.find(name)) > 1 else frozenset()
        chosen = versions - {installed.get(name, ""), rules.lowered.get(name, "")} - (forks - highest)
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
    lowered = [name for name, floor in find_lowered(rules.floors, newest).items() if lock.versions.get(name)]
    return tuple(
        find_rule(rules, lock, package) or _explain_others(rules, lock, package, held, lowered) for package in waiting
    )


def _is_newer(package: Package, lock: Lock) -> bool:
    versions = lock.versions.get(package.name)
    if not versions or package.label in versions or package.name in lock.local:
        return False
    return bool(package.source.commit) or all(name_bump(version, package.label) != "other" for version in versions)


def find_rule(rules: Rules, lock: Lock, package: Package) -> Skipped | None:
    """Return the newer version of a package with the rule that keeps itself back; None if none does."""
    name, label, bound = package.name, package.label, rules.constraints.get(package.name, "")
    is_held = name in rules.kept or any(name_bump(held, label) == "other" for held in rules.skipped.get(name, ()))
    reasons: Mapping[By, str] = {
        "file": rules.unfit.get(name, {}).get(label, ""),
        "hold": f"is on hold {rules.holders[name]}" if is_held else "",
        "level": _explain_level(rules, lock, package),
        "age": _explain_age(rules, package),
        "constraint": f"is kept back by `constraints`: {name}{bound}" if _is_beyond(rules, name, label) else "",
    }
    found = ((by, reason) for by, reason in reasons.items() if reason)
    return next((Skipped(name, label, reason, by, name if by == "hold" else "") for by, reason in found), None)


def _explain_others(
    rules: Rules, lock: Lock, package: Package, held: Mapping[str, Package], lowered: Collection[str]
) -> Skipped:
    """Return the newer version of a package with what keeps it back of other packages."""
    name, label = package.name, package.label
    if needed := sorted(package.needs & held.keys()):
        names = " and ".join(f"{other} {held[other].label}" for other in needed)
        reason = f"needs {names}, which {'is' if len(needed) == 1 else 'are'} on hold {rules.holders[needed[0]]}"
        return Skipped(name, label, reason, "hold", needed[0])
    if unfit := sorted(package.needs & rules.unfit.keys()):
        version, reason = next(iter(rules.unfit[unfit[0]].items()))
        return Skipped(name, label, f"needs {unfit[0]} {version}, which {reason}", "file")
    if lowering := sorted(package.needs & {*lowered}) or sorted(lowered):
        floors = ", ".join(f"{other} {rules.floors[other]}" for other in lowering)
        return Skipped(name, label, f"would lower {floors}", "requirement")
    needing = sorted(other for other in held if any(name in entry.needs for entry in lock.find(other)))
    if holding := needing or sorted(held):
        reason = f"is blocked by {', '.join(holding)}, on hold {rules.holders[holding[0]]}"
        return Skipped(name, label, reason, "hold", holding[0])
    return Skipped(name, label, "was not chosen")


def _explain_age(rules: Rules, package: Package) -> str:
    """Return that a package is too new; empty if it is old enough."""
    uploaded = read_time(package.upload_time)
    if rules.cutoff is None or uploaded is None or uploaded < rules.cutoff:
        return ""
    return f"is too new: it was uploaded on {uploaded:%Y-%m-%d %H:%M}; see `min_age`"


def read_time(text: str) -> datetime | None:
    """Return a time of a lock; None if there is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _explain_level(rules: Rules, lock: Lock, package: Package) -> str:
    """Return why the level of a package does not let it move so far; empty if it does."""
    level = rules.find_level(package.name)
    bumps = {name_bump(version, package.label) for version in lock.versions[package.name]}
    setting = "upgrade_packages" if package.name in rules.levels else "upgrade"
    if level == "none":
        return f"stays: `{setting}` is `none` for it"
    if level == "security":
        bound = rules.bound_fix(package.name)
        is_fix = bound and SpecifierSet(bound).contains(package.version, prereleases=True)
        return "" if is_fix else f"is no security fix, and `{setting}` is `{level}`"
    bump = next((bump for bump in _BEYOND.get(level, ()) if bump in bumps), "")
    return f"is a {bump} upgrade, and `{setting}` is `{level}`" if bump else ""
