"""With `test_live = "always"`: the tests of the live release, on nights without anything newer."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from releaser.candidate.output import failing_tests
from releaser.candidate.testing import failure_of_live, tree_of_live
from releaser.candidate.trials import list_trials
from releaser.errors import TestsFailedError
from releaser.releases.integrity import cannot_run
from releaser.releases.journal import LIVE_TESTS, RedTests
from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.words import one_line, timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.run import Workspace


logger = logging.getLogger(__name__)

_LONGEST = 200  # characters


def red_tests(state_dir: Path, live: Release | None) -> RedTests | None:
    """Return what is known to fail of the live release; None if it has passed, or nobody has looked."""
    try:
        found = read_state(state_dir / LIVE_TESTS, RedTests)
    except (UnreadableStateError, OSError):
        return None
    return found if found is not None and live is not None and found.release == live.id else None


def try_live_release(work: Workspace) -> RedTests | None:
    """Run the tests of what is live, if that is wanted each night; return what fails and has been told before.

    Raises TestsFailedError when they have turned red, or something else fails. That they pass again is told once.
    """
    site, live, path = work.site, work.live, work.site.state_dir / LIVE_TESTS
    if site.settings.test_live != "always":
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    if live is None or cannot_run(live):
        return None
    with tree_of_live(work) as tree:
        before = red_tests(site.state_dir, live)
        failed = failure_of_live(tree, work.log, live, *list_trials(tree, work.before))
    if failed is None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        if before is not None:
            work.log.tell(f"The tests of {live.id} pass again; they had failed since {before.since[:10]}.")
        return None
    # What fails, as unittest, Django and pytest name it; without any names, how it ended.
    failing = failing_tests(failed.output) or (one_line(failed.reason, limit=_LONGEST),)
    if before is not None and before.failing == failing:
        return before
    since = before.since if before is not None else timestamp()
    try:
        write_state(path, RedTests(release=live.id, since=since, reason=one_line(failed.reason), failing=failing))
    except OSError as error:  # a full disk: it is told once more
        logger.warning("cannot record that the tests of the live release fail: %s", error)
    work.log.about(live, None)
    message = f"{failed.told} on the live release {live.id}, although nothing has changed"
    advice = "Fix the site or its tests. The next mail about it comes when something else fails, or when they pass."
    raise TestsFailedError(message, blame="before", advice=advice, output=failed.output, fault=failed.fault)
