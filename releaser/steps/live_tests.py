"""With `test_live = "always"`: the tests of the live release on nights without anything newer, told when they turn."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, check_texts, read_json, write_json
from releaser.errors import TestsFailedError
from releaser.releases.soundness import is_dead
from releaser.report.capping import one_line
from releaser.steps.gate import trials, try_live
from releaser.steps.runners import failing_tests

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.gate import Tried

log = logging.getLogger(__name__)

STATE = "live-tests.json"
_STEP = "test live release"
_LONGEST = 200  # characters


@dataclass(frozen=True, kw_only=True)
class RedTests:
    """That the tests of a live release fail, though nothing has changed: `failing` what, and `since` when."""

    release: str
    since: str
    reason: str
    failing: tuple[str, ...]


def red_tests(state_dir: Path, live: Release | None) -> RedTests | None:
    """Return what is known to fail of the live release; None if it has passed, or nobody has looked."""
    try:
        content = read_json(state_dir / STATE)
        if content is None or live is None or content["release"] != live.id:
            return None
        check_texts(content["failing"])
        texts = {name: str(content[name]) for name in ("release", "since", "reason")}
        return RedTests(**texts, failing=tuple(content["failing"]))
    except (UnreadableStateError, OSError, KeyError, TypeError):
        return None


def try_live_release(run: Run, fitness: Fitness) -> RedTests | None:
    """Run the tests of what is live, if that is wanted each night; return what fails and has been told before.

    Raises TestsFailedError when they have turned red, or something else fails. That they pass again is told once.
    """
    live = run.store.live()
    wanted = run.site.settings.test_live == "always"
    if not wanted or live is None or is_dead(live) or _has_run(run):
        if not wanted:
            _forget(run)
        return None
    before, tried = red_tests(run.site.project.state_dir, live), _try(run, fitness, live)
    if tried is None:
        _forget(run)
        if before is not None:
            run.draft.noted.append(f"The tests of {live.id} pass again; they had failed since {before.since[:10]}.")
        return None
    since = before.since if before is not None else run.now_iso()
    found = RedTests(release=live.id, since=since, reason=one_line(tried.reason), failing=_failing(tried))
    if before is not None and before.failing == found.failing:
        return before
    _note(run, found)
    raise _failure(run, live, tried)


def _has_run(run: Run) -> bool:
    """Whether this run has tested the live release already, to tell who is to blame for a candidate."""
    return any(one.step == _STEP for one in run.recorder.outcomes)


def _try(run: Run, fitness: Fitness, live: Release) -> Tried | None:
    """Return the first trial that fails."""
    for trial in trials(run, fitness):
        with run.recorder.step(f"{trial.step} live release") as step:
            tried = try_live(run, trial, live)
            step.says(tried.reason or "passed")
            if not tried.passed:
                step.status = "failed"
                return tried
    return None


def _failing(tried: Tried) -> tuple[str, ...]:
    """Name what fails, as unittest, Django and pytest do; without any names, say how it ended."""
    return failing_tests(tried.output) or (one_line(tried.reason, limit=_LONGEST),)


def _failure(run: Run, live: Release, tried: Tried) -> TestsFailedError:
    run.about(live, None)
    fail = tried.trial.verb("fail")
    what = tried.reason if tried.timed_out or tried.proves_nothing else f"{tried.trial.name} {fail}"
    message = f"{what} on the live release {live.id}, although nothing has changed"
    advice = "Fix the site or its tests. It is told again when something else fails, or when all is well."
    return TestsFailedError(message, blame="before", advice=advice, output=tried.output, fault=tried.fault)


def _note(run: Run, found: RedTests) -> None:
    try:
        write_json(run.site.project.state_dir / STATE, asdict(found))
    except OSError as error:  # a full disk: it is told once more
        log.warning("that the tests of the live release fail cannot be noted: %s", error)


def _forget(run: Run) -> None:
    with contextlib.suppress(OSError):
        (run.site.project.state_dir / STATE).unlink(missing_ok=True)
