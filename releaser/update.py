"""The main job: resolve, build, test, flip, and see that the site runs on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import PreflightError, ReleaserError, Unfit
from releaser.golive import go_live
from releaser.latest import on_the_latest
from releaser.project.chosen import chosen
from releaser.project.findings import Findings
from releaser.project.preflight import Fitness, check
from releaser.project.static import asks_django, check_static_files
from releaser.recovery import undo_unfinished, undone_on_failure
from releaser.releases.soundness import is_dead
from releaser.releases.whereabouts import refuse_moved
from releaser.report.capping import one_line
from releaser.report.outcome import Problem
from releaser.steps.adopt import adopt, found_at
from releaser.steps.build import seal
from releaser.steps.capacity import look_for_room, needs
from releaser.steps.culprits import build_and_test
from releaser.steps.deciding import choose_following, decide, why_not_again
from releaser.steps.fixes import audit_live, look_at_what_is_held, with_fixes
from releaser.steps.gate import is_well_again, tree_of_live
from releaser.steps.guard import Basis, basis_after_own_acts, read_basis
from releaser.steps.left_behind import note_left_behind
from releaser.steps.litter import known_litter
from releaser.steps.live_health import check_live_site
from releaser.steps.live_tests import try_live_release
from releaser.steps.migrations import look_at_migrations
from releaser.steps.move import follow_quietly
from releaser.steps.publish import files_due, publish_lock, push_is_due, push_what_is_due, put_lock_back
from releaser.steps.pull import Target, choose_target, fetch, lacks
from releaser.steps.renewal import Renewal, due_for_pin, due_to_renew, note_flaw, tell_moved
from releaser.steps.resolve import candidate_key
from releaser.steps.settle import look_before, settle_what_failed
from releaser.steps.staging import staging_tree
from releaser.steps.static import collect_ahead
from releaser.steps.unseen import refuse_unseen

if TYPE_CHECKING:
    from releaser.releases.quarantine import FailedCandidate
    from releaser.releases.release import Release
    from releaser.report.outcome import RunReport
    from releaser.report.recorder import Step
    from releaser.run import Run
    from releaser.steps.deciding import Decision

_LONGEST_REASON = 200  # characters
_MOST_COMMITS = 100  # in a report


def update(request: Request, *, force: bool = False, follow: bool = False) -> RunReport:
    """Bring the site to the newest code and packages that pass its tests.

    `force` tries quarantined ones again; `follow` takes a remote branch that was moved back or rewritten as it is.
    """
    return conduct(request, lambda run: _update(run, force=force, follow=follow))


def _update(run: Run, *, force: bool, follow: bool) -> Ending:
    refuse_moved(run.store)
    refuse_unseen(run.store.live())
    settle_what_failed(run)
    basis = read_basis(run.site)
    fitness = preflight(run, ask_django=False)
    theirs = fetch(run, fitness, follow=follow)
    refuse_moved(run.store)  # again, as the remote may have taken long to answer
    adopted = found_at(run) != "adopted" and adopt(run, fitness) is not None
    run.draft.chosen = chosen(run.site, lock=fitness.lock) if adopted else ()
    fitness = retry_follow_ups(run, fitness, theirs)
    basis = basis_after_own_acts(run, basis, adopted=adopted)
    target = choose_target(run, basis, fitness, theirs, force=force, follow=follow)
    live, before = run.store.live(), fitness
    note_target(run, target)
    collected = False
    with undone_on_failure(run), staging_tree(run, target.commit) as staged:
        fitness = examine_target(staged, fitness, target)
        due = due_to_renew(staged) or due_for_pin(staged, fitness, live)
        moved, decision = on_the_latest(staged, fitness, live, force=force) if due is None else None, None
        made: Release | Ending | None = moved
        if made is None:
            decision = decide(staged, fitness, live, due, force=force)
            made = _made(staged, fitness, due, decision, before=before, adopted=adopted, force=force)
        if isinstance(made, Ending):
            made = _with_live_tests(staged, before, made)
        else:
            look_before(staged, made.venv)
            collected = target.moves and collect_ahead(staged, made)
    if isinstance(made, Ending):
        _follow(run, target, basis, decision)
        return made
    if due is not None:
        run.draft.rebuilt = due.reason
    elif moved is not None and live is not None:
        run.draft.rebuilt = f"from Python {live.manifest.python} to {moved.manifest.python}, as `python` is latest"
    tell_moved(run, fitness, made.manifest.python)
    headline = _headline(run, made, due, live)
    go_live(run, made, target, basis, collected=collected)
    return Ending(result="activated", headline=headline)


def _with_live_tests(run: Run, fitness: Fitness, ending: Ending) -> Ending:
    """Look after what is live on a night without anything newer. Raises TestsFailedError if its tests turn red."""
    if run.site.settings.test_live == "always":
        with tree_of_live(run) as tree:
            red = try_live_release(tree, fitness)
    else:
        red = try_live_release(run, fitness)
    if red is None:
        return ending
    failing = f"the tests of {red.release} have been failing since {red.since[:10]}"
    return replace(ending, headline=f"{ending.headline}; {failing}")


def note_target(run: Run, target: Target) -> None:
    """Let the report have the commits that are to come in, the newest first."""
    run.draft.pulled = target.pulled
    run.draft.commits = run.site.git.commits(target.head, target.commit)[:_MOST_COMMITS] if target.moves else ()


def _follow(run: Run, target: Target, basis: Basis, decision: Decision | None) -> None:
    """Follow commits that bring neither code nor packages; nobody needs to hear of it."""
    live = run.store.live()
    following = choose_following(run, target, decision, live)
    if live is None or following == "stays" or run.draft.problems or read_basis(run.site) != basis:
        return
    if target.moves:
        follow_quietly(run, target)
    if following == "restores":
        put_lock_back(run, live)


def examine_target(staged: Run, fitness: Fitness, target: Target) -> Fitness:
    """Check the code that is to go live as it is in the staging tree, with its own settings. Raises PreflightError."""
    if not target.moves:
        return fitness
    with staged.recorder.step("preflight") as step:
        live = staged.store.live()
        try:
            found = check(
                staged.site, needs=needs(staged.site, staged.store, live), checkout=fitness.checkout,
                ask_django=target.brings_code,
            )  # fmt: skip
        except PreflightError as error:
            raise _of_commit(staged, target, error) from error
        _tell_unknown(step, found.unknown)
    return found


def _of_commit(staged: Run, target: Target, error: PreflightError) -> PreflightError:
    """Say of findings in the staging tree in which commit they are, and name files as in the checkout."""
    project = staged.site.project

    def named(text: str) -> str:
        return text.replace(str(project.root), str(project.checkout))

    return PreflightError(
        tuple(
            Unfit(f"commit {target.commit[:12]}: {named(one.message)}", advice=named(one.advice), output=one.output)
            for one in error.problems
        )
    )


def _made(
    run: Run,
    fitness: Fitness,
    due: Renewal | None,
    decision: Decision,
    *,
    before: Fitness,
    adopted: bool,
    force: bool,
) -> Release | Ending:
    """Build, test and seal the release that is to go live, or say why there is none."""
    live, failed = run.store.live(), decision.failed
    run.draft.held_back = decision.resolution.held_back
    if decision.outcome == "nothing":
        look_at_what_is_held(run, fitness, live)
        return _nothing_to_do(run, live, adopted=adopted)
    refused = decision.outcome == "failed" or (decision.outcome == "unsure" and not is_well_again(run, before))
    if failed is not None and refused:
        return _no_use(run, fitness, failed, due)
    check_live_site(run.outside, due, force=force)
    if run.draft.pulled is None:  # else this has been done, as the code has changed
        ask_django(run)
    if due is not None:
        note_flaw(run, due)

    try:
        return _sealed(run, fitness, decision, before=before)
    except ReleaserError as error:
        _tell_dead(run, due, error.message)
        raise


def _sealed(run: Run, fitness: Fitness, decision: Decision, *, before: Fitness) -> Release:
    live, resolution = run.store.live(), decision.resolution
    look_for_room(run, fitness, resolution, live)
    audit_live(run, fitness, live)
    run.draft.changes = resolution.diff.changes
    key = candidate_key(run, fitness, resolution.lock)
    candidate = build_and_test(run, fitness, resolution, key, before=before, again=decision.again)
    candidate = with_fixes(run, fitness, candidate)
    look_at_migrations(run, candidate)
    return seal(run, candidate, tests="passed")


def _no_use(run: Run, fitness: Fitness, failed: FailedCandidate, due: Renewal | None) -> Ending:
    """End a run that could only build what has failed before; that nothing can run on what is live is always said.

    Where that is but another Python, to which the site does not move, all else is looked after.
    """
    live = run.store.live()
    undo_unfinished(run)
    run.about(live, None)
    if due is not None and due.blameless:
        look_at_what_is_held(run, fitness, live)
    note_left_behind(run)
    _tell_dead(run, due, failed.reason)
    return Ending(result="unchanged", headline=why_not_again(failed))


def _tell_dead(run: Run, due: Renewal | None, reason: str) -> None:
    """Report, where what is to take its place has failed, that nothing can run on what is live."""
    if due is None or not is_dead(due.release):
        return
    message = f"nothing can run on the live release {due.release.id}: {due.reason}"
    advice = f"What would take its place has failed ({reason}); fix that, or `releaser rebuild`."
    run.draft.problems.append(Problem(message=message, advice=advice))


def _nothing_to_do(run: Run, live: Release | None, *, adopted: bool) -> Ending:
    run.about(live, None)
    note_left_behind(run)
    if adopted:  # nobody asked for it in so many words, so it must be said
        return Ending(result="activated", headline="the project is adopted; everything is up to date")
    return Ending(result="unchanged", headline="everything is up to date")


def _headline(run: Run, release: Release, due: Renewal | None, live: Release | None) -> str:
    count = len(run.draft.changes)
    what = f"{count} {'package' if count == 1 else 'packages'} changed" if count else "no package changed"
    pulled = run.draft.pulled
    with_commits = f", {pulled.count} new {'commit' if pulled.count == 1 else 'commits'}" if pulled else ""
    if run.draft.culprits:
        what += f", {len(run.draft.culprits)} held back as the tests fail with {_them(run)}"
    if due is not None and due.blameless:
        return f"rebuilt {due.release.id} as {release.id}, as {due.reason}: {what}{with_commits}"
    if due is not None:
        why = one_line(due.reason, limit=_LONGEST_REASON)
        return f"built {release.id} in place of {due.release.id}, which was damaged ({why}): {what}{with_commits}"
    if live is not None and run.draft.rebuilt is not None:
        return f"rebuilt {live.id} as {release.id}, {run.draft.rebuilt}"
    return f"updated to {release.id}: {what}{with_commits}"


def _them(run: Run) -> str:
    return f"{'it' if len(run.draft.culprits) == 1 else 'them'} ({', '.join(run.draft.culprits)})"


def preflight(run: Run, *, ask_django: bool = True, python: str | None = None) -> Fitness:
    """Check everything, with the room that another release of the live one's size takes; `python` is as of `check`.

    To start the site's Django would take most of a night without anything new, so an update asks it later.
    """
    with run.recorder.step("preflight") as step:
        live = run.store.live()
        fitness = check(
            run.site,
            needs=needs(run.site, run.store, live),
            pending=files_due(run.site, live),
            litter=known_litter(run.site.project.state_dir),
            ask_django=ask_django,
            python=python,
        )
        _tell_unknown(step, fitness.unknown)
    if run.untracked_before is None:
        run.untracked_before = frozenset(fitness.state.untracked)
    return fitness


def ask_django(run: Run) -> None:
    """See that static files can be collected, now that there is something to do. Raises PreflightError."""
    if not asks_django(run.site):
        return
    with run.recorder.step("static files") as step:
        findings = Findings()
        _tell_unknown(step, check_static_files(run.site, findings))
        if findings.problems:
            raise PreflightError(tuple(findings.problems))


def _tell_unknown(step: Step, reason: str) -> None:
    if reason:
        step.warns(reason)


def retry_follow_ups(run: Run, fitness: Fitness, theirs: str | None) -> Fitness:
    """Commit and push what an earlier run could not, before anything is built on top of it.

    Nothing is pushed while the remote (at `theirs`) has commits that are not here: it would refuse.
    """
    live = run.store.live()
    due = files_due(run.site, live)
    may_push = theirs is None or not lacks(run, theirs)
    if live is not None and due & {*fitness.state.dirty, *fitness.state.untracked}:
        publish_lock(run, live, command="update", pushes=may_push)
        return replace(fitness, state=run.site.git.state())
    if may_push and push_is_due(run):
        push_what_is_due(run)
    return fitness
