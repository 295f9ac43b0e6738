"""`releaser propose`: builds and tests tonight's upgrade, and pushes it to a branch of the remote for review."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.checks import find_changes, take_snapshot
from releaser.checkout.files import export_lock
from releaser.checkout.leftovers import mark_tried, renew_tree
from releaser.checkout.publish import SEEN
from releaser.checkout.pull import choose_target, fetch
from releaser.core.run import close_journal
from releaser.errors import (
    BuildError,
    Finding,
    ReleaserError,
    ResolutionError,
    TestsFailedError,
    ToolError,
    refuse,
    refuse_any,
)
from releaser.locks.changes import Change, list_introduced
from releaser.pipelines.decide import decide, explain_no_retry, find_rebuild_reason, refuse_unusable_live
from releaser.pipelines.dry_run import NOTHING, plan_workspace
from releaser.pipelines.preflight import Scope, preflight
from releaser.pipelines.proposal_message import is_signed, sign, write_message
from releaser.pipelines.proposal_parts import Part, list_parts
from releaser.pipelines.recovery import undo_unfinished
from releaser.pipelines.session import PipelineResult, run_session
from releaser.pipelines.update import examine_target, make_release, reason_not_to_build
from releaser.pipelines.workspaces import open_workspace
from releaser.releases.acceptance import DeviationError, foresee_refusal, note_refusals
from releaser.releases.proposal import (
    BRANCH,
    Proposal,
    Proposals,
    ProposalSection,
    note_proposal,
    note_proposals,
    read_proposals,
)
from releaser.releases.proposal_settings import ProposalSettings
from releaser.releases.release import ADOPT, read_versions, refuse_moved
from releaser.releases.store import store_of
from releaser.report import Plan
from releaser.resolution.resolve import candidate_key
from releaser.site.committed import committed_lock
from releaser.site.export_settings import ExportSettings
from releaser.sources.locked import Locked
from releaser.sources.upgrade import Upgrade
from releaser.system.files import read_file, replace_file
from releaser.system.frozen import Frozen, replace
from releaser.system.words import first_few, plural
from releaser.tools.git_state import OURS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from releaser.core.run import Run, Workspace
    from releaser.core.target import Target
    from releaser.pipelines.decide import Goal
    from releaser.pipelines.session import Request
    from releaser.releases.release import Release
    from releaser.report import RunReport
    from releaser.site.site import Site


_SEEN = f"{OURS}proposal"  # the reference to a proposal without a record


def propose(request: Request, *, force: bool = False) -> RunReport:
    """Build and test tonight's upgrade, and push its lock for review. Nothing goes live.

    With `propose = "package"`, each package or group is a proposal by itself. `force` includes candidates that failed
    before, proposes declined upgrades again, and knows no `propose_limit`.
    """
    return run_session(request, partial(_propose, force=force), check=_find_live)


def _propose(run: Run, *, force: bool) -> PipelineResult:
    site, log = run.site, run.log
    refuse_moved(run.store)
    live = _find_live(site)
    known = read_proposals(site.state_dir)
    note_proposals(site.state_dir, replace(known, entries=tuple(_after_merges(known, live))))
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
        return _Round(goal).propose(list_parts(goal))


def _after_merges(known: Proposals, live: Release) -> Iterator[Proposal]:
    """Yield the proposals; of a merged one, only the commit on its branch."""
    versions = read_versions(live)
    for one in known.entries:
        yield one.after_merge() if one.is_merged_into(live, versions) else one


def _find_live(site: Site) -> Release:
    """Return the live release of a site under git that pulls and pushes. Raises PreflightError for any other."""
    message = "`releaser propose` needs a project under git"
    refuse_any(site.require_git(Finding("needs-git", message, "Run `git init`, and add a remote.")))
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


def branch_of(site: Site, name: str = "") -> str:
    """Return the branch for the proposal of a package or a group, different for each project in a repository."""
    inside = os.path.relpath(site.outside.project.root.resolve(), site.outside.git.layout.top.resolve())
    branch = "-".join(filter(None, [BRANCH, re.sub(r"[^A-Za-z0-9_]+", "-", inside).strip("-")]))
    sign = "-" if branch == BRANCH else "--"  # with a dot, git would refuse the branch of a package named `lock`
    return f"{branch}{sign}{name}" if name else branch


def _note_stuck(base: Base) -> None:
    """Report once, and record for `status`, why nothing can be proposed on the branch."""
    site, known = base.work.site, read_proposals(base.work.site.state_dir)
    if base.stuck == known.stuck:
        return
    known = replace(known, stuck=base.stuck, branch=branch_of(site))
    if base.stuck:
        advice = "Commit a lock or code that passes. To try this one again, run `releaser update --force`."
        base.work.log.note(Finding("nothing-proposed", known.blocked, advice))
    note_proposals(site.state_dir, known)


def plan_propose(site: Site, *, force: bool = False) -> Plan:
    """Describe what would be proposed. Raises PreflightError and ResolutionError."""
    _find_live(site)
    try:
        with plan_workspace(site, "propose", force=force, follow=False) as (work, target):
            base = find_base(work, target)
            if why_not := base.stuck or base.not_live:
                return Plan(would=(f"nothing would be proposed: {why_not}",))
            goal = base.upgrade(force=force)
            parts = list_parts(goal)
            if not parts:
                return Plan(would=(NOTHING,))
            would, changes = list[str](), list[Change]()
            for part in parts:
                planned = _plan_part(decide(goal.work, None, force=force, source=part.source), part)
                would += planned.would
                changes += planned.changes
            return Plan(would=tuple(would), changes=tuple(changes))
    except DeviationError as error:
        return Plan(would=foresee_refusal(site.state_dir, "propose", error))


def _plan_part(goal: Goal, part: Part) -> Plan:
    site, named = goal.work.site, f"{part.name}: " if part.name else ""
    if goal.failed is not None and not goal.failed.sick:
        return Plan(would=(f"{named}{explain_no_retry(goal.failed)}",))
    known = read_proposals(site.state_dir).get(part.name) or Proposal()
    if _is_same(goal, known):
        return Plan(would=(known.summary,))
    changes = goal.resolution.diff
    names = first_few([f"{change.name} {change.new}" for change in changes])
    branch, count = branch_of(site, part.name), plural(len(changes), "package change")
    return Plan(would=(f"{count} would be tested and proposed on {branch}: {names}",), changes=changes)


def _is_same(goal: Goal, known: Proposal) -> bool:
    """True if the upgrade was proposed before; with --force, it is built and proposed again."""
    if goal.wanted.force:
        return False
    key = candidate_key(goal.work.site, goal.work.facts, goal.resolution.lock)
    release = store_of(goal.work.site).get(known.release)
    return known.is_of(key, release, list_introduced(goal.resolution.diff))


class _Round:
    """The proposals of one run. Commits of other people on their branches stay."""

    def __init__(self, goal: Goal) -> None:
        self.goal, self.work, self.site, self.log = goal, goal.work, goal.work.site, goal.work.log
        self.git, self.remote = self.site.git, str(self.site.git.remote(self.site.branch))
        self.settings, self.force = ProposalSettings.of(self.site), goal.wanted.force
        #: The commits of the branches on the remote.
        self.heads: dict[str, str] = {}
        self.pushed: list[Proposal] = []
        self.errors: list[ReleaserError] = []
        #: The upgrades that were tested.
        self.changes: list[Change] = []
        #: The number of candidates so far, and the sentences on parts that are not proposed in this run.
        self.builds, self.skipped = 0, list[str]()

    def propose(self, parts: Sequence[Part]) -> PipelineResult:
        """Build, test and push each part, unless it was proposed before, and delete the branches of other proposals."""
        known = read_proposals(self.site.state_dir)
        if not (parts or known.entries):
            return PipelineResult(
                result="no-changes", headline=f"nothing is proposed: {reason_not_to_build(self.goal)}"
            )
        branches = {branch_of(self.site, part.name) for part in parts} | {one.branch for one in known.entries}
        with self.log.step("proposal") as step:
            self.heads = self._ask_for_heads(sorted(branches))
            self._refresh_all(known, parts)
            known = read_proposals(self.site.state_dir)
            step.says(known.summary or f"{plural(len(parts), 'upgrade')} to propose")
        self._delete_stale({part.name for part in parts})
        taken = {one.name for one in known.entries if one.is_open}
        for part in sorted(parts, key=lambda part: part.name not in taken):  # open proposals keep their places
            self._propose_part(part)
        return self._end()

    def _ask_for_heads(self, branches: Sequence[str]) -> dict[str, str]:
        try:
            return self.git.remote_commits(self.remote, branches)
        except ToolError as error:
            message = f"{self.remote} does not report the head of {first_few(branches)}: {error.message}"
            raise BuildError(message, error.advice, output=error.output) from error

    def _refresh_all(self, known: Proposals, parts: Sequence[Part]) -> None:
        """Record the state of all proposals on the remote."""
        entries = {one.name: one for one in known.entries}
        for part in parts:
            one = entries.get(part.name, Proposal(name=part.name))
            branch, target = branch_of(self.site, part.name), self.site.branch
            entries[part.name] = replace(one, remote=self.remote, branch=branch, target=target)
        known_all = [replace(one, before=self._find_lost(one)) for one in entries.values()]
        found = [_refresh(one, self.heads.get(one.branch, "")) for one in known_all]
        for one in found:
            if one.others and one.others != entries[one.name].others:
                self._report_others(one)
            if one.declined:
                _keep(self.site, one.release, "")
        note_proposals(self.site.state_dir, replace(known, entries=tuple(sorted(found, key=lambda one: one.name))))

    def _find_lost(self, one: Proposal) -> str:
        """Return releaser's earlier commit on the branch, which a site without a record of it has on the remote alone.

        So each run of a pipeline goes on with the proposals of the last one, although it starts in a fresh checkout.
        The record also lacks it if its successor was merged before a push.
        """
        if one.commit or self.heads.get(one.branch, one.before) == one.before:
            return one.before
        try:
            commit = self.git.fetch(self.remote, one.branch, into=_SEEN)
        except ToolError:
            return one.before
        return commit if _is_own(self.site, commit) and commit == self.heads[one.branch] else one.before

    def _report_others(self, known: Proposal) -> None:
        """Report once that the branch has commits of other people, as long as these stay."""
        advice = (
            f"If another site proposes there, run `releaser propose` on one site only. Otherwise merge or delete that"
            f" branch: `git push {known.remote} --delete {known.branch}`."
        )
        self.log.note(Finding("proposal-taken-over", known.summary, advice))

    def _delete_stale(self, names: Collection[str]) -> None:
        """Delete the branches that were merged or overtaken, if they have releaser's commit alone."""
        for one in read_proposals(self.site.state_dir).entries:
            if one.name in names:
                continue
            _keep(self.site, one.release, "")
            head = self.heads.get(one.branch, "")
            if one.others and head:  # it was reported; the record ends with the branch
                continue
            if head:  # recorded first: after a kill, a person would seem to have declined it
                note_proposal(self.site.state_dir, replace(one.after_merge(), before=head))
            if head and not self._delete(one, head):
                continue
            known = read_proposals(self.site.state_dir)
            note_proposals(self.site.state_dir, known.without(one.name))

    def _delete(self, stale: Proposal, head: str) -> bool:
        with self.log.step("stale branch") as step:
            try:
                self.git.delete_branch(self.remote, stale.branch, head, is_own=partial(_is_own, self.site))
            except ToolError as error:
                step.warns(f"{stale.place} is not deleted: {error.message}")
                return False
            step.says(f"deleted {stale.place}, which is merged or overtaken")
        return True

    def _propose_part(self, part: Part) -> None:
        """Build, test and push one part; failed tests, a failed build or a refused push leave the others."""
        try:
            self._try_part(part)
        except (BuildError, ResolutionError, TestsFailedError) as error:
            if not part.name:
                raise
            undo_unfinished(self.site.outside, self.log)
            self.errors.append(error)

    def _try_part(self, part: Part) -> None:
        known = self._record(part)
        if known.others:
            self.skipped.append(known.summary)
            return
        if self.builds:
            self._clean_tree()
        goal = self.goal if part.source is self.goal.source else self._decide(part)
        if why_not := reason_not_to_build(goal):
            self._record(part, failed=goal.failed.reason if goal.failed is not None else "")
            self.skipped.append(f"nothing is proposed: {why_not}")
            return
        is_same = _is_same(goal, known)
        if is_same and (known.declined or (known.pushed and self._has_branch(known))):
            _keep(self.site, known.release, "" if known.declined else known.place)
            self.skipped.append(known.summary)
            return
        if waits := self._find_wait(part, known):
            self._record(part, waits=waits)
            self.skipped.append(f"{part.name} waits, as {waits}")
            return
        if not (is_same and self.git.has_commit(known.commit)):
            release = self._build(goal, part)
            begun = Proposal(name=part.name, remote=self.remote, branch=known.branch, target=self.site.branch)
            begun = replace(begun, at=datetime.now(UTC).isoformat())
            _keep(self.site, known.release, "")
            known = _commit(self.work, release, begun, self.heads.get(known.branch, ""))
        _push(self.work, replace(known, before=self.heads.get(known.branch, "")))
        known = replace(known, pushed=True)
        self.pushed.append(known)
        found = store_of(self.site).get(known.release)
        self.changes += found.manifest.changes if found is not None else ()

    def _decide(self, part: Part) -> Goal:
        return decide(self.work, None, force=self.force, source=part.source)

    def _has_branch(self, known: Proposal) -> bool:
        return self.heads.get(known.branch) == known.commit

    def _record(self, part: Part, *, failed: str = "", waits: str = "") -> Proposal:
        """Record why a part is not proposed, if it is not, and return its proposal."""
        known = read_proposals(self.site.state_dir).get(part.name) or Proposal(name=part.name)
        known = replace(known, failed=failed, waits=waits)
        note_proposal(self.site.state_dir, known)
        return known

    def _find_wait(self, part: Part, known: Proposal) -> str:
        """Return why a part is not built in this run; empty if it is. The only part never waits."""
        if not part.name or self.force:
            return ""
        known_all = read_proposals(self.site.state_dir).entries  # the remote refused those that are not pushed by now
        opened = [one for one in known_all if one.is_open and one.pushed and one.name != part.name]
        if not known.is_open and not self.settings.allows(len(opened)):
            return f"`propose_limit` permits {plural(len(opened), 'open proposal')}"
        if not self.settings.allows(self.builds):
            return f"`propose_limit` permits {plural(self.builds, 'test run')} a night"
        return ""

    def _clean_tree(self) -> None:
        """Make a new staging tree, without the commit of the last part."""
        mark_tried(self.site)
        renew_tree(self.site)

    def _build(self, goal: Goal, part: Part) -> Release:
        """Build and test a release. Raises BuildError, ResolutionError and TestsFailedError."""
        self.builds += 1
        try:
            return make_release(goal)
        except (BuildError, ResolutionError, TestsFailedError) as error:
            if part.name:
                self.changes += goal.resolution.diff
                self._record(part, failed=self.log.clean(error.message))
            raise

    def _end(self) -> PipelineResult:
        """Return the result; raises the first failure if nothing was proposed."""
        work, known = self.work, read_proposals(self.site.state_dir)
        if self.pushed:
            self.log.set_releases(store_of(self.site).get(self.pushed[-1].release), work.live)
        elif self.errors:
            first, *self.errors = self.errors
            self._note_errors()
            raise first
        else:
            return PipelineResult(result="no-changes", headline="; ".join(self.skipped) or "nothing is proposed")
        self._note_errors()
        facts = tuple(filter(None, (one.facts for one in known.entries)))
        self.log.add(ProposalSection(proposed=", ".join(one.place for one in self.pushed), proposals=facts))
        self.log.learn(blame="")
        if len(self.pushed) == 1:
            (one,) = self.pushed
            headline = f"proposed {one.release} on {one.place}: {plural(one.changes, 'package')} changed"
        else:
            self.log.learn(changes=tuple(self.changes))
            headline = f"proposed {len(self.pushed)} upgrades: {first_few([one.name for one in self.pushed])}"
        if count := len(self.errors):
            headline += f"; {plural(count, 'upgrade')} failed"
        close_journal(self.site, self.log, f"had {headline}")
        one_or_all = "it" if len(self.pushed) == 1 else "one"
        advice = (
            f"To accept {one_or_all}, merge it into {self.site.branch}: the next update makes it live. To decline"
            f" {one_or_all}, delete the branch."
        )
        return PipelineResult(result="proposed", headline=headline, advice=advice)

    def _note_errors(self) -> None:
        for error in self.errors:
            self.log.note_failure(error, follow_up=False)


def _keep(site: Site, name: str, place: str) -> None:
    """Keep a release that is proposed at `place` from pruning; an empty place ends that."""
    release = store_of(site).get(name)
    if release is not None and release.state == "candidate":
        store_of(site).record_reserved(release, f"proposed on {place}" if place else "")


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
            tree = site.git.stage(paths)
            site.git.commit_only(paths, sign(write_message(site, log, release, name=known.name), tree))
            commit = site.git.commit("HEAD")
            if _is_same_commit(site, commit, remote_commit):
                commit = remote_commit
            step.says(commit[:12])
        proposal = replace(
            known,
            commit=commit,
            before=remote_commit,
            release=release.id,
            lock_sha256=release.key.lock_sha256,
            versions=list_introduced(release.manifest.changes),
            changes=len(release.manifest.changes),
        )
        _keep(site, release.id, proposal.place)
        note_proposal(site.state_dir, proposal)  # before the push: after a crash, the commit would seem to be by others
        close_journal(site, log)  # the release stays
    except (ToolError, OSError) as error:
        message = f"the lock could not be committed for {known.branch}: {error}"
        raise BuildError(message, "Check free space and permissions; the next run tries again.") from error
    return proposal


def _is_same_commit(site: Site, commit: str, remote_commit: str) -> bool:
    """True if the remote has a commit with these files on top of the same commit: pushing another one has no use."""
    if not remote_commit or not site.git.has_commit(remote_commit):
        return False
    return site.git.tree_and_parents(commit) == site.git.tree_and_parents(remote_commit)


def _push(work: Workspace, known: Proposal) -> None:
    site = work.site
    with work.log.step("push") as step:
        try:
            is_own = partial(_is_own, site)
            site.git.push_over(known.remote, known.branch, known.commit, known.before, is_own=is_own)
        except ToolError as error:
            message = f"{known.branch} could not be pushed to {known.remote}: {error.message}"
            advice = _advise_on_rejection(error.output, known) or error.advice or "The next run tries again."
            raise BuildError(message, advice, output=error.output) from error
        note_proposal(site.state_dir, replace(known, pushed=True))
        step.says(f"{known.remote}/{known.branch}")


def _is_own(site: Site, commit: str) -> bool:
    """True if releaser made this commit of a proposal, on any host."""
    try:
        return is_signed(site.git.message(commit), site.git.tree_and_parents(commit)[0])
    except ToolError:
        return False


def _advise_on_rejection(output: str, known: Proposal) -> str:
    """Return the advice for a remote that refuses a proposal, by the output of git; empty without any."""
    if f"'refs/heads/{BRANCH.partition('/')[0]}' exists" in output or "refname conflict" in output:
        name = BRANCH.partition("/")[0]
        return f"Rename the branch `{name}` on the remote: git cannot create {known.branch} while it exists."
    if any(line.startswith("!") and "non-fast-forward" in line for line in output.splitlines()):  # hooks say anything
        delete = f"`git push {known.remote} --delete {known.branch}`"
        return f"The remote refuses to replace branches: allow it for {known.branch}, or run {delete} each time."
    return "The next run tries again."
