"""kill -9 at every call of releaser that changes something, of recovery too, and at calls of what releaser starts."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.invariants import unless
from tests.faults.scenes import Scenes
from tests.faults.stage import Stage, beginning_with, chosen, evenly, few_alike, thinned
from tests.faults.tally import Tallies
from tests.faults.tracing import Call, followed

pytestmark = pytest.mark.usefixtures("strace")

KILL = "signal=KILL"
KILLED = -signal.SIGKILL
# Points of the spread, by scene; fewer of those that have most of their calls in common with others.
OWN = {
    "init": 1,
    "init without a venv": 1,
    "update": 4,
    "update without git": 1,
    "update, tests fail": 1,
    "update, one held back": 1,
    "update, taken back": 1,
    "rollback": 2,
    "prune": 1,
    "update from a channel": 1,
    "update, files shared": 1,
}


def kill(stage: Stage, number: int, at: Call) -> list[str]:
    """Kill releaser at a call, go on, and name what does not hold; every second time update itself recovers."""
    met = stage.strike(at, KILL)
    return unless(met.finished.returncode == KILLED, f"nothing was killed: {met.finished}") + stage.aftermath(number)


@pytest.mark.parametrize("name", OWN)
def test_kill_at_every_change(
    name: str, scenes: Scenes, place: Path, tally: Tallies, all_points: bool, since: str
) -> None:
    stage, points = Stage(scenes, name, place), tally("kill -9")
    calls = beginning_with(stage.own_points(), since)
    calls = thinned(name, calls) if all_points else calls
    for number, call in enumerate(chosen(calls, OWN[name], all_points=all_points, names=name == "update")):
        points.add(stage.command, f"{name}: {call}", kill(stage, number, call))
    points.check()


def at_call(name: str, path: str, *, nth: int = 1, after: bool = False) -> Callable[[list[Call]], Call]:
    """Find the `nth` call of that name that concerns a path, or the call after it."""

    def find(calls: list[Call]) -> Call:
        positions = [number for number, call in enumerate(calls) if call.name == name and call.concerns(path)]
        return calls[positions[nth - 1] + after]

    return find


FLIPS = at_call("rename", "/site/.venv")
HAS_FLIPPED = at_call("rename", "/site/.venv", after=True)
# How a first kill leaves a site: the scene, and the call at which it hits.
STATES = {
    "building": ("update", at_call("rename", "/manifest.json")),
    "before the flip": ("update", FLIPS),
    "after the flip": ("update", HAS_FLIPPED),
    "publishing": ("update", at_call("rename", "/pending.json")),
    "taking back": ("update, taken back", at_call("rename", "/site/.venv", nth=2)),
    "taken back": ("update, taken back", at_call("rename", "/site/.venv", nth=2, after=True)),
    "going back": ("rollback", HAS_FLIPPED),
    "adopting": ("init", at_call("renameat2", "/site/.venv", after=True)),
    "adopted": ("init", at_call("rename", "/manifest.json", after=True)),
    "first release": ("init without a venv", HAS_FLIPPED),
}


@pytest.mark.spread(5)
@pytest.mark.parametrize("state", STATES)
def test_kill_recovery_at_every_change(
    state: str, scenes: Scenes, place: Path, tally: Tallies, all_points: bool
) -> None:
    name, find = STATES[state]
    stage, points = Stage(scenes, name, place), tally("kill -9, and again while recovering")
    first = stage.strike(find(stage.own_points()), KILL)
    assert first.finished.returncode == KILLED, first
    stage.freeze("prune")  # a command that recovers meets the second kill
    calls, turn = stage.own_points(), list(STATES).index(state)
    if all_points:
        calls = few_alike(calls, first=turn)
    else:  # one of each state, at another place of the recovery
        calls = [call for call in calls if not call.concerns_a_log]
        calls = [calls[len(calls) * turn // len(STATES)]]
    for number, call in enumerate(calls, start=turn):
        points.add("recovery", f"{state}: {call}", kill(stage, number, call))
    points.check()


# Points at calls of the children: all, and those of the spread, by scene.
CHILDREN = {
    "update": (160, 2),
    "init without a venv": (60, 1),
    "update, tests fail": (40, 1),
    "update, taken back": (40, 1),
    "rollback": (30, 1),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", CHILDREN)
def test_kill_while_children_change_something(
    name: str, scenes: Scenes, place: Path, tally: Tallies, all_points: bool
) -> None:
    stage, points = Stage(scenes, name, place), tally("kill -9 while a child changes something")
    counted = stage.count_children()
    for number, at in enumerate(evenly(counted, CHILDREN[name][not all_points])):
        struck = followed(stage.again(), stage.command, at=at, victim=lambda main, _: main)
        broken = unless(struck.finished.returncode == KILLED, f"nothing was killed: {struck}")
        broken += stage.aftermath(number)
        points.add(stage.command, f"{name}: call {at} of {counted}, {struck.victim}", broken)
    points.check()
