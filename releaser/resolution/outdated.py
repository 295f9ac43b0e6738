"""What is newer than what is locked, and what blocks it; nothing of the site is written.

`uv tree --outdated` does not tell enough: its newest versions are those for the oldest Python that the project admits,
without a time of upload; it passes over directories of files (`find-links`), and older uvs have no JSON for it. So uv
is asked to resolve a project that wants the newest of each package, whatever goes together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.answers import Blocker, OutdatedPackage
from releaser.errors import ToolError, refuse
from releaser.locks.installed import versions_for
from releaser.locks.limits import exclude_newer
from releaser.locks.lock import EMPTY, Graph, InvalidLockError, LockFile, parse_changes
from releaser.locks.rules import Rules, explain
from releaser.locks.versions import Uploads, is_newer, newest
from releaser.releases.journal import last_wait, read_history
from releaser.releases.quarantine import Constraints
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.newest import (
    ask_newest,
    describe_unanswered,
    find_excluding,
    requirements_for,
    settings_of_uv,
    uploads_within_limits,
)
from releaser.resolution.rules import rules_for, select_holds
from releaser.site.pythons import choose, find_newer_python
from releaser.system.frozen import Frozen
from releaser.system.words import why_held
from releaser.tools.uv import LockBuilds, NoSolution, Uv
from releaser.tools.uv_arguments import lock_arguments

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from releaser.resolution.newest import AvailableVersions
    from releaser.site.site import Site

    Versions = Mapping[str, str]


class OutdatedReport(Frozen):
    """All that is newer."""

    packages: tuple[OutdatedPackage, ...]
    #: Packages that come from no index, so that none was asked.
    elsewhere: tuple[str, ...]
    #: Packages of which the index has no version.
    unknown: tuple[str, ...]
    #: As in `Status`.
    newer_python: str | None


def find_outdated(site: Site, builds: LockBuilds | None) -> OutdatedReport:
    """Ask the index for what is newer than the lock of the live release, or of the checkout if there is none.

    `builds` is how packages are built that have to be, to learn what they need.

    Raises PreflightError, and ResolutionError when the index cannot be reached.
    """
    settings_of_uv(site)
    live, checkout = store_of(site).live(), EMPTY
    with contextlib.suppress(OSError, InvalidLockError):
        checkout = LockFile.read(site.project.lock)
    running = lock_of(live)
    lock = running if running.data else checkout
    if not lock.data:
        message = f"{site.project.lock} is not a lock that can be read"
        refuse(message, "Make one: `uv lock`; `releaser check` tells more.")
    graph = Graph.of(lock)
    uv = replace(site.uv, lock_builds=builds)
    choice = choose(site, uv)
    versions = versions_for(lock, live.manifest.python if running.data and live else choice.version)
    locked = {name: newest(versions[name].split(", ")) for name in sorted(graph.from_index)}
    available = ask_newest(site, uv, locked, choice)
    behind = sorted(name for name, found in available.items() if is_newer(found.newest, locked[name]))
    constraints, now = Constraints.read(site.state_dir), datetime.now(UTC)
    holds = select_holds(site, constraints.holds, python=choice.version, now=now)
    rules = rules_for(site, checkout, running, replace(constraints, holds=holds), python=choice.version, now=now)
    wait = last_wait(read_history(site.state_dir), running.versions)
    rules = replace(rules, rejected=(*wait.versions, *rules.rejected))
    times = {key: time for name in behind for key, time in available[name].times.items()}
    uploads = Uploads(times=times).merge(uploads_within_limits(site, checkout, now))
    fitting = {name: available[name].fitting or locked[name] for name in behind}
    known = _Known(
        rules=rules,
        uploads=uploads,
        python=choice.version,
        locked=locked,
        available=available,
        reachable=_resolve(site, uv, (rules, uploads), fitting, choice.python) if behind else None,
        requirements=tuple(requirements_for(site, live, graph, choice.version, behind)),
        undecided={(one.name, one.version): one.reason for one in constraints.holds.entries if one.by == "undecided"},
    )
    said = '`upgrade = "none"` takes what git has locked'
    follows: tuple[Blocker, ...] = (Blocker(by="policy", reason=said),) if site.settings.upgrade == "none" else ()
    follows += (Blocker(by="first", reason=wait.why),) if wait.all else ()
    return OutdatedReport(
        packages=tuple(
            OutdatedPackage(
                name=name,
                locked=versions[name],
                latest=available[name].newest,
                kept_by=(*follows, *known.blockers(name)),
            )
            for name in behind
        ),
        elsewhere=tuple(sorted(lock.versions.keys() - graph.from_index - graph.own)),
        unknown=tuple(name for name in locked if name not in available),
        newer_python=find_newer_python(site, uv, choice.version),
    )


# What blocks them


def _resolve(site: Site, uv: Uv, within: tuple[Rules, Uploads], latest: Versions, python: Path) -> Versions | None:
    """Return what uv would lock within the rules; None if there is no solution. Raises ResolutionError.

    `latest` is what there is for the Python of the site. What is kept out is not built for that.
    """
    rules, uploads = within
    bounds = rules.specifiers(latest, uploads) if rules.find_withheld(latest, uploads) else {}
    limits = exclude_newer(rules, latest, uploads)
    words = lock_arguments(specifiers=bounds, packages=rules.locked, exclude_newer=limits)
    try:
        done = uv.lock(site.project.root, [*words, "--dry-run"], python=python)
    except ToolError as error:
        what = "could not determine what an update would bring"
        raise describe_unanswered(error.output or error.message, what=what, advice=error.advice) from error
    if isinstance(done, NoSolution):
        return None
    changes = {change.name: change.new for change in parse_changes(done.output)}
    versions: dict[str, str | None] = {**rules.locked, **changes}
    return {name: version for name, version in versions.items() if version is not None}


class _Known(Frozen):
    """All that decides what blocks a version."""

    rules: Rules
    uploads: Uploads
    python: str
    locked: Mapping[str, str]
    available: Mapping[str, AvailableVersions]
    #: What uv would lock within the rules; None where the dependencies of the project have no solution.
    reachable: Mapping[str, str] | None
    #: Who asks for what.
    requirements: tuple[tuple[str, Requirement], ...]
    #: Why nobody knows of some versions whether they work.
    undecided: Mapping[tuple[str, str], str]

    def blockers(self, name: str) -> Iterator[Blocker]:
        """Yield what keeps the newest version of a package out."""
        latest = self.available[name].newest
        fitting = self.available[name].fitting or self.locked[name]
        comes_closer = is_newer(fitting, self.locked[name])
        if is_newer(latest, fitting):
            closest = f"; {fitting} is the newest for it" if comes_closer else ""
            yield Blocker(by="python", reason=f"{latest} needs a newer Python than {self.python}{closest}")
        if comes_closer:
            kept_out = list(explain(self.rules, name, fitting, self.uploads))
            for reason in self._constraints(name, fitting, is_kept_out=bool(kept_out)):
                yield Blocker(by="constraint", reason=reason)
            if (name, fitting) in self.undecided:
                yield Blocker(by="undecided", reason=self.undecided[name, fitting])
            for one in kept_out:
                yield Blocker(by=one.by, reason=why_held(one.reason, by=one.by, since=one.since))

    def _constraints(self, name: str, wanted: str, *, is_kept_out: bool) -> Iterable[str]:
        against = find_excluding(self.requirements, name, wanted)
        if self.reachable is None:
            return against
        if name not in self.reachable:
            return ["the next update removes it, as nothing requires it"]
        reached = newest(self.reachable[name].split(", "))
        if not is_newer(wanted, reached):
            return []
        if is_kept_out:  # what is reached does not tell then, except for who asks for something else even so
            stay = {f"{one} {version}" for one, version in self.reachable.items()}
            return [text for text, asker in against.items() if asker.startswith("the project") or asker in stay]
        return against or [f"the requirements of the project and its packages, taken together, allow {reached} at most"]
