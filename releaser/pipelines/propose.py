"""`releaser propose`: builds and tests tonight's upgrade, and pushes it to a branch of the remote for review."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.checks import find_changes, take_snapshot
from releaser.checkout.files import export_lock
from releaser.checkout.leftovers import renew_tree
from releaser.checkout.publish import SEEN, commit_message
from releaser.checkout.pull import choose_target, fetch
from releaser.core.run import close_journal
from releaser.errors import BuildError, Finding, ToolError, refuse, refuse_any
from releaser.pipelines.decide import decide, explain_no_retry, find_rebuild_reason, refuse_unusable_live
from releaser.pipelines.dry_run import NOTHING, plan_workspace
from releaser.pipelines.preflight import Scope, preflight
from releaser.pipelines.session import PipelineResult, run_session
from releaser.pipelines.update import examine_target, make_release, reason_not_to_build
from releaser.pipelines.workspaces import open_workspace
from releaser.releases.acceptance import DeviationError, foresee_refusal, note_refusals
from releaser.releases.proposal import BRANCH, Proposal, ProposalSection, note_proposal, read_proposal
from releaser.releases.release import ADOPT, refuse_moved
from releaser.releases.store import store_of
from releaser.report import Plan
from releaser.resolution.resolve import candidate_key
from releaser.site.committed import committed_lock
from releaser.site.export_settings import ExportSettings
from releaser.sources.locked import Locked
from releaser.sources.upgrade import Upgrade
from releaser.system.files import read_file, replace_file
from releaser.system.frozen import Frozen
from releaser.system.words import first_few, plural

if TYPE_CHECKING:
    from releaser.core.run import Run, Workspace
    from releaser.core.target import Target
    from releaser.pipelines.decide import Goal
    from releaser.pipelines.session import Request
    from releaser.releases.release import Release
    from releaser.report import RunReport
    from releaser.site.site import Site


def propose(request: Request, *, force: bool = False) -> RunReport:
    """Build and test tonight's upgrade, and push its lock for review. Nothing goes live.

    `force` includes candidates that failed before, and proposes a declined upgrade again.
    """
    return run_session(request, partial(_propose, force=force), check=_find_live)


def _propose(run: Run, *, force: bool) -> PipelineResult:
    site, log = run.site, run.log
    refuse_moved(run.store)
    live = _find_live(site)
    if (known := read_proposal(site.state_dir)).is_merged_into(live):
        note_proposal(site.state_dir, known.after_merge())
    snapshot = take_snapshot(site)
    facts = preflight(site, log, Scope(asks=(), state=snapshot.state))
    remote_head = fetch(site, log, facts)
    run.find_changes = partial(find_changes, site, snapshot)
    target = choose_target(site, log, snapshot, facts, remote_head, force=force)
    workspace = open_workspace(site, log, facts, target, whole=target.moves)
    with note_refusals(site.state_dir, log.failures), workspace as work:
        base = find_base(replace(work, configuration=snapshot.configuration), target)
        _note_stuck(base)
        why_not = base.stuck or base.not_live
        if not why_not and target.commit != site.git.reference(SEEN):
            why_not = f"the remote does not have commit {target.commit[:12]} yet"
        if why_not:
            return PipelineResult(result="no-changes", headline=f"nothing is proposed: {why_not}")
        goal = base.upgrade(force=force)
        log.learn(on_hold=goal.resolution.on_hold)
        return _propose_upgrade(goal, reason_not_to_build(goal))


def _find_live(site: Site) -> Release:
    """Return the live release of a site under git that pulls and pushes. Raises PreflightError for any other."""
    message = "`releaser propose` needs a project under git"
    refuse_any(site.without_git(Finding("needs-git", message, "Run `git init`, and add a remote.")))
    if not (site.pulls and site.pushes):
        refuse(
            "propose-needs-push",
            "`releaser propose` needs `git_pull` and `git_push`, but at least one of them is off",
            "Set both to true.",
        )
    live = store_of(site).live()
    refuse_unusable_live(live)
    return live or refuse("nothing-live", "no release is live, so no upgrade can be proposed", ADOPT)


class Base(Frozen):
    """The state of the branch on which an upgrade is proposed."""

    #: The workspace, with the lock of the branch.
    work: Workspace
    #: Why a person has to act first; empty if an upgrade can be proposed.
    stuck: str = ""
    #: Why `releaser update` has to run first; empty if it need not.
    not_live: str = ""

    def upgrade(self, *, force: bool) -> Goal:
        """Resolve to the newest versions within the rules. Raises ResolutionError."""
        return decide(self.work, None, force=force, source=Upgrade())


def find_base(work: Workspace, target: Target) -> Base:
    """Return the state of the branch, and whether an upgrade can be proposed on it. Raises ResolutionError."""
    site, branch = work.site, work.site.branch
    work = replace(work, facts=examine_target(work, target)).starting_from(committed_lock(site))
    goal = decide(work, find_rebuild_reason(site, work.facts.choice, work.live), force=False, source=Locked())
    base = Base(work=work)
    if target.commit_on_hold is not None:
        return replace(base, stuck=f"a commit of {branch} is on hold here ({target.commit_on_hold.reason})")
    if goal.failed is not None:
        return replace(base, stuck=f"the lock of {branch} is not live here, because it failed ({goal.failed.reason})")
    if goal.is_new:
        return replace(base, not_live=f"{branch} has changes that are not live here yet. Run `releaser update` first")
    return base


def branch_of(site: Site) -> str:
    """Return the branch for proposals, a different one for each project in a repository."""
    inside = os.path.relpath(site.outside.project.root.resolve(), site.outside.git.layout.top.resolve())
    return "-".join(filter(None, [BRANCH, re.sub(r"[^A-Za-z0-9_]+", "-", inside).strip("-")]))


def _note_stuck(base: Base) -> None:
    """Report once, and record for `status`, why nothing can be proposed on the branch."""
    site, known = base.work.site, read_proposal(base.work.site.state_dir)
    if base.stuck == known.stuck:
        return
    known = replace(known, stuck=base.stuck, branch=branch_of(site))
    if base.stuck:
        advice = "Commit a lock or code that passes. To try this one again, run `releaser update --force`."
        base.work.log.note(Finding("nothing-proposed", known.summary, advice))
    note_proposal(site.state_dir, known)


def plan_propose(site: Site, *, force: bool = False) -> Plan:
    """Say what would be proposed. Raises PreflightError and ResolutionError."""
    _find_live(site)
    try:
        with plan_workspace(site, "propose", force=force, follow=False) as (work, target):
            base = find_base(work, target)
            if why_not := base.stuck or base.not_live:
                return Plan(would=(f"nothing would be proposed: {why_not}",))
            goal, known = base.upgrade(force=force), read_proposal(site.state_dir)
            if not goal.is_new:
                return Plan(would=(NOTHING,))
            if goal.failed is not None and not goal.failed.sick:
                return Plan(would=(explain_no_retry(goal.failed),))
            if _is_same(goal, known):
                return Plan(would=(known.summary,))
            changes = goal.resolution.diff
            names = first_few([f"{change.name} {change.new}" for change in changes])
            what = (
                f"{plural(len(changes), 'package change')} would be tested and proposed on {branch_of(site)}: {names}"
            )
            return Plan(would=(what,), changes=changes)
    except DeviationError as error:
        return Plan(would=foresee_refusal(site.state_dir, "propose", error))


def _is_same(goal: Goal, known: Proposal) -> bool:
    """True if the upgrade was proposed before; with --force, it is built and proposed once more."""
    if goal.wanted.force:
        return False
    key = candidate_key(goal.work.site, goal.work.facts, goal.resolution.lock)
    return known.is_of(key, store_of(goal.work.site).get(known.release))


def _propose_upgrade(goal: Goal, why_not: str) -> PipelineResult:
    """Build, test and push an upgrade, unless it was proposed before, or there is a reason `why_not`.

    Commits of others on the branch stay.
    """
    if why_not:
        return PipelineResult(result="no-changes", headline=f"nothing is proposed: {why_not}")
    work = goal.work
    site, log, git = work.site, work.log, work.site.git
    known, remote, branch = read_proposal(site.state_dir), str(git.remote(site.branch)), branch_of(site)
    with log.step("proposal") as step:
        try:
            remote_commit = git.remote_commit(remote, branch) or ""
        except ToolError as error:
            message = f"{remote} does not report the head of {branch}: {error.message}"
            raise BuildError(message, error.advice, output=error.output) from error
        was_pushed = known.pushed
        known = _refresh(replace(known, remote=remote, branch=branch), remote_commit)
        step.says(known.summary or f"{remote}/{branch} does not exist")
    if known.others:
        _leave_to_others(site, known, goal)
        return PipelineResult(result="no-changes", headline=known.summary)
    is_same = _is_same(goal, known)
    if is_same and (known.declined or (known.pushed and was_pushed)):
        note_proposal(site.state_dir, known)
        _keep(site, known.release, "" if known.declined else known.place)
        return PipelineResult(result="no-changes", headline=known.summary)
    if not (is_same and git.has_commit(known.commit)):
        begun = Proposal(remote=remote, branch=branch, at=datetime.now(UTC).isoformat())
        known = _commit(work, make_release(goal), begun, remote_commit)
    _push(work, replace(known, before=remote_commit))
    log.set_releases(store_of(site).get(known.release), work.live)
    log.add(ProposalSection(proposed=known.place))
    headline = f"proposed {known.release} on {known.place}: {plural(known.changes, 'package')} changed"
    close_journal(site, log, f"had {headline}")
    advice = (
        f"To accept it, merge it into {site.branch}: the next update makes it live. To decline it, delete the branch."
    )
    return PipelineResult(result="proposed", headline=headline, advice=advice)


def _keep(site: Site, name: str, place: str) -> None:
    """Keep a release that is proposed at `place` from pruning; an empty place ends that."""
    release = store_of(site).get(name)
    if release is not None and release.state == "candidate":
        store_of(site).record_waiting(release, f"proposed on {place}" if place else "")


def _refresh(known: Proposal, remote_commit: str) -> Proposal:
    """Return the proposal as it is now, by the commit of its branch on the remote; empty for none."""
    if remote_commit and remote_commit not in (known.commit, known.before):
        return replace(known, others=remote_commit)
    if known.others:  # others merged or deleted their commits, which declines no proposal
        return replace(known, others="", pushed=bool(remote_commit) and remote_commit == known.commit)
    is_gone = not remote_commit and known.pushed
    return replace(
        known, pushed=known.pushed or bool(remote_commit and remote_commit == known.commit), declined=is_gone
    )


def _leave_to_others(site: Site, known: Proposal, goal: Goal) -> None:
    """Report once that the branch has commits of other people, as long as these stay."""
    if read_proposal(site.state_dir).others != known.others:
        advice = (
            f"If another site proposes there, run `releaser propose` on one site only. Otherwise merge or delete that"
            f" branch: `git push {known.remote} --delete {known.branch}`."
        )
        goal.work.log.note(Finding("proposal-taken-over", known.summary, advice))
        note_proposal(site.state_dir, known)


def _commit(work: Workspace, release: Release, known: Proposal, remote_commit: str) -> Proposal:
    """Commit the lock of a release on top of its tested commit; no branch of the checkout gets the commit.

    Raises BuildError.
    """
    site, log = work.site, work.log
    renew_tree(site)
    try:
        with log.step("commit") as step:
            replace_file(site.project.lock, read_file(release.lock))
            export = ExportSettings.of(site).requirements_export
            if export:
                export_lock(site, step)
            paths = [os.path.relpath(site.project.lock, site.project.root)]
            paths += [export] if export and not site.git.ignores(export) else []
            site.git.commit_only(paths, commit_message("update", release))
            commit = site.git.commit("HEAD")
            step.says(commit[:12])
        proposal = replace(
            known,
            commit=commit,
            before=remote_commit,
            release=release.id,
            lock_sha256=release.key.lock_sha256,
            changes=len(release.manifest.changes),
        )
        _keep(site, release.id, proposal.place)
        note_proposal(site.state_dir, proposal)  # before the push: after a crash, the commit would seem to be by others
        close_journal(site, log)  # the release stays
    except (ToolError, OSError) as error:
        message = f"the lock could not be committed for {known.branch}: {error}"
        raise BuildError(message, "Check free space and permissions; the next run tries again.") from error
    return proposal


def _push(work: Workspace, known: Proposal) -> None:
    site = work.site
    with work.log.step("push") as step:
        try:
            site.git.push_over(known.remote, known.branch, known.commit, known.before)
        except ToolError as error:
            message = f"{known.branch} could not be pushed to {known.remote}: {error.message}"
            advice = error.advice or _advise_on_rejection(error.output, known)
            raise BuildError(message, advice, output=error.output) from error
        note_proposal(site.state_dir, replace(known, pushed=True))
        step.says(f"{known.remote}/{known.branch}")


def _advise_on_rejection(output: str, known: Proposal) -> str:
    """Return the advice for a remote that refuses a proposal, by the output of git."""
    if f"'refs/heads/{BRANCH.partition('/')[0]}' exists" in output or "refname conflict" in output:
        name = BRANCH.partition("/")[0]
        return f"Rename the branch `{name}` on the remote: git cannot make {known.branch} as long as it exists."
    if "non-fast-forward" in output:
        delete = f"`git push {known.remote} --delete {known.branch}`"
        return f"The remote refuses to replace branches: permit it for {known.branch}, or run {delete} each time."
    return "The next run tries again."
