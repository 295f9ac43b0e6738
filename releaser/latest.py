"""Moving to the newest Python that there is, for those who have set `python` to `latest`: only with green tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from releaser.errors import BuildError, MigrationsError, TestsFailedError, ToolError
from releaser.locking.builds import named_as_unbuilt
from releaser.project.pythons import LATEST, newest
from releaser.recovery import undo_unfinished
from releaser.releases.quarantine import RefusedPython
from releaser.report.outcome import Problem
from releaser.steps.live_health import check_live_site
from releaser.steps.renewal import renewed, unbuildable
from releaser.steps.resolve import candidate_key, lock_of

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.tools.uv import Installed, Uv

_NOT_BUILT = "nothing could be built"


def on_the_latest(run: Run, fitness: Fitness, live: Release | None, *, force: bool) -> Release | None:
    """Build what is live with the newest Python, and test it; None if the site stays on its own.

    That it stays is told once for each version of Python. New commits come first: with these, nobody could tell what
    breaks the tests.
    """
    chance = look_for_python(run, fitness, live, force=force)
    if chance is None or live is None:
        return None
    if chance.missing:
        _refuse_again(run, live, chance.python, chance.reason, again="once there is one", force=force)
        return None
    check_live_site(run.outside, force=force)
    return _tried(run, replace(fitness, python=Path(chance.python.path)), live, chance.python, force=force)


@dataclass(frozen=True, kw_only=True)
class Chance:
    """A newer Python that the site is to move to; `missing` is what has no build for it, so that it cannot."""

    python: Installed
    missing: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why the site cannot move there."""
        return f"there is no build for it of {', '.join(self.missing)}"


def look_for_python(run: Run, fitness: Fitness, live: Release | None, *, force: bool) -> Chance | None:
    """Return the Python that the site is to move to now; None if it has nowhere to go, or that was refused before."""
    if live is None or run.draft.pulled is not None or not _is_settled(run, fitness, live):
        return None
    found = newer_python(run.site, fitness.uv, live)
    if found is None:
        return None
    key = candidate_key(run, replace(fitness, python=Path(found.path)), fitness.lock)
    quarantine = run.quarantine()
    refused = quarantine.python(found.version)
    if not force and ((refused is not None and not refused.unbuilt) or quarantine.candidate(key) is not None):
        return None
    missing = unbuildable(run.site, fitness.lock, group=key.group, python=key.python)
    return Chance(python=found, missing=missing)


def newer_python(site: Site, uv: Uv, live: Release) -> Installed | None:
    """Return the newest interpreter if the site is to run on that, and it is newer than the one that it runs on."""
    if site.settings.python != LATEST:
        return None
    try:
        found = newest(site, uv)
        return found if found is not None and Version(found.version) > Version(live.manifest.python) else None
    except (ToolError, InvalidVersion):
        return None


def _is_settled(run: Run, fitness: Fitness, live: Release) -> bool:
    """Whether what is live is what the checkout asks for, so that the Python is all that changes."""
    same = live.manifest.dependencies_key == run.site.pyproject.dependencies_key()
    return same and live.manifest.group == fitness.group and fitness.lock.same_packages(lock_of(live))


def _tried(run: Run, moved: Fitness, live: Release, found: Installed, *, force: bool) -> Release | None:
    try:
        return renewed(run, moved, live)
    except (TestsFailedError, MigrationsError) as error:
        _forget(run)
        if run.draft.blame in ("", "update"):
            _refuse(run, live, found, error.message)
    except BuildError as error:
        _forget(run)
        if named_as_unbuilt(error.output):
            _refuse(run, live, found, error.message)
        else:  # which may have any reason
            reason = f"{_NOT_BUILT}: {error.message}"
            _refuse_again(run, live, found, reason, again="each time", first=error.advice, force=force)
    run.draft.blame, run.draft.output = "", ""
    return None


def _forget(run: Run) -> None:
    """Clear away what has been begun: the update goes on as it would have without it."""
    undo_unfinished(run)
    run.draft.release, run.draft.previous, run.draft.changes = None, None, ()


def _refuse_again(
    run: Run, live: Release, found: Installed, reason: str, *, again: str, force: bool, first: str = ""
) -> None:
    """Refuse what is tried again, and report it once; always to who has asked for it by `force`.

    It is reported again if it is the build that fails now, or no build that is missing: what a build says varies.
    """
    known = run.quarantine().python(found.version)
    if force or known is None or known.reason.startswith(_NOT_BUILT) != reason.startswith(_NOT_BUILT):
        _refuse(run, live, found, reason, again=again, first=first)


def _refuse(run: Run, live: Release, found: Installed, reason: str, *, again: str = "", first: str = "") -> None:
    """Note that a version of Python is not to be tried, or only `again` when things have changed, and report it.

    `first` is what to do before it is tried again.
    """
    entry = RefusedPython(version=found.version, reason=reason, at=run.now_iso(), unbuilt=bool(again))
    run.change_quarantine(lambda quarantine: quarantine.with_python(entry))
    message = f"the site stays on Python {live.manifest.python}, and does not move to {found.version}: {reason}"
    when = again or "when there is a newer Python"
    retried = f"An update tries again {when}; `releaser rebuild --python {found.version}` does at once."
    run.draft.problems.append(Problem(message=message, advice=f"{first} {retried}".strip()))
