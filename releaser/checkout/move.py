"""The action *checkout*: moves the checkout to a commit and puts the lock in its place, in both directions.

Also repairs what such a move leaves half-way if git, or releaser, is killed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from releaser.checkout.own_files import has_own_export
from releaser.checkout.products import find_unchanged_products, place_products, plan_products
from releaser.checkout.repository import CheckoutState, Repository, find_untracked_in_the_way
from releaser.errors import Problem, ToolError, refuse, require
from releaser.releases.journal import Entry
from releaser.site.site import Site
from releaser.system.files import lies_behind_link, name_temporary, remove_path, replace_file, sync_file_system
from releaser.system.space import explain_full_disk, find_missing_room
from releaser.system.text import join_few, word

_BLOCK = 4096  # bytes in which a file takes its room
_MARGIN, _SPARE = 1 << 20, 8  # bytes and inodes for the index of git, the journal and the link


def find_obstacles(
    repository: Repository, before: str, after: str, source: Repository | None = None, products: Collection[Path] = ()
) -> list[Problem]:
    """Return a problem that names the untracked files that a move would overwrite.

    `source` is the repository that knows both commits, if that is another one. `products` are deleted before.
    """
    if before == after:
        return []
    found = find_untracked_in_the_way(repository, (source or repository).added_files(before, after))
    paths = [path for path in found if Path(path) not in products]
    if not paths:
        return []
    names = join_few([f"`{path}`" for path in paths])
    message = f"Untracked files are in the way of commit {after[:12]}: {names}."
    return [Problem("untracked-files", message, "Move them away, then run releaser again.")]


def require_free_way(site: Site, repository: Repository, entry: Entry) -> None:
    """Raise PreflightError if a move would overwrite what is a person's. Changes nothing."""
    products = plan_products(site, repository, entry, back=False)
    problems = find_obstacles(repository, entry.head, entry.commit, products=products.deleted)
    require([*problems, *products.problems])


def is_moved_by_person(site: Site, state: CheckoutState, entry: Entry) -> bool:
    """Return True if the checkout is on another branch or commit than a change would leave it on."""
    return state.branch != site.settings.site.branch or state.head not in (entry.head, entry.commit)


def find_missing_room_for_move(repository: Repository, before: str, after: str) -> str:
    """Return what the disk lacks for the files of a move; empty if they fit. What they replace may be held open."""
    if before == after:
        return ""
    added = repository.added_files(before, after)
    parents = {parent for path in added for parent in Path(path).parents if not (repository.top / parent).exists()}
    blocks = sum(-(-size // _BLOCK) for size in repository.changed_sizes(before, after)) + len(parents)
    return find_missing_room(repository.top, blocks * _BLOCK + _MARGIN, len(added) + len(parents) + _SPARE)


def move_checkout(site: Site, repository: Repository, entry: Entry, *, back: bool) -> None:
    """Move the checkout to the commit of a change, or `back`, with products, byte code and uv.lock. May be repeated.

    Work of a person stays: a changed uv.lock, a commit made meanwhile, another branch, and files in the way are refused
    with PreflightError. Raises ToolError, also for a git that was killed, BuildError and OSError.
    """
    commit = entry.head if back else entry.commit
    state = repository.state()
    head, ref = state.head, f"refs/heads/{state.branch}"
    if is_moved_by_person(site, state, entry):
        message = f"The checkout was moved to {ref if state.branch else 'no branch'} at {head[:12]} during this run."
        advice = f"Look at `git -C {word(site.paths.top)} log`, then run releaser again."
        raise refuse("moved-checkout", message, advice)
    require(repository.find_lock(*(["HEAD", ref] if head != commit else [])))
    _restore_committed_lock(site, repository, state, entry)
    products = plan_products(site, repository, entry, back=back)
    require([*find_obstacles(repository, head, commit, products=products.deleted), *products.problems])
    sources = [path for path in map(Path, repository.changed_paths(entry.head, entry.commit)) if path.suffix == ".py"]
    for path in products.deleted:
        (site.paths.top / path).unlink()
    if head != commit:
        _await_next_second(site.paths.top, sources)
        try:
            repository.run("update-index", "-q", "--refresh", check=False)  # on a full disk it would not say why
            # Not by `checkout`, which does not sync HEAD, nor by `reset`, which forgets what a person has staged.
            repository.run("read-tree", "-m", "-u", "HEAD", commit)
            repository.run("update-ref", "-m", f"releaser: moving to {commit}", ref, commit, head)
        except ToolError as error:
            if full := explain_full_disk(site.paths.top, error):
                raise full from error
            if error.is_killed:
                raise
            advice = f"Look at `git -C {word(site.paths.top)} status`, then run releaser again."
            raise refuse("checkout", f"git refused to move the checkout: {error.message}", advice) from error
    place_products(products)
    _delete_byte_code(site.paths.top, repository, [*sources, *products.paths])
    if lock := _choose_lock(site, entry, back=back):
        put_file(site.paths.lockfile, lock.read_bytes())
    sync_file_system(site.paths.top)


def _await_next_second(top: Path, sources: Iterable[Path]) -> None:
    """Wait until what is written now has another time than a source in its place, to which byte code belongs."""
    times = [int((top / path).stat().st_mtime) for path in sources if (top / path).is_file()]
    if int(time.time()) in times:
        time.sleep(1 - time.time() % 1)


def _delete_byte_code(top: Path, repository: Repository, sources: Iterable[Path]) -> None:
    """Delete the byte code of sources: Python takes it for that of another one of the same second and size."""
    found = [
        cached.relative_to(top)
        for path in sources
        if path.suffix == ".py"
        for cached in (top / path.parent / "__pycache__").glob(f"{glob.escape(path.stem)}.*.pyc")
        if not lies_behind_link(top, cached.relative_to(top))
    ]
    tracked = repository.tracked_files() if found else ()
    for cached in found:
        if cached.as_posix() not in tracked:
            with contextlib.suppress(OSError):  # of another user
                (top / cached).unlink()


def _choose_lock(site: Site, entry: Entry, *, back: bool) -> Path | None:
    """Return the lock that belongs into the checkout; None if that is the committed one."""
    release = entry.earlier if back else entry.release
    belongs = entry.had_lock if back else entry.commits_lock
    return site.paths.releases / release / "uv.lock" if belongs and release else None


def _restore_committed_lock(site: Site, repository: Repository, state: CheckoutState, entry: Entry) -> None:
    """Put HEAD's uv.lock and export back if those in the checkout are what releaser wrote."""
    path, changed = site.paths.lockfile_in_tree, state.changed
    if site.committed_paths[-1] in {*changed} - {path} and site.export and has_own_export(site):
        own = f":(top,literal){site.committed_paths[-1]}"
        repository.run("reset", "--quiet", "HEAD", "--", own)
        remove_path(site.export)
        if repository.is_tracked(str(site.export)):
            repository.run("checkout", "--quiet", "HEAD", "--", own)
    if path not in changed:
        return
    locks = [site.paths.releases / release / "uv.lock" for release in (entry.earlier, entry.release) if release]
    content = site.paths.lockfile.read_bytes() if site.paths.lockfile.is_file() else None
    if content is None or content not in [lock.read_bytes() for lock in locks if lock.exists()]:
        message = f"`{site.paths.lockfile}` was changed since this change began."
        advice = (
            f"Commit it, or run `git -C {word(site.paths.project)} checkout HEAD -- uv.lock`; then run releaser again."
        )
        raise refuse("changed-lock", message, advice)
    repository.run("checkout", "--quiet", "HEAD", "--", f":(top,literal){path}")


def put_file(path: Path, data: bytes) -> None:
    """Put a lock or an export into the checkout, unless it has the same content. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        before = path.stat() if path.is_file() else path.parent.stat()
        replace_file(path, data, mode=stat.S_IMODE(before.st_mode) & 0o666)
        with contextlib.suppress(PermissionError):
            os.chown(path, -1, before.st_gid)


# Of a move that was cut off


def remove_temporaries(site: Site) -> None:
    """Delete uv.lock, the export and the link under the names that they have before their rename. Raises OSError."""
    for target in (site.paths.lockfile, site.paths.link, *filter(None, [site.export])):
        remove_path(name_temporary(target))


def repair_checkout(site: Site, repository: Repository, entry: Entry, target: str) -> None:
    """Put back what a move between two commits has left half-done; HEAD, at either of them, decides.

    Only uv.lock, the export and files that differ between the commits are touched, and of those only the ones whose
    content is that of one of the commits, a beginning of it, or missing: no person has written that. Products are left
    to the move, which also knows what releaser wrote to uv.lock. Raises PreflightError that names files of others; but
    where HEAD is at `target` already, these are later work of a person.
    """
    state, head, commit, own = repository.state(), entry.head, entry.commit, site.committed_paths
    current = state.head
    if current not in (head, commit):
        return
    other = commit if current == head else head
    releases = [site.paths.releases / release for release in (entry.earlier, entry.release) if release]
    products = frozenset[Path]().union(*(find_unchanged_products(repository.top, release) for release in releases))
    changed = set(state.changed)
    added = set(repository.added_files(current, other))
    foreign = []
    paths = {*repository.changed_paths(head, commit), *own}
    for path in sorted(paths, key=lambda path: path not in added):  # a file comes back where a directory is gone
        place = repository.top / path
        is_left = path in added and os.path.lexists(place) and not lies_behind_link(repository.top, path)
        is_half_done = path in changed or (is_left and Path(path) not in products)
        if not is_half_done or (place.is_dir() and not place.is_symlink()):
            continue
        disk = _read_disk(place)
        blobs = [_read_blob(repository, each, path) for each in (head, commit)]
        if disk is not None and not any(blob is not None and blob.startswith(disk) for blob in blobs):
            foreign += [path] if path not in own else []
        elif path in added:
            repository.run("reset", "--quiet", "HEAD", "--", f":(top,literal){path}")
            remove_path(place)
            _remove_empty_parents(repository.top, Path(path).parent)
        else:
            repository.run("checkout", "--quiet", "--force", "HEAD", "--", f":(top,literal){path}")
    if foreign and current != target:
        names = join_few([f"`{path}`" for path in foreign], 20)
        message = f"Files of the checkout are neither as before nor as after an interrupted change: {names}."
        raise refuse("half-checkout", message, "Move them away, then run releaser again.")


def _read_blob(repository: Repository, commit: str, path: str) -> bytes | None:
    """Return a file of a commit as a checkout writes it, filters included."""
    finished = repository.run("cat-file", "--filters", f"{commit}:{path}", check=False)
    return finished.stdout.encode(errors="surrogateescape") if finished.status == 0 else None


def _read_disk(path: Path) -> bytes | None:
    """Return the content of a file, the target of a link, or None if neither exists."""
    try:
        return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
    except OSError:
        return None


def _remove_empty_parents(top: Path, directory: Path) -> None:
    for parent in (directory, *list(directory.parents)):
        if parent == Path("."):
            return
        try:
            (top / parent).rmdir()
        except OSError:
            return
