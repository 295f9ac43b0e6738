"""Finding out what the site should run on: an upgraded lock, made away from the checkout."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.errors import ResolutionError, ToolError
from releaser.locking.diff import LockDiff
from releaser.locking.lockfile import EMPTY, InvalidLockError, LockFile
from releaser.locking.scratch import scratch_tree
from releaser.releases.quarantine import CandidateKey, Quarantine, bounds
from releaser.report.outcome import HeldBack
from releaser.steps.restraint import is_newer, resolve_without
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.tools.uv import Bounds


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """A lock to build from, in a scratch tree that lasts as long as the step around it.

    `diff` is what it changes against the live release, `held_back` what was left out on purpose;
    `checkout_differs` says that the checkout's own lock is not the one of the live release.
    """

    tree: Path
    lock: LockFile
    diff: LockDiff
    held_back: tuple[HeldBack, ...]
    checkout_differs: bool

    def same_as(self, live: Release) -> bool:
        """Whether this is what the live release was built from, and what the checkout says."""
        return not self.checkout_differs and self.lock.same_packages(lock_of(live))


@contextlib.contextmanager
def resolved(
    run: Run, fitness: Fitness, live: Release | None, *, upgrade: bool = True, force: bool = False
) -> Iterator[Resolution]:
    """Resolve in a scratch tree; `force` takes quarantined versions too, without `upgrade` the lock stays as it is.

    Raises ResolutionError, or OSError when the scratch tree cannot be made.
    """
    quarantine = run.quarantine()
    project = run.site.project
    before = lock_of(live)
    with scratch_tree(project.root, project.scratch, without=project.venv) as tree:
        with run.recorder.step("resolve") as step:
            if upgrade:
                _lock(run, fitness, tree, Quarantine() if force else quarantine, before)
            lock = _read(tree / "uv.lock")
            if not force and upgrade:
                _refuse_bad_versions(lock, quarantine)
            diff = LockDiff.between(before, lock) if before.data else LockDiff(changes=())
            step.says(_extent(diff))
        yield Resolution(
            tree=tree,
            lock=lock,
            diff=diff,
            held_back=() if force else left_out(quarantine, lock),
            checkout_differs=live is not None and not fitness.lock.same_packages(before),
        )


def _extent(diff: LockDiff) -> str:
    if len(diff) > 1:
        return f"{len(diff)} packages change"
    return "1 package changes" if diff else "no package changes"


def lock_of(release: Release | None) -> LockFile:
    """Return the lock of a release; an empty one when there is no release or its lock cannot be read."""
    if release is None:
        return EMPTY
    try:
        return LockFile.read(release.lock)
    except (OSError, InvalidLockError):
        return EMPTY


def _lock(run: Run, fitness: Fitness, tree: Path, quarantine: Quarantine, live: LockFile) -> None:
    def resolve(bounded: Bounds) -> Mapping[str, str]:
        shutil.copyfile(run.site.project.lock, tree / "uv.lock")  # each try begins at the same lock
        fitness.uv.lock(tree, python=fitness.python, bounds=bounded, packages=fitness.lock.names)
        return _read(tree / "uv.lock").versions

    try:
        resolve_without(resolve, quarantine, live.versions)
    except ToolError as error:
        raise _unresolved(error, bounds(quarantine, {})) from error


def _unresolved(error: ToolError, bounded: Mapping[str, str]) -> ResolutionError:
    if error.timed_out:
        return ResolutionError(
            f"no upgraded lock could be made: {error.message}",
            advice="Check the network and the index; raise `uv_timeout` if it needs longer.",
            output=error.output,
        )
    if error.returncode == NO_SOLUTION:
        left_out = "; ".join(name + bound for name, bound in bounded.items())
        held = f" Left out on purpose: {left_out} (`--force` takes these too)." if left_out else ""
        advice = f"Correct the dependencies in pyproject.toml as uv's message says.{held}"
        return ResolutionError("the dependencies of the project have no solution", advice=advice, output=error.output)
    advice = "Check the network and the index; releaser tries again at the next run."
    return ResolutionError(f"no upgraded lock could be made: {error.message}", advice=advice, output=error.output)


def _read(path: Path) -> LockFile:
    try:
        return LockFile.read(path)
    except (OSError, InvalidLockError) as error:
        message = f"uv left a lock that cannot be read: {error}"
        raise ResolutionError(message, advice="Check that `uv` is a working uv: `uv lock --upgrade`.") from error


def _refuse_bad_versions(lock: LockFile, quarantine: Quarantine) -> None:
    for entry in quarantine.versions:
        if entry.is_in(lock.versions):
            message = f"{entry.name} {entry.version} was backed out ({entry.reason}), but nothing else can be resolved"
            raise ResolutionError(
                message, advice="Relax the constraint on it, or accept it: `releaser update --force`."
            )


def left_out(quarantine: Quarantine, lock: LockFile) -> tuple[HeldBack, ...]:
    """List the quarantined versions that are newer than what was resolved."""
    return tuple(
        HeldBack(name=entry.name, version=entry.version, reason=entry.reason)
        for entry in quarantine.versions
        if entry.name in lock.versions and is_newer(entry.version, lock.versions[entry.name])
    )


def candidate_key(run: Run, fitness: Fitness, lock: LockFile) -> CandidateKey:
    """Return what tells a candidate with this lock from others. Raises ResolutionError."""
    try:
        python = fitness.uv.python_version(fitness.python)
        code = run.site.git.code_key(released_paths(run, fitness))
    except ToolError as error:
        raise ResolutionError(error.message, advice=error.advice, output=error.output) from error
    return CandidateKey(lock_sha256=lock.sha256, code_key=code, python=python, group=fitness.group)


def released_paths(run: Run, fitness: Fitness) -> tuple[str, ...]:
    """Return the files that releaser itself commits, relative to the top of the work tree."""
    project, export = run.site.project, run.site.settings.requirements_export
    files = [project.lock, *([project.root / export] if export else [])]
    return tuple(str(file.relative_to(fitness.layout.top)) for file in files)
