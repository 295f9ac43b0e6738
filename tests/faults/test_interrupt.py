"""SIGTERM and Ctrl-C at calls of releaser that change something."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.invariants import served_release, unless
from tests.faults.scenes import Scenes
from tests.faults.stage import Stage, spread
from tests.faults.tally import Tallies, turn
from tests.faults.tracing import Call

OWN = {"update": 6, "update, ill": 3, "rollback": 4, "init, fresh": 2, "init, adopt": 2}  # points of a run of CI


def interrupt(stage: Stage, number: int, at: Call, by: signal.Signals, *, is_before_flip: bool) -> list[str]:
    """Let a signal hit releaser at a call; name what does not hold, also before anything else has run."""
    met = stage.strike(at, f"signal={by.name.removeprefix('SIG')}")
    ended = met.finished.returncode in (128 + by, -by)  # -by: before it has begun, or after it has ended
    broken = unless(ended, f"it did not end as an interrupted command: {met}")
    broken += unless("Traceback" not in met.finished.stderr, f"it ended with a traceback: {met}")
    seen = stage.eyewitness
    if not met.is_exact:  # a busy machine has moved the call
        return broken + seen.aftermath(number)
    if is_before_flip:
        return broken + seen.changed() + seen.aftermath(number, is_cleaned=True)
    link = os.readlink(stage.site.link)
    broken += unless(served_release(stage.site) in ("", link), f"{link} is live, but the site does not run on it")
    return broken + seen.aftermath(number)  # the next run publishes


def flips_at(calls: list[Call]) -> int:
    """Return the position of the first call of the flip, during which a signal waits."""
    flips, places = ("symlink", "renameat2"), ("/outer/site/..venv.releaser.new", "/outer/site/.venv")
    return next(call.position for call in calls if call.name in flips and any(map(call.concerns, places)))


@pytest.mark.parametrize("name", OWN)
def test_law_08_an_interrupted_command_cleans_up_and_says_so(
    name: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    stage, points = Stage(scenes, name, place), tally("SIGTERM, SIGINT")
    calls = stage.calls()
    sure = [call for call in calls if not call.is_one_of_many and not call.concerns("/history.jsonl")]
    last = [call for call in sure if call.position < flips_at(calls)][-1]  # has most to undo
    for number, call in enumerate([last, *spread(sure, OWN[name] * (20 if every_point else 1), turn())]):
        by, is_early = (signal.SIGTERM, signal.SIGINT)[number % 2], call.position < flips_at(calls)
        points.add(name, str(call), interrupt(stage, number, call, by, is_before_flip=is_early))
    points.check()
