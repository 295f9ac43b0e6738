"""What a command would do, without writing anything at all: the `--dry-run` of each."""

from __future__ import annotations

import tempfile
import tomllib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError
from releaser.errors import PreflightError, ResolutionError, ToolError
from releaser.latest import newer_python
from releaser.locking.diff import LockDiff
from releaser.locking.foretold import parse_changes
from releaser.locking.uploads import Uploads, times_of, uploads_in
from releaser.override import required
from releaser.project import disk
from releaser.project.base_python import minor
from releaser.project.chosen import chosen
from releaser.project.live_site import live_findings
from releaser.project.preflight import Fitness, check
from releaser.queries import store_of
from releaser.rebuild import refuse_unadopted, to_revive
from releaser.releases.holds import Holds, read_holds
from releaser.releases.quarantine import Quarantine, read_quarantine
from releaser.releases.whereabouts import moved_by_hand, refuse_moved
from releaser.rollback import choose, refuse_unwise
from releaser.steps.capacity import needs
from releaser.steps.code import code_of_release
from releaser.steps.fixes import rehearsed_fixes
from releaser.steps.gating import make_gates
from releaser.steps.litter import known_litter
from releaser.steps.own_commits import own_commits
from releaser.steps.pruning import keep_policy, verdicts
from releaser.steps.publish import files_due
from releaser.steps.renewal import reason_of_pin, reason_to_renew, unbuildable
from releaser.steps.resolve import counting, lock_of
from releaser.steps.restraint import resolve_within
from releaser.steps.unsynced import left_out, unsynced
from releaser.upkeep import HoldChange, holding, letting_go

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from releaser.errors import Unfit
    from releaser.locking.diff import Change
    from releaser.locking.gates import Gates
    from releaser.locking.overrides import Override
    from releaser.project.site import Site
    from releaser.releases.policy import Verdict
    from releaser.releases.release import Release
    from releaser.steps.asking import Wanted
    from releaser.tools.uv import Bounds, Cuts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would happen, a sentence each, and the package changes that it would bring."""

    lines: tuple[str, ...]
    changes: tuple[Change, ...] = ()


def rehearse_check(
    site: Site,
    *,
    ask_remote: bool = True,
    ask_site: bool = False,
    python: str | None = None,
    beside: Iterable[Unfit] = (),
) -> Fitness:
    """Run every check, the remote included. Raises PreflightError with all the problems, those `beside` included."""
    moved = moved_by_hand(store_of(site))
    return _checked(
        site, ask_remote=ask_remote, ask_site=ask_site, python=python, beside=[*([moved] if moved else []), *beside]
    )


def _checked(
    site: Site,
    *,
    ask_remote: bool = True,
    ask_site: bool = False,
    python: str | None = None,
    beside: Iterable[Unfit] = (),
) -> Fitness:
    store = store_of(site)
    live = store.live()
    room = needs(site, store, live)
    litter = known_litter(site.project.state_dir)
    pending = files_due(site, live)
    return check(
        site,
        needs=room,
        pending=pending,
        litter=litter,
        beside=beside,
        ask_remote=ask_remote,
        ask_site=ask_site,
        python=python,
        own_commits=_own_commits(site),
    )


def _own_commits(site: Site) -> frozenset[str]:
    try:
        return own_commits(site)
    except ToolError:
        return frozenset()


def rehearse_update(site: Site, *, force: bool) -> Plan:
    """Say what an update would bring. Raises PreflightError and ResolutionError.

    The pull cannot be tried without writing to the repository, so packages are resolved for the code as it is.
    """
    fitness = rehearse_check(site)
    fitness = replace(fitness, uv=fitness.uv.within_its_limit())
    live, now = store_of(site).live(), datetime.now(UTC)
    quarantine = Quarantine() if force else _quarantine(site)
    dry = _DryResolver(site=site, fitness=fitness, now=now)

    def gates() -> Gates:
        holds = counting(site, fitness, _holds(site), now=now, force=force)
        return make_gates(site.settings, fitness.lock, lock_of(live), quarantine=quarantine, holds=holds, now=now)

    def fixes() -> Mapping[str, str]:
        return rehearsed_fixes(site, fitness, live)

    try:
        restrained = resolve_within(dry, gates, locked=fitness.lock.versions, live=lock_of(live).versions, fixes=fixes)
    except ToolError as error:
        raise ResolutionError(error.message, advice="See what uv says.", output=error.output) from error
    changes = dry.changes
    packages = {0: "no package", 1: "1 package"}.get(len(changes), f"{len(changes)} packages")
    others, commits = _other_reasons(site, fitness, live), _commits_to_pull(site, fitness)
    lines = [*others, f"{packages} would change"]
    lines += [f"{one.name} {one.version} would be left out: {one.reason}" for one in restrained.kept]
    if dry.failure:
        lines.append(f"how old new versions are could not be found out: {dry.failure}")
    lines += commits
    if not force and not others and (changes or commits):
        lines += [f"it would be refused: {one.message}" for one in live_findings(site)]
    if live is None:
        lines.append(f"{site.project.venv.name} would become a symlink to a release")
    return Plan(lines=tuple(lines), changes=changes)


def _other_reasons(site: Site, fitness: Fitness, live: Release | None) -> list[str]:
    """Say what would make an update build a release, even if no package is newer."""
    if live is None:
        return []
    if reason := reason_to_renew(site.settings, store_of(site), live) or reason_of_pin(site, fitness, live):
        return [f"{live.id} would be rebuilt, as {reason}"]
    found = newer_python(site, fitness.uv, live)
    refused = _quarantine(site).python(found.version) if found is not None else None
    if found is None or (refused is not None and not refused.unbuilt):
        return []
    once = f", which it was before: {refused.reason}" if refused is not None else ""
    return [f"Python {found.version} would be tried, as `python` is latest{once}"]


def rehearse_rebuild(site: Site, release: str | None, *, python: str | None) -> Plan:
    """Say what would be rebuilt, and with which Python. Raises NoSuchReleaseError, PreflightError, BuildError."""
    store = store_of(site)
    earlier = to_revive(store, release)
    refuse_unadopted(store)
    fitness = rehearse_check(site, ask_remote=False, python=python)
    live, version = store.live(), fitness.uv.python_version(fitness.python)
    lock = lock_of(earlier) if earlier else fitness.lock
    source = earlier or (live if live and lock.same_packages(lock_of(live)) else None)
    lines = [f"a release would be built from the lock of {_named(source)}, with Python {version}, and tested"]
    missing = unbuildable(site, lock, group=fitness.group, python=version)
    if missing:
        lines.append(f"there is no build of {', '.join(missing)} for Python {minor(version)}, so that would fail")
    elif earlier is not None:
        lines.append(f"a rollback would go to it in the place of {earlier.id}")
    else:
        lines.append(f"{site.project.venv.name} would lead to it if its tests pass")
    changes = LockDiff.between(lock_of(live), lock).changes if live and earlier is None else ()
    return Plan(lines=tuple(lines), changes=changes)


def _named(release: Release | None) -> str:
    return release.id if release else "the checkout"


@dataclass(kw_only=True)
class _DryResolver:
    """Resolves without writing anything into the project, by what uv says that it would do."""

    site: Site
    fitness: Fitness
    now: datetime
    changes: tuple[Change, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""

    def resolve(self, bounds: Bounds, cuts: Cuts) -> Mapping[str, str]:
        """Ask what would be locked within bounds."""
        fitness = self.fitness
        root, names = self.site.project.root, fitness.lock.names
        text = fitness.uv.lock_dry_run(root, python=fitness.python, bounds=bounds, packages=names, cuts=cuts)
        self.changes = parse_changes(text)
        removed = {change.name for change in self.changes if change.new is None}
        kept = {name: version for name, version in fitness.lock.versions.items() if name not in removed}
        self.versions = kept | {change.name: change.new for change in self.changes if change.new is not None}
        return self.versions

    def uploads(self) -> Uploads:
        """Ask the index for the times of what would come in; the lock tells those of what is there."""
        known = uploads_in(self.fitness.lock, self.now)
        wanted = [f"{one.name}=={one.brought}" for one in self.changes if one.brought and " " not in one.brought]
        if not wanted:
            return known
        with tempfile.TemporaryDirectory(prefix="releaser-") as place:
            file = Path(place) / "wanted.txt"
            file.write_text("\n".join(wanted) + "\n", encoding="utf-8")
            try:
                text = self.fitness.uv.described(self.site.project.root, file, python=self.fitness.python)
            except ToolError as error:
                self.failure = error.message
                return known
        return replace(known, times={**known.times, **times_of(tomllib.loads(text).get("packages", []))})

    def settle(self) -> Mapping[str, str]:
        """Nothing has been written."""
        return self.versions


def rehearse_override(site: Site, overrides: Sequence[Override]) -> Plan:
    """Say what would be tried; uv is not asked, as it would have to write. Raises PreflightError."""
    fitness = rehearse_check(site, ask_remote=False)
    live = required(store_of(site).live())
    lines = [
        f"a candidate would be built and tested with {one} in place of {one.name} {fitness.lock.versions[one.name]}"
        for one in overrides
    ]
    return Plan(lines=(*lines, f"{site.project.venv.name} would go on leading to {live.id}"))


def _commits_to_pull(site: Site, fitness: Fitness) -> list[str]:
    if not site.settings.git_pull or fitness.remote is None:
        return []
    theirs = site.git.remote_commit(fitness.remote, site.settings.branch)
    return (
        [] if theirs == fitness.state.head else [f"{fitness.remote} is at another commit, which would be pulled first"]
    )


def rehearse_init(site: Site, *, force: bool) -> Plan:
    """Say what adopting the project would do; `force` takes any venv. Raises PreflightError."""
    differences = tuple(unsynced(site))
    _checked(site, beside=() if force else differences)
    told = (*differences, *left_out(site))
    return Plan(lines=(*map(str, chosen(site)), *(one.message for one in told), _adoption(site)))


def _adoption(site: Site) -> str:
    link, live = site.project.venv, store_of(site).live()
    if moved_by_hand(store_of(site)) is not None:
        return f"what {link.name} leads to now would become the live release"
    if live is not None:
        return f"the project is adopted already; {live.id} is live"
    if link.is_symlink() and (link / "pyvenv.cfg").is_file():
        return f"the venv that {link.name} leads to would become the first release"
    if link.is_dir():
        return f"{link.name} would become the first release, and a symlink to it"
    return "a first release would be built from uv.lock and tested"


def rehearse_crossing(site: Site, wanted: Wanted) -> Plan:
    """Say what would be locked, and how; uv is asked for nothing but what the index has. Raises PreflightError."""
    from releaser.crossing import check_surveyed  # which other rehearsals need not wait for
    from releaser.steps.founding import counted
    from releaser.steps.survey import survey

    found = survey(site, wanted)
    check_surveyed(site, found, ask_remote=True)
    packages = [f"{name} {version}" for name, version in sorted(found.versions.items())]
    lines = [f"pyproject.toml would ask for {one}" for one in found.dependencies]
    lines.append(f"{counted(found.versions)} would be locked as they are: {', '.join(packages)}")
    lines += [note.message for note in found.notes]
    lines.append("a release would be built from that and tested, and go live if every version is the same")
    if not site.project.venv.is_symlink() and site.project.venv.is_dir():
        lines.append(f"{site.project.venv.name} would become the first release, to go back to, and a symlink")
    return Plan(lines=tuple(lines))


def rehearse_rollback(site: Site, to: str | None, *, force: bool, keep_code: bool) -> Plan:
    """Say where a rollback would go. Raises NoSuchReleaseError, PreflightError and ToolError."""
    if stranger := disk.stranger_finding(site.project, "rollback"):
        raise PreflightError((stranger,))
    store = store_of(site)
    if to is None:
        refuse_moved(store)
    live, target = store.live(), choose(store, to)
    if live is not None and live.id == target.id and moved_by_hand(store) is None:
        return Plan(lines=(f"{target.id} is live already",))
    code = None if keep_code else code_of_release(site, target)
    goes_back = code is not None and code.moves
    refuse_unwise(site, target, force=force or goes_back)
    changes = LockDiff.between(lock_of(live), lock_of(target)).changes
    lines = [f"would go from {live.id if live else 'nothing'} to {target.id}"]
    if code is not None and goes_back:
        lines.append(f"the checkout would go from {code.head[:12]} to {code.commit[:12]}")
    return Plan(lines=tuple(lines), changes=changes)


def rehearse_prune(site: Site) -> tuple[Verdict, ...]:
    """Return the verdict on every release. Raises PreflightError."""
    refuse_moved(store_of(site))
    return verdicts(keep_policy(site.settings), store_of(site), now=datetime.now(UTC))


def rehearse_pin(site: Site, release: str, *, on: bool) -> Plan:
    """Say what a pin would change. Raises NoSuchReleaseError."""
    found = store_of(site).find(release)
    what = "pinned" if on else "not pinned"
    return Plan(lines=(f"{found.id} is {what} already" if found.pinned == on else f"{found.id} would be {what}",))


def _quarantine(site: Site) -> Quarantine:
    """Read the quarantine; a damaged one counts as empty, and `check` and `status` tell of it."""
    try:
        return read_quarantine(site.project.state_dir)
    except UnreadableStateError:
        return Quarantine()


def _holds(site: Site) -> Holds:
    """Read the holds, as the quarantine is read."""
    try:
        return read_holds(site.project.state_dir)
    except UnreadableStateError:
        return Holds()


def rehearse_hold(site: Site, name: str, reason: str) -> Plan:
    """Say what holding a package would change. Raises UsageError and PreflightError."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return _plan_of(holding(site, _holds(site), name, reason, at=at))


def rehearse_unhold(site: Site, name: str) -> Plan:
    """Say what letting go of a package would change. Raises UsageError."""
    return _plan_of(letting_go(_holds(site), _quarantine(site), name))


def _plan_of(change: HoldChange) -> Plan:
    state = change.state if not change.news else change.state.replace("is ", "would be ", 1)
    if state.startswith("would be not"):
        state = "would not be held"
    return Plan(lines=(f"{change.name} {state}{'' if change.news else ' already'}",))
