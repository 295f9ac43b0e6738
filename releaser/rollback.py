"""Going back, or forward, to a release that is there already: instant, as nothing is built."""

from __future__ import annotations

import itertools
import logging
import re
from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import BuildError, NoSuchReleaseError, PreflightError, ToolError, Unfit
from releaser.golive import go_live
from releaser.locking.diff import LockDiff
from releaser.project import disk, serving
from releaser.project.checkout import lock_findings
from releaser.queries import without_python
from releaser.recovery import undone_on_failure
from releaser.releases.soundness import damage
from releaser.releases.whereabouts import moved_by_hand, refuse_moved
from releaser.report.outcome import Problem
from releaser.run import problem_of
from releaser.steps.activate import link_text
from releaser.steps.adopt import take_in
from releaser.steps.code import code_of_release, has_other_code
from releaser.steps.gate import smoke_test
from releaser.steps.migrations import migrations_of_live, tell_applied_migrations
from releaser.steps.pull import Target
from releaser.steps.resolve import lock_of, own_files
from releaser.steps.settle import look_before
from releaser.steps.staging import staging_tree
from releaser.steps.static import collect_ahead
from releaser.tools.django import is_django

if TYPE_CHECKING:
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.releases.soundness import Damage
    from releaser.releases.store import ReleaseStore
    from releaser.report.outcome import RunReport
    from releaser.run import Run

log = logging.getLogger(__name__)

# Settings that say where releases lie, as findings name them.
_PLACES = re.compile(r"releaser[._](state_dir|venv)\b", re.IGNORECASE)


def rollback(request: Request, *, to: str | None = None, force: bool = False, keep_code: bool = False) -> RunReport:
    """Flip to release `to`, or to the last good one before the live one, with the commit that it was tested with.

    `keep_code` leaves the code as it is. `force` accepts other dependencies, and stays whatever fails after the flip.
    """
    return conduct(request, lambda run: _rollback(run, to=to, force=force, keep_code=keep_code))


def _rollback(run: Run, *, to: str | None, force: bool, keep_code: bool) -> Ending:
    if to is None:
        refuse_moved(run.store)
    link = link_text(run.site.project.venv)
    live, moved = run.store.live(), moved_by_hand(run.store)
    try:
        target = choose(run.store, to)
    except NoSuchReleaseError:
        _say_what_brings_it_back(run, live)
        raise
    run.about(target, live)
    run.draft.problems += [] if to else passed_over(run.store, target)
    if live is not None and target.id == live.id and moved is None:
        return Ending(result="unchanged", headline=f"{target.id} is live already")
    with run.recorder.step("preflight"):
        if problems := tuple(lock_findings(run.site)):
            raise PreflightError(problems)
        code = _code_of(run, target, keep_code=keep_code)
        others = refuse_unwise(run.site, target, force=force or code.moves)
        run.draft.problems += map(problem_of, others)
        left = migrations_of_live(run)
    if code.moves:
        _refuse_unrestartable(run)
    else:
        look_before(run, target.venv)
    run.draft.changes = LockDiff.between(lock_of(live), lock_of(target)).changes
    if moved is not None and not run.site.project.venv.is_symlink():
        take_in(run)
        link = link_text(run.site.project.venv)
    with undone_on_failure(run):
        collected = code.moves and _collect_ahead(run, target, code)
    go_live(run, target, code, None, stays=force, link=link, collected=collected)
    tell_applied_migrations(run, target, left)
    return Ending(result="activated", headline=_headline(run, target, live, code))


def _code_of(run: Run, target: Release, *, keep_code: bool) -> Target:
    """Return the commit to go back to with a release. Where git does not work, only the packages go back."""
    try:
        if not keep_code:
            code = code_of_release(run.site, target)
            if code.moves:
                _refuse_edits(run, code)
                run.site.git.keep(code.head)  # nothing that was committed is lost
            return code
        head = run.site.git.commit("HEAD")
        if has_other_code(run.site, target):
            message = f"the code stays at {head[:12]}: it was never tested with the packages of {target.id}"
            run.draft.problems.append(Problem(message=message, advice="Look at the site; `releaser update` tests it."))
        return Target(head=head, commit=head)
    except ToolError as error:
        run.note_problem(error)
        return Target(head="", commit="")


def _refuse_edits(run: Run, code: Target) -> None:
    """See that no uncommitted edit is in the way of the code of the earlier release. Raises PreflightError."""
    own = own_files(run.site, run.site.git.layout.top)
    edited = [path for path in run.site.git.edited(code.head, code.commit) if path not in own]
    if edited:
        message = f"{', '.join(edited)} in the checkout was edited, and {code.commit[:12]} has another one"
        advice = "Commit or `git stash` that; or `releaser rollback --keep-code` leaves the code as it is."
        raise PreflightError((Unfit(message, advice=advice),))


def _collect_ahead(run: Run, target: Release, code: Target) -> bool:
    """Collect the static files of the earlier code before it is there; False if that has to wait for the flip.

    No staging tree, as on a full disk, is no reason to stay: they wait for the flip then, too. Raises PreflightError.
    """
    if run.site.settings.collectstatic == "off" or not is_django(run.site.project.root):
        return False
    try:
        with staging_tree(run, code.commit) as staged:
            collected = collect_ahead(staged, target)
    except (BuildError, ToolError, OSError, ValueError) as error:
        log.warning("the static files are collected once %s is live: %s", target.id, error)
        return False
    _refuse_edits(run, code)  # again, as that may have taken long
    return collected


def _refuse_unrestartable(run: Run) -> None:
    problems = tuple(serving.restart_findings(run.site))
    if problems:
        raise PreflightError(problems)


def _say_what_brings_it_back(run: Run, live: Release | None) -> None:
    """Report, where nothing can run on what is live, and no other release will do, which command helps."""
    found = damage(live) if live is not None else None
    if found is None or not found.fatal:
        return
    lost = without_python(run.site)
    problem = problem_of(lost) if lost else None
    advice = "`releaser update` rebuilds it, tests it and makes it live."
    message = f"nothing can run on the live release: {found}"
    run.draft.problems.append(problem or Problem(message=message, advice=advice))


def choose(store: ReleaseStore, to: str | None) -> Release:
    """Return the release to go to; NoSuchReleaseError when there is none, or it is not one to go live."""
    if to is None:
        target = store.rollback_target()
        if target is None:
            damaged = [(one, found) for one in store.rollback_order() if (found := damage(one))]
            words = [_damaged(one, found) for one, found in damaged]
            message = "; ".join(["there is no earlier good release to roll back to", *words])
            rebuild = f"{_rebuild_advice(damaged[0][0])} Or see" if damaged else "See"
            raise NoSuchReleaseError(message, advice=f"{rebuild} `releaser list`; name a release to go to it.")
        return target
    target = store.find(to)
    if target.manifest.origin == "override" and not target.live:
        message = f"{target.id} was built to try {', '.join(target.manifest.overrides)}, and never goes live"
        raise NoSuchReleaseError(message, advice="Choose one that was live: `releaser list`.")
    if target.state in ("failed", "candidate"):
        what = "failed its tests" if target.state == "failed" else "has never been live"
        message = f"{target.id} {what}"
        raise NoSuchReleaseError(message, advice="Choose one that was live: `releaser list`.")
    found = damage(target) if not target.live else None
    if found is not None:
        other = store.rollback_target()
        instead = f"Go to {other.id}: `releaser rollback {other.id}`." if other else "See `releaser list`."
        rebuild = f" {_rebuild_advice(target)}" if target.state == "good" else ""
        raise NoSuchReleaseError(_damaged(target, found), advice=instead + rebuild)
    return target


def _rebuild_advice(release: Release) -> str:
    return f"`releaser rebuild {release.id}` rebuilds it from its lock, and a rollback then goes to that."


def passed_over(store: ReleaseStore, target: Release) -> list[Problem]:
    """Say of each release that would have come before `target` what keeps a rollback from going to it."""
    problems = []
    for release in itertools.takewhile(lambda one: one.id != target.id, store.rollback_order()):
        found = damage(release)
        if found is not None:
            advice = f"The rollback goes to {target.id} instead."
            problems.append(Problem(message=_damaged(release, found), advice=advice))
    return problems


def _damaged(release: Release, found: Damage) -> str:
    return f"release {release.id} is not what was sealed: {found}"


def refuse_unwise(site: Site, target: Release, *, force: bool) -> list[Unfit]:
    """See that a flip to `target` is possible and wise; an unclean checkout does not matter. Raises PreflightError.

    Returns what is wrong with the settings and can wait.
    """
    decisive, others = _sorted_findings(site)
    problems = [*decisive, *disk.state_findings(site.project), *disk.venv_findings(site.project.venv)]
    problems += lock_findings(site)
    try:
        smoke_test(site, target)
    except ToolError as error:
        problems.append(Unfit(f"{target.id} does not start: {error.message}", advice="Choose another release."))
    if not force and target.manifest.dependencies_key != site.pyproject.dependencies_key():
        problems.append(
            Unfit(
                f"{target.id} was built for other dependencies than {site.pyproject.path} has now",
                advice="Leave out --keep-code, so that the code goes back too; or go to it all the same with --force.",
            )
        )
    if problems:
        raise PreflightError(tuple(problems))
    return others


def _sorted_findings(site: Site) -> tuple[list[Unfit], list[Unfit]]:
    """Tell what may not be wrong even in an emergency, where releases lie, from what can wait and is reported."""
    readable = bool(site.pyproject.content)
    decisive = [one for one in site.findings if not readable or _PLACES.search(one.message)]
    return decisive, [one for one in site.findings if one not in decisive]


def _headline(run: Run, target: Release, live: Release | None, code: Target) -> str:
    left = run.store.get(live.id) if live else None
    with_code = f" and to commit {code.commit[:12]}" if code.moves else ""
    if left is not None and left.state == "bad":
        return (
            f"rolled back from {left.id} to {target.id}{with_code}; what {left.id} brought is left out of updates from"
            " now on"
        )
    return f"went to {target.id}{with_code}"
