"""Moving the checkout and the uv.lock in it as a release goes live, and back.

What a person has edited is never lost.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.files import place_included
from releaser.core.follow_up import read_pending
from releaser.core.run import close_journal
from releaser.errors import ActivationError, Finding, ToolError
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.store import store_of
from releaser.site.project import declared_dependencies
from releaser.system.files import is_same_text, read_file, read_if_there, replace_file
from releaser.system.frozen import Frozen
from releaser.system.process import write_out
from releaser.system.state_files import StateFile, require_file
from releaser.system.uptime import boot_id
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from releaser.core.target import Target
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site


CHECKOUT = "checkout"  # the action that moves it, and its record in the journal

# What a person's files make of a system call; all other errors are the disk's.
_OBSTACLES = {
    errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EINVAL,
}  # fmt: skip


class Move(Frozen):
    """How the checkout moves in a change: its commits, and the releases whose locks it has before and after."""

    #: The commits, equal if the checkout stays; None without git, and where nothing moves it.
    before: str | None = None
    after: str | None = None
    #: The start of the system in which the change began.
    boot: str = ""
    previous: Release | None = None
    new: Release | None = None

    @property
    def moves_code(self) -> bool:
        """Whether the commit changes, and with it the settings."""
        return self.before != self.after


def move_checkout(site: Site, log: RunLog, target: Target) -> None:
    """Move the checkout to the commit that was tested: by a fast-forward, or by a reset that keeps edits.

    uv.lock and the export may still wait to be committed; they get the content that HEAD has for them first, as git
    would refuse to replace them otherwise. Raises ToolError, with the checkout at the commit where it was.
    """
    if not target.moves:
        return
    with log.step("move checkout") as step:
        own_files_as_committed(site, log)
        write_out(site.project.root)  # else the moved checkout would wait for all that others have written
        _see_where_head_is(site, target)  # last of all, as a person may commit at any moment
        log.moved_checkout = True
        if target.forward:
            site.git.fast_forward(target.commit)
        else:
            site.git.reset_keep(target.commit)
        step.says(f"{target.head[:12]} → {target.commit[:12]}")


def _see_where_head_is(site: Site, target: Target) -> None:
    """See that the checkout still is at the commit and on the branch from which it is to move. Raises ToolError."""
    state, wanted = site.git.state(), site.branch
    if state.branch != wanted:
        message = f"somebody checked out {state.branch or 'a commit'} instead of {wanted}"
    elif state.head != target.head:
        message = f"somebody committed {(state.head or '')[:12]} meanwhile"
    else:
        return
    raise ToolError(message, "Nothing went live; run it again when they are done.")


def move_without_build(site: Site, log: RunLog, target: Target) -> None:
    """Move to a commit with the code and packages that are live: it brings no more than another lock.

    Raises ToolError.
    """
    record = {"before": target.head, "after": target.commit, "boot": boot_id(), "files": False}
    journal_of(site).write(make_entry(log, "pulling", actions={CHECKOUT: record}))
    move_checkout(site, log, target)
    close_journal(site, log)


def restore_checkout(site: Site, log: RunLog, move: Move) -> None:
    """Restore what the checkout was before the flip: its commit, uv.lock, and what else came. Raises OSError.

    What somebody has committed since stays, and is reported.
    """
    with _telling_obstacles(log):
        keep_edits(site, log, move)
    stays = _is_committed_by_somebody(site, log, move)
    restore_commit(site, log, move)
    if not stays:
        _restore_lock(site, log)
    if move.previous is not None:
        with _telling_obstacles(log):
            place_included(site, log, move.previous)


@contextlib.contextmanager
def _telling_obstacles(log: RunLog) -> Iterator[None]:
    """Report what a person has put where a file is to be restored, and go on: a later run could do no more about it.

    Errors of the disk itself are raised.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OBSTACLES:
            raise
        path = error.filename2 or error.filename
        message = f"{path} could not be restored: {error.strerror}"
        advice = f"Move away what is there (`ls -ld {path}`), then run `git checkout -- {path}`."
        log.note_failure(ActivationError(message, advice))


def restore_commit(site: Site, log: RunLog, move: Move) -> None:
    """Move the checkout back to the commit before a flip, if it still is where releaser moved it; else report it."""
    before, after = move.before, move.after
    if before is None or after is None or before == after:
        return
    try:
        _restore_commit(site, log, before, after, power_cut=move.boot != boot_id())
    except ToolError as error:
        has_moved, head = True, after
        with contextlib.suppress(ToolError):
            head = site.git.commit("HEAD")
            has_moved = head != before
        other = f", so the site has the code of {head[:12]} with the packages of another commit" if has_moved else ""
        message = f"the checkout could not be taken back to {before[:12]}{other}: {error.message}"
        advice = f"{error.advice} Put aside what is in the way, then `git reset --keep {before[:12]}`."
        log.note_failure(ActivationError(message, advice.strip(), output=error.output))


def _restore_commit(site: Site, log: RunLog, before: str, after: str, *, power_cut: bool) -> None:
    git = site.git
    head = git.commit("HEAD")
    if head not in (before, after):
        is_forward = git.is_ancestor(before, after)
        if not (git.is_ancestor(after, head) if is_forward else not git.is_ancestor(before, head)):
            return  # somebody committed before it came to the move, which then did not happen
        message = f"HEAD is neither at {before[:12]} nor at {after[:12]}"
        raise ToolError(message, "Somebody committed meanwhile; decide by hand which commits stay.")
    with _telling_obstacles(log):
        own_files_as_committed(site, log)
    log.moved_checkout = True
    if head == after:
        try:
            git.reset_keep(before)
        except ToolError:
            if log.finishing is None or not power_cut:
                raise  # else a power cut may have emptied files
        else:
            return
    stayed = git.reset_torn(before, after, power_cut=power_cut, keep=partial(_put_aside, site, log))
    if stayed:
        message = f"a move of the checkout was cut off, and {first_few(stayed)} in it was edited meanwhile, and stays"
        advice = f"Compare it with `git -C {git.layout.top} diff`, and commit it, or `git stash` it."
        log.note(Finding("checkout-edited-meanwhile", message, advice))
        log.unreported.append(f"{message}. {advice}")


def _put_aside(site: Site, log: RunLog, path: Path) -> None:
    """Keep a copy of a file that is about to be replaced in the state directory, and say where. Raises OSError."""
    data = read_file(path)
    if data.strip(b"\0"):
        _keep_copy(site, log, path, data, "is not as any commit has it, as a crash may have cut it off")


# The lock


#: The checkout's uv.lock as it was before the flip, for taking it back.
LOCK_BEFORE = StateFile(name="lock-before", type=bytes, read=require_file)


def save_lock(site: Site) -> None:
    """Keep the lock of the checkout, which a flip replaces, as it is now. Raises OSError."""
    kept = site.state_dir / LOCK_BEFORE
    try:
        replace_file(kept, read_file(site.project.lock), private=True)
    except FileNotFoundError:
        kept.unlink(missing_ok=True)


def _restore_lock(site: Site, log: RunLog) -> None:
    """Restore the lock as it was before the flip. Raises OSError."""
    kept = site.state_dir / LOCK_BEFORE
    with _telling_obstacles(log):
        if kept.exists():
            _write(site, site.project.lock, read_file(kept))


def place_files(site: Site, log: RunLog, release: Release, move: Move) -> None:
    """Let the checkout have the uv.lock of the live release, by a rename, and what else comes with that.

    A lock that somebody has edited meanwhile is kept aside, one that somebody has committed stays. Raises OSError.
    """
    if not _is_committed_by_somebody(site, log, move):
        keep_edits(site, log, move)
        _write(site, site.project.lock, read_file(release.lock))
    if release.pyproject.is_file() and not any(declared_dependencies(site.pyproject.content)):
        _keep_edit(site, log, site.project.pyproject, _Known(()))
        _write(site, site.project.pyproject, read_file(release.pyproject))  # of a first lock, by an earlier version
    place_included(site, log, release)


def place_lock_unless_edited(site: Site, release: Release, *, before: str | None) -> None:
    """Let uv.lock of the checkout be that of a release, unless somebody has changed it since the one `before` was live.

    Raises OSError.
    """
    lock, store = site.project.lock, store_of(site)
    known = _Known(_copies(site, [store.get(before) if before else None, release]))
    if not lock.exists() or not _is_edited(site, lock, read_file(lock), known):
        _write(site, lock, read_file(release.lock))


def _write(site: Site, path: Path, data: bytes) -> None:
    if not is_same_text(read_if_there(path), data):
        replace_file(path, data, staging=site.state_dir)


def _is_committed_by_somebody(site: Site, log: RunLog, move: Move) -> bool:
    """Whether uv.lock is as in a commit that somebody made since the change in progress began; this is told."""
    lock, known = site.project.lock, {move.before, move.after} - {None}
    committed: bytes | None = None
    with contextlib.suppress(ToolError):
        if known and site.git.commit("HEAD") not in known:
            committed = site.git.data("HEAD", os.path.relpath(lock, site.git.layout.top))
    if committed is None or not is_same_text(read_if_there(lock), committed):
        return False
    releases = (move.previous, move.new)
    if any(is_same_text(read_if_there(one.lock), committed) for one in releases if one is not None):
        return False
    message = f"somebody committed another {lock.name} meanwhile; it stays"
    log.note(Finding("lock-committed-meanwhile", message=message, advice="The next update takes it."))
    return True


# What a person has edited


def keep_edits(site: Site, log: RunLog, move: Move | None = None) -> None:
    """Keep edits of the lock beside the state, before a flip replaces it, and say where. Raises OSError.

    Without a `move`, a flip is about to replace the live release.
    """
    if move is None:
        places, releases, commits = [], [store_of(site).live()], ["HEAD"]
    else:
        places, releases = [site.state_dir / LOCK_BEFORE], [move.previous, move.new]
        commits = ["HEAD", *filter(None, (move.before, move.after))]
    _keep_edit(site, log, site.project.lock, _Known([*places, *_copies(site, releases)], commits))


@dataclass(frozen=True)
class _Known:
    """Where contents of a file are that releaser has written, or that git has."""

    places: Sequence[Path]
    commits: Sequence[str] = ("HEAD",)


def _copies(site: Site, releases: Iterable[Release | None]) -> list[Path]:
    releases = releases if site.project.has_git else store_of(site).all()  # no commit has the lock of an earlier one
    return [one.lock for one in releases if one is not None]


def _keep_edit(site: Site, log: RunLog, path: Path, known: _Known) -> None:
    if path.is_file() and _is_edited(site, path, read_file(path), known):
        _keep_copy(site, log, path, read_file(path), "had edits that were not committed")


def _keep_staged(site: Site, log: RunLog, path: Path, known: _Known) -> None:
    """Keep what a person has staged of a file and edited since, as that is nowhere but in git's index."""
    staged = site.git.data("", os.path.relpath(path, site.git.layout.top))
    if staged is not None and not is_same_text(staged, read_if_there(path)) and _is_edited(site, path, staged, known):
        _keep_copy(site, log, path, staged, "had a version in git's index that was not committed")


def _keep_copy(site: Site, log: RunLog, path: Path, data: bytes, why: str) -> None:
    place = site.state_dir / f"{path.name}-{log.run_id}"
    copies = itertools.chain([place], (place.with_name(f"{place.name}-{number}") for number in itertools.count(2)))
    kept = next(one for one in copies if not one.exists() or read_file(one) == data)
    if kept.exists():
        return
    replace_file(kept, data, private=True)
    message = f"{path.name} in the checkout {why}; it is kept as {kept}"
    log.note(
        Finding("file-kept", message=message, advice="Compare them, and delete the copy when you no longer need it.")
    )
    log.unreported.append(f"{message}.")  # should this run be killed: what is kept is no edit to the next one


def _is_edited(site: Site, path: Path, data: bytes, known: _Known) -> bool:
    """Whether contents of a file of the checkout are in none of the places and commits that are known.

    Where git does not work, its commits tell nothing.
    """
    if any(is_same_text(read_if_there(place), data) for place in known.places):
        return False
    with contextlib.suppress(ToolError):
        name = os.path.relpath(path, site.git.layout.top)
        commits = known.commits if site.project.has_git else ()  # those of a shadow repository do not last
        return not any(is_same_text(site.git.data(one, name), data) for one in commits)
    return True


def own_files_as_committed(site: Site, log: RunLog) -> None:
    """Give the files that releaser commits the content that HEAD has. Raises ToolError and OSError."""
    top, git = site.git.layout.top, site.git
    committed = {name: git.data("HEAD", name) for name in site.own_files()}
    tracked = {name: data for name, data in committed.items() if data is not None}
    for name, data in tracked.items():
        path = top / name
        known = None
        # What a person made of it: a lock of no release, or an export while none waits.
        if path == site.project.lock:
            known = _Known([site.state_dir / LOCK_BEFORE, *_copies(site, store_of(site).all())])
        elif not read_pending(site.state_dir).commit:
            known = _Known([])
        if known is not None:
            _keep_staged(site, log, path, known)
        if is_same_text(read_if_there(path), data):
            continue
        if known is not None:
            _keep_edit(site, log, path, known)
        replace_file(path, data, staging=site.state_dir)
    git.unstage([*tracked])
