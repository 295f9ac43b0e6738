"""Finding out what the site should run on: an upgraded lock, made in the staging tree."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.errors import ResolutionError, ToolError
from releaser.locking.diff import LockDiff
from releaser.locking.lockfile import EMPTY, InvalidLockError, LockFile
from releaser.locking.policy import is_newer
from releaser.locking.uploads import Uploads, uploads_in
from releaser.releases.quarantine import CandidateKey, Quarantine
from releaser.report.outcome import HeldBack
from releaser.steps.gating import make_gates
from releaser.steps.restraint import Restrained, resolve_within
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from releaser.locking.gates import Gates
    from releaser.project.preflight import Fitness
    from releaser.project.site import Site
    from releaser.releases.holds import Holds
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.tools.uv import Bounds, Cuts


_UNBUILT = re.compile(r"Failed to (?:download and )?build `([A-Za-z0-9._-]+)==([^`\s]+)`")  # as uv 0.13 says it


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """A lock to build from, in the staging tree `tree`.

    `diff` is what it changes against the live release, `held_back` what was left out on purpose.
    """

    tree: Path
    lock: LockFile
    diff: LockDiff
    held_back: tuple[HeldBack, ...]


def resolve(
    run: Run,
    fitness: Fitness,
    live: Release | None,
    *,
    force: bool = False,
    fixes: Callable[[], Mapping[str, str]] = dict,
) -> Resolution:
    """Resolve the newest versions in the staging tree; `force` takes what failed before too.

    `fixes`, which is asked if policy or age keep anything out, maps packages to the versions that fix a vulnerability:
    those come in all the same. Raises ResolutionError.
    """
    quarantine = Quarantine() if force else run.quarantine()
    fitness = replace(fitness, uv=fitness.uv.within_its_limit())
    before = lock_of(live)

    def gates() -> Gates:
        return make_gates(
            run.site.settings,
            fitness.lock,
            before,
            quarantine=quarantine,
            holds=counting(run.site, fitness, run.holds(), force=force),
            now=run.started_at,
        )

    with run.recorder.step("resolve") as step:
        staging = _Staging(run=run, fitness=fitness, tree=run.site.project.root)
        restrained = _lock(staging, gates, fixes, quarantine, before)
        found = _read(run.site.project.lock)
        _refuse_bad_versions(found, quarantine)
        resolution = _resolution(run, live, found, held_back(restrained, quarantine, found))
        step.says(_extent(resolution.diff))
    return resolution


def resolve_as_locked(run: Run, live: Release | None, lock: LockFile | None) -> Resolution:
    """Take a lock as it is: `lock`, or that of the staging tree. Raises ResolutionError."""
    with run.recorder.step("resolve") as step:
        if lock is not None:
            run.site.project.lock.write_bytes(lock.data)
        found = _read(run.site.project.lock)
        resolution = _resolution(run, live, found, left_out(run.quarantine(), found))
        step.says(_extent(resolution.diff))
    return resolution


def _resolution(run: Run, live: Release | None, found: LockFile, withheld: tuple[HeldBack, ...]) -> Resolution:
    before = lock_of(live)
    return Resolution(
        tree=run.site.project.root,
        lock=found,
        diff=LockDiff.between(before, found) if before.data else LockDiff(changes=()),
        held_back=withheld,
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


@dataclass(kw_only=True)
class _Staging:
    """Resolves in the staging tree; each try begins at the lock of the commit."""

    run: Run
    fitness: Fitness
    tree: Path

    def resolve(self, bounds: Bounds, cuts: Cuts) -> Mapping[str, str]:
        """Lock within bounds."""
        self.run.site.project.lock.write_bytes(self.fitness.lock.data)
        self._uv_lock(bounds, cuts)
        return _read(self.tree / "uv.lock").versions

    def uploads(self) -> Uploads:
        """Read what the locks tell."""
        now = self.run.started_at
        return uploads_in(_read(self.tree / "uv.lock"), now).beside(uploads_in(self.fitness.lock, now))

    def settle(self) -> Mapping[str, str]:
        """Lock what is locked, without times."""
        self._uv_lock(dict.fromkeys(self.fitness.lock.names), {})
        return _read(self.tree / "uv.lock").versions

    def _uv_lock(self, bounds: Bounds, cuts: Cuts) -> None:
        fitness = self.fitness
        fitness.uv.lock(self.tree, python=fitness.python, bounds=bounds, packages=fitness.lock.names, cuts=cuts)


def _lock(
    staging: _Staging,
    gates: Callable[[], Gates],
    fixes: Callable[[], Mapping[str, str]],
    quarantine: Quarantine,
    live: LockFile,
) -> Restrained:
    locked = staging.fitness.lock.versions
    try:
        return resolve_within(staging, gates, locked=locked, live=live.versions, fixes=fixes)
    except ToolError as error:
        left_out = [f"{entry.name} {entry.version}" for entry in quarantine.versions]
        raise _unresolved(error, left_out) from error


def _unresolved(error: ToolError, left_out: Sequence[str]) -> ResolutionError:
    if error.timed_out:
        return ResolutionError(
            f"no upgraded lock could be made: {error.message}",
            advice="Check the network and the index; raise `uv_timeout` if it needs longer.",
            output=error.output,
        )
    if error.returncode == NO_SOLUTION and (unbuilt := _UNBUILT.search(error.output)):
        name, version = unbuilt.groups()
        return ResolutionError(
            f"{name} {version} does not build, so that nobody can tell what it needs",
            advice=f"See uv's message. `releaser hold {name}` lets all others come in until that is fixed.",
            output=error.output,
        )
    if error.returncode == NO_SOLUTION:
        held = f" Left out on purpose: {', '.join(left_out)} (`--force` takes these too)." if left_out else ""
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


def held_back(restrained: Restrained, quarantine: Quarantine, lock: LockFile) -> tuple[HeldBack, ...]:
    """List the versions that were left out on purpose."""
    kept = tuple(
        HeldBack(name=one.name, version=one.version, reason=one.reason, by=one.by, since=one.since)
        for one in restrained.kept
        if one.by != "activation" or one.name not in {entry.name for entry in quarantine.versions}
    )
    return left_out(quarantine, lock) + kept


def left_out(quarantine: Quarantine, lock: LockFile) -> tuple[HeldBack, ...]:
    """List the quarantined versions that are newer than what was resolved."""
    return tuple(
        HeldBack(name=entry.name, version=entry.version, reason=entry.reason, since=entry.at)
        for entry in quarantine.versions
        if entry.name in lock.versions and is_newer(entry.version, lock.versions[entry.name])
    )


def counting(site: Site, fitness: Fitness, holds: Holds, *, force: bool = False) -> Holds:
    """Return the holds that say something about a resolution with this code and this Python; with `force`, persons'.

    Raises ResolutionError.
    """
    if all(one.by == "person" for one in holds.entries):
        return holds
    code, python = ("", "") if force else _surroundings(site, fitness)
    return replace(holds, entries=tuple(one for one in holds.entries if one.counts_for(code_key=code, python=python)))


def candidate_key(run: Run, fitness: Fitness, lock: LockFile) -> CandidateKey:
    """Return what tells a candidate with this lock from others. Raises ResolutionError."""
    code, python = _surroundings(run.site, fitness)
    return CandidateKey(lock_sha256=lock.sha256, code_key=code, python=python, group=fitness.group)


def _surroundings(site: Site, fitness: Fitness) -> tuple[str, str]:
    """Return what a candidate is tried with: the key of the code, and the Python."""
    try:
        python = fitness.uv.python_version(fitness.python)
        return site.git.code_key(own_files(site, site.git.layout.top)), python
    except ToolError as error:
        raise ResolutionError(error.message, advice=error.advice, output=error.output) from error


def code_key_of(run: Run, commit: str) -> str:
    """Return what identifies the code of a commit, the files that releaser commits left out; empty if not known."""
    try:
        return run.site.git.code_key(own_files(run.site, run.site.git.layout.top), commit=commit)
    except ToolError:
        return ""


def released_paths(run: Run) -> tuple[str, ...]:
    """Return the files that releaser itself commits, relative to the top of the work tree."""
    return own_files(run.site, run.site.git.layout.top)


def own_files(site: Site, top: Path) -> tuple[str, ...]:
    """Return the files that releaser itself commits, relative to `top`, that of the work tree."""
    project, export = site.project, site.settings.requirements_export
    files = [project.lock, *([project.root / export] if export else [])]
    return tuple(os.path.relpath(file, top) for file in files)
