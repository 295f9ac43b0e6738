"""The files of the checkout that releaser writes: uv.lock, the export, and the pyproject.toml of a first lock.

They are kept before a flip and put back if it is taken back. What a person has edited is never lost.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING

from releaser.checkout.commits import pending
from releaser.errors import Finding, ToolError
from releaser.releases.store import store_of
from releaser.system.files import read_if_there, replace_file, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site


LOCK_BEFORE = "lock-before"  # the checkout's uv.lock as it was before the flip, for taking it back
PYPROJECT_BEFORE = "pyproject-before"  # likewise, of a flip that brings the project its first lock


def _files(site: Site, *, creates_pyproject: bool) -> dict[str, Path]:
    """Return the files that a flip replaces, by the names under which they are kept."""
    project = site.project
    return {LOCK_BEFORE: project.lock, **({PYPROJECT_BEFORE: project.pyproject} if creates_pyproject else {})}


def save_files(site: Site, *, creates_pyproject: bool) -> None:
    """Keep the files that a flip replaces, as they are now. Raises OSError."""
    for name, path in _files(site, creates_pyproject=creates_pyproject).items():
        kept = site.state_dir / name
        try:
            replace_file(kept, path.read_bytes())
        except FileNotFoundError:
            kept.unlink(missing_ok=True)


def restore_files(site: Site, entry: Entry) -> None:
    """Put back the files as they were before the flip; those that came with a first lock may go. Raises OSError."""
    for name, path in _files(site, creates_pyproject=entry.creates_pyproject).items():
        kept = site.state_dir / name
        if kept.exists():
            _write(site, path, kept.read_bytes())
        elif entry.creates_pyproject and path.exists():
            path.unlink()
            sync_directory(path.parent)


def place_files(site: Site, log: RunLog, release: Release, entry: Entry) -> None:
    """Let the checkout's uv.lock be the one of the live release, by a rename; pyproject.toml too if it comes with it.

    A lock that somebody has edited meanwhile is kept aside, one that somebody has committed stays. Raises OSError.
    """
    if not is_committed_by_somebody(site, log, entry):
        keep_edited_lock(site, log, entry)
        _write(site, site.project.lock, release.lock.read_bytes())
    if entry.creates_pyproject:
        _write(site, site.project.pyproject, release.pyproject.read_bytes())


def follow_with_lock(site: Site, before: Release | None, release: Release) -> None:
    """Let uv.lock of the checkout follow from the release `before`, unless somebody has changed it. Raises OSError."""
    lock = site.project.lock
    if not lock.exists() or lock.read_bytes() in known_locks(site, before):
        _write(site, lock, release.lock.read_bytes())


def _write(site: Site, path: Path, data: bytes) -> None:
    if read_if_there(path) != data:
        replace_file(path, data, staging=site.state_dir)


def is_committed_by_somebody(site: Site, log: RunLog, entry: Entry) -> bool:
    """Whether uv.lock is as in a commit that somebody made since the change in progress began; this is told."""
    lock, known = site.project.lock, {entry.head_before, entry.head_after} - {None}
    committed: bytes | None = None
    with contextlib.suppress(ToolError):
        if known and site.git.commit("HEAD") not in known:
            committed = site.git.data("HEAD", os.path.relpath(lock, site.git.layout.top))
    if committed is None or read_if_there(lock) != committed or committed in _locks_of(site, entry):
        return False
    message = f"somebody committed another {lock.name} meanwhile; it stays"
    log.note(Finding(message=message, advice="The next update takes it."))
    return True


def _locks_of(site: Site, entry: Entry) -> list[bytes | None]:
    releases = map(store_of(site).get, (entry.origin, entry.target))
    return [read_if_there(one.lock) for one in releases if one is not None]


def keep_edited_lock(site: Site, log: RunLog, entry: Entry) -> None:
    """Keep a uv.lock that somebody has edited, before it is replaced, and say where. Raises OSError."""
    project, store = site.project, store_of(site)

    def committed() -> Iterator[bytes | None]:
        with contextlib.suppress(ToolError):
            name = os.path.relpath(project.lock, site.git.layout.top)
            yield from (site.git.data(one, name) for one in ("HEAD", entry.head_before, entry.head_after) if one)

    known = [read_if_there(project.state_dir / LOCK_BEFORE), *_locks_of(site, entry)]
    keep_edited(site, log, project.lock, itertools.chain(known, committed()))  # git is asked only if need be
    if entry.creates_pyproject:
        brought = [one.pyproject for one in map(store.get, (entry.origin, entry.target)) if one is not None]
        keep_edited(site, log, project.pyproject, map(read_if_there, [project.state_dir / PYPROJECT_BEFORE, *brought]))


def keep_edited(site: Site, log: RunLog, path: Path, known: Iterable[bytes | None]) -> None:
    """Keep a file of the checkout that somebody has edited beside the state, before it is replaced, and say where.

    `known` are the contents that are no edit of anybody. Raises OSError.
    """
    if not path.is_file():
        return
    data = path.read_bytes()
    if any(data == one for one in known):
        return
    place = site.state_dir / f"{path.name}-{log.run_id}"
    copies = itertools.chain([place], (place.with_name(f"{place.name}-{number}") for number in itertools.count(2)))
    kept = next(one for one in copies if not one.exists() or one.read_bytes() == data)
    if kept.exists():
        return
    replace_file(kept, data)
    message = f"{path.name} in the checkout had edits that were not committed; they are kept as {kept}"
    log.note(Finding(message=message, advice="Compare them, and delete the copy when you no longer need it."))
    log.unreported.append(f"{message}.")  # should this run be killed: what is kept is no edit to the next one


def known_locks(site: Site, *releases: Release | None) -> list[bytes | None]:
    """Return the contents of uv.lock that are releases' or, unless git does not work, committed."""
    known = [read_if_there(one.lock) for one in releases if one is not None]
    with contextlib.suppress(ToolError):
        known.append(site.git.data("HEAD", os.path.relpath(site.project.lock, site.git.layout.top)))
    return known


def own_files_as_committed(site: Site, log: RunLog) -> None:
    """Give the files that releaser commits the content that HEAD has. Raises ToolError and OSError."""
    top, git = site.git.layout.top, site.git
    committed = {name: git.data("HEAD", name) for name in site.own_files()}
    tracked = {name: data for name, data in committed.items() if data is not None}
    for name, data in tracked.items():
        path = top / name
        if read_if_there(path) != data:
            _keep_if_edited(site, log, path, data)
            replace_file(path, data, staging=site.state_dir)
    git.unstage([*tracked])


def _keep_if_edited(site: Site, log: RunLog, path: Path, committed: bytes) -> None:
    """Keep what somebody has edited; what a run wrote and could not commit yet is no edit."""
    if path == site.project.lock:
        ours = [site.state_dir / LOCK_BEFORE, *(one.lock for one in store_of(site).all())]
        keep_edited(site, log, path, [committed, *map(read_if_there, ours)])
    elif not pending(site.state_dir).commit:
        keep_edited(site, log, path, [committed])
