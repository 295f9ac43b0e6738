"""What a command would do, without writing anything at all: the `--dry-run` of each."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError
from releaser.errors import PreflightError, ToolError
from releaser.latest import look_for_python
from releaser.locking.diff import LockDiff
from releaser.override import required
from releaser.project import disk
from releaser.project.base_python import minor
from releaser.project.chosen import chosen
from releaser.project.live_site import live_findings
from releaser.project.preflight import Fitness, check
from releaser.queries import store_of
from releaser.rebuild import is_repair, refuse_unadopted, to_revive
from releaser.releases.holds import Holds, read_holds
from releaser.releases.quarantine import Quarantine, read_quarantine
from releaser.releases.release import Manifest, Release
from releaser.releases.whereabouts import moved_by_hand, refuse_moved
from releaser.report.recorder import Recorder, Silence
from releaser.rollback import choose, refuse_unwise
from releaser.run import Run, new_run_id
from releaser.steps.adopt import found_at, python_of
from releaser.steps.aside import shadow_of
from releaser.steps.capacity import needs
from releaser.steps.code import code_of_release
from releaser.steps.deciding import choose_following, decide, why_not_again
from releaser.steps.guard import read_basis
from releaser.steps.litter import known_litter
from releaser.steps.own_commits import SEEN, own_commits
from releaser.steps.pruning import keep_policy, verdicts
from releaser.steps.publish import files_due
from releaser.steps.pull import choose_target, fetch
from releaser.steps.renewal import due_for_pin, due_to_renew, unbuildable
from releaser.steps.resolve import lock_of
from releaser.steps.staging import stage_aside
from releaser.steps.unseen import refuse_unseen
from releaser.steps.unsynced import left_out, unsynced
from releaser.update import ask_django, examine_target, note_target, preflight
from releaser.upkeep import HoldChange, holding, letting_go

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from releaser.errors import Unfit
    from releaser.latest import Chance
    from releaser.locking.diff import Change
    from releaser.locking.overrides import Override
    from releaser.project.site import Site
    from releaser.releases.policy import Verdict
    from releaser.steps.asking import Wanted
    from releaser.steps.deciding import Decision, Following
    from releaser.steps.pull import Target
    from releaser.steps.renewal import Renewal
    from releaser.tools.git import Commit, Git

NOTHING = "nothing would change"  # of an update that builds nothing


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


def rehearse_update(site: Site, *, force: bool, follow: bool = False) -> Plan:
    """Say what an update would bring: it is decided by what decides it in an update, up to the build.

    The commit is fetched into a repository in the temporary directory and checked out there. Raises PreflightError,
    ResolutionError and BuildError, as an update does.
    """
    run = _rehearsed_run(site, "update")
    if any(disk.state_findings(site.project)):  # as of a state directory of another project
        check(site)
    refuse_moved(run.store)
    refuse_unseen(run.store.live())
    fitness = preflight(run, ask_django=False)
    with tempfile.TemporaryDirectory(prefix="releaser-", ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        place = base.joinpath(*fitness.layout.top.parts[1:])
        place.mkdir(parents=True)
        return _rehearse_update(run, fitness, base, place, force=force, follow=follow)


def _rehearse_update(run: Run, fitness: Fitness, base: Path, place: Path, *, force: bool, follow: bool) -> Plan:
    shadow = _shadowed(run, fitness, place)
    seen = replace(run, site=replace(run.site, git_variables=shadow.variables))
    theirs = fetch(seen, fitness, follow=follow)
    target = choose_target(seen, read_basis(run.site), fitness, theirs, force=force, follow=follow)
    note_target(seen, target)
    left = seen.site.git.commits(target.head, target.offered) if target.rejected is not None else ()
    staged = stage_aside(run, shadow, place, target.commit)
    live = run.store.live() or _as_adopted(run, fitness, base)
    fitness = examine_target(staged, fitness, target)
    due = due_to_renew(staged) or due_for_pin(staged, fitness, live)
    chance = look_for_python(staged, fitness, live, force=force) if due is None else None
    decision = decide(staged, fitness, live, due, force=force)
    tries = chance is not None and not chance.missing
    builds = decision.outcome == "build"
    if builds and run.draft.pulled is None:
        ask_django(staged)
    # Where nothing is live or adopted, an update compares with nothing; what changes in uv.lock is told all the same.
    diff = decision.resolution.diff if live else LockDiff.between(fitness.lock, decision.resolution.lock)
    following = "stays" if builds else choose_following(staged, target, decision, live)
    lines = [
        *(_reasons(run, due, chance) if decision.outcome != "failed" or tries else ()),
        *_about_commits(run, target, left, following, builds=builds),
        *_about_packages(run, decision, len(diff)),
    ]
    if (builds or tries) and not force and (due is None or due.blameless):
        lines += _refusals(live_findings(run.site))
    if run.store.live() is None:
        lines.append(f"{run.site.project.venv.name} would become a symlink to a release")
    elif not builds and not tries and decision.outcome != "unsure":
        lines.append(NOTHING)
    return Plan(lines=tuple(lines), changes=diff.changes if builds else ())


def _refusals(findings: Iterable[Unfit]) -> list[str]:
    return [f"it would be refused: {one.message}" for one in findings]


def _rehearsed_run(site: Site, command: str) -> Run:
    now = datetime.now(UTC)
    recorder = Recorder(Silence())
    return Run(site=site, command=command, run_id=new_run_id(now), started_at=now, recorder=recorder)


def _shadowed(run: Run, fitness: Fitness, place: Path) -> Git:
    """Make a shadow of the repository at `place`, and let it know where the remote was. Raises BuildError."""
    git = run.site.git
    known = git.reference(SEEN)
    if known is None and fitness.remote is not None:
        known = git.tracked(fitness.remote, run.site.settings.branch)
    return shadow_of(git, place, {SEEN: known})


def _as_adopted(run: Run, fitness: Fitness, base: Path) -> Release | None:
    """Return the release that an update would adopt first, as far as it decides what comes next; None without any."""
    if found_at(run) not in ("directory", "symlink", "unsealed"):
        return None
    directory = base / "adopted"
    directory.mkdir()
    (directory / "uv.lock").write_bytes(fitness.lock.data)
    (directory / "venv").symlink_to(run.site.project.venv)
    manifest = Manifest(
        id="adopted",
        sequence=0,
        created_at=run.started_at,
        origin="adopted",
        python=python_of(directory / "venv"),
        group=fitness.group,
        lock_sha256=fitness.lock.sha256,
        dependencies_key=run.site.pyproject.dependencies_key(),
        code_key="",
        commit=None,
        previous=None,
        tests="not run",
        changes=(),
        size_bytes=0,
    )
    return Release(directory=directory, manifest=manifest, state="live", pinned=False)


def _reasons(run: Run, due: Renewal | None, chance: Chance | None) -> list[str]:
    """Say what would make an update build a release, even if no package is newer, or why it cannot."""
    if due is not None:
        return [f"{due.release.id} would be rebuilt, as {due.reason}"]
    if chance is None:
        return []
    version = chance.python.version
    if chance.missing:
        return [f"Python {version} would not be tried, though `python` is latest: {chance.reason}"]
    refused = run.quarantine().python(version)
    once = f", which it was before: {refused.reason}" if refused is not None else ""
    return [f"Python {version} would be tried, as `python` is latest{once}"]


def _about_commits(
    run: Run, target: Target, left: Sequence[Commit], following: Following, *, builds: bool
) -> Iterator[str]:
    """Say of each commit whether it would come in, and of those that would not, why."""
    quietly = "" if builds or target.brings_code else ", without a release: it brings neither code nor packages"
    if builds or following != "stays":
        for one in run.draft.commits:
            yield f"commit {one.id[:12]} ({one.subject}) would come in{quietly}"
    elif target.moves:
        for one in run.draft.commits:
            yield f"commit {one.id[:12]} ({one.subject}) would not come in yet"
    if target.rejected is not None:
        rejected = target.rejected
        by = f"{rejected.commit[:12]} " if rejected.commit != target.offered else "it "
        for one in left:
            yield f"commit {one.id[:12]} ({one.subject}) would be left out: {by}{rejected.reason}"
    if following == "restores":
        yield "uv.lock would become that of the live release again, and be committed"


def _about_packages(run: Run, decision: Decision, count: int) -> Iterator[str]:
    """Say how many packages would change, what would be left out and why, and why a candidate would not be built."""
    failed = decision.failed
    if decision.outcome == "unsure" and failed is not None:
        yield f"{failed.release} failed before, as the live release did: its tests would tell whether it is tried again"
    elif decision.outcome == "failed" and failed is not None:
        yield why_not_again(failed)
    if decision.outcome == "build" or run.store.live() is None:
        packages = {0: "no package", 1: "1 package"}.get(count, f"{count} packages")
        yield f"{packages} would change"
    for one in decision.resolution.held_back:
        yield f"{one.name} {one.version} would be left out: {one.reason}"


def rehearse_rebuild(site: Site, release: str | None, *, python: str | None, force: bool = False) -> Plan:
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
    if earlier is None and not force and not is_repair(live):
        lines += _refusals(live_findings(site, "rebuild"))
    changes = LockDiff.between(lock_of(live), lock).changes if live and earlier is None else ()
    return Plan(lines=tuple(lines), changes=changes)


def _named(release: Release | None) -> str:
    return release.id if release else "the checkout"


def rehearse_override(site: Site, overrides: Sequence[Override]) -> Plan:
    """Say what would be tried; uv is not asked, as it would have to write. Raises PreflightError."""
    fitness = rehearse_check(site, ask_remote=False)
    live = required(store_of(site).live())
    lines = [
        f"a candidate would be built and tested with {one} in place of {one.name} {fitness.lock.versions[one.name]}"
        for one in overrides
    ]
    return Plan(lines=(*lines, f"{site.project.venv.name} would go on leading to {live.id}"))


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
    from releaser.crossing import check_surveyed, runs_on  # which other rehearsals need not wait for
    from releaser.steps.founding import counted
    from releaser.steps.survey import survey

    found = survey(site, wanted)
    check_surveyed(site, found, ask_remote=True)
    packages = [f"{name} {version}" for name, version in sorted(found.versions.items())]
    lines = [f"pyproject.toml would ask for {one}" for one in found.dependencies]
    lines.append(f"{counted(found.versions)} would be locked as they are: {', '.join(packages)}")
    lines += [note.message for note in found.notes]
    lines.append("a release would be built from that and tested, and go live if every version is the same")
    if venv := runs_on(site, wanted, found):
        lines += _refusals(live_findings(site, "init", venv=venv))
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
