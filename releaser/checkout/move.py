"""The action *checkout*: moves the checkout to a commit and puts the lock in its place, in both directions."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import stat
from pathlib import Path

from releaser.checkout.own_files import has_own_export
from releaser.checkout.repository import CheckoutState, Repository, find_untracked_in_the_way
from releaser.errors import Problem, ToolError, refuse, require
from releaser.releases.journal import Entry
from releaser.releases.release import BUILT, list_products
from releaser.releases.store import Store
from releaser.site.site import Site
from releaser.system.files import FULL, lies_behind_link, name_temporary, remove_path, replace_file, sync_file_system
from releaser.system.space import explain_full_disk, find_missing_room
from releaser.system.text import join_few

_BLOCK = 4096  # bytes in which a file takes its room
_MARGIN, _SPARE = 1 << 20, 8  # bytes and inodes for the index of git, the journal and the link


def find_obstacles(repository: Repository, before: str, after: str, source: Repository | None = None) -> list[Problem]:
    """Return a problem that names the untracked files that a move would overwrite.

    `source` is the repository that knows both commits, if that is another one.
    """
    if before == after:
        return []
    paths = find_untracked_in_the_way(repository, (source or repository).added_files(before, after))
    if not paths:
        return []
    names = join_few([f"`{path}`" for path in paths])
    message = f"Untracked files are in the way of commit {after[:12]}: {names}."
    return [Problem("untracked-files", message, "Move them away, then run releaser again. Nothing was changed.")]


def find_missing_room_for_move(repository: Repository, before: str, after: str) -> str:
    """Return a sentence about what the disk lacks for the files of a move; empty if they fit.

    The files that they replace are not counted: a process may hold them open.
    """
    if before == after:
        return ""
    added = repository.added_files(before, after)
    parents = {parent for path in added for parent in Path(path).parents if not (repository.top / parent).exists()}
    blocks = sum(-(-size // _BLOCK) for size in repository.changed_sizes(before, after)) + len(parents)
    return find_missing_room(repository.top, blocks * _BLOCK + _MARGIN, len(added) + len(parents) + _SPARE)


def move_checkout(site: Site, repository: Repository, entry: Entry, *, back: bool) -> None:
    """Move the checkout to the commit of a change, or `back`; its uv.lock follows. May be repeated.

    Work of a person stays: a changed uv.lock, a commit made meanwhile, another branch, and untracked files in the way
    are refused with PreflightError. Raises ToolError and OSError.
    """
    commit = entry.head if back else entry.commit
    state = repository.state()
    head, branch = state.head, f"refs/heads/{site.settings.site.branch}"
    if state.ref != branch or head not in (entry.head, entry.commit):
        message = f"The checkout was moved to {state.ref or 'no branch'} at {head[:12]} during this run."
        raise refuse("moved-checkout", message, f"Look at `git -C {site.paths.top} log`, then run releaser again.")
    _restore_committed_lock(site, repository, state, entry)
    if head != commit:
        require(find_obstacles(repository, head, commit))
        try:
            repository.run("update-index", "-q", "--refresh", check=False)  # on a full disk it would not say why
            # Not by `checkout`, which does not sync HEAD, nor by `reset`, which forgets what a person has staged.
            repository.run("read-tree", "-m", "-u", "HEAD", commit)
            repository.run("update-ref", "-m", f"releaser: moving to {commit}", branch, commit, head)
        except ToolError as error:
            if full := explain_full_disk(site.paths.top, error):
                raise full from error
            advice = f"Look at `git -C {site.paths.top} status`, then run releaser again."
            raise refuse("checkout", f"git refused to move the checkout: {error.message}", advice) from error
    _move_products(site, entry, back=back)
    if lock := _choose_lock(site, entry, back=back):
        put_file(site.paths.lockfile, lock.read_bytes())
    sync_file_system(site.paths.top)


def _move_products(site: Site, entry: Entry, *, back: bool) -> None:
    earlier = entry.products_of or entry.earlier
    before, after = (entry.release, earlier) if back else (earlier, entry.release)
    if after != before and entry.moves_products:
        place_products(site.paths.top, *(site.paths.releases / name if name else None for name in (before, after)))


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
        advice = f"Commit it, or run `git -C {site.paths.project} checkout HEAD -- uv.lock`; then run releaser again."
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


def place_products(top: Path, before: Path | None, after: Path | None) -> None:
    """Replace the products of release `before` in a checkout by those of release `after`. May be repeated.

    Whatever lies in the place of a product is kept as that of `before`, and comes back with it. Products of `before`
    that a person has changed stay. Raises PreflightError if a directory, or a file that no release could keep, is in
    the way, and OSError.
    """
    new, old, built = list_products(after), list_products(before), (after or top) / BUILT

    def is_in_the_way(path: Path) -> bool:
        place = top / path
        is_kept = before is not None and not (place.is_dir() and not place.is_symlink())
        is_other = os.path.lexists(place) and not _is_same(place, built / path)
        return lies_behind_link(top, path) or (is_other and not is_kept)

    if obstacles := [str(top / path) for path in sorted(new) if is_in_the_way(path)]:
        message = f"In the way of files that the build has made: {join_few(obstacles, 20)}."
        raise refuse("product-in-the-way", message, "Move them away, then run releaser again.")
    own = [path for path in sorted(new | old) if not lies_behind_link(top, path)]
    for path in own:  # a run that died may have left them
        for place in (top, before / BUILT) if before is not None else (top,):
            remove_path(name_temporary(place / path))
    for path in own:
        place, product = top / path, built / path
        was_left = before is not None and path in old and _is_same(place, before / BUILT / path)
        if path not in new:
            place.unlink() if was_left else None
        elif not _is_same(place, product):
            if before is not None and os.path.lexists(place) and not was_left:
                _copy(place, before / BUILT / path)
            _copy(product, place)


def find_products_owner(site: Site, repository: Repository, store: Store, head: str) -> str | None:
    """Return the newest release whose code and products the checkout has, if HEAD has not the code of the live one."""
    key = repository.code_key(head, *site.committed_paths)
    if store.live is None or store.live.manifest.key.code_key == key:
        return None
    for release in store.releases:
        products = list_products(release.directory) if release.manifest.key.code_key == key else ()
        if products and all(_is_same(site.paths.top / path, release.directory / BUILT / path) for path in products):
            return release.id
    return None


def _is_same(first: Path, second: Path) -> bool:
    if first.is_symlink() or second.is_symlink():
        return first.is_symlink() and second.is_symlink() and os.readlink(first) == os.readlink(second)
    return first.is_file() and second.is_file() and filecmp.cmp(first, second, shallow=False)


def _copy(source: Path, target: Path) -> None:
    """Put a copy of a file in its place by a rename; on a full disk, a hard link. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = name_temporary(target)
    remove_path(temporary)
    try:
        shutil.copy2(source, temporary, follow_symlinks=False)
    except OSError as error:
        if error.errno not in FULL:
            raise
        remove_path(temporary)
        os.link(source, temporary, follow_symlinks=False)
    with contextlib.suppress(PermissionError):
        os.chown(temporary, -1, target.parent.stat().st_gid, follow_symlinks=False)
    os.rename(temporary, target)
