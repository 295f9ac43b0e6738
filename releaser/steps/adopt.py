"""Adopting a project: what stands at `.venv` becomes the first release, and `.venv` a symlink to it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from releaser.durable import replace_file, replace_symlink, sync_directory, sync_file_system
from releaser.errors import BuildError, ToolError
from releaser.locking.lockfile import LockFile
from releaser.project.base_python import version_in
from releaser.project.location import PYPROJECT
from releaser.project.project import Pyproject, read_pyproject
from releaser.releases import flip
from releaser.releases.cost import measure
from releaser.releases.disk_use import note
from releaser.releases.interpreter import ask_if_possible
from releaser.releases.journal import Entry
from releaser.releases.release import Manifest, Release
from releaser.releases.seal import seal_files
from releaser.report.outcome import Problem
from releaser.steps import startup
from releaser.steps.resolve import code_key_of
from releaser.steps.unsynced import left_out, unsynced
from releaser.steps.verdict import mark_good

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.project.preflight import Fitness
    from releaser.run import Run

_UNPINNED = "Releases that releaser builds are; see that nothing is pruned that old processes still use."
_UNSYNCED = "It is adopted as it is; what an update builds is what the lock says."
Found = Literal["adopted", "unsealed", "directory", "symlink", "dangling", "nothing"]


def found_at(run: Run) -> Found:
    """Tell what stands at the place of the symlink; `unsealed` is a live release that has lost its manifest."""
    link = run.site.project.venv
    if run.store.live() is not None:
        return "adopted"
    if run.store.live_id() is not None and (link / "pyvenv.cfg").is_file():
        return "unsealed"
    if not os.path.lexists(link):
        return "nothing"
    if not link.is_symlink():
        return "directory"
    return "symlink" if (link / "pyvenv.cfg").is_file() else "dangling"


@dataclass(frozen=True, kw_only=True)
class Founded:
    """The first lock of a project, and the pyproject.toml that goes with it, before they are in the checkout."""

    lock: bytes
    pyproject: bytes


def adopt(run: Run, fitness: Fitness, *, founded: Founded | None = None) -> Release | None:
    """Make a real venv, or one that somebody's own symlink leads to, the first release; None when there is none.

    It gets the lock of the checkout, or one that is `founded` on what is installed. The venv itself is not changed, but
    for the start-up module that it gets. Raises BuildError.
    """
    exclude(run, fitness)
    what = found_at(run)
    if what not in ("directory", "symlink", "unsealed"):
        return run.store.live()
    if what != "unsealed" and founded is None:
        run.draft.problems += [Problem(message=one.message, advice=_UNSYNCED) for one in unsynced(run.site)]
        run.draft.problems += [Problem(message=one.message, advice=one.advice) for one in left_out(run.site)]
    with run.recorder.step("adopt") as step:
        try:
            release = _adopt(run, fitness.group, what, founded=founded)
        except OSError as error:
            message = f"{run.site.project.venv} could not be adopted: {error}"
            raise BuildError(message, advice="Check permissions and file systems; it is what it was.") from error
        step.says(f"{run.site.project.venv.name} is now {release.id}")
    return release


def take_in(run: Run) -> Release:
    """Make a real venv that somebody has put in the place of the symlink a release. Raises OSError."""
    return _adopt(run, None, "directory")


def _adopt(run: Run, group: str | None, what: Found, *, founded: Founded | None = None) -> Release:
    link = run.site.project.venv
    live = run.store.live_id()
    if what == "unsealed" and live is not None:
        return _complete(run, live, run.store.next_sequence(), group=group, trusted=True)
    name, sequence = run.store.begin(datetime.now(UTC))
    venv = run.store.path(name) / "venv"
    if founded is not None:  # before the venv is moved: whoever finishes that after a crash finds them nowhere else
        (run.store.path(name) / "uv.lock").write_bytes(founded.lock)
        (run.store.path(name) / PYPROJECT).write_bytes(founded.pyproject)
    run.journal.write(run.entry("adopting", target=name))
    if what == "directory":
        flip.adopt_directory(link, venv)
    else:
        venv.symlink_to(os.path.realpath(link))
        replace_symlink(link, os.path.relpath(venv, link.parent), staging=run.site.project.state_dir)
    release = _complete(run, name, sequence, group=group)
    run.close(f"had adopted the project: {link.name} leads to release {name}")
    return release


def _complete(run: Run, name: str, sequence: int, *, group: str | None, trusted: bool = False) -> Release:
    """Write the manifest of an adopted release, and record it; a `trusted` one has been live before."""
    directory = run.store.path(name)
    if doubt := startup.fit_if_possible(run, directory / "venv"):
        run.draft.problems.append(Problem(message=f"release {name} was adopted, but {doubt}", advice=_UNPINNED))
    lock = directory / "uv.lock"
    if not lock.exists():
        replace_file(lock, run.site.project.lock.read_bytes())
    cost = measure(directory)
    commit = _head(run)
    manifest = Manifest(
        id=name,
        sequence=sequence,
        created_at=datetime.now(UTC),
        origin="adopted",
        python=python_of(directory / "venv"),
        group=group,
        lock_sha256=LockFile.read(lock).sha256,
        dependencies_key=_pyproject(run, directory).dependencies_key(),
        code_key=code_key_of(run, commit) if commit else "",
        commit=commit,
        subject=run.site.git.subject(commit) if commit else "",
        previous=next(reversed(run.store.ledger().activations), None),
        tests="not run",
        changes=(),
        size_bytes=cost.size_bytes,
        fingerprint=seal_files(directory),
        interpreter=ask_if_possible(run.site.runner, directory / "venv"),
    )
    note(run.store, name, cost)
    sync_file_system(directory)
    release = run.store.complete(manifest)
    if trusted:
        mark_good(run, release)
    else:
        _mark(run, release)
    return release


def _head(run: Run) -> str | None:
    try:
        return run.site.git.commit("HEAD")
    except ToolError:
        return None


def _pyproject(run: Run, directory: Path) -> Pyproject:
    """Return the pyproject.toml that belongs to the lock of a release: the checkout's, or the one that came with it."""
    brought = directory / PYPROJECT
    return read_pyproject(brought) if brought.is_file() else run.site.pyproject


def _mark(run: Run, release: Release) -> None:
    """What a project is adopted with counts as good; what somebody puts in its place later, untested, does not."""
    others = frozenset(run.store.ledger().activations) - {release.id}
    if others:
        run.store.record(lambda ledger: ledger.marked(release.id, "bad"))
    else:
        mark_good(run, release)


def complete_adoption(run: Run, entry: Entry) -> None:
    """Finish an adoption that a crash cut short, or forget it if the venv had not been moved yet."""
    name = entry.target or ""
    link, venv = run.site.project.venv, run.store.path(name) / "venv"
    if not os.path.lexists(link) and venv.is_dir() and not venv.is_symlink():
        link.symlink_to(os.path.relpath(venv, link.parent))  # the crash hit the fallback between its two steps
    if run.store.live_id() == name:
        release = run.store.get(name)
        if release is None:
            _complete(run, name, run.store.next_sequence(), group=None)
        else:
            _mark(run, release)  # the crash hit between the manifest and the record


def python_of(venv: Path) -> str:
    """Return the Python version that pyvenv.cfg names; `unknown` when it names none."""
    return version_in(venv) or "unknown"


def exclude(run: Run, fitness: Fitness) -> None:
    """Keep what releaser puts into the work tree out of `git status`, for this clone alone.

    `.venv/` in .gitignore does not match a symlink. Raises BuildError.
    """
    wanted = [_pattern(path) for path in _to_exclude(run, fitness)]
    path = fitness.layout.common_directory / "info" / "exclude"
    try:
        present = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        missing = [line for line in wanted if line not in present.splitlines()]
        if missing:
            path.parent.mkdir(exist_ok=True)
            separator = "" if not present or present.endswith("\n") else "\n"
            with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(separator + "\n".join(missing) + "\n")
                file.flush()
                os.fsync(file.fileno())  # an adoption that is finished after a power cut does not look here again
            sync_directory(path.parent)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise BuildError(message, advice="Let this user write the repository.") from error


def _pattern(path: str) -> str:
    """Write a path as a pattern of gitignore(5) that matches this path alone."""
    literal = re.sub(r"([\\*?\[])", r"\\\1", path)
    text = literal.rstrip(" ")
    return f"/{text}" + "\\ " * (len(literal) - len(text))


def _to_exclude(run: Run, fitness: Fitness) -> list[str]:
    project, top = run.site.project, fitness.layout.top
    ours = (project.venv, project.state_dir)
    names = [str(place.relative_to(top)) for place in ours if place.is_relative_to(top)]
    restart_file = fitness.restart_file
    if restart_file is not None and restart_file.is_relative_to(top) and not _known_to_git(run, restart_file):
        names.append(str(restart_file.relative_to(top)))
    return names


def _known_to_git(run: Run, path: Path) -> bool:
    name = os.path.relpath(path, run.site.project.root)
    try:
        return run.site.git.ignores(name) or name in run.site.git.tracked_files()
    except ToolError:
        return True
