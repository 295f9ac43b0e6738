"""Building what can be built: an upgrade that cannot be is held back, and the others come in."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.errors import BuildError, ResolutionError
from releaser.locking.diff import LockDiff
from releaser.locking.policy import normalized
from releaser.steps.build import build
from releaser.steps.holding import Fault, hold_back
from releaser.steps.mend import remove_unsealed
from releaser.steps.resolve import lock_of
from releaser.steps.sublocks import sub_locks
from releaser.steps.suspects import complaint
from releaser.steps.test_packages import test_packages
from releaser.steps.unchanged import is_as_live

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.releases.quarantine import CandidateKey
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.resolve import Resolution

_FAILED = re.compile(r"Failed to build `([^`=\s]+)==([^`\s]+)`")
# What uv says if it is the package's own build that fails, and not the network; a full disk may show as that, too.
_ITS_OWN_FAULT = "The build backend returned an error"
_NO_ROOM = "No space left"


def built(run: Run, fitness: Fitness, resolution: Resolution, key: CandidateKey) -> Candidate:
    """Build a candidate, without the upgrades that cannot be built if there are any. Raises BuildError."""
    while True:
        try:
            candidate = build(run, fitness, resolution, key)
            with test_packages(run, candidate.venv, candidate.directory / "uv.lock"):
                return candidate  # what only the tests need can be built as well
        except BuildError as error:
            resolution = _without_what_fails(run, fitness, resolution, key, error)
            _clear_away(run)
        key = replace(key, lock_sha256=resolution.lock.key)


def _without_what_fails(
    run: Run, fitness: Fitness, resolution: Resolution, key: CandidateKey, error: BuildError
) -> Resolution:
    """Hold back what cannot be built; raises the error again if nothing new is left, or if that is not the cause."""
    live = lock_of(run.store.live())
    failed = _unbuildable(resolution, error.output)
    if run.site.settings.culprits != "hold" or not failed:
        raise error
    locks = sub_locks(run, fitness, resolution)
    try:
        upgrades = locks.upgrades()
        lesser = locks.with_upgrades([one for one in upgrades if one not in failed], without=sorted(failed))
    except ResolutionError:
        raise error from None
    if not failed <= {*upgrades} or any(lesser.versions[one] == resolution.lock.versions[one] for one in failed):
        raise error
    printed = "\n".join(line.strip() for line in error.output.splitlines())  # uv indents what the build has printed
    fault = Fault(words=f"it cannot be built{complaint(printed)}", output=error.output)
    hold_back(run, resolution.lock, key, dict.fromkeys(sorted(failed), fault))
    release = run.store.live()
    if release is not None and run.draft.pulled is None and is_as_live(run.site, lesser, release):
        raise error
    (resolution.tree / "uv.lock").write_bytes(lesser.data)
    diff = LockDiff.between(live, lesser) if live.data else LockDiff(changes=())
    return replace(resolution, lock=lesser, diff=diff)


def _unbuildable(resolution: Resolution, output: str) -> frozenset[str]:
    """Return the packages that uv could not build for a reason of their own."""
    if _ITS_OWN_FAULT not in output or _NO_ROOM in output:
        return frozenset()
    versions = resolution.lock.versions
    found = ((normalized(name), version) for name, version in _FAILED.findall(output))
    return frozenset(name for name, version in found if versions.get(name) == version)


def _clear_away(run: Run) -> None:
    """Delete what the build has left, before the journal names the next one."""
    entry = run.journal.read()
    if entry is not None and entry.phase == "building" and entry.target is not None:
        remove_unsealed(run, run.store.path(entry.target))
