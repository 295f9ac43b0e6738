"""The command `update`: the newest versions and commits go live, if the project's tests pass."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import msgspec

from releaser.candidate.build import LockInstaller
from releaser.candidate.identity import is_same_failure
from releaser.candidate.trial import let_go_of_ready, seal, try_candidate
from releaser.checkout.move import move_checkout, require_free_way
from releaser.checkout.pending import read_pending
from releaser.checkout.publish import (
    explain_waiting,
    is_worth_commit,
    list_unpushed,
    publish,
    push_pending,
    remember_remote,
)
from releaser.checkout.repository import Repository, open_repository
from releaser.checkout.snapshot import require_unchanged
from releaser.errors import BuildError, GateError, HookError, refuse
from releaser.live.change import make_entry, undo_change
from releaser.live.django import explain_kept_migrations
from releaser.live.hooks import run_before_live
from releaser.live.outlook import Outlook, foresee
from releaser.live.uv_run import find_changed_release
from releaser.packages.audit import read_audit
from releaser.packages.changes import compare_releases
from releaser.packages.holds import LONGEST, VersionHold, list_holds, read_holds, replace_index_holds
from releaser.packages.resolve import find_unbuilt, find_unfit
from releaser.pipelines.blame import find_blame
from releaser.pipelines.conclude import add_holds, follow_up, go_live, require_audit
from releaser.pipelines.decide import UpdateOptions, decide
from releaser.pipelines.init import adopt, build_first
from releaser.pipelines.prune import prune_releases
from releaser.releases.journal import Entry, write_entry
from releaser.releases.release import Release
from releaser.releases.sealed import find_differences
from releaser.releases.store import SiteRun, Store, delete_release
from releaser.report import outcomes
from releaser.report.decision import (
    Adopt,
    Build,
    Decision,
    First,
    LockNews,
    Nothing,
    Paused,
    Prospect,
    Ready,
    Refused,
    StillFailing,
    keep_decision,
)
from releaser.report.history import has_heard, read_history
from releaser.report.outcomes import NO_BLAME, Blame, Outcome
from releaser.site.site import Site, empty_cache, find_state_problems
from releaser.system.files import remove_path
from releaser.system.run import UPDATE, find_command, now
from releaser.system.signals import defer_signals
from releaser.system.text import join_few

_MOST = 10  # versions that do not build, and are left out in one night


class _CandidateFailedError(GateError):
    """A candidate failed: its release, what is to blame, and whether people have heard of it."""

    def __init__(self, error: GateError, release: Release, blame: Blame, *, is_known: bool) -> None:
        super().__init__(error.message, error.advice, output=error.output)
        self.release, self.blame, self.is_known = release, blame, is_known


def update(site: Site, run: SiteRun, options: UpdateOptions) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read."""
    if not find_state_problems(site):  # else it is refused
        write_entry(site.paths, Entry("building", run.command.name, run.id))
    decision = _decide(site, run, options)
    if isinstance(decision, Adopt):
        run.note(adopt(site, run).headline)
        decision = _decide(site, run, options)
    keep_decision(site.paths, decision)
    if isinstance(decision, First):
        return build_first(site, run, is_tried_again=options.force, pulls=options)
    if not isinstance(decision, Refused | Paused | Adopt):
        replace_index_holds(site.paths, decision.prospect.attempt.plan.holds)
    match decision:
        case Refused():
            return outcomes.make_refused(decision)
        case Paused():
            return outcomes.make_quiet(decision)
        case Adopt(venv=venv):
            raise refuse("not-adopted", f"`{venv}` was put back while it was adopted.", "Run `releaser update` again.")
        case Nothing() | LockNews():
            outcome = _publish_lock(site, run, decision, options)
        case StillFailing(prospect=prospect, failed=failed):
            _push_due(site, run, prospect)
            outcome = outcomes.make_quiet(decision, is_known=has_heard(site.paths, failed, "failed"))
        case Ready(prospect=prospect) | Build(prospect=prospect):
            _push_due(site, run, prospect)
            audit = read_audit(site, prospect.live.venv)
            outcome = _take_live_what_builds(site, run, decision, options)
            outcome = outcomes.mark_fixes_of(outcome, audit) if audit is not None else outcome
    if not outcome.is_change and run.store.live is not None:  # else it was followed up as it went live
        follow_up(site, run, run.store.live)
    return msgspec.structs.replace(outcome, decision=decision.kind)


def _take_live_what_builds(site: Site, run: SiteRun, decision: Ready | Build, options: UpdateOptions) -> Outcome:
    """Make a release live; without the versions that do not build here: `update` decides again."""
    try:
        return take_live(site, run, decision, options)
    except BuildError as error:
        found, plan = find_unfit(error.output) if decision.prospect.python else [], decision.prospect.attempt.plan
        if held := [f"{name} {version}" for name, version, _ in found if name in plan.held]:
            message = f"On hold, but not to be had for Python {plan.python_version}: {join_few(held)}. {error.message}"
            advice = f"Run `releaser unhold {held[0].split()[0]}`, or take it out of `ignore`; then `releaser update`."
            raise BuildError(message, advice, output=error.output) from error
        unfit = (*options.unfit, *found)
        if not _hold_unbuilt(site, run, decision.prospect, error) and {*unfit} == {*options.unfit}:
            raise
        return update(site, run, msgspec.structs.replace(options, unfit=unfit))


def _hold_unbuilt(site: Site, run: SiteRun, prospect: Prospect, error: BuildError) -> bool:
    """Put the new versions on hold that do not build here, for a week; False if the error is about something else."""
    before, yesterday = read_holds(site.paths), now() - timedelta(days=1)
    holds = [
        VersionHold(name=name, version=version, by="build", reason=error.message, since=now(), until=now() + LONGEST)
        for name, version in find_unbuilt(prospect.changes, error.output)
    ]
    labels = {hold.label for hold in before}
    of_tonight = [hold for hold in before if hold.by == "build" and hold.since and hold.since > yesterday]
    if not holds or any(hold.label in labels for hold in holds) or len(of_tonight) >= _MOST:
        return False
    add_holds(site, run, holds)
    return True


def _decide(site: Site, run: SiteRun, options: UpdateOptions) -> Decision:
    """Return the decision; what waits for a push is pushed also if no decision is possible. Raises BuildError."""
    with contextlib.suppress(OSError):
        remove_path(site.paths.decision)  # it would be that of an earlier night
    try:
        return decide(site, run, options, Outlook(run.store, list_holds(site)))
    except BuildError:
        if (pending := read_pending(site.paths)).commits:
            repository = open_repository(site, run.id)
            run.add(push_pending(site, repository, repository.state(), pending))
        raise


def preview_update(site: Site, options: UpdateOptions) -> Outcome:
    """Decide, as `update` will, and print it: no lock, no write, no recovery."""
    run = SiteRun("preview", UPDATE)
    run.store = Store(site.paths)
    outlook = foresee(site, run.store)
    decision = decide(site, run, options, outlook)
    outcome = outcomes.make_preview(decision, outlook.recovery, does="prepare" if options.prepare else "update")
    previous = outlook.store.previous
    return msgspec.structs.replace(outcome, previous=previous.id if previous else None, on_hold=outlook.holds)


def take_live(site: Site, run: SiteRun, decision: Ready | Build, options: UpdateOptions) -> Outcome:
    """Build and test unless a release is ready, then make it live; `site` has the settings of the live code.

    Called by `update` and `rebuild`.
    """
    prospect, repository = decision.prospect, decision.prospect.repository
    commits, live, target = prospect.new_commits, prospect.live, prospect.target
    key = prospect.attempt.key
    for note in prospect.notes:
        run.note(note)
    if libraries := key.find_changed_libraries(live.manifest.key):
        run.note(f"Changed next to the checkout: {join_few(libraries)}.")
    try:
        if isinstance(decision, Ready):
            release, blame = decision.release, NO_BLAME
        else:
            release, prospect, blame = find_passing(site, run, decision, options)
            commits, target = prospect.new_commits, prospect.target
        let_go_of_ready(run, prospect.attempt, release)
        if options.prepare and release is live:
            return outcomes.make_quiet(Nothing(prospect))
        require_audit(prospect.attempt.site, run, release, live)
        if options.prepare:
            prune_releases(site, run, key)
            prepared = outcomes.make_prepared(release, commits, is_known=has_heard(site.paths, release, "ready"))
            return outcomes.add_blame(prepared, blame)
        site = prospect.attempt.site
        entry = _plan_change(site, run, prospect, release)
        _ask_before_live(site, run, repository, release, entry)
    except GateError as error:
        prune_releases(site, run, key)
        if isinstance(error, _CandidateFailedError):
            return outcomes.make_failed(error, error.release, commits, "", error.blame, is_known=error.is_known)
        return outcomes.make_failed(error, release, commits, error.name, blame, is_known=_is_known(site, release))
    result, published = go_live(site, run, repository, prospect.snapshot, entry, prospect.edits)
    run.notes += filter(None, [explain_kept_migrations([release] if release is not live else [])])
    if result.rolled_back:
        return outcomes.add_blame(outcomes.make_rolled_back(release, result, commits), blame)
    run.add(*find_changed_release(site, release))
    if target.problem is not None and not target.is_rewritten:
        run.add(target.problem)
    changes = compare_releases(live, release) if release.state.order else None  # that was live before
    return outcomes.add_blame(outcomes.make_updated(release, result, published.commit, changes, commits, live), blame)


def find_passing(site: Site, run: SiteRun, decision: Build, options: UpdateOptions) -> tuple[Release, Prospect, Blame]:
    """Return the release that passes its tests, its prospect, and what it is without: that goes on hold.

    `site` has the settings of the live code. Raises _CandidateFailedError if nothing passes, and BuildError.
    """
    prospect, attempt = decision.prospect, decision.prospect.attempt
    if decision.damage:
        run.note(f"Release {prospect.live.id} was not as it was built: {join_few(decision.damage)}.")
    if decision.damage or prospect.edits:
        empty_cache(site)  # a file that was changed in place may be a link to one of uv's
    install = LockInstaller(attempt.plan, prospect.live.venv)
    trial = try_candidate(run, prospect.repository, attempt, prospect.live, install)
    blame, before = NO_BLAME, decision.failed.manifest if decision.failed is not None else None
    if not trial.tests.passed:
        findings = find_blame(site, run, decision, options, trial)
        blame = findings.blame
        add_holds(site, run, findings.holds)
        if findings.passed is not None and findings.passed.attempt.key == attempt.key:
            delete_release(trial.directory)
        else:
            was_failing, no_verdict = findings.was_failing, findings.no_verdict
            release = seal(trial, run, prospect.live, was_failing=was_failing, no_verdict=no_verdict)
        if findings.passed is None:
            error = outcomes.explain_failure(release, trial.tests.output, trial.advice, blame, prospect.live)
            is_known = is_same_failure(before, release.manifest) and not findings.holds
            raise _CandidateFailedError(error, release, blame, is_known=is_known)
        trial, attempt = findings.passed, findings.passed.attempt
        for sentence in blame.sentences:
            run.note(sentence)
    release = seal(trial, run, prospect.live)
    if trial.failed_gate:
        is_known = is_same_failure(before, release.manifest)
        if is_known and decision.failed is not None and decision.failed.manifest.key == attempt.key:
            delete_release(release.directory)  # people have heard of the earlier one, whose command must work
            run.store, release = run.store.without(release.id), decision.failed
        error = outcomes.explain_failure(release, "", trial.advice.replace(trial.directory.name, release.id))
        raise _CandidateFailedError(error, release, blame, is_known=is_known)
    commits = prospect.new_commits if attempt.target.commit == prospect.target.commit else ()
    return release, msgspec.structs.replace(prospect, attempt=attempt, new_commits=commits), blame


def _ask_before_live(site: Site, run: SiteRun, repository: Repository, release: Release, entry: Entry) -> None:
    """Run the hook `before_live`. Raises HookError if it refuses the release, which stays ready."""
    run_before_live(site, run, repository, release, entry)
    sealed = release.manifest.sealed if site.settings.live.before_live else None
    if sealed is not None and (changes := find_differences(release.venv, sealed)):
        message = f"`before_live` changed the venv of release {release.id}: {join_few(changes)}."
        raise HookError(message, "Let it write elsewhere. The next update builds the release again.")


def _is_known(site: Site, release: Release) -> bool:
    """Return True if people have heard of the failure of a release that stays ready."""
    last = next((record for record in read_history(site.paths) if find_command(record.command).is_nightly), None)
    return last is not None and last.result == "failed" and last.release == release.id


def _push_due(site: Site, run: SiteRun, prospect: Prospect, *, prepares: bool = False) -> None:
    """Push what an earlier night could not, and remember the head of a remote that is followed."""
    run.add(*(prospect.problems if not prepares or prospect.target.is_rewritten else ()))
    checkout, target = prospect.snapshot.checkout, prospect.target
    if target.commit == target.head:
        repository, pending = prospect.repository, read_pending(site.paths)
        problem = push_pending(site, repository, checkout, pending)
        if problem is None and site.settings.git.git_push and (pending := read_pending(site.paths)).commits:
            # The remote has moved on to a commit that is on hold, say.
            run.add(*explain_waiting(site, repository, list_unpushed(site, repository, pending.commits)))
        run.add(problem)
    if target.publishes:
        remember_remote(site, prospect.repository, target.head)


def _plan_change(site: Site, run: SiteRun, prospect: Prospect, release: Release) -> Entry:
    """Return the journal's entry for taking a release live."""
    target, repository, held = prospect.target, prospect.repository, prospect.attempt.plan.held
    path = site.paths.lockfile_in_tree
    commits_lock = target.publishes and is_worth_commit(repository, target.commit, path, release, held)
    entry = make_entry(site, run, repository, release, prospect.snapshot.checkout, target.commit)
    return msgspec.structs.replace(entry, commits_lock=commits_lock)


def _publish_lock(site: Site, run: SiteRun, decision: Nothing | LockNews, options: UpdateOptions) -> Outcome:
    """End a night without another release: follow commits that change the lock alone, and publish what is due."""
    prospect, repository = decision.prospect, decision.prospect.repository
    live = prospect.live
    let_go_of_ready(run, prospect.attempt, live)
    _push_due(site, run, prospect, prepares=options.prepare)
    has_move = isinstance(decision, LockNews) and (decision.moves or decision.commits or decision.restores)
    if options.prepare or not has_move:
        return outcomes.make_quiet(decision)
    entry = _plan_change(site, run, prospect, live)
    require_free_way(site, repository, entry)
    require_unchanged(site, repository, prospect.snapshot)
    with defer_signals():
        write_entry(site.paths, entry)
        try:
            move_checkout(site, repository, entry, back=False)
        except BaseException:
            undo_change(site, run, repository, entry)
            raise
        write_entry(site.paths, msgspec.structs.replace(entry, phase="publishing"))
    published = publish(site, run, repository, live, entry)
    write_entry(site.paths, Entry("building", run.command.name, run.id))
    run.add(published.problem)
    remember_remote(site, repository, repository.head())
    return outcomes.make_quiet(decision, published.commit)
