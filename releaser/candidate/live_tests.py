"""With `test_live = "always"`: the tests of the live release on nights without anything newer, told when they turn."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from releaser.answers import RedTests
from releaser.candidate.test_output import failing_tests
from releaser.candidate.testing import trials, try_live
from releaser.errors import TestsFailedError
from releaser.releases.integrity import is_dead
from releaser.releases.store import store_of
from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.words import one_line, timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.candidate.testing import Tried
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


logger = logging.getLogger(__name__)

LIVE_TESTS = "live-tests.json"
_STEP = "test live release"
_LONGEST = 200  # characters


def red_tests(state_dir: Path, live: Release | None) -> RedTests | None:
    """Return what is known to fail of the live release; None if it has passed, or nobody has looked."""
    try:
        found = read_state(state_dir / LIVE_TESTS, RedTests)
    except (UnreadableStateError, OSError):
        return None
    return found if found is not None and live is not None and found.release == live.id else None


def try_live_release(site: Site, log: RunLog, facts: SiteFacts) -> RedTests | None:
    """Run the tests of what is live, if that is wanted each night; return what fails and has been told before.

    Raises TestsFailedError when they have turned red, or something else fails. That they pass again is told once.
    """
    live = store_of(site).live()
    wanted = site.settings.test_live == "always"
    if not wanted or live is None or is_dead(live):
        if not wanted:
            _forget(site)
        return None
    before, tried = red_tests(site.state_dir, live), _try(site, log, facts, live)
    if tried is None:
        _forget(site)
        if before is not None:
            log.tell(f"The tests of {live.id} pass again; they had failed since {before.since[:10]}.")
        return None
    since = before.since if before is not None else timestamp()
    found = RedTests(release=live.id, since=since, reason=one_line(tried.reason), failing=_failing(tried))
    if before is not None and before.failing == found.failing:
        return before
    _note(site, found)
    raise _failure(log, live, tried)


def _try(site: Site, log: RunLog, facts: SiteFacts, live: Release) -> Tried | None:
    """Return the first trial that fails."""
    for trial in trials(site, facts):
        with log.step(f"{trial.step} live release") as step:
            tried = try_live(site, trial, live)
            step.says(tried.reason or "passed")
            if not tried.passed:
                step.status = "failed"
                return tried
    return None


def _failing(tried: Tried) -> tuple[str, ...]:
    """Name what fails, as unittest, Django and pytest do; without any names, say how it ended."""
    return failing_tests(tried.output) or (one_line(tried.reason, limit=_LONGEST),)


def _failure(log: RunLog, live: Release, tried: Tried) -> TestsFailedError:
    log.about(live, None)
    fail = tried.trial.verb("fail")
    what = tried.reason if tried.timed_out or tried.proves_nothing else f"{tried.trial.name} {fail}"
    message = f"{what} on the live release {live.id}, although nothing has changed"
    advice = "Fix the site or its tests. It is told again when something else fails, or when all is well."
    return TestsFailedError(message, blame="before", advice=advice, output=tried.output, fault=tried.fault)


def _note(site: Site, found: RedTests) -> None:
    try:
        write_state(site.state_dir / LIVE_TESTS, found)
    except OSError as error:  # a full disk: it is told once more
        logger.warning("that the tests of the live release fail cannot be noted: %s", error)


def _forget(site: Site) -> None:
    with contextlib.suppress(OSError):
        (site.state_dir / LIVE_TESTS).unlink(missing_ok=True)
