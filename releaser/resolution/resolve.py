"""Makes an upgraded lock in a staging tree."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from releaser.core.source import FailedVersions, Resolution
from releaser.errors import ResolutionError, ToolError, how_to_set
from releaser.locks.blocks import PackageWaits
from releaser.locks.changes import Change, changes_between
from releaser.locks.limits import without_limits
from releaser.locks.lock import Graph, LockFile
from releaser.locks.origins import OriginFacts
from releaser.locks.versions import Uploads, is_newer, newest, uploads_in
from releaser.releases.acceptance import accept_or_refuse
from releaser.releases.blocks import Blocks, read_blocks
from releaser.releases.key import ReleaseKey
from releaser.releases.release import Release, lock_of, read_versions
from releaser.resolution.constrained import Resolved, resolve_within_rules
from releaser.resolution.newest import (
    ask_newest,
    files_without_time,
    find_excluded,
    sets_time_limits,
    uploads_within_limits,
)
from releaser.resolution.rules import all_holds, list_failed, rules_for, select_blocks
from releaser.resolution.together import lock_together
from releaser.site.conventions import default_groups
from releaser.system.files import read_file
from releaser.system.frozen import Frozen, field, replace
from releaser.system.words import plural
from releaser.tools.uv import NoSolution, failed_builds
from releaser.tools.uv_arguments import lock_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.core.run import Workspace
    from releaser.locks.blocks import Block
    from releaser.locks.rules import Rules
    from releaser.report import Step
    from releaser.resolution.newest import AvailableVersions
    from releaser.site.pythons import Choice
    from releaser.site.site import Site, SiteFacts
    from releaser.tools.uv import Uv
    from releaser.tools.uv_arguments import ExcludeNewer, Specifiers

logger = logging.getLogger(__name__)

_CHECK_NETWORK = "Check the network and the index. The next run tries again."


def resolve(
    work: Workspace,
    *,
    force: bool = False,
    fixes: Callable[[], Mapping[str, str]] = dict,
    failed: FailedVersions = "rest",
    only_fixes: bool = False,
) -> Resolution:
    """Resolve the newest versions in the staging tree; `force` includes versions that were rolled back.

    `fixes`, called if the rules block a version for now, maps packages to the versions that fix a vulnerability:
    exactly these are permitted anyway. With `only_fixes`, all other packages stay, unless a fix needs another version.
    Raises ResolutionError.
    """
    site, facts, now = work.site, work.facts, work.log.started_at
    before, known = live_lock(work.live, facts.lock.versions), work.blocks or read_blocks(site.state_dir)
    blocks = known.without(lambda block: block.by == "rollback") if force else known.without_held()

    def read_rules() -> Rules:
        counting = select_blocks(site, blocks, failed, python=facts.choice.version, now=now)
        rules = rules_for(site, facts.lock, before, counting, python=facts.choice.version, now=now)
        waits = PackageWaits.of(work.log).package_waits
        return replace(rules if not only_fixes else rules.for_fixes(), only=work.only, waits=waits)

    with work.log.step("resolve") as step:
        resolver = TreeResolver.of(work, facts.lock, only=work.only)
        locked, versions = facts.lock.versions, before.versions
        try:
            resolved = resolve_within_rules(resolver, read_rules, locked=locked, live=versions, find_fixes=fixes)
        except ToolError as error:
            message = f"uv could not upgrade the lock: {error.message}"
            advice = f"Check the network and the index. If uv needs longer, {how_to_set('uv_timeout', '1h')}."
            advice = advice if error.timed_out else error.advice or _CHECK_NETWORK
            raise ResolutionError(message, advice, output=error.output) from error
        if isinstance(resolved, NoSolution):
            _refuse_constraints(resolver, read_rules())
            raise _no_solution(resolved.output, blocks)
        warn_of_unseen(resolved)
        found = read_made_lock(site.project.root)
        refuse_rolled_back_versions(found, blocks)
        holds = all_holds(resolved.holds, blocks, found)
        return _resolution(work, step, found, holds)


def live_lock(live: Release | None, locked: Mapping[str, str]) -> LockFile:
    """Return the lock of the live release.

    A package that it has in several versions, and `locked` in one, gets the installed version.
    """
    before = lock_of(live)
    to_narrow = [
        name for name, version in before.versions.items() if ", " in version and ", " not in locked.get(name, ", ")
    ]
    if not to_narrow:
        return before
    running = read_versions(live)
    return replace(before, versions={**before.versions, **{name: running[name] for name in to_narrow}})


def warn_of_unseen(resolved: Resolved) -> None:
    """Log the newer versions that an update does not install although nothing blocks them."""
    for name, version in resolved.unseen.items():
        logger.warning(
            "%s %s: nothing blocks it, so this update should install it, but it locks %s; compare"
            " `uv lock --dry-run --upgrade-package %s` and `releaser outdated`",
            name, version, resolved.versions[name], name,
        )  # fmt: skip


def resolve_as_locked(work: Workspace, lock: LockFile) -> Resolution:
    """Return an unchanged lock as the resolution. Raises ResolutionError."""
    site = work.site
    with work.log.step("resolve") as step:
        site.project.lock.write_bytes(lock.data)
        found = read_made_lock(site.project.root)
        return _resolution(work, step, found, list_failed(read_blocks(site.state_dir).by("rollback"), found))


def _resolution(work: Workspace, step: Step, found: LockFile, on_hold: tuple[Block, ...]) -> Resolution:
    """Describe a lock. Raises ResolutionError if packages have other origins than in the lock of the commit."""
    site, files = work.site, OriginFacts.of(work.live and work.live.manifest).files
    tried, root = site.supply.facts.tried, site.project.root
    accepted = accept_or_refuse(site.state_dir, work.facts.lock, found, files_before=files, root=root, tried=tried)
    diff = diff_to(work.live, found, python=work.facts.choice.version)
    count = plural(len(diff), "package change") if diff else "no package changes"
    step.says("; accepted: ".join([count, *map(str, accepted)]))
    return Resolution(lock=found, diff=diff, on_hold=on_hold)


def diff_to(live: Release | None, lock: LockFile, *, python: str) -> tuple[Change, ...]:
    """Return the changes of a lock, for a Python, against the live release; empty if its lock is unknown."""
    before = lock_of(live)
    if live is None or not before.data or (before.data == lock.data and live.manifest.python == python):
        return ()
    from releaser.locks.installed import versions_for

    return changes_between(read_versions(live), versions_for(lock, python))


class TreeResolver(Frozen):
    """Resolves in the staging tree, or in another copy of the checkout; each attempt starts from `lock`."""

    site: Site
    #: The lock of the commit.
    lock: LockFile
    uv: Uv
    choice: Choice
    #: When the run began.
    now: datetime
    live: Release | None
    #: The packages to upgrade; empty for all.
    only: frozenset[str] = frozenset()
    #: The versions that the indexes have; None if they have not been asked yet.
    available: Mapping[str, AvailableVersions] | None = None
    #: The names and versions of files that uv skipped because their upload time is unknown.
    undated: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, work: Workspace, lock: LockFile, *, only: frozenset[str] = frozenset()) -> TreeResolver:
        """Return a resolver from `lock` in the staging tree of a run."""
        facts, now = work.facts, work.log.started_at
        return cls(site=work.site, lock=lock, uv=facts.uv, choice=facts.choice, now=now, live=work.live, only=only)

    def resolve(
        self, specifiers: Specifiers, exclude_newer: ExcludeNewer, no_build: frozenset[str] = frozenset()
    ) -> Mapping[str, str] | NoSolution:
        """Lock within these specifiers and limits."""
        self.site.project.lock.write_bytes(self.lock.data)
        return self._lock(specifiers, exclude_newer, no_build)

    def uploads(self) -> Uploads:
        """Return the upload times in the locks, and the files for which uv reported none."""
        own = uploads_within_limits(self.site, self.lock, self.now)
        has_lock = self.site.project.lock.exists()  # a lock that is not committed is not in the tree
        lock = self._read_made() if has_lock else self.lock
        uploads_made = own if lock == self.lock else uploads_in(lock, self.now)
        known = uploads_made.merge(own).merge(Uploads(times=dict.fromkeys(self.undated)))
        return replace(known, limit=own.limit, limits=own.limits)  # the new lock has the limits of the question

    def newest(self) -> tuple[Mapping[str, str], Uploads]:
        """Ask uv's cache, which the resolution has just filled; without a cache, the index."""
        site, locked = self.site, self.lock
        graph = Graph.of(locked)
        wanted = sorted(graph.from_index & (self.only or graph.from_index))
        names = {name: newest(locked.versions[name].split(", ")) for name in wanted}
        found = self.available
        if found is None:
            try:
                found = ask_newest(site, self.uv, names, self.choice, offline=True)
            except ResolutionError:
                found = ask_newest(site, self.uv, names, self.choice)
        fitting = {name: found[name].fitting or "" for name in names.keys() & found.keys()}
        ahead = {name: one for name, one in fitting.items() if one and is_newer(one, names[name])}
        if ahead:
            excluded = find_excluded(site, self.live, graph, self.choice.version, ahead)
            ahead = {name: one for name, one in ahead.items() if name not in excluded}
        times = {key: time for name in ahead for key, time in found[name].times.items()}
        return ahead, Uploads(times=times)

    def drop_time_limits(self) -> Mapping[str, str] | NoSolution:
        """Remove the time limits from the lock; uv does that if the project itself sets some."""
        lock = self.site.project.lock
        if sets_time_limits(self.site):
            return self._lock(dict.fromkeys(self.lock.names), {})
        new_lock = self._read_made()
        lock.write_bytes(new_lock.data)
        return new_lock.versions

    def own_limits(self) -> Uploads:
        """Return the time limits that uv wrote into the lock of the tree."""
        return uploads_in(read_made_lock(self.site.project.root), self.now)

    def _read_made(self) -> LockFile:
        """Read uv's lock without the time limits of the question; usually the same content is already parsed."""
        return read_made_lock(self.site.project.root, limited=True)

    def _lock(
        self, specifiers: Specifiers, exclude_newer: ExcludeNewer, no_build: frozenset[str] = frozenset()
    ) -> Mapping[str, str] | NoSolution:
        words = lock_arguments(
            specifiers=specifiers, packages=self.lock.names, exclude_newer=exclude_newer, no_build=no_build
        )
        locked = lock_together(self.uv, self.site.project.root, words, self.lock, python=self.choice.python)
        self.undated.update(filter(None, map(_name_and_version, files_without_time(locked.output))))
        return locked if isinstance(locked, NoSolution) else self._read_made().versions


def _name_and_version(file: str) -> tuple[str, str] | None:
    """Return the package and version in a file name; None if it is not a wheel's or source archive's."""
    from packaging.utils import (  # slow to import
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )

    try:
        wheel = file.endswith(".whl")
        name, version = parse_wheel_filename(file)[:2] if wheel else parse_sdist_filename(file)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return name, str(version)


def _refuse_constraints(resolver: TreeResolver, rules: Rules) -> None:
    """Raise ResolutionError if only the file of constraints prevents a solution."""
    if not rules.policy.limits:
        return
    with contextlib.suppress(ToolError):
        least = resolver.resolve(dict.fromkeys(rules.packages.locked), {})
        if not isinstance(least, NoSolution) and (
            broken := list(filter(None, (rules.beyond(name, version) for name, version in least.items())))
        ):
            message = f"the dependencies of the project conflict with `constraints`: {'; '.join(broken)}"
            raise ResolutionError(message, "Change that line of `constraints`, or the dependencies in pyproject.toml.")


def _no_solution(output: str, blocks: Blocks) -> ResolutionError:
    """Return the error, with advice, if uv finds no solution; uv's output names the conflict."""
    if unbuilt := failed_builds(output):
        name, version = unbuilt[0]
        message = f"{name} {version} fails to build, so its dependencies are unknown"
        advice = f"See uv's message. To update the other packages, run `releaser hold {name}`."
        return ResolutionError(message, advice, output=output)
    advice = "Correct the dependencies in pyproject.toml as uv's message says."
    if blocks.held:
        names = ", ".join(f"{hold.name} ({hold.reason})" if hold.reason else hold.name for hold in blocks.held)
        advice += f" On hold by you: {names}. To lift a hold, run `releaser unhold NAME`."
    if held := [f"{entry.name} {entry.version}" for entry in blocks.by("rollback")]:
        advice += f" On hold by releaser: {', '.join(held)}. To include these, add `--force`."
    return ResolutionError("the dependencies of the project have no solution", advice, output=output)


def read_made_lock(tree: Path, *, limited: bool = False) -> LockFile:
    """Read the lock that uv made in a tree; if `limited`, without its time limits. Raises ResolutionError."""
    try:
        data = read_file(tree / "uv.lock")
        return LockFile.parse(without_limits(data.decode()).encode() if limited else data)
    except (OSError, ValueError) as error:
        message = f"the lock that uv wrote cannot be read: {error}"
        raise ResolutionError(message, "Check the setting `uv`: does that program run `uv lock`?") from error


def refuse_rolled_back_versions(lock: LockFile, blocks: Blocks) -> None:
    """Raise ResolutionError if a lock has a version that was rolled back."""
    for entry in blocks.by("rollback"):
        if entry.is_in(lock.versions):
            message = (
                f"{entry.name} {entry.version} was rolled back ({entry.reason}), but no other version "
                f"fits the requirements"
            )
            advice = (
                "Relax the constraint on this package. To install the version anyway, run `releaser update --force`."
            )
            raise ResolutionError(message, advice)


def candidate_key(site: Site, facts: SiteFacts, lock: LockFile) -> ReleaseKey:
    """Return the key that identifies a candidate with this lock. Raises ResolutionError."""
    return key_of(site, lock, python=facts.choice.version, group=facts.group)


def key_of(site: Site, lock: LockFile, *, python: str, group: str | None) -> ReleaseKey:
    """Return the key that identifies a candidate with this lock, Python and group. Raises ResolutionError."""
    try:
        code = site.git.code_key(site.own_files(), commit=site.tree.commit)
    except ToolError as error:
        raise ResolutionError(error.message, error.advice, output=error.output) from error
    from releaser.locks.installed import installed_key

    key = installed_key(lock, python=python)
    included = site.supply.included_sha256
    return ReleaseKey(lock_sha256=key, code_key=code, python=python, group=group, included=included)


def is_as_live(site: Site, lock: LockFile, live: Release) -> bool:
    """True if a lock installs the packages of the live release.

    Packages that do not go live, such as those that only tests need, and wheels for other Pythons do not count.
    """
    running = lock_of(live)
    if lock.data == running.data:
        return True
    from releaser.locks.installed import installed_key

    python, group, others = live.manifest.python, live.manifest.group, default_groups(site)
    before = installed_key(running, python=python, group=group, default_groups=others)
    return installed_key(lock, python=python, group=group, default_groups=others) == before
