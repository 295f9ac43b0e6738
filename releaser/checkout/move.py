"""Moves the checkout and its uv.lock when a release goes live, and back.

Edits of a person are never lost.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.files import place_included
from releaser.core.follow_up import read_pending
from releaser.core.run import close_journal
from releaser.errors import ActivationError, Finding, ToolError
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.store import store_of
from releaser.site.project import declared_dependencies
from releaser.site.supply import SupplyFacts
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

# Errors that files of a person cause; all others come from the disk.
_OBSTACLES = {
    errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EINVAL,
}  # fmt: skip


class Move(Frozen):
    """The move of the checkout in a change: its commits, and the releases whose locks it has before and after."""

    #: The commits, equal if the checkout stays; None without git, or without a move.
    before: str | None = None
    after: str | None = None
    #: The boot of the system in which the change began.
    boot: str = ""
    previous: Release | None = None
    new: Release | None = None

    @property
    def moves_code(self) -> bool:
        """True if the commit changes, and with it perhaps the settings."""
        return self.before != self.after


def move_checkout(site: Site, log: RunLog, target: Target) -> None:
    """Move the checkout to the commit that was tested: by a fast-forward, or by a reset that keeps edits.

    uv.lock and the export may have uncommitted changes of releaser; they first get their content of HEAD, else git
    would refuse to replace them. Raises ToolError, with the checkout at its previous commit.
    """
    if not target.moves:
        return
    with log.step("move checkout") as step:
        own_files_as_committed(site, log)
        write_out(site.project.root)  # now, so that the moved checkout need not wait for writes of other programs
        _refuse_moved_head(site, target)  # as late as possible, as a person may commit at any moment
        log.moved_checkout = True
        if target.forward:
            site.git.fast_forward(target.commit)
        else:
            site.git.reset_keep(target.commit)
        step.says(f"{target.head[:12]} → {target.commit[:12]}")


def _refuse_moved_head(site: Site, target: Target) -> None:
    """Raise ToolError if the checkout is no longer at the commit, or on the branch, from which it moves."""
    state, wanted = site.git.state(), site.branch
    if state.branch != wanted:
        message = f"the checkout is on {state.branch or 'no branch'}, not {wanted}"
    elif state.head != target.head:
        message = f"the checkout moved to commit {(state.head or '')[:12]} during this run"
    else:
        return
    raise ToolError(message, f"Nothing went live. Run `git switch {wanted}`, then start the run again.")


def move_without_build(site: Site, log: RunLog, target: Target) -> None:
    """Move to a commit with the live code and packages, which changes at most the lock. Raises ToolError."""
    record = {"before": target.head, "after": target.commit, "boot": boot_id(), "files": False}
    journal_of(site).write(make_entry(log, "pulling", actions={CHECKOUT: record}))
    move_checkout(site, log, target)
    close_journal(site, log)


def restore_checkout(site: Site, log: RunLog, move: Move) -> None:
    """Restore the checkout from before the flip: its commit, uv.lock, and the bundle's files. Raises OSError.

    Commits of a person since then stay, and are reported.
    """
    with _reporting_obstacles(log):
        keep_edits(site, log, move)
    stays = _is_committed_by_person(site, log, move)
    restore_commit(site, log, move)
    if not stays:
        _restore_lock(site, log)
    if move.previous is not None:
        with _reporting_obstacles(log):
            place_included(site, log, move.previous)


@contextlib.contextmanager
def _reporting_obstacles(log: RunLog) -> Iterator[None]:
    """Report a person's file that prevents restoring another, and continue: a later run could not do more.

    Errors of the disk itself are raised.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OBSTACLES:
            raise
        path = error.filename2 or error.filename
        message = f"{path} could not be restored: {error.strerror}"
        advice = f"Look at that path with `ls -ld {path}`. Move it away, then run `git checkout -- {path}`."
        log.note_failure(ActivationError(message, advice))


def restore_commit(site: Site, log: RunLog, move: Move) -> None:
    """Move the checkout back to the commit before a flip, unless a person moved it meanwhile; report a failure."""
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
        other = f", so the site runs the code of {head[:12]} with the packages of another commit" if has_moved else ""
        message = f"the checkout could not be moved back to {before[:12]}{other}: {error.message}"
        advice = (
            f"{error.advice} Move the files that are in the way elsewhere, then run `git reset --keep {before[:12]}`."
        )
        log.note_failure(ActivationError(message, advice.strip(), output=error.output))


def _restore_commit(site: Site, log: RunLog, before: str, after: str, *, power_cut: bool) -> None:
    git = site.git
    head = git.commit("HEAD")
    if head not in (before, after):
        is_forward = git.is_ancestor(before, after)
        if not (git.is_ancestor(after, head) if is_forward else not git.is_ancestor(before, head)):
            return  # a person committed before the move, so the move did not happen
        message = f"HEAD is at {head[:12]}, neither at {before[:12]} nor at {after[:12]}"
        raise ToolError(message, "New commits were made during the run. See `git log`, and decide which to keep.")
    with _reporting_obstacles(log):
        own_files_as_committed(site, log)
    log.moved_checkout = True
    if head == after:
        try:
            git.reset_keep(before)
        except ToolError:
            if log.finishing is None or not power_cut:
                raise  # after a power cut, files may be empty: see below
        else:
            return
    stayed = git.reset_torn(before, after, power_cut=power_cut, keep=partial(_put_aside, site, log))
    if stayed:
        message = f"a move of the checkout was interrupted; edited since then, and not overwritten: {first_few(stayed)}"
        advice = f"Run `git -C {git.layout.top} diff`, then commit the edits or `git stash` them."
        log.note(Finding("checkout-edited-meanwhile", message, advice))
        log.unreported.append(f"{message}. {advice}")


def _put_aside(site: Site, log: RunLog, path: Path) -> None:
    """Copy a file that will be replaced to the state directory, and report the copy. Raises OSError."""
    data = read_file(path)
    if data.strip(b"\0"):
        _keep_copy(site, log, path, data, "differs from every commit, perhaps because a crash cut it short")


# The lock


#: The checkout's uv.lock from before the flip, for an undo.
LOCK_BEFORE = StateFile(name="lock-before", type=bytes, read=require_file)


def save_lock(site: Site) -> None:
    """Copy the lock of the checkout, which the flip replaces, to the state directory. Raises OSError."""
    kept = site.state_dir / LOCK_BEFORE
    try:
        replace_file(kept, read_file(site.project.lock), private=True)
    except FileNotFoundError:
        kept.unlink(missing_ok=True)


def _restore_lock(site: Site, log: RunLog) -> None:
    """Restore the lock from before the flip. Raises OSError."""
    kept = site.state_dir / LOCK_BEFORE
    with _reporting_obstacles(log):
        if kept.exists():
            _write(site, site.project.lock, read_file(kept))


def place_files(site: Site, log: RunLog, release: Release, move: Move) -> None:
    """Put uv.lock of the live release into the checkout, by a rename, and the bundle's files.

    An edited lock is copied to the state directory; a lock that a person committed stays. A release that tries packages
    leaves the committed lock, so that no commit gets these. Raises OSError and ToolError.
    """
    if SupplyFacts.of(release.manifest).overrides:
        keep_edits(site, log, move)
        own_files_as_committed(site, log)
    elif not _is_committed_by_person(site, log, move):
        keep_edits(site, log, move)
        _write(site, site.project.lock, read_file(release.lock))
    if release.pyproject.is_file() and not any(declared_dependencies(site.pyproject.content)):
        _keep_edit(site, log, site.project.pyproject, _KnownContents(places=()))
        _write(site, site.project.pyproject, read_file(release.pyproject))  # with the first lock of earlier versions
    place_included(site, log, release)


def place_lock_unless_edited(site: Site, release: Release, *, before: str | None) -> None:
    """Put uv.lock of a release into the checkout, unless a person changed it since release `before` was live.

    Raises OSError.
    """
    lock, store = site.project.lock, store_of(site)
    known = _KnownContents(places=_copies(site, [store.get(before) if before else None, release]))
    if not lock.exists() or not _is_edited(site, lock, read_file(lock), known):
        _write(site, lock, read_file(release.lock))


def _write(site: Site, path: Path, data: bytes) -> None:
    if not is_same_text(read_if_there(path), data):
        replace_file(path, data, staging=site.state_dir)


def _is_committed_by_person(site: Site, log: RunLog, move: Move) -> bool:
    """True if uv.lock comes from a commit that a person made during the change; if so, report it."""
    lock, known = site.project.lock, {move.before, move.after} - {None}
    committed: bytes | None = None
    with contextlib.suppress(ToolError):
        if known and site.git.commit("HEAD") not in known:
            committed = site.git.data("HEAD", os.path.relpath(lock, site.git.layout.top))
    if committed is None or not is_same_text(read_if_there(lock), committed):
        return False
    releases = (move.previous, move.new)
    if any(is_same_text(read_if_there(release.lock), committed) for release in releases if release is not None):
        return False
    message = f"another {lock.name} was committed during the run; it was not replaced"
    log.note(Finding("lock-committed-meanwhile", message=message, advice="The next update uses it."))
    return True


# Edits of a person


def keep_edits(site: Site, log: RunLog, move: Move | None = None) -> None:
    """Copy an edited lock to the state directory, before a flip replaces it, and report the copy. Raises OSError.

    Without a `move`, the flip is still to come, and the lock is compared with that of the live release.
    """
    if move is None:
        places, releases, commits = [], [store_of(site).live()], ["HEAD"]
    else:
        places, releases = [site.state_dir / LOCK_BEFORE], [move.previous, move.new]
        commits = ["HEAD", *filter(None, (move.before, move.after))]
    known = _KnownContents(places=[*places, *_copies(site, releases)], commits=commits)
    _keep_edit(site, log, site.project.lock, known)


class _KnownContents(Frozen):
    """The files and commits with contents of a file that are not a person's edits."""

    places: Sequence[Path]
    commits: Sequence[str] = ("HEAD",)


def _copies(site: Site, releases: Iterable[Release | None]) -> list[Path]:
    releases = releases if site.project.has_git else store_of(site).all()  # no commit has the lock of an earlier one
    return [release.lock for release in releases if release is not None]


def _keep_edit(site: Site, log: RunLog, path: Path, known: _KnownContents) -> None:
    if path.is_file() and _is_edited(site, path, read_file(path), known):
        _keep_copy(site, log, path, read_file(path), "had edits that were not committed")


def _keep_staged(site: Site, log: RunLog, path: Path, known: _KnownContents) -> None:
    """Copy a version of a file that is only in git's index, as a person staged it and edited the file again."""
    staged = site.git.data("", os.path.relpath(path, site.git.layout.top))
    if staged is not None and not is_same_text(staged, read_if_there(path)) and _is_edited(site, path, staged, known):
        _keep_copy(site, log, path, staged, "had a staged version that was not committed")


def _keep_copy(site: Site, log: RunLog, path: Path, data: bytes, why: str) -> None:
    place = site.state_dir / f"{path.name}-{log.run_id}"
    copies = itertools.chain([place], (place.with_name(f"{place.name}-{number}") for number in itertools.count(2)))
    kept = next(copy for copy in copies if not copy.exists() or read_file(copy) == data)
    if kept.exists():
        return
    replace_file(kept, data, private=True)
    message = f"{path.name} in the checkout {why}; a copy is in {kept}"
    log.note(
        Finding("file-kept", message=message, advice="Compare the two, and delete the copy when you no longer need it.")
    )
    log.unreported.append(f"{message}.")  # if this run is killed, the next one does not see the edit again


def _is_edited(site: Site, path: Path, data: bytes, known: _KnownContents) -> bool:
    """True if contents of a file of the checkout are in none of the known files and commits.

    If git does not work, only the files are compared.
    """
    if any(is_same_text(read_if_there(place), data) for place in known.places):
        return False
    with contextlib.suppress(ToolError):
        name = os.path.relpath(path, site.git.layout.top)
        return not any(is_same_text(site.git.data(commit, name), data) for commit in known.commits)
    return True


def own_files_as_committed(site: Site, log: RunLog) -> None:
    """Give the files that releaser commits their content of HEAD. Raises ToolError and OSError."""
    top, git = site.git.layout.top, site.git
    committed = {name: git.data("HEAD", name) for name in site.own_files()}
    tracked = {name: data for name, data in committed.items() if data is not None}
    for name, data in tracked.items():
        path = top / name
        known = None
        # A person's edit: a lock of no release, or an export while no commit is due.
        if path == site.project.lock:
            known = _KnownContents(places=[site.state_dir / LOCK_BEFORE, *_copies(site, store_of(site).all())])
        elif not read_pending(site.state_dir).commit:
            known = _KnownContents(places=[])
        if known is not None:
            _keep_staged(site, log, path, known)
        if is_same_text(read_if_there(path), data):
            continue
        if known is not None:
            _keep_edit(site, log, path, known)
        replace_file(path, data, staging=site.state_dir)
    git.unstage([*tracked])
