"""Going back, or forward, to a release that is there already: instant, as nothing is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import NoSuchReleaseError, PreflightError, ToolError, Unfit
from releaser.golive import go_live
from releaser.locking.diff import LockDiff
from releaser.project import disk
from releaser.steps.gate import smoke_test
from releaser.steps.resolve import lock_of

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.report.outcome import RunReport
    from releaser.run import Run


def rollback(request: Request, *, to: str | None = None, force: bool = False) -> RunReport:
    """Flip to release `to`, or to the last good one before the live one; `force` accepts other dependencies."""
    return conduct(request, lambda run: _rollback(run, to=to, force=force))


def _rollback(run: Run, *, to: str | None, force: bool) -> Ending:
    live = run.store.live()
    target = choose(run.store, to)
    run.about(target, live)
    if live is not None and target.id == live.id:
        return Ending(result="unchanged", headline=f"{target.id} is live already")
    with run.recorder.step("preflight"):
        check(run, target, force=force)
    run.draft.changes = LockDiff.between(lock_of(live), lock_of(target)).changes
    go_live(run, target)
    return Ending(result="activated", headline=_headline(run, target, live))


def choose(store: ReleaseStore, to: str | None) -> Release:
    """Return the release to go to; NoSuchReleaseError when there is none, or it is not one to go live."""
    if to is None:
        target = store.rollback_target()
        if target is None:
            message = "there is no earlier good release to roll back to"
            raise NoSuchReleaseError(message, advice="See `releaser list`; name a release to go to it.")
        return target
    target = store.find(to)
    if target.state in ("failed", "candidate"):
        what = "failed its tests" if target.state == "failed" else "has never been live"
        message = f"{target.id} {what}"
        raise NoSuchReleaseError(message, advice="Choose one that was live: `releaser list`.")
    if not target.works():
        message = f"the interpreter of {target.id} is gone ({target.venv / 'bin' / 'python'})"
        raise NoSuchReleaseError(message, advice="Choose another one: `releaser list`.")
    return target


def check(run: Run, target: Release, *, force: bool) -> None:
    """See that a flip to `target` is possible and wise; an unclean checkout does not matter. Raises PreflightError."""
    problems = [
        *run.site.findings,
        *disk.state_findings(run.site.project),
        *disk.venv_findings(run.site.project.venv),
    ]
    try:
        smoke_test(run, target)
    except ToolError as error:
        problems.append(Unfit(f"{target.id} does not start: {error.message}", advice="Choose another release."))
    if not force and target.manifest.dependencies_key != run.site.pyproject.dependencies_key():
        problems.append(
            Unfit(
                f"{target.id} was built for other dependencies than {run.site.pyproject.path} has now",
                advice="Go to it all the same with --force, or check out the code that belongs to it first.",
            )
        )
    if problems:
        raise PreflightError(tuple(problems))


def _headline(run: Run, target: Release, live: Release | None) -> str:
    left = run.store.get(live.id) if live else None
    if left is not None and left.state == "bad":
        return f"rolled back from {left.id} to {target.id}; what {left.id} brought is left out of updates from now on"
    return f"went to {target.id}"
