"""The dry run of an update, which writes only into a temporary directory; other commands have dry runs as well."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.checkout.checks import take_snapshot
from releaser.checkout.publish import SEEN
from releaser.checkout.pull import choose_target, fetch
from releaser.checkout.reverts import correct_blocks
from releaser.checkout.staging import complete_tree, see_aside
from releaser.core.adoption import adopter
from releaser.core.run import Workspace, new_log
from releaser.gates import foresee
from releaser.pipelines.decide import Goal, changes_of, choose_following, explain_no_retry, refuse_unusable_live
from releaser.pipelines.preflight import Scope, check, preflight
from releaser.pipelines.update import case_of, choose_goal, note_target
from releaser.pipelines.workspaces import workspace_aside
from releaser.releases.acceptance import DeviationError, foresee_refusal
from releaser.releases.blocks import read_blocks
from releaser.releases.release import refuse_moved
from releaser.releases.store import store_of
from releaser.report import Plan
from releaser.site import disk
from releaser.system.frozen import replace
from releaser.system.temporary import temporary_tree
from releaser.system.words import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from releaser.core.target import Target
    from releaser.pipelines.decide import Following
    from releaser.site.site import Site
    from releaser.system.sections import Section
    from releaser.tools.git_state import Commit


NOTHING = "nothing would change"  # by an update that builds nothing


def plan_update(site: Site, asked: Sequence[Section] = (), *, force: bool, follow: bool, only: frozenset[str]) -> Plan:
    """Return what an update would change, by the decisions of the update itself, up to the build.

    `asked` are the facts with which such an update begins.

    The commit is fetched into a repository in the temporary directory, and checked out there. Raises PreflightError,
    ResolutionError and BuildError, as an update does. Packages that need `releaser accept` are part of the plan.
    """
    try:
        with plan_workspace(site, "update", force=force, follow=follow) as (work, target):
            work = replace(work, only=only)
            for section in asked:
                work.log.add(section)
            goal = choose_goal(work, target, force=force)
            if reason := goal.source.reason_to_stay(goal.wanted, goal.resolution, is_new=True):
                return Plan(would=(reason, NOTHING))
            if goal.builds:
                work.examine_lock(work, goal.resolution.lock)
            return _plan_of_update(goal, target)
    except DeviationError as error:
        return Plan(would=foresee_refusal(site.state_dir, "update", error))


@contextlib.contextmanager
def plan_workspace(site: Site, command: str, *, force: bool, follow: bool) -> Iterator[tuple[Workspace, Target]]:
    """Yield a workspace in a temporary directory, as an update would use it, and its target. Raises PreflightError."""
    store, log = store_of(site), new_log(command)
    if any(disk.state_findings(site.project)):  # such as a state directory of another project
        check(site)
    refuse_moved(store)
    refuse_unusable_live(store.live())
    facts = preflight(site, log, Scope(asks=()))
    with temporary_tree() as base:
        known = site.git.reference(SEEN)
        if known is None and facts.checkout.remote is not None:
            known = site.git.tracked(facts.checkout.remote, site.branch)
        seen = see_aside(site, base, known)
        remote_head = fetch(seen, log, facts, follow=follow)
        target = choose_target(
            seen, log, take_snapshot(site, records=False), facts, remote_head, force=force, follow=follow
        )
        work = workspace_aside(seen, log, facts, target)
        live = work.live or adopter().plan(site, log, facts, base)
        yield replace(work, live=live, blocks=correct_blocks(seen, target, read_blocks(site.state_dir))), target


def _plan_of_update(goal: Goal, target: Target) -> Plan:
    work, rebuild, resolution = goal.work, goal.rebuild, goal.resolution
    site, builds = work.site.outside, goal.builds
    commits = note_target(work.log, target)
    if builds:
        complete_tree(work.site, work.log)
    diff = changes_of(work, resolution)
    following = choose_following(work.site, goal, target)
    lines = [
        *(
            [f"{rebuild.release.id} would be rebuilt, because {rebuild.reason}"]
            if rebuild and (builds or goal.is_unsure)
            else ()
        ),
        *_plan_commits(commits, target, following, builds=builds),
        *_plan_packages(site, goal, len(diff)),
    ]
    if builds and (waiting := work.site.describe_waiting()):
        lines.append(waiting)
    if builds:
        lines += foresee(replace(case_of(goal), asks_others=False), force=goal.wanted.force)
    if store_of(site).live() is None:
        lines.append(f"{site.project.venv.name} would become a symlink to a release")
    elif not (builds or goal.is_unsure):
        lines.append(NOTHING)
    return Plan(would=tuple(lines), changes=diff if builds or goal.is_unsure else ())


def _plan_commits(commits: Sequence[Commit], target: Target, following: Following, *, builds: bool) -> Iterator[str]:
    """Report for each commit whether the checkout would move to it, and why not."""
    quietly = "" if builds or target.brings_code else ", without a new release: it changes neither code nor packages"
    fate = f"would go live{quietly}" if builds or following != "stays" else "would not go live yet"
    yield from (f"commit {new_commit.id[:12]} ({new_commit.subject}) {fate}" for new_commit in commits)
    if target.commit_on_hold is not None:
        hold = target.commit_on_hold
        by = f"commit {hold.commit[:12]} " if hold.commit != target.offered else "it "
        for commit in target.commits:
            yield f"commit {commit.id[:12]} ({commit.subject}) would be skipped: {by}{hold.reason}"
    if following == "restores":
        yield "uv.lock would be restored from the live release, and committed"


def _plan_packages(site: Site, goal: Goal, count: int) -> Iterator[str]:
    """Describe how many packages would change, which versions would be skipped, and why nothing would be built."""
    if (failed := goal.failed) is not None:
        retry = (
            f"{failed.release} and the live release both failed their tests before; an update would first "
            f"repeat the tests"
        )
        yield retry if failed.sick else explain_no_retry(failed)
    if goal.builds or store_of(site).live() is None:
        yield f"{plural(count, 'package') if count else 'no package'} would change"
    for hold in goal.resolution.on_hold:
        yield f"{hold.name} {hold.version} would be skipped: {hold.reason}"
