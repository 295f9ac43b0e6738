"""Finding out what the site should run on: an upgraded lock, made in the staging tree."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from releaser.errors import ResolutionError, ToolError
from releaser.locking.diff import LockDiff
from releaser.locking.lockfile import EMPTY, InvalidLockError, LockFile
from releaser.locking.policy import is_newer
from releaser.locking.uploads import Uploads, uploads_in
from releaser.releases.quarantine import CandidateKey, Quarantine
from releaser.report.capping import cap
from releaser.report.outcome import HeldBack
from releaser.steps.gating import make_gates, standing
from releaser.steps.restraint import Restrained, resolve_within
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from releaser.locking.gates import Gates
    from releaser.project.preflight import Fitness
    from releaser.project.site import Site
    from releaser.releases.holds import Hold, Holds
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.gating import Lower
    from releaser.tools.uv import Bounds, Cuts


_UNBUILT = re.compile(r"Failed to (?:download and )?build `([A-Za-z0-9._-]+)==([^`\s]+)`")  # as uv 0.13 says it


_TOLD_LINES = 12  # of what the tests printed with a version that failed
Failed = Literal["rest", "out", "in"]


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
    failed: Failed = "rest",
    lower: Lower | None = None,
) -> Resolution:
    """Resolve the newest versions in the staging tree; `force` takes what failed before too.

    `fixes`, which is asked if policy or age keep anything out, maps packages to the versions that fix a vulnerability:
    those come in all the same. Of versions with which the tests `failed`, those `rest` that are not worth another try
    yet; all of them may stay `out`, or be let `in`. Raises ResolutionError.
    """
    quarantine = Quarantine() if force else run.quarantine()
    before = lock_of(live)

    def gates() -> Gates:
        return make_gates(
            run.site.settings,
            fitness.lock,
            before,
            quarantine=quarantine,
            holds=_holds(run, fitness, failed, force=force),
            now=run.started_at,
            lower=lower,
        )

    with run.recorder.step("resolve") as step:
        staging = _Staging(run=run, fitness=fitness, tree=run.site.project.root)
        restrained = _lock(staging, gates, fixes, quarantine, before)
        found = _read(run.site.project.lock)
        _refuse_bad_versions(found, quarantine)
        resolution = _resolution(run, live, found, held_back(restrained, quarantine, run.holds(), found))
        step.says(_extent(resolution.diff))
    return resolution


def _holds(run: Run, fitness: Fitness, failed: Failed, *, force: bool) -> Holds:
    holds = run.holds()
    match failed:
        case "rest":
            return counting(run.site, fitness, holds, now=run.started_at, force=force)
        case "out":
            return replace(holds, entries=tuple(one for one in holds.entries if one.by != "undecided"))
        case "in":
            return replace(holds, entries=tuple(one for one in holds.entries if one.by == "person"))


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


def held_back(restrained: Restrained, quarantine: Quarantine, holds: Holds, lock: LockFile) -> tuple[HeldBack, ...]:
    """List the versions that were left out on purpose; what comes only together with one is part of that entry."""
    held = held_by_tests(holds, lock)
    failed = {(one.name, one.version) for one in held}
    part = {name for one in held for name in one.together}
    backed_out = {entry.name for entry in quarantine.versions}
    kept = tuple(
        HeldBack(name=one.name, version=one.version, reason=one.reason, by=one.by, since=one.since)
        for one in restrained.kept
        if (one.by != "activation" or one.name not in backed_out)
        and (one.name, one.version) not in failed
        and f"{one.name} {one.version}" not in part
    )
    return left_out(quarantine, lock) + held + kept


def held_by_tests(holds: Holds, lock: LockFile) -> tuple[HeldBack, ...]:
    """List the versions that failed, and those that are undecided, as far as they are newer than what is locked."""
    still = holds.without_older(lock.versions).entries
    return tuple(shown((one for one in still if one.by != "person"), lock.versions))


def shown(holds: Iterable[Hold], live: Mapping[str, str]) -> Iterator[HeldBack]:
    """Yield holds as a report shows them; `live` are the versions of the live release."""
    for one in holds:
        yield HeldBack(
            name=one.name,
            version=one.version or live.get(one.name, ""),
            reason=one.reason,
            by=one.by,
            since=one.at,
            release=one.release,
            tests=one.tests,
            together=one.together,
            output=cap(one.output, head_lines=0, tail_lines=_TOLD_LINES),
        )


def left_out(quarantine: Quarantine, lock: LockFile) -> tuple[HeldBack, ...]:
    """List the quarantined versions that are newer than what was resolved."""
    return tuple(
        HeldBack(name=entry.name, version=entry.version, reason=entry.reason, since=entry.at)
        for entry in quarantine.versions
        if entry.name in lock.versions and is_newer(entry.version, lock.versions[entry.name])
    )


def counting(site: Site, fitness: Fitness, holds: Holds, *, now: datetime, force: bool = False) -> Holds:
    """Return the holds that keep something out with this code and this Python; with `force`, persons'.

    Raises ResolutionError.
    """
    if all(one.by == "person" for one in holds.entries):
        return holds
    python = "" if force else _python_version(fitness)
    return standing(site, holds, python=python, now=now, force=force)


def candidate_key(run: Run, fitness: Fitness, lock: LockFile) -> CandidateKey:
    """Return what tells a candidate with this lock from others. Raises ResolutionError."""
    code, python = _surroundings(run.site, fitness)
    return CandidateKey(lock_sha256=lock.key, code_key=code, python=python, group=fitness.group)


def _surroundings(site: Site, fitness: Fitness) -> tuple[str, str]:
    """Return what a candidate is tried with: the key of the code, and the Python."""
    try:
        code = site.git.code_key(own_files(site, site.git.layout.top))
    except ToolError as error:
        raise ResolutionError(error.message, advice=error.advice, output=error.output) from error
    return code, _python_version(fitness)


def _python_version(fitness: Fitness) -> str:
    try:
        return fitness.uv.python_version(fitness.python)
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
