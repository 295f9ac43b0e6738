"""SIGTERM and Ctrl-C at calls of releaser that change something."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.invariants import served_release, unless
from tests.faults.scenes import Scenes
from tests.faults.stage import Stage, chosen, spread
from tests.faults.tally import Tallies, turn
from tests.faults.tracing import Call

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Points of a run of CI, by scene.
OWN = {"update": 6, "update, ill": 3, "rollback": 4, "init, fresh": 2, "init, adopt": 2}


def interrupt(stage: Stage, number: int, at: Call, by: signal.Signals, *, is_before_flip: bool) -> list[str]:
    """Let a signal hit releaser at a call; name what does not hold, also before anything else has run."""
    met = stage.strike(at, f"signal={by.name.removeprefix('SIG')}")
    ended = met.finished.returncode in (128 + by, -by)  # -by: before it has begun, or after it has ended
    broken = unless(ended, f"it did not end as an interrupted command: {met}")
    broken += unless("Traceback" not in met.finished.stderr, f"it ended with a traceback: {met}")
    seen = stage.eyewitness
    if is_before_flip:
        return broken + seen.changed() + seen.aftermath(number, is_cleaned=True)
    served, link = served_release(stage.site), os.readlink(stage.site.link)
    broken += unless(served in ("", link), f"{link} is live, but the site runs on {served}")
    return broken + seen.aftermath(number)  # the next run publishes


def flips_at(calls: list[Call]) -> int:
    """Return the position of the first call of the flip, during which a signal waits."""
    places = ("/outer/site/..venv.releaser.new", "/outer/site/.venv")
    flips = [call for call in calls if call.name in ("symlink", "renameat2") and any(map(call.concerns, places))]
    return flips[0].position


@pytest.mark.parametrize("name", OWN)
def test_law_08_an_interrupted_command_cleans_up_and_says_so(
    name: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    stage = Stage(scenes, name, place)
    calls, points = stage.calls(), tally("SIGTERM, SIGINT")
    flip = flips_at(calls)
    calls = chosen(calls, turn(), every_point=every_point)
    for number, call in enumerate(calls if every_point else spread(calls, OWN[name], turn())):
        by = SIGNALS[number % 2]
        points.add(name, str(call), interrupt(stage, number, call, by, is_before_flip=call.position < flip))
    points.check()
