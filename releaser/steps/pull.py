"""Bringing the checkout up to date: fast-forward only, and taken back when the run fails."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ResolutionError, ToolError, Unfit
from releaser.project.checkout import diverged, no_such_branch, unreachable
from releaser.project.project import Pyproject
from releaser.report.outcome import Pulled
from releaser.steps.publish import push_is_due
from releaser.steps.resolve import released_paths
from releaser.tools.git import asks_for_credentials

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.run import Run

_PATHS_SHOWN = 5


def fetch(run: Run, fitness: Fitness) -> str | None:
    """Fetch, and return the commit that the remote is at; None when nothing is pulled. The checkout does not move.

    Raises PreflightError when the remote asks for credentials, lacks the branch or has diverged, and ResolutionError
    when it cannot be reached: before anything has changed, an adoption included.
    """
    if not run.site.settings.git_pull or fitness.remote is None:
        return None
    with run.recorder.step("fetch"):
        theirs = _fetch(run, fitness.remote)
        _apart(run, fitness, theirs)
    return theirs


def lacks(run: Run, theirs: str) -> bool:
    """Whether commit `theirs` has something that HEAD has not."""
    return run.site.git.apart("HEAD", theirs)[1] > 0


def pull(run: Run, fitness: Fitness, theirs: str | None) -> Pulled | None:
    """Move to what was fetched; return what it brought, None when there was nothing.

    That is a fast-forward, but for one case: if all that stands against it are our own commits of the lock, whose push
    was refused, they give way, as this run makes the lock anew. The journal names both commits before the checkout
    moves. Raises PreflightError.
    """
    if theirs is None:
        return None
    with run.recorder.step("pull") as step:
        ours = fitness.state.head or "HEAD"
        ahead, behind = _apart(run, fitness, theirs)
        if not behind:
            step.skipped("nothing new" if not ahead else f"nothing new; {ahead} not pushed yet")
            return None
        _refuse_other_places(run, theirs)
        _refuse_files_in_the_way(run, ours, theirs)
        run.journal.write(run.entry("pulling", head_before=ours, head_after=theirs))
        _move(run, theirs, forward=not ahead)
        step.says(f"{behind} {'commit' if behind == 1 else 'commits'}")
        return Pulled(old=ours, new=theirs, count=behind)


def _apart(run: Run, fitness: Fitness, theirs: str) -> tuple[int, int]:
    """Count the commits that only HEAD has and those that only `theirs` has.

    Raises PreflightError if both have some, unless all that HEAD has are commits of ours that could not be pushed.
    """
    ours = fitness.state.head or "HEAD"
    ahead, behind = (0, 0) if theirs == ours else run.site.git.apart(ours, theirs)
    if ahead and behind and not (push_is_due(run) and _only_locks(run, fitness, ours, theirs)):
        raise PreflightError((diverged(fitness.remote or "", run.site.settings.branch),))
    return ahead, behind


def _only_locks(run: Run, fitness: Fitness, ours: str, theirs: str) -> bool:
    changed = run.site.git.changed_since_parting(ours, theirs)
    return changed <= set(released_paths(run, fitness))


def _refuse_other_places(run: Run, commit: str) -> None:
    """Refuse commits that move the state or the symlink elsewhere: what is live could not be found again."""
    project, top = run.site.project, run.site.git.layout.top
    text = run.site.git.content(commit, str(project.pyproject.relative_to(top)))
    try:
        fresh = Pyproject(path=project.pyproject, content=tomllib.loads(text or ""))
    except tomllib.TOMLDecodeError:
        return  # preflight says so, once it is there
    for key in ("state_dir", "venv"):
        old, new = (one.table("tool", "releaser").get(key) for one in (run.site.pyproject, fresh))
        if old != new:
            message = f"commit {commit[:12]} changes tool.releaser.{key} from {old!r} to {new!r}"
            advice = (
                f"Pull it by hand, move what releaser keeps there, and adopt the project again; or leave {key} alone."
            )
            raise PreflightError((Unfit(message, advice=advice),))


def _refuse_files_in_the_way(run: Run, ours: str, theirs: str) -> None:
    """Refuse to put a pulled file where one lies that git does not know.

    git would refuse it too, in most cases. But once it has begun, a file that is the same as the pulled one could not
    be told from git's own, and would be taken away with it when the pull is undone.
    """
    if paths := run.site.git.in_the_way(ours, theirs):
        shown = ", ".join(paths[:_PATHS_SHOWN]) + (", ..." if len(paths) > _PATHS_SHOWN else "")
        message = f"files of the checkout that git does not know lie where commit {theirs[:12]} puts its own: {shown}"
        advice = f"Move them out of {run.site.git.layout.top}, or take them out of what is committed."
        raise PreflightError((Unfit(message, advice=advice),))


def _fetch(run: Run, remote: str) -> str:
    branch = run.site.settings.branch
    try:
        return run.site.git.fetch(remote, branch)
    except ToolError as error:
        if "couldn't find remote ref" in error.output:
            raise PreflightError((no_such_branch(remote, branch),)) from error
        finding = unreachable(remote, error)
        if asks_for_credentials(error):
            raise PreflightError((finding,)) from error
        raise ResolutionError(finding.message, advice=finding.advice, output=error.output) from error


def _move(run: Run, commit: str, *, forward: bool) -> None:
    try:
        if forward:
            run.site.git.fast_forward(commit)
        else:
            run.site.git.reset_keep(commit)
    except ToolError as error:
        finding = Unfit(
            "the checkout could not be moved forward to what was fetched",
            advice="See what git says, and mend it by hand: `git pull --ff-only`.",
            output=error.output,
        )
        raise PreflightError((finding,)) from error
