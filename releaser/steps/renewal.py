"""Rebuilding a release from its own lock: a fresh venv with the Python that is installed now, and the tests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion

from releaser.errors import BuildError, ToolError
from releaser.locking.builds import named_as_unbuilt, tags_of, without_a_build
from releaser.locking.installed import installed
from releaser.locking.lockfile import InvalidLockError
from releaser.project.base_python import minor
from releaser.project.pythons import pinned
from releaser.releases.soundness import live_damage
from releaser.report.outcome import Problem
from releaser.steps.build import build, seal
from releaser.steps.capacity import look_for_room
from releaser.steps.diagnosis import flaw, lost_python
from releaser.steps.gate import gate
from releaser.steps.migrations import look_at_migrations
from releaser.steps.resolve import candidate_key, resolve_as_locked
from releaser.steps.security import default_groups
from releaser.steps.unseen import PAUSE, refuse_unseen

if TYPE_CHECKING:
    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.project.settings import Settings
    from releaser.project.site import Site
    from releaser.releases.quarantine import CandidateKey
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.resolve import Resolution


def renewed(
    run: Run, fitness: Fitness, live: Release | None, *, lock: LockFile | None = None, instead_of: Release | None = None
) -> Release:
    """Build `lock`, or that of the staging tree, test it and seal it.

    `instead_of` is the earlier release that it stands in for.

    Raises BuildError, which names what has no build for this Python, PreflightError, and what the gate raises.
    """
    resolution = resolve_as_locked(run, live, lock)
    run.draft.changes = () if instead_of else resolution.diff.changes
    candidate = build_as_locked(run, fitness, resolution, instead_of=instead_of)
    run.draft.release, run.draft.previous = candidate.id, live.id if live else None
    gate(run, fitness, candidate, before=fitness)
    look_at_migrations(run, candidate)
    return seal(run, candidate, tests="passed")


def build_as_locked(
    run: Run, fitness: Fitness, resolution: Resolution, *, instead_of: Release | None = None
) -> Candidate:
    """Build a candidate from a lock in which nothing may be left out. Raises BuildError."""
    key = candidate_key(run, fitness, resolution.lock)
    refuse_unbuildable(run, resolution.lock, key)
    look_for_room(run, fitness, resolution, run.store.live())
    try:
        return build(run, fitness, resolution, key, instead_of=instead_of)
    except BuildError as error:
        named = named_as_unbuilt(error.output)
        if named:
            raise _unbuildable(named, key.python, output=error.output) from error
        raise


def refuse_unbuildable(run: Run, lock: LockFile, key: CandidateKey) -> None:
    """See, before anything is built, that there is something to install of each package. Raises BuildError."""
    missing = unbuildable(run.site, lock, group=key.group, python=key.python)
    if missing:
        raise _unbuildable(missing, key.python)


def unbuildable(site: Site, lock: LockFile, *, group: str | None, python: str) -> tuple[str, ...]:
    """Return the packages of a lock, each with its version, that have neither a wheel for this Python nor a source."""
    tags = tags_of(python)
    if not tags:
        return ()
    try:
        pins = installed(lock, group=group, default_groups=default_groups(site), python=python)
        return tuple(f"{pin.name} {pin.version}" for pin in without_a_build(lock, pins, tags))
    except InvalidLockError:  # uv says more
        return ()


def _unbuildable(named: tuple[str, ...], python: str, *, output: str = "") -> BuildError:
    count = "1 package has" if len(named) == 1 else f"{len(named)} packages have"
    message = f"{count} no build for Python {python}: {', '.join(named)}"
    advice = (
        "Let newer versions of them come in first, by `releaser update`, or stay on the Python that they have one for."
    )
    return BuildError(message, advice=advice, output=output)


# Why


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """A live release to be rebuilt, and why.

    It is `blameless` if nobody has done anything to it: Python has changed, or the settings have.
    """

    release: Release
    reason: str
    blameless: bool


def due_to_renew(run: Run) -> Renewal | None:
    """Return the release that has to be rebuilt, even if no package is newer.

    An interpreter that is gone, or does not start, gets a second look. Raises PreflightError as `refuse_unseen`.
    """
    live = run.store.live()
    refuse_unseen(live)
    if live is not None and live.works() and _is_gone(live):
        time.sleep(PAUSE)
    reason = reason_to_renew(run.site.settings, run.store, live) if live is not None else ""
    if live is None or not reason:
        return None
    found = live_damage(live)
    blameless = lost_python(live, found) or (found is None and live.manifest.origin == "built")
    return Renewal(release=live, reason=reason, blameless=blameless)


def _is_gone(live: Release) -> bool:
    found = live_damage(live)
    return found is not None and found.kind == "gone"


def reason_to_renew(settings: Settings, store: ReleaseStore, live: Release) -> str:
    """Say why the live release has to be rebuilt, even if no package is newer; empty when it has not."""
    return flaw(store, live) or _other_links(settings, live)


def due_for_pin(run: Run, fitness: Fitness, live: Release | None) -> Renewal | None:
    """Return the live release if the site is to have another Python than the one that it was built with."""
    reason = reason_of_pin(run.site, fitness, live) if live is not None else ""
    return Renewal(release=live, reason=reason, blameless=True) if live is not None and reason else None


def reason_of_pin(site: Site, fitness: Fitness, live: Release) -> str:
    """Say what asks for another Python, of another minor version; empty when nothing does."""
    pin, was = pinned(site), live.manifest.python
    try:
        if pin is None or pin.admits(was) or minor(fitness.uv.python_version(fitness.python)) == minor(was):
            return ""
    except (ToolError, InvalidVersion):  # the interpreter does not start, which the build says; or was never known
        return ""
    return f"{pin.name} is {pin.request!r}, and it was built with Python {was}"


def _other_links(settings: Settings, live: Release) -> str:
    """What is set counts, and not what releaser would choose by itself, which may change with the disk."""
    wanted, was = settings.link_mode, live.manifest.link_mode
    if wanted is None or not was or wanted == was:
        return ""
    return f"`link_mode` is {wanted}, and it was built with {was}"


def can_be_renewed(run: Run, fitness: Fitness, release: Release, lock: LockFile) -> bool:
    """Whether a damaged release is rebuilt as it was, from its lock, and newer packages wait for the next run.

    They could fail, and what is live would stay damaged. It is the other way round where the lock as it is has failed
    before, holds what was backed out, is not for the code that is there now, or has no build for the Python.
    """
    same = release.manifest.dependencies_key == run.site.pyproject.dependencies_key()
    quarantine = run.quarantine()
    if run.draft.pulled is not None or not same or not lock.data:
        return False
    if any(entry.is_in(lock.versions) for entry in quarantine.versions):
        return False
    key = candidate_key(run, fitness, lock)
    known = quarantine.candidate(key) is not None
    return not known and not unbuildable(run.site, lock, group=key.group, python=key.python)


def note_flaw(run: Run, due: Renewal) -> None:
    """Report that a release is rebuilt because somebody has changed it."""
    if due.blameless:
        return
    message = f"the live release {due.release.id} is not what was sealed: {due.reason}"
    advice = "It is replaced by a new one from its lock. Find out who changed it; `uv sync` and `pip` write there."
    run.draft.problems.append(Problem(message=message, advice=advice))


def tell_moved(run: Run, fitness: Fitness, python: str) -> None:
    """Report that the site does not run on the Python that it ran on, or not on the one that a pin names."""
    choice = fitness.choice
    if choice.instead_of:
        message = (
            f"Python {minor(choice.instead_of)}, on which the site ran, is gone: Python {python} stands in for it, and"
            " the tests pass with that"
        )
        advice = "It stays on that from now on; `releaser rebuild --python VERSION` takes it to another one."
        run.draft.problems.append(Problem(message=message, advice=advice))
    if choice.against is not None:
        pin = choice.against
        message = f"{pin.where} is {pin.request!r}, which is not installed, and the site runs on Python {python} now"
        advice = f"Set it to {minor(python)!r}, or remove it: until then, updates are refused."
        run.draft.problems.append(Problem(message=message, advice=advice))
