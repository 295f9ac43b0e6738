"""What a command would do, without writing anything at all: the `--dry-run` of each."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.answers import Plan
from releaser.candidate.space import find_lacks, update_needs
from releaser.candidate.verify_tests import shadow_of
from releaser.checkout.commits import SEEN
from releaser.checkout.guard import take_snapshot
from releaser.checkout.move import code_of_release
from releaser.checkout.publish import files_due
from releaser.checkout.pull import choose_target, fetch, known_untracked_files
from releaser.checkout.staging import stage_aside
from releaser.deployment.adopt import left_out, python_of, unsynced, venv_kind
from releaser.errors import PreflightError
from releaser.locks.changes import LockDiff
from releaser.locks.installed import find_unbuildable
from releaser.pipelines.decide import choose_following, decide, why_not_again
from releaser.pipelines.maintenance import HoldChange, decide_hold, decide_unhold
from releaser.pipelines.preflight import ask_django, check, preflight
from releaser.pipelines.rebuild import find_rebuild_reason, is_repair, refuse_unadopted, refuse_unreadable_live
from releaser.pipelines.rollback import choose, describe_other_python, refuse_unwise
from releaser.pipelines.trial import required
from releaser.pipelines.update import examine_target, note_target
from releaser.releases.interpreter import ask_if_possible
from releaser.releases.link import moved_by_hand, refuse_moved
from releaser.releases.pruning import verdicts
from releaser.releases.quarantine import Constraints
from releaser.releases.release import Manifest, Release
from releaser.releases.store import store_of
from releaser.report import RunLog, Silence
from releaser.resolution.resolve import lock_of
from releaser.run import Run, new_run_id
from releaser.site import disk
from releaser.site.conventions import default_groups, find_conventions
from releaser.site.pythons import minor
from releaser.site.serving import live_findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from releaser.checkout.pull import Target
    from releaser.errors import Finding
    from releaser.locks.overrides import Override
    from releaser.pipelines.decide import Decision, Following
    from releaser.releases.retention import Verdict
    from releaser.resolution.unlocked import FirstLockRequest
    from releaser.site.site import Site, SiteFacts
    from releaser.tools.git import Git
    from releaser.tools.git_reader import Commit


NOTHING = "nothing would change"  # of an update that builds nothing


def plan_check(
    site: Site,
    *,
    ask_remote: bool = True,
    ask_site: bool = False,
    python: str | None = None,
    beside: Iterable[Finding] = (),
    refuses_moved: bool = True,
) -> SiteFacts:
    """Run every check, the remote included. Raises PreflightError with all the problems, those `beside` included.

    With `refuses_moved`, a symlink that somebody has moved is one.
    """
    store = store_of(site)
    live, moved = store.live(), moved_by_hand(store) if refuses_moved else None
    return check(
        site,
        space=find_lacks(update_needs(site, live)),
        pending=files_due(site, live),
        litter=known_untracked_files(site.state_dir),
        beside=[*([moved] if moved else []), *beside],
        ask_remote=ask_remote,
        ask_site=ask_site,
        python=python,
    )


def plan_update(site: Site, *, force: bool = False, follow: bool = False) -> Plan:
    """Say what an update would bring: it is decided by what decides it in an update, up to the build.

    The commit is fetched into a repository in the temporary directory and checked out there. Raises PreflightError,
    ResolutionError and BuildError, as an update does.
    """
    run = _planning_run(site, "update")
    if any(disk.state_findings(site.project)):  # as of a state directory of another project
        check(site, space=find_lacks(update_needs(site, None)))
    refuse_moved(run.store)
    refuse_unreadable_live(run.store.live())
    facts = preflight(run.site, run.log, ask_django=False)
    with tempfile.TemporaryDirectory(prefix="releaser-", ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        place = base.joinpath(*facts.layout.top.parts[1:])
        place.mkdir(parents=True)
        return _plan_update(run.site, run.log, facts, base, place, force=force, follow=follow)


def _plan_update(
    site: Site, log: RunLog, facts: SiteFacts, base: Path, place: Path, *, force: bool, follow: bool
) -> Plan:
    shadow = _shadowed(site, facts, place)
    seen = replace(site, git_variables=shadow.variables)
    theirs = fetch(seen, log, facts, follow=follow)
    target = choose_target(seen, log, take_snapshot(site), facts, theirs, force=force, follow=follow)
    commits = note_target(log, target)
    staged = stage_aside(site, log, shadow, place, target.commit, pulled=target.pulled)
    live = store_of(site).live() or _as_adopted(site, log, facts, base)
    facts = examine_target(staged, log, facts, target)
    due = find_rebuild_reason(staged, facts.choice, live)
    decision = decide(staged, log, facts, live, is_due=due is not None, force=force)
    builds = decision.outcome == "build"
    if builds and target.pulled is None:
        ask_django(staged, log)
    # Where nothing is live or adopted, an update compares with nothing; what changes in uv.lock is still reported.
    diff = decision.resolution.diff if live else LockDiff.between(facts.lock, decision.resolution.lock)
    following = "stays" if builds else choose_following(staged, target, decision, live)
    lines = [
        *([f"{due.release.id} would be rebuilt, as {due.reason}"] if due and decision.outcome != "failed" else ()),
        *_about_commits(commits, target, following, builds=builds),
        *_about_packages(site, decision, len(diff)),
    ]
    if builds and not force and (due is None or not due.is_damaged):
        lines += _refusals(live_findings(site))
    if store_of(site).live() is None:
        lines.append(f"{site.project.venv.name} would become a symlink to a release")
    elif not builds and decision.outcome != "unsure":
        lines.append(NOTHING)
    return Plan(would=tuple(lines), changes=diff.changes if builds else ())


def _refusals(findings: Iterable[Finding]) -> list[str]:
    return [f"it would be refused: {one.message}" for one in findings]


def _planning_run(site: Site, command: str) -> Run:
    now = datetime.now(UTC)
    return Run(site=site, log=RunLog(Silence(), command=command, run_id=new_run_id(now), started_at=now))


def _shadowed(site: Site, facts: SiteFacts, place: Path) -> Git:
    """Make a shadow of the repository at `place`, and let it know where the remote was. Raises BuildError."""
    git = site.git
    known = git.reference(SEEN)
    if known is None and facts.remote is not None:
        known = git.tracked(facts.remote, site.settings.branch)
    return shadow_of(git, place, {SEEN: known})


def _as_adopted(site: Site, log: RunLog, facts: SiteFacts, base: Path) -> Release | None:
    """Return the release that an update would adopt first, as far as it decides what comes next; None without any."""
    if venv_kind(site) not in ("directory", "symlink", "unsealed"):
        return None
    directory = base / "adopted"
    directory.mkdir()
    (directory / "uv.lock").write_bytes(facts.lock.data)
    (directory / "venv").symlink_to(site.project.venv)
    manifest = Manifest(
        id="adopted",
        sequence=0,
        created_at=log.started_at,
        origin="adopted",
        python=python_of(directory / "venv"),
        group=facts.group,
        lock_sha256=facts.lock.sha256,
        dependencies_key=site.pyproject.dependencies_key(),
        code_key="",
        commit=None,
        previous=None,
        tests="not run",
        changes=(),
        size_bytes=0,
        own_bytes=0,
        inodes=0,
        interpreter=ask_if_possible(site.runner, site.project.venv),
    )
    return Release(directory=directory, manifest=manifest, state="live", pinned=False)


def _about_commits(commits: Sequence[Commit], target: Target, following: Following, *, builds: bool) -> Iterator[str]:
    """Say of each commit whether it would come in, and of those that would not, why."""
    quietly = "" if builds or target.brings_code else ", without a release: it brings neither code nor packages"
    if builds or following != "stays":
        for one in commits:
            yield f"commit {one.id[:12]} ({one.subject}) would come in{quietly}"
    elif target.moves:
        for one in commits:
            yield f"commit {one.id[:12]} ({one.subject}) would not come in yet"
    if target.rejected is not None:
        rejected = target.rejected
        by = f"{rejected.commit[:12]} " if rejected.commit != target.offered else "it "
        for one in target.commits:
            yield f"commit {one.id[:12]} ({one.subject}) would be left out: {by}{rejected.reason}"
    if following == "restores":
        yield "uv.lock would become that of the live release again, and be committed"


def _about_packages(site: Site, decision: Decision, count: int) -> Iterator[str]:
    """Say how many packages would change, what would be left out and why, and why a candidate would not be built."""
    failed = decision.failed
    if decision.outcome == "unsure" and failed is not None:
        yield f"{failed.release} failed before, as the live release did: its tests would tell whether it is tried again"
    elif decision.outcome == "failed" and failed is not None:
        yield why_not_again(failed)
    if decision.outcome == "build" or store_of(site).live() is None:
        packages = {0: "no package", 1: "1 package"}.get(count, f"{count} packages")
        yield f"{packages} would change"
    for one in decision.resolution.held_back:
        yield f"{one.name} {one.version} would be left out: {one.reason}"


def plan_rebuild(site: Site, *, python: str | None = None, force: bool = False) -> Plan:
    """Say what would be rebuilt, and with which Python. Raises PreflightError and BuildError."""
    store = store_of(site)
    refuse_unadopted(store)
    facts = plan_check(site, ask_remote=False, python=python)
    live, lock, version = store.live(), facts.lock, facts.choice.version
    source = live.id if live and lock.same_packages(lock_of(live)) else "the checkout"
    lines = [f"a release would be built from the lock of {source}, with Python {version}, and tested"]
    missing = find_unbuildable(lock, group=facts.group, default_groups=default_groups(site), python=version)
    if missing:
        lines.append(f"there is no build of {', '.join(missing)} for Python {minor(version)}, so that would fail")
    else:
        lines.append(f"{site.project.venv.name} would lead to it if its tests pass")
    if not force and not is_repair(live):
        lines += _refusals(live_findings(site, "rebuild"))
    return Plan(would=tuple(lines), changes=LockDiff.between(lock_of(live), lock).changes if live else ())


def plan_override(site: Site, overrides: Sequence[Override]) -> Plan:
    """Say what would be tried; uv is not asked, as it would have to write. Raises PreflightError."""
    facts = plan_check(site, ask_remote=False)
    live = required(store_of(site).live())
    lines = [
        f"a candidate would be built and tested with {one} in place of {one.name} {facts.lock.versions[one.name]}"
        for one in overrides
    ]
    return Plan(would=(*lines, f"{site.project.venv.name} would still lead to {live.id}"))


def plan_init(site: Site, *, force: bool = False) -> Plan:
    """Say what adopting the project would do; `force` takes any venv. Raises PreflightError."""
    differences = tuple(unsynced(site))
    plan_check(site, beside=() if force else differences, refuses_moved=False)
    told = (*differences, *left_out(site))
    return Plan(would=(*map(str, find_conventions(site)), *(one.message for one in told), _adoption(site)))


def _adoption(site: Site) -> str:
    link, live = site.project.venv, store_of(site).live()
    if moved_by_hand(store_of(site)) is not None:
        return f"what {link.name} leads to now would become the live release"
    if live is not None:
        return f"the project is already adopted; {live.id} is live"
    if link.is_symlink() and (link / "pyvenv.cfg").is_file():
        return f"the venv that {link.name} leads to would become the first release"
    if link.is_dir():
        return f"{link.name} would become the first release, and a symlink to it"
    return "a first release would be built from uv.lock and tested"


def plan_first_lock(site: Site, wanted: FirstLockRequest) -> Plan:
    """Say what would be locked; nothing is locked for it. Raises PreflightError."""
    from releaser.pipelines.first_lock import check_environment, venv_in_use  # which other rehearsals need not wait for
    from releaser.resolution.exact_lock import count
    from releaser.resolution.unlocked import read_environment

    found = read_environment(site, wanted)
    check_environment(site, found, ask_remote=True)
    if wanted.requirements is not None:
        lines = [f"pyproject.toml would ask for what {wanted.requirements} asks for"]
    else:
        lines = [f"pyproject.toml would ask for {name}" for name in sorted(found.direct & found.versions.keys())]
    packages = [f"{name} {version}" for name, version in sorted(found.versions.items())]
    lines.append(f"{count(found.versions)} would be locked as they are: {', '.join(packages)}")
    lines.append("a release would be built from that and tested, and go live if every version is the same")
    if venv := venv_in_use(site, wanted, found):
        lines += _refusals(live_findings(site, "init", venv=venv))
    if not site.project.venv.is_symlink() and site.project.venv.is_dir():
        lines.append(f"{site.project.venv.name} would become the first release, to go back to, and a symlink")
    return Plan(would=tuple(lines))


def plan_rollback(site: Site, to: str | None = None, *, force: bool = False, keep_code: bool = False) -> Plan:
    """Say where a rollback would go. Raises NoSuchReleaseError, PreflightError and ToolError."""
    if stranger := disk.stranger_finding(site.project, "rollback"):
        raise PreflightError(stranger)
    store = store_of(site)
    if to is None:
        refuse_moved(store)
    live, target = store.live(), choose(store, to)
    if live is not None and live.id == target.id and moved_by_hand(store) is None:
        return Plan(would=(f"{target.id} is already live",))
    code = None if keep_code else code_of_release(site, target)
    goes_back = code is not None and code.moves
    refuse_unwise(site, target, force=force or goes_back)
    changes = LockDiff.between(lock_of(live), lock_of(target)).changes
    lines = [f"would go from {live.id if live else 'nothing'} to {target.id}"]
    if code is not None and goes_back:
        lines.append(f"the checkout would go from {code.head[:12]} to {code.commit[:12]}")
    lines += (one.message for one in describe_other_python(target))
    return Plan(would=tuple(lines), changes=changes)


def plan_prune(site: Site) -> tuple[Verdict, ...]:
    """Return the verdict on every release. Raises PreflightError."""
    refuse_moved(store_of(site))
    return verdicts(site.settings, store_of(site), now=datetime.now(UTC))


def plan_pin(site: Site, release: str, *, on: bool) -> Plan:
    """Say what a pin would change. Raises NoSuchReleaseError."""
    found = store_of(site).find(release)
    what = "pinned" if on else "not pinned"
    return Plan(would=(f"{found.id} is {what} already" if found.pinned == on else f"{found.id} would be {what}",))


def plan_hold(site: Site, name: str, reason: str) -> Plan:
    """Say what holding a package would change. Raises UsageError and PreflightError."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return _plan_of(decide_hold(site, Constraints.read(site.state_dir).holds, name, reason, at=at))


def plan_unhold(site: Site, name: str) -> Plan:
    """Say what letting go of a package would change. Raises UsageError."""
    found = Constraints.read(site.state_dir)
    return _plan_of(decide_unhold(found.holds, found.quarantine, name))


def _plan_of(change: HoldChange) -> Plan:
    state = change.state if not change.news else change.state.replace("is ", "would be ", 1)
    if state.startswith("would be not"):
        state = "would not be held"
    return Plan(would=(f"{change.name} {state}{'' if change.news else ' already'}",))
