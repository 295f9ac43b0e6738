"""Moving the checkout to a tested commit as a release goes live, and back if that is taken back."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING

from releaser.durable import replace_file
from releaser.errors import ActivationError, ToolError
from releaser.report.outcome import Problem
from releaser.steps.follow_ups import pending
from releaser.steps.resolve import own_files
from releaser.tools.process import write_out

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.pull import Target

LOCK_BEFORE = "lock-before"  # the checkout's uv.lock as it was before the flip, for taking it back


def move_checkout(run: Run, target: Target) -> None:
    """Move the checkout to the commit that was tested: forward, or back where releaser's own commits give way.

    uv.lock and the export may still wait to be committed; they get the content that HEAD has for them first, as git
    would refuse to replace them otherwise. Raises ToolError, with the checkout at the commit where it was.
    """
    if not target.moves:
        return
    with run.recorder.step("move checkout") as step:
        own_files_as_committed(run)
        write_out(run.site.project.root)  # else the moved checkout would wait for all that others have written
        see_where_head_is(run, target)  # last of all, as a person may commit at any moment
        if target.forward:
            run.site.git.fast_forward(target.commit)
        else:
            run.site.git.reset_keep(target.commit)
        step.says(f"{target.head[:12]} → {target.commit[:12]}")


def see_where_head_is(run: Run, target: Target) -> None:
    """See that the checkout still is at the commit and on the branch from which it is to move. Raises ToolError."""
    state, wanted = run.site.git.state(), run.site.settings.branch
    if state.branch != wanted:
        message = f"somebody checked out {state.branch or 'a commit'} instead of {wanted}"
    elif state.head != target.head:
        message = f"somebody committed {(state.head or '')[:12]} meanwhile"
    else:
        return
    raise ToolError(message, advice="Nothing went live; run it again when they are done.")


def follow_quietly(run: Run, target: Target) -> None:
    """Move to a commit with the code and packages that are live: it brings no more than another text of the lock.

    Raises ToolError.
    """
    run.journal.write(run.entry("pulling", head_before=target.head, head_after=target.commit))
    move_checkout(run, target)
    run.close()


def own_files_as_committed(run: Run) -> None:
    """Give the files that releaser commits the content that HEAD has. Raises ToolError and OSError."""
    top, git = run.site.git.layout.top, run.site.git
    for name in own_files(run.site, top):
        path, committed = top / name, git.data("HEAD", name)
        if committed is not None and (not path.exists() or path.read_bytes() != committed):
            _keep_if_edited(run, path, committed)
            replace_file(path, committed, staging=run.site.project.state_dir)
    git.unstage([name for name in own_files(run.site, top) if git.data("HEAD", name) is not None])


def _keep_if_edited(run: Run, path: Path, committed: bytes) -> None:
    """Keep what somebody has edited; what a run wrote and could not commit yet is no edit."""
    state_dir, lock = run.site.project.state_dir, run.site.project.lock
    if path != lock:
        if not pending(state_dir).get("commit"):
            keep_edited(run, path, [committed])
        return
    releases = [one.lock for one in run.store.all()]
    keep_edited(run, path, [committed, *(_read(one) for one in (state_dir / LOCK_BEFORE, *releases))])


def move_back(run: Run, entry: Entry) -> None:
    """Take the checkout back to the commit before a flip, if it still is where releaser moved it; report what is not.

    The settings are those of the code, so they are read again.
    """
    if entry.head_before is None or entry.head_after is None or entry.head_before == entry.head_after:
        return
    try:
        _move_back(run, entry.head_before, entry.head_after)
    except ToolError as error:
        message = (
            f"the checkout could not be taken back to {entry.head_before[:12]}, so that the site has newer code than"
            f" packages: {error.message}"
        )
        advice = f"{error.advice} Put aside what is in the way, then `git reset --keep {entry.head_before[:12]}`."
        run.note_problem(ActivationError(message, advice=advice.strip(), output=error.output))
    run.site = run.site.reread()


def _move_back(run: Run, before: str, after: str) -> None:
    git = run.site.git
    head = git.commit("HEAD")
    if head not in (before, after) and not _has_moved(run, before, after, head):
        return  # somebody committed before it came to the move, which then did not happen
    if head not in (before, after):
        message = f"HEAD is neither at {before[:12]} nor at {after[:12]}"
        raise ToolError(message, advice="Somebody committed meanwhile; decide by hand which commits are to stay.")
    own_files_as_committed(run)
    if head == before:
        git.reset_torn(before, after)
        return
    try:
        git.reset_keep(before)
    except ToolError:
        if run.draft.cut_off_since is None:
            raise
        git.reset_torn(before, after)  # a power cut may have emptied files


def _has_moved(run: Run, before: str, after: str, head: str) -> bool:
    """Tell whether a checkout that somebody has committed in was moved from `before` to `after`, older or newer."""
    git = run.site.git
    if git.is_ancestor(before, after):
        return git.is_ancestor(after, head)
    return not git.is_ancestor(before, head)


def somebody_committed(run: Run, entry: Entry) -> bool:
    """Whether HEAD is at a commit that the change in progress knows nothing of. Raises nothing."""
    known = {entry.head_before, entry.head_after} - {None}
    try:
        return bool(known) and run.site.git.commit("HEAD") not in known
    except ToolError:
        return False


def keep_edited(run: Run, path: Path, known: Iterable[bytes | None]) -> None:
    """Keep a file of the checkout that somebody has edited beside the state, before it is replaced, and say where.

    `known` are the contents that are no edit of anybody. Raises OSError.
    """
    if not path.is_file() or (data := path.read_bytes()) in set(known):
        return
    place = run.site.project.state_dir / f"{path.name}-{run.run_id}"
    copies = itertools.chain([place], (place.with_name(f"{place.name}-{number}") for number in itertools.count(2)))
    kept = next(one for one in copies if not one.exists() or one.read_bytes() == data)
    if kept.exists():
        return
    replace_file(kept, data)
    message = f"{path.name} in the checkout was edited, and not committed; what it held is kept as {kept}"
    run.draft.problems.append(Problem(message=message, advice="Compare, and delete the copy when it is of no use."))
    run.draft.untold.append(f"{message}.")  # should this run be killed: what is kept is no edit to the next one


def known_locks(run: Run, *releases: Release | None) -> list[bytes | None]:
    """Return the contents of uv.lock that are releases' or, unless git does not work, committed."""
    known = [_read(one.lock) for one in releases if one is not None]
    with contextlib.suppress(ToolError):
        top, git = run.site.git.layout.top, run.site.git
        known.append(git.data("HEAD", os.path.relpath(run.site.project.lock, top)))
    return known


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
