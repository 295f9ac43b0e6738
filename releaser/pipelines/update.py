"""The main job: resolve, build, test, flip, and see that the site runs on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.audit import note_unfixed, with_fixes
from releaser.candidate.build import seal
from releaser.candidate.build_and_test import build_and_test
from releaser.candidate.migrations import look_at_migrations
from releaser.candidate.space import check_space, find_lacks, update_needs
from releaser.candidate.testing import live_passes_again, tree_of_live, try_live_release
from releaser.checkout.guard import CheckoutSnapshot, find_changes, take_snapshot, with_own_changes
from releaser.checkout.move import move_without_build
from releaser.checkout.publish import files_due, publish_lock, push_is_due, push_what_is_due, put_lock_back
from releaser.checkout.pull import Target, choose_target, fetch
from releaser.checkout.staging import staging_tree
from releaser.deployment.activate import Deployment
from releaser.deployment.adopt import adopt, venv_kind
from releaser.deployment.health_check import check_live_site
from releaser.deployment.post_flip import check_before_flip, collectstatic_before_flip, retry_post_flip_steps
from releaser.deployment.processes import note_stale_processes
from releaser.errors import Finding, PreflightError, ReleaserError
from releaser.pipelines.activation import deploy
from releaser.pipelines.decide import choose_following, decide, why_not_again
from releaser.pipelines.preflight import ask_django, check, preflight, tell_unknown
from releaser.pipelines.rebuild import (
    RebuildReason,
    describe_damage,
    describe_python,
    find_rebuild_reason,
    refuse_unreadable_live,
)
from releaser.pipelines.recovery import undo_on_failure, undo_unfinished
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.integrity import cannot_run
from releaser.releases.link import refuse_moved
from releaser.releases.store import store_of
from releaser.site.conventions import find_conventions
from releaser.system.words import one_line

if TYPE_CHECKING:
    from releaser.pipelines.decide import Decision
    from releaser.releases.release import Release
    from releaser.report import RunLog, RunReport
    from releaser.run import Run
    from releaser.site.site import Site, SiteFacts
    from releaser.tools.git_reader import Commit


_LONGEST_REASON = 200  # characters
_MOST_COMMITS = 100  # in a report


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What an update is to build, and why; made in the staging tree."""

    #: What is known of the site with the code that is to go live.
    facts: SiteFacts
    #: What is live, and why it has to be rebuilt, if it has.
    live: Release | None
    due: RebuildReason | None
    decision: Decision
    #: Whether what failed before is tried again, and the site need not be well.
    force: bool


def update(request: Request, *, force: bool = False, follow: bool = False) -> RunReport:
    """Bring the site to the newest code and packages that pass its tests.

    `force` tries quarantined ones again; `follow` takes a remote branch that was moved back or rewritten as it is.
    """
    return run_session(request, partial(update_site, force=force, follow=follow))


def update_site(run: Run, *, force: bool, follow: bool) -> PipelineResult:
    """Do what docs/how-it-works.md lists, in that order.

    A new release goes live in `deploy`. Nothing else moves the symlink, but for the adoption of a venv that is no
    release yet, and nothing else moves the checkout, but for commits that bring neither code nor packages.
    """
    refuse_moved(run.store)
    refuse_unreadable_live(run.store.live())
    retry_post_flip_steps(run.site, run.log)  # restarts and the like that an earlier run could not do
    snapshot = take_snapshot(run.site)
    facts = preflight(run.site, run.log, ask_django=False, state=snapshot.state)
    theirs = fetch(run.site, run.log, facts, follow=follow)
    refuse_moved(run.store)  # again, as the remote may have taken long to answer
    adopted = adopt_venv(run.site, run.log, facts)
    committed = publish_what_is_due(run.site, run.log, facts, theirs)
    snapshot = with_own_changes(run.site, snapshot, adopted=adopted, committed=committed)
    target = choose_target(run.site, run.log, snapshot, facts, theirs, force=force, follow=follow)
    note_target(run.log, target)
    staging = staging_tree(run.site, run.log, target.commit, pulled=target.pulled)
    with undo_on_failure(run.site, run.log), staging as staged:
        goal = choose_goal(staged, run.log, facts, target, force=force)
        reason = reason_not_to_build(staged, run.log, goal, before=facts)
        if reason:
            unchanged = look_after_live(staged, run.log, goal, reason, before=facts, adopted=adopted)
        else:
            release = make_release(staged, run.log, goal, before=facts)
            check_before_flip(staged, release.venv)
            collected = target.moves and collectstatic_before_flip(staged, run.log, release)
    if reason:
        move_to_unbuilt_commits(run.site, run.log, target, snapshot, goal.decision)
        return unchanged
    headline = _headline(run.log, release, goal)
    run.log.note(*describe_python(goal.facts.choice))
    untracked = frozenset(facts.state.untracked)
    deployment = Deployment(release=release, target=target, collected=collected, untracked=untracked)
    deploy(run.site, run.log, deployment, snapshot)
    return PipelineResult(result="activated", headline=headline)


def adopt_venv(site: Site, log: RunLog, facts: SiteFacts) -> bool:
    """Make a venv that no release is live in the first release; True if there was one to adopt."""
    if venv_kind(site) == "adopted" or adopt(site, log, facts) is None:
        return False
    log.learn(chosen=find_conventions(site, lock=facts.lock))
    return True


def publish_what_is_due(site: Site, log: RunLog, facts: SiteFacts, theirs: str | None) -> str | None:
    """Commit and push what an earlier run could not, before anything is built on top of it; return the commit made.

    Nothing is pushed while the remote (at `theirs`) has commits that this checkout does not have: it would refuse.
    """
    live = store_of(site).live()
    due = files_due(site, live) & {*facts.state.dirty, *facts.state.untracked}
    if not due and not push_is_due(site.state_dir):
        return None
    may_push = theirs is None or site.git.is_ancestor(theirs, "HEAD")
    if live is not None and due:
        return publish_lock(site, log, live, command="update", pushes=may_push)
    if may_push:
        push_what_is_due(site, log)
    return None


def choose_goal(site: Site, log: RunLog, facts: SiteFacts, target: Target, *, force: bool) -> Goal:
    """Check the code that is to go live, resolve there, and decide what is built. Raises PreflightError and others."""
    live = store_of(site).live()
    facts = examine_target(site, log, facts, target)
    due = find_rebuild_reason(site, facts.choice, live)
    decision = decide(site, log, facts, live, is_due=due is not None, force=force)
    log.learn(held_back=decision.resolution.held_back)
    return Goal(facts=facts, live=live, due=due, decision=decision, force=force)


def reason_not_to_build(site: Site, log: RunLog, goal: Goal, *, before: SiteFacts) -> str:
    """Say why no release is built: there is nothing newer, or it failed before. Empty if one is to be built."""
    decision = goal.decision
    if decision.outcome == "nothing":
        return "everything is up to date"
    if decision.failed is None or decision.outcome == "build":
        return ""
    if decision.outcome == "unsure" and live_passes_again(site, log, before):
        return ""
    return why_not_again(decision.failed)


def look_after_live(
    site: Site, log: RunLog, goal: Goal, reason: str, *, before: SiteFacts, adopted: bool
) -> PipelineResult:
    """Report on what stays live: fixes that are held back, processes left behind, tests that turn red.

    That nothing can run on it is always said. Where only another Python has failed, to which the site does not move,
    all else is looked after. Raises TestsFailedError.
    """
    failed, due = goal.decision.failed if goal.decision.outcome != "nothing" else None, goal.due
    if failed is not None:
        undo_unfinished(site, log)
    log.about(goal.live, None)
    if failed is None or (due is not None and not due.is_damaged):
        look_at_what_is_held(site, log, goal.decision)
    note_stale_processes(site, log)
    if failed is not None:
        _report_unusable_live(log, due, failed.reason)
    is_news = adopted and failed is None  # nobody asked for it in so many words, so it must be said
    ending = PipelineResult(result="activated" if is_news else "unchanged", headline=reason)
    if is_news:
        ending = replace(ending, headline=f"the project is adopted; {reason}")
    if goal.decision.outcome == "unsure" and site.settings.django_check == "off":
        return ending  # its tests have just been run; with a Django check it may not have come to them
    return _with_live_tests(site, log, before, ending)


def look_at_what_is_held(site: Site, log: RunLog, decision: Decision) -> None:
    """See, in a night without anything new, whether what is held back would fix something; no other night asks."""
    if held := decision.resolution.held_back:
        found = decision.audit()
        note_unfixed(site, log, held, found, found, only_new=True)


def make_release(site: Site, log: RunLog, goal: Goal, *, before: SiteFacts) -> Release:
    """Build, test and seal the release that is to go live. Raises BuildError, TestsFailedError and MigrationsError."""
    is_damaged = goal.due is not None and goal.due.is_damaged
    check_live_site(site.outside, log, force=goal.force or is_damaged)
    if site.pulled is None:  # else this has been done, as the code has changed
        ask_django(site, log)
    if goal.due is not None and is_damaged:
        log.note(describe_damage(goal.due))
    try:
        return _make_release(site, log, goal, before=before)
    except ReleaserError as error:
        _report_unusable_live(log, goal.due, error.message)
        raise


def _make_release(site: Site, log: RunLog, goal: Goal, *, before: SiteFacts) -> Release:
    facts, live, resolution = goal.facts, goal.live, goal.decision.resolution
    check_space(site, facts, resolution, live)
    audit = goal.decision.audit()
    log.learn(changes=resolution.diff.changes)
    candidate = build_and_test(site, log, facts, resolution, before=before, again=goal.decision.again)
    candidate = with_fixes(site, log, facts, candidate, audit)
    candidate = look_at_migrations(site, log, candidate)
    release = seal(site, log, candidate, tests="passed")
    log.learn(rebuilt=goal.due.reason if goal.due is not None else None)
    return release


def _with_live_tests(site: Site, log: RunLog, facts: SiteFacts, ending: PipelineResult) -> PipelineResult:
    """Look after what is live on a night without anything newer. Raises TestsFailedError if its tests turn red."""
    if site.settings.test_live == "always":
        with tree_of_live(site, log) as tree:
            red = try_live_release(tree, log, facts)
    else:
        red = try_live_release(site, log, facts)
    if red is None:
        return ending
    failing = f"the tests of {red.release} have been failing since {red.since[:10]}"
    return replace(ending, headline=f"{ending.headline}; {failing}")


def note_target(log: RunLog, target: Target) -> tuple[Commit, ...]:
    """Let the report have the commits that are to come in, the newest first, and return them."""
    commits = target.commits[:_MOST_COMMITS] if target.moves else ()
    log.learn(pulled=target.pulled, commits=commits)
    return commits


def move_to_unbuilt_commits(
    site: Site, log: RunLog, target: Target, snapshot: CheckoutSnapshot, decision: Decision
) -> None:
    """Follow commits that bring neither code nor packages; nobody needs to hear of it."""
    live = store_of(site).live()
    following = choose_following(site, target, decision, live)
    if live is None or following == "stays" or log.findings or find_changes(site, snapshot):
        return
    if target.moves:
        move_without_build(site, log, target)
    if following == "restores":
        put_lock_back(site, log, live)


def examine_target(site: Site, log: RunLog, facts: SiteFacts, target: Target) -> SiteFacts:
    """Check the code that is to go live as it is in the staging tree, with its own settings. Raises PreflightError."""
    if not target.moves:
        return facts
    with log.step("preflight") as step:
        live = store_of(site).live()
        try:
            found = check(
                site, space=find_lacks(update_needs(site, live)), checkout=facts.checkout,
                ask_django=target.brings_code,
            )  # fmt: skip
        except PreflightError as error:
            raise _of_commit(site, target, error) from error
        tell_unknown(step, found.unknown)
    return found


def _of_commit(site: Site, target: Target, error: PreflightError) -> PreflightError:
    """Say of findings in the staging tree in which commit they are, and name files as in the checkout."""
    project = site.project

    def named(text: str) -> str:
        return text.replace(str(project.root), str(project.checkout))

    return PreflightError(
        *(
            Finding(f"commit {target.commit[:12]}: {named(one.message)}", advice=named(one.advice), output=one.output)
            for one in error.findings
        )
    )


def _report_unusable_live(log: RunLog, due: RebuildReason | None, reason: str) -> None:
    """Report, where what is to take its place has failed, that nothing can run on what is live."""
    if due is None or not cannot_run(due.release):
        return
    message = f"nothing can run on the live release {due.release.id}: {due.reason}"
    advice = f"Its replacement has failed ({reason}); fix that, or run `releaser rebuild`."
    log.note(Finding(message=message, advice=advice))


def _headline(log: RunLog, release: Release, goal: Goal) -> str:
    due, count = goal.due, len(release.manifest.changes)
    what = f"{count} {'package' if count == 1 else 'packages'} changed" if count else "no package changed"
    pulled, culprits = log.learned.pulled, log.learned.culprits
    with_commits = f", {pulled.count} new {'commit' if pulled.count == 1 else 'commits'}" if pulled else ""
    if culprits:
        them = f"{'it' if len(culprits) == 1 else 'them'} ({', '.join(culprits)})"
        what += f", {len(culprits)} held back as the tests fail with {them}"
    if due is None:
        return f"updated to {release.id}: {what}{with_commits}"
    if not due.is_damaged:
        return f"rebuilt {due.release.id} as {release.id}, as {due.reason}: {what}{with_commits}"
    why = one_line(due.reason, limit=_LONGEST_REASON)
    return f"built {release.id} in place of {due.release.id}, which was damaged ({why}): {what}{with_commits}"
