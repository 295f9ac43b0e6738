"""Repairs what a git that was killed has left: its lock files, and a checkout that stopped half-way."""

from __future__ import annotations

import os
from pathlib import Path

from releaser.checkout.products import find_unchanged_products
from releaser.checkout.repository import Repository
from releaser.errors import refuse
from releaser.releases.journal import Entry
from releaser.site.site import Site
from releaser.system.files import lies_behind_link, name_temporary, remove_path
from releaser.system.text import join_few


def remove_temporaries(site: Site) -> None:
    """Delete what has the names under which uv.lock, the export and the link are made before their rename.

    Raises OSError.
    """
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
