"""Repairs what a git that was killed has left: its lock files, and a checkout that stopped half-way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from releaser.checkout.repository import Repository
from releaser.errors import refuse
from releaser.site.site import Site
from releaser.system.files import lies_behind_link, name_temporary, remove_path
from releaser.system.text import join_few

_LOCKS = ("index.lock", "HEAD.lock", "ORIG_HEAD.lock", "packed-refs.lock", "shallow.lock", "next-index-*.lock")


def remove_dead_git_locks(repository: Repository, since: float) -> None:
    """Delete lock files of git that were made after `since`, in seconds, unless a git works in the checkout now."""
    own, directory = repository.directories
    locks = [path for place in {directory, own} for pattern in _LOCKS for path in place.glob(pattern)]
    locks += (directory / "refs").glob("**/*.lock")
    if locks and not _is_git_working(repository.top):
        for lock in locks:
            with contextlib.suppress(OSError):
                if lock.stat().st_mtime >= since - 1:
                    lock.unlink()


def _is_git_working(top: Path) -> bool:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                name = Path(entry.path, "comm").read_text(encoding="utf-8", errors="replace")
                if name.startswith("git") and Path(os.readlink(f"{entry.path}/cwd")).is_relative_to(top):
                    return True
    return False


def remove_temporaries(site: Site) -> None:
    """Delete what has the names under which uv.lock, the export and the link are made before their rename.

    Raises OSError.
    """
    for target in (site.paths.lockfile, site.paths.link, *filter(None, [site.export])):
        remove_path(name_temporary(target))


def repair_checkout(repository: Repository, head: str, commit: str, own: Collection[str]) -> None:
    """Put back what a move between two commits has left half-done; HEAD, at either of them, decides.

    Only `own` and files that differ between the commits are touched, and of those only the ones whose content is that
    of one of the commits, a beginning of it, or missing: no person has written that. Raises PreflightError that names
    others, but for `own`: the move knows what releaser wrote there.
    """
    state = repository.state()
    current = state.head
    if current not in (head, commit):
        return
    other = commit if current == head else head
    changed = set(state.changed)
    added = set(repository.added_files(current, other))
    foreign = []
    paths = {*repository.changed_paths(head, commit), *own}
    for path in sorted(paths, key=lambda path: path not in added):  # a file comes back where a directory is gone
        place = repository.top / path
        is_left = path in added and os.path.lexists(place) and not lies_behind_link(repository.top, path)
        is_half_done = path in changed or is_left
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
    if foreign:
        names = join_few(foreign)
        message = f"Files of the checkout are neither as before nor as after an interrupted change: {names}."
        raise refuse("half-checkout", message, f"Look at `git -C {repository.top} status`.")


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
