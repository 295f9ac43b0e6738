"""The main job: resolve, build, test, flip, and see that the site runs on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.results import try_live_release
from releaser.capabilities import gather
from releaser.checkout.checks import CheckoutSnapshot, find_changes, take_snapshot, with_own_changes
from releaser.checkout.publish import files_due, publish_lock, push_what_is_due, restore_lock
from releaser.checkout.pull import choose_target, fetch
from releaser.checkout.reverts import note_reverted_versions
from releaser.checkout.staging import complete_tree
from releaser.core.adoption import venv_kind
from releaser.core.change import Deployment, do_ahead, retry_failed_actions, takes_down
from releaser.core.follow_up import read_pending
from releaser.core.gate import Case
from releaser.core.run import Run, Workspace
from releaser.core.target import Target
from releaser.errors import Finding, PreflightError, ReleaserError
from releaser.pipelines.decide import (
    Goal,
    changes_of,
    choose_following,
    decide,
    describe_failed_candidate,
    explain_no_retry,
    explain_unused,
    find_rebuild_reason,
    refuse_unusable_live,
)
from releaser.pipelines.preflight import Scope, preflight
from releaser.pipelines.ready import find_ready, keep_ready, report_unusable_live, take_ready
from releaser.pipelines.recovery import undo_unfinished
from releaser.pipelines.session import PipelineResult
from releaser.pipelines.workspaces import describe_python, open_workspace, starting_lock
from releaser.releases.acceptance import note_refusals
from releaser.releases.journal import note
from releaser.releases.release import Release, refuse_moved
from releaser.releases.store import store_of
from releaser.releases.venv import count_installed
from releaser.resolution.committed import starts_from_commit
from releaser.site.committed import committed_lock
from releaser.site.conventions import ConventionsSection, find_conventions
from releaser.site.django_settings import CheckSettings
from releaser.system.frozen import replace
from releaser.system.words import one_line, plural

if TYPE_CHECKING:
    from releaser.core.source import Source
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts
    from releaser.tools.git_state import Commit


_LONGEST_REASON = 200  # characters
_MOST_COMMITS = 100  # in a report


def update_site(
    run: Run, source: Source | None = None, *, force: bool, follow: bool, only: frozenset[str] = frozenset()
) -> PipelineResult:
    """Do the steps of docs/how-it-works.md in that order; without `source`, the settings choose the source.

    `force` includes what failed before; `follow` accepts a remote branch that was moved back or rewritten. `only` these
    packages are upgraded, with their requirements; all if it is empty.

    A new release goes live in `deploy`. Nothing else moves the symlink, except for the adoption of a venv that is no
    release yet, and nothing else moves the checkout, except for commits that change neither code nor packages.
    """
    run.log.learn(only=tuple(sorted(only)))
    refuse_moved(run.store)
    refuse_unusable_live(run.store.live())
    retry_failed_actions(run.site, run.log)  # such as a restart that failed in an earlier run
    snapshot = take_snapshot(run.site)
    facts = preflight(run.site, run.log, Scope(asks=(), state=snapshot.state))
    remote_head = (source.fetch if source is not None else fetch)(run.site, run.log, facts, follow=follow)
    refuse_moved(run.store)  # again, as the remote may have taken long to answer
    adopted = adopt_first(run.site, run.log, facts)
    committed = publish_what_is_due(run.site, run.log, facts, remote_head)
    snapshot = with_own_changes(run.site, snapshot, adopted=adopted, committed=committed)
    run.find_changes = partial(find_changes, run.site, snapshot)
    target = choose_target(run.site, run.log, snapshot, facts, remote_head, force=force, follow=follow)
    note_target(run.log, target)
    if target.commit_on_hold is not None:
        hold = target.commit_on_hold
        run.log.learn(blocked=f"commit {hold.commit[:12]} ({hold.subject}) {hold.reason} ({hold.at[:10]})")
    note_reverted_versions(run.site, target)
    if source is not None and target.commit_on_hold is not None:  # its lock does not fit the code that stays
        headline = f"the code of the {source.name} {target.commit_on_hold.reason}"
        return PipelineResult(result="no-changes", headline=headline)
    # Most nights nothing is built, and a part of the tree is enough.
    workspace = open_workspace(run.site, run.log, facts, target, whole=target.moves)
    with note_refusals(run.site.state_dir, run.log.failures), workspace as work:
        work = replace(work, only=only, configuration=snapshot.configuration)
        goal = choose_goal(work, target, force=force, source=source)
        if reason := reason_not_to_build(goal):
            unused = explain_unused(goal, run.store.snapshot())
            unchanged = report_on_live(goal, "; ".join(filter(None, [reason, unused])), adopted=adopted)
        else:
            from releaser.pipelines.deploy import deploy  # before releaser's own files may be replaced during the build

            release = make_release(goal)
            from releaser.gates import ask

            wait = ask("ready", ready_case(goal, release), force=force)
            if wait is not None:
                return keep_ready(run, release, wait, goal.rebuild)
            has_time = target.moves or takes_down(work.site)  # otherwise the stopped site would wait for that
            done_ahead = do_ahead(work.site, run.log, release) if has_time else ()
    if reason:
        move_to_unbuilt_commits(run.site, goal, target, snapshot)
        return unchanged
    run.log.note(*describe_python(goal.work.facts.choice))
    deploy(run.site, run.log, Deployment(release=release, target=target, done=done_ahead), snapshot)
    return PipelineResult(result="updated", headline=_headline(run.log, release, goal))


def ready_case(goal: Goal, release: Release) -> Case:
    """Return the case of a release that is ready, for the gates."""
    built = {change.name: change.fixes for change in release.manifest.changes}  # of the same versions
    changes = changes_of(goal.work, goal.resolution)
    changes = tuple(replace(change, fixes=built.get(change.name, ())) for change in changes)
    return replace(case_of(goal), venv=release.venv, changes=changes)


def case_of(goal: Goal) -> Case:
    """Return the case of a release before it is made, for the gates."""
    is_down = goal.rebuild is not None and goal.rebuild.is_down
    return Case.of(goal.work, goal.resolution, is_repair=goal.is_repair, is_down=is_down, asks_others=True)


def adopt_first(site: Site, log: RunLog, facts: SiteFacts) -> bool:
    """Turn a venv that is not a release into the first release; return if there was one."""
    if venv_kind(site) == "adopted":
        return False
    from releaser.pipelines.init import adopt  # slow to import, for a night without news

    if not adopt(site, log, facts):
        return False
    log.add(ConventionsSection(chosen=find_conventions(site, lock=facts.lock)))
    return True


def publish_what_is_due(site: Site, log: RunLog, facts: SiteFacts, remote_head: str | None) -> str | None:
    """Commit and push what an earlier run could not, before a build relies on it; return the new commit, if any.

    Nothing is pushed while `remote_head` has commits that the checkout lacks: the remote would refuse.
    """
    live = store_of(site).live()
    files = files_due(site, live) & {*facts.checkout.state.dirty, *facts.checkout.state.untracked}
    if not files and not read_pending(site.state_dir).push:
        note(site.state_dir, lock_differences=())  # a person has committed the lock, or it does not differ
        return None
    may_push = remote_head is None or site.git.is_ancestor(remote_head, "HEAD")
    if live is not None and files:
        return publish_lock(site, log, live, command="update", pushes=may_push, may_move=False)
    if may_push:
        push_what_is_due(site, log, may_move=False)
    return None


def choose_goal(work: Workspace, target: Target, *, force: bool, source: Source | None = None) -> Goal:
    """Check the new code, resolve in its staging tree, and decide what to build. Raises PreflightError and others."""
    work = replace(work, facts=examine_target(work, target))
    if removed := work.only - work.facts.lock.names:
        message = f"the new commits remove {', '.join(sorted(removed))} from uv.lock"
        work.log.note(Finding("package-not-locked", message, "No other package was upgraded instead."))
    rebuild = find_rebuild_reason(work.site, work.facts.choice, work.live)
    has_news = rebuild is not None or target.moves
    if not (has_news and work.site.supply.upgrades) and starts_from_commit(work.site, work.live):
        work = work.starting_from(committed_lock(work.site))
    try:
        kept = starting_lock(work, work.facts.lock)
    except ReleaserError as error:
        report_unusable_live(work.log, rebuild, error.message)
        raise
    goal = replace(decide(work.starting_from(kept.lock), rebuild, force=force, source=source), moved=kept.findings)
    work.log.learn(on_hold=goal.resolution.on_hold)
    return goal


def reason_not_to_build(goal: Goal) -> str:
    """Return why no release is built: nothing is newer, or the candidate failed before. Empty to build one."""
    if reason := goal.source.reason_to_stay(goal.wanted, goal.resolution, is_new=goal.is_new):
        return reason
    if goal.failed is None:
        return ""
    from releaser.candidate.testing import live_passes_again  # slow to import, for a night without news

    return "" if goal.failed.sick and live_passes_again(goal.work) else explain_no_retry(goal.failed)


def report_on_live(goal: Goal, reason: str, *, adopted: bool) -> PipelineResult:
    """Report on a live release that stays: skipped fixes, old processes, failing tests, or that nothing can run on it.

    If only the move to another Python failed, fixes are still reported. Raises TestsFailedError.
    """
    work, failed = goal.work, goal.failed
    if failed is not None:
        undo_unfinished(work.site, work.log)
        work.log.learn(blocked=describe_failed_candidate(failed))
    work.log.set_releases(work.live, None)
    case = replace(case_of(goal), asks_others=failed is None or (goal.rebuild is not None and not goal.is_repair))
    for look_after in gather("watchers"):
        look_after(case)
    if failed is not None:
        report_unusable_live(work.log, goal.rebuild, failed.reason)
    is_news = adopted and failed is None  # no command asked for the adoption, so the run reports it
    headline = f"the project is adopted; {reason}" if is_news else reason
    # An unsure goal has just run the tests of the live release, unless its Django check failed first.
    if not goal.is_unsure or CheckSettings.of(work.site).django_check != "off":
        red = try_live_release(work)
        headline += f"; the tests of {red.release} have been failing since {red.since[:10]}" if red else ""
    return PipelineResult(result="updated" if is_news else "no-changes", headline=headline)


def make_release(goal: Goal) -> Release:
    """Return a sealed release: a ready one, or a new one, built and tested. Raises BuildError and TestsFailedError."""
    from releaser.candidate.build import seal  # slow to import, for a night without news
    from releaser.candidate.testing import make_candidate
    from releaser.gates import examine

    work, resolution = replace(goal.work, fresh=goal.rebuild is not None), goal.resolution
    if waiting := work.site.describe_waiting():
        work.log.say(waiting)
    case = case_of(goal)
    examine("begun", case, force=goal.wanted.force)
    complete_tree(work.site, work.log)
    if goal.rebuild is not None and goal.is_repair:
        work.log.note(goal.rebuild.describe_damage())
    work.log.note(*goal.moved)
    try:
        examine("resolved", case, force=goal.wanted.force)
        work.log.learn(changes=resolution.diff)
        if (ready := find_ready(work.site, work.facts, resolution.lock, work.configuration)) is not None:
            return take_ready(work, ready)
        if unused := explain_unused(goal, store_of(work.site).snapshot()):
            work.log.say(f"{unused}.")
        candidate = make_candidate(work, resolution, goal.source.search(goal.wanted))
        case = replace(case_of(replace(goal, resolution=candidate.resolution)), venv=candidate.venv)
        release = seal(work, candidate, tests="passed", facts=examine("tested", case, force=goal.wanted.force))
    except ReleaserError as error:
        report_unusable_live(work.log, goal.rebuild, error.message)
        raise
    work.log.learn(rebuilt=goal.rebuild.reason if goal.rebuild is not None else None)
    return release


def note_target(log: RunLog, target: Target) -> tuple[Commit, ...]:
    """Add the new commits to the report, newest first, and return them."""
    commits = target.commits[:_MOST_COMMITS] if target.moves else ()
    log.learn(pulled=target.pulled, commits=commits)
    return commits


def move_to_unbuilt_commits(site: Site, goal: Goal, target: Target, snapshot: CheckoutSnapshot) -> None:
    """Move the checkout to commits that change neither code nor packages, without a report."""
    log, live, following = goal.work.log, goal.work.live, choose_following(site, goal, target)
    if live is None or following == "stays" or log.findings or find_changes(site, snapshot):
        return
    from releaser.checkout.move import move_without_build
    from releaser.gates import ask

    if ask("unbuilt", case_of(goal)) is not None:
        return
    if target.moves:
        move_without_build(site, log, target)
    if following == "restores":
        restore_lock(site, log, live)


def examine_target(work: Workspace, target: Target) -> SiteFacts:
    """Check the new code in the staging tree, with its own settings. Raises PreflightError."""
    if not target.moves:
        return work.facts
    scope = Scope(asks=("django",) if target.brings_code else (), checkout=work.facts.checkout)
    try:
        return preflight(work.site, work.log, scope)
    except PreflightError as error:
        project, commit = work.site.project, target.commit[:12]

        def named(text: str) -> str:  # with the paths of the checkout
            return text.replace(str(project.root), str(project.checkout))

        raise PreflightError(
            *(
                replace(finding, message=f"commit {commit}: {named(finding.message)}", advice=named(finding.advice))
                for finding in error.findings
            )
        ) from error


def _headline(log: RunLog, release: Release, goal: Goal) -> str:
    rebuild, count = goal.rebuild, len(log.learned.changes)  # a release that was ready may differ from another one now
    changed = f"{plural(count, 'package')} changed" if count else "no package changed"
    if goal.work.live is None:
        changed = f"the first release, with {plural(count_installed(release.venv), 'package')}"
    changed += "".join(section.in_headline() for section in log.sections.values())
    pulled = log.learned.pulled
    with_commits = f", {plural(pulled.count, 'new commit')}" if pulled else ""
    if rebuild is None:
        return f"updated to {release.id}: {changed}{with_commits}"
    if not rebuild.is_damaged:
        return f"rebuilt {rebuild.release.id} as {release.id}, because {rebuild.reason}: {changed}{with_commits}"
    why = one_line(rebuild.reason, limit=_LONGEST_REASON)
    return f"built {release.id} to replace {rebuild.release.id}, which was damaged ({why}): {changed}{with_commits}"
