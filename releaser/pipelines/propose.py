"""`publish = "branch"`: what an upgrade brings is tested, and proposed on a branch of the remote for review."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.checkout.files import export_lock
from releaser.checkout.leftovers import renew_tree
from releaser.checkout.publish import SEEN, commit_message
from releaser.errors import (
    BuildError,
    Finding,
    FollowUpError,
    MigrationsError,
    PreflightError,
    ResolutionError,
    TestsFailedError,
    ToolError,
)
from releaser.pipelines.decide import decide
from releaser.pipelines.recovery import undo_unfinished
from releaser.pipelines.session import PipelineResult
from releaser.releases.acceptance import BRANCH, Proposal, note_proposal, read_proposal
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key
from releaser.run import close_journal
from releaser.sources.upgrade import Upgrade
from releaser.system.files import read_file, replace_file
from releaser.system.words import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.checkout.pull import Target
    from releaser.pipelines.decide import Goal
    from releaser.releases.release import Release
    from releaser.run import Run, Workspace
    from releaser.site.site import Site


def follow_and_propose(run: Run, update: Callable[[Run], PipelineResult]) -> PipelineResult:
    """Update; where that made live what the branch has, look for upgrades to propose, which takes nothing back.

    Nothing else goes live in this run. After a step that failed, the next update looks for them.
    """
    result = update(run)
    if result.result != "activated" or not run.site.settings.proposes or run.log.learned.follow_up_failed:
        return result
    learned, proposed = run.log.learned, None
    try:
        run.site, run.only_proposes = run.site.reread(), True  # its settings may have come in just now
        update(run)
        proposed = run.log.learned.proposed
    except (PreflightError, ResolutionError, BuildError, TestsFailedError, MigrationsError) as error:
        undo_unfinished(run.site, run.log)
        message = f"nothing is proposed on {branch_of(run.site)}: {error.message}"
        run.log.note_failure(FollowUpError(message, advice=error.advice, output=error.output))
    failed = run.log.learned.follow_up_failed
    run.log.learned = replace(learned, proposed=proposed, follow_up_failed=failed)
    return replace(result, headline=f"{result.headline}; upgrades proposed on {proposed}") if proposed else result


def branch_of(site: Site) -> str:
    """Name the branch that upgrades are proposed on: each project in a directory of a repository has its own."""
    inside = os.path.relpath(site.outside.project.root.resolve(), site.outside.git.layout.top.resolve())
    return "-".join(filter(None, [BRANCH, re.sub(r"[^A-Za-z0-9_]+", "-", inside).strip("-")]))


def with_proposal(
    goal: Goal,
    result: PipelineResult,
    target: Target,
    *,
    why_not: Callable[[Goal], str],
    make: Callable[[Goal], Release],
) -> PipelineResult:
    """Propose upgrades, if the site does so and runs on what the remote has; return how the run ends.

    Raises what building and testing raise, and BuildError.
    """
    site, known = goal.work.site, read_proposal(goal.work.site.state_dir)
    if not site.settings.proposes or (reason := _why_stuck(goal, target, known)) or goal.outcome != "nothing":
        return result
    if target.commit != site.outside.git.reference(SEEN):
        reason = f"nothing is proposed, as the remote does not have commit {target.commit[:12]} yet"
        return replace(result, headline=f"{result.headline}; {reason}")
    upgraded = decide_upgrade(goal)
    work = upgraded.work
    work.log.learn(held_back=upgraded.resolution.held_back)
    if upgraded.outcome == "nothing":
        key = candidate_key(work.site, work.facts, upgraded.resolution.lock)
        if known.commit and known.lock_sha256 == key.lock_sha256 and not work.only:
            note_proposal(site.state_dir, replace(known, done=True, others="", stuck=""))
        return result
    reason = why_not(upgraded)
    if reason:
        return replace(result, headline=f"{result.headline}; {reason}")
    return _propose(upgraded, result, make)


def _why_stuck(goal: Goal, target: Target, known: Proposal) -> str:
    """Say once, and note, why nothing can be proposed on top of what the branch has; empty if something can."""
    work, reason = goal.work, ""
    if target.rejected is not None:
        reason = f"a commit of {work.site.settings.branch} was rejected here ({target.rejected.reason})"
    elif goal.failed is not None and goal.outcome in ("failed", "unsure"):
        reason = f"the lock that {work.site.settings.branch} has is not live, as it failed ({goal.failed.reason})"
    if reason != known.stuck:
        stuck = replace(known, stuck=reason, branch=branch_of(work.site))
        if reason:
            advice = "Commit a lock or code that passes, or try this one again: `releaser update --force`."
            work.log.note(Finding(stuck.said, advice=advice))
        note_proposal(work.site.state_dir, stuck)
    return reason


def decide_upgrade(goal: Goal) -> Goal:
    """Decide what is built to be proposed, where the lock that the branch has is live. Raises ResolutionError."""
    work = replace(goal.work, facts=replace(goal.work.facts, lock=goal.resolution.lock))
    return decide(work, None, force=goal.force, source=Upgrade())


def foresee_proposal(goal: Goal) -> tuple[str, ...]:
    """Say what a run would propose; empty for nothing. Raises ResolutionError."""
    site = goal.work.site.outside
    if goal.outcome != "nothing" or not site.settings.proposes:
        return ()
    upgraded = decide_upgrade(goal)
    known = read_proposal(site.state_dir)
    key = candidate_key(upgraded.work.site, upgraded.work.facts, upgraded.resolution.lock)
    if upgraded.outcome == "nothing" or (known.is_of(key) and not goal.force):
        return tuple(filter(None, [known.said])) if upgraded.outcome != "nothing" else ()
    changes = upgraded.resolution.diff
    names = first_few([f"{one.name} {one.new}" for one in changes])
    return (f"{plural(len(changes), 'package change')} would be tested and proposed on {branch_of(site)}: {names}",)


def _propose(goal: Goal, result: PipelineResult, make: Callable[[Goal], Release]) -> PipelineResult:
    """Build, test and push what an upgrade brings, unless it was proposed before.

    What somebody else has put on the branch stays. Nothing goes live.
    """
    work = goal.work
    site, log, git = work.site, work.log, work.site.git
    known, remote, branch = read_proposal(site.state_dir), str(git.remote(site.settings.branch)), branch_of(site)
    key = candidate_key(site, work.facts, goal.resolution.lock)
    with log.step("proposal") as step:
        try:
            there = git.remote_commit(remote, branch) or ""
        except ToolError as error:
            message = f"{remote} cannot be asked for {branch}: {error.message}"
            raise BuildError(message, advice=error.advice, output=error.output) from error
        known = _as_it_stands(replace(known, remote=remote, branch=branch), there)
        step.says(known.said or f"nothing is on {remote}/{branch}")
    if known.others:
        _leave_to_others(site, known, goal)
        return result
    is_same = known.is_of(key) and not goal.force
    if is_same and (known.declined or (known.pushed and read_proposal(site.state_dir).pushed)):
        note_proposal(site.state_dir, known)
        return replace(result, headline=f"{result.headline}; {known.said}")
    if not (is_same and git.has(known.commit)):
        begun = Proposal(remote=remote, branch=branch, at=datetime.now(UTC).isoformat())
        known = _commit(work, make(goal), begun, there)
    _push(work, replace(known, before=there))
    log.about(store_of(site).get(known.release), work.live)
    log.learn(proposed=f"{remote}/{branch}")
    headline = f"proposed {known.release} on {remote}/{branch}: {plural(known.changes, 'package')} changed"
    close_journal(site, log, f"had {headline}")
    advice = f"Merge it into {site.settings.branch}: the next update makes it live. To decline it, delete the branch."
    return PipelineResult(result="proposed", headline=headline, advice=advice)


def _as_it_stands(known: Proposal, there: str) -> Proposal:
    """Say what became of a proposal, by the commit that the remote has on the branch; empty for none."""
    if there and there not in (known.commit, known.before):
        return replace(known, others=there)
    if known.others:  # they were asked to merge or delete it, which says nothing of what was proposed
        return replace(known, others="", pushed=bool(there) and there == known.commit)
    is_gone = not there and known.pushed and not known.done
    return replace(known, pushed=known.pushed or bool(there and there == known.commit), declined=is_gone)


def _leave_to_others(site: Site, known: Proposal, goal: Goal) -> None:
    """Say once that the branch is somebody else's now, as long as that is there."""
    if read_proposal(site.state_dir).others != known.others:
        advice = (
            f"If another site proposes there, let only one have `publish`. Otherwise merge or delete that branch:"
            f" `git push {known.remote} --delete {known.branch}`."
        )
        goal.work.log.note(Finding(known.said, advice=advice))
        note_proposal(site.state_dir, known)


def _commit(work: Workspace, release: Release, known: Proposal, there: str) -> Proposal:
    """Commit the lock of a release on top of the commit that it was tested with; nothing else gets a reference to it.

    Raises BuildError.
    """
    site, log = work.site, work.log
    renew_tree(site)
    try:
        with log.step("commit") as step:
            replace_file(site.project.lock, read_file(release.lock))
            export = site.settings.requirements_export
            if export:
                export_lock(site, step)
            paths = [os.path.relpath(site.project.lock, site.project.root)]
            paths += [export] if export and not site.git.ignores(export) else []
            site.git.commit_only(paths, commit_message("update", release))
            commit = site.git.commit("HEAD")
            step.says(commit[:12])
        key = candidate_key(site, work.facts, release.locked)
        made = replace(
            known,
            commit=commit,
            before=there,
            release=release.id,
            lock_sha256=key.lock_sha256,
            code_key=key.code_key,
            python=key.python,
            group=key.group,
            changes=len(release.manifest.changes),
        )
        note_proposal(site.state_dir, made)  # before it is pushed, as it would be somebody else's after a crash
        close_journal(site, log)  # the release stays
    except (ToolError, OSError) as error:
        message = f"the lock could not be committed for {known.branch}: {error}"
        raise BuildError(message, advice="Check free space and permissions; the next update tries again.") from error
    return made


def _push(work: Workspace, known: Proposal) -> None:
    site = work.site
    with work.log.step("push") as step:
        try:
            site.git.push_over(known.remote, known.branch, known.commit, known.before)
        except ToolError as error:
            message = f"{known.branch} could not be pushed to {known.remote}: {error.message}"
            advice = error.advice or _what_helps(error.output, known)
            raise BuildError(message, advice=advice, output=error.output) from error
        note_proposal(site.state_dir, replace(known, pushed=True))
        step.says(f"{known.remote}/{known.branch}")


def _what_helps(output: str, known: Proposal) -> str:
    """Return what to do where a remote takes no proposal, by what git has printed."""
    if f"'refs/heads/{BRANCH.partition('/')[0]}' exists" in output or "refname conflict" in output:
        name = BRANCH.partition("/")[0]
        return f"The remote has a branch `{name}`, next to which git cannot make {known.branch}: rename it there."
    if "non-fast-forward" in output:
        delete = f"`git push {known.remote} --delete {known.branch}`"
        return f"The remote refuses to replace branches: allow it for {known.branch}, or delete it each time: {delete}."
    return "The next update tries again."
