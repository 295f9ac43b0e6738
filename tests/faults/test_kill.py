"""kill -9 at every call of releaser that changes something, and again while the next command recovers."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.invariants import unless
from tests.faults.scenes import SCENES, Scenes
from tests.faults.stage import Stage, chosen, evenly, from_phase
from tests.faults.tally import Tallies, turn
from tests.faults.tracing import Call

KILL = "signal=KILL"
KILLED = -signal.SIGKILL
SHARE_BEFORE, SHARE_OF_CI = 3, 10  # of the calls before the change, one of so many, others on each commit
BEFORE = {"update": 4, "update, adopted": 4, "rollback": 1, "init, fresh": 4, "init, adopt": 1}  # parts, side by side
BEFORE |= {"install": 4}


def kill(stage: Stage, number: int, at: Call) -> list[str]:
    """Kill releaser at a call, go on, and name what does not hold."""
    met = stage.strike(at, KILL)
    number = 1 if stage.scene is SCENES["update, apart"] else number  # until an update, it has other code, as before
    return unless(met.finished.returncode == KILLED, f"nothing was killed: {met}") + stage.eyewitness.aftermath(number)


@pytest.mark.turns(6)
@pytest.mark.parametrize(("name", "part"), [(name, part) for name in BEFORE for part in range(BEFORE[name])])
def test_law_08_a_kill_before_the_change_leaves_the_site_as_it_is(
    name: str, part: int, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    stage, points = Stage(scenes, name, place), tally("kill -9, before the change")
    calls = stage.calls()
    calls = chosen(calls[: from_phase(calls, PHASES[name])], turn(), every_point=every_point)
    has_all = every_point and name != "update, adopted"  # which does what `update` does, but for the clone
    share = SHARE_BEFORE if has_all else SHARE_OF_CI
    calls = calls[turn() % min(share, len(calls)) :: share]
    for number, call in list(enumerate(calls))[part :: BEFORE[name]]:
        # Nothing has changed yet: after every third one, an update; after the others, what a person can look at.
        points.add(name, str(call), kill(stage, number if number % 2 else 0, call))
    points.check()


# The phase of the journal from which every call is tried. What `update, ill` does before that, `update` does, too.
PHASES = {"update": "changing", "update, adopted": "changing", "update, ill": "going-back", "rollback": "changing"}
PHASES |= {"init, fresh": "changing", "init, adopt": "building", "update, apart": "changing", "install": "changing"}
READY = ("update", "update, ill", "install")  # their runs find the candidate ready, and come to the change at once
RARE = dict.fromkeys(PHASES, 12) | dict.fromkeys(("update", "rollback", "init, adopt"), 6)  # CI tries one of so many
PARTS = {"update": 2, "rollback": 2, "init, adopt": 1, "update, ill": 1, "init, fresh": 1, "update, adopted": 1}
PARTS |= {"update, apart": 1, "install": 2}


@pytest.mark.turns(4)
@pytest.mark.parametrize(("name", "part"), [(name, part) for name in PARTS for part in range(PARTS[name])])
def test_law_08_a_kill_from_the_change_on_leaves_one_whole_release(
    name: str, part: int, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    stage, points = Stage(scenes, name, place), tally("kill -9, from the change on")
    if name in READY:
        stage.make_ready()
    calls = stage.calls()
    calls = chosen(calls[from_phase(calls, PHASES[name]) :], turn(), every_point=every_point)
    rare = 1 if every_point else RARE[name]
    for number, call in list(enumerate(calls[turn() % rare :: rare]))[part :: PARTS[name]]:
        points.add(name, str(call), kill(stage, number, call))
    points.check()


def at_call(name: str, path: str, *, nth: int = 1, after: bool = False) -> Callable[[list[Call]], Call]:
    """Find the `nth` call of that name that concerns a path, or the call after it."""

    def find(calls: list[Call]) -> Call:
        positions = [number for number, call in enumerate(calls) if call.name == name and call.concerns(path)]
        return calls[positions[nth - 1] + after]

    return find


BEFORE_FLIP = at_call("rename", "/site/.venv")
AFTER_FLIP = at_call("rename", "/site/.venv", after=True)
# The state in which a first kill leaves a site: its scene, and the call at which the kill hits.
STATES: dict[str, tuple[str, Callable[[list[Call]], Call]]] = {
    "building": ("update", at_call("rename", "/manifest.json")),
    "before the flip": ("update", BEFORE_FLIP),
    "after the flip": ("update", AFTER_FLIP),
    "publishing": ("update", at_call("unlink", "/journal.json")),
    "going back": ("update, ill", at_call("rename", "/site/.venv", nth=2)),
    "gone back": ("update, ill", at_call("rename", "/site/.venv", nth=2, after=True)),
    "rolled back": ("rollback", AFTER_FLIP),
    "adopting": ("init, adopt", at_call("renameat2", "/site/.venv")),
    "adopted": ("init, adopt", at_call("renameat2", "/site/.venv", after=True)),
    "first release": ("init, fresh", AFTER_FLIP),
    "installed": ("install", AFTER_FLIP),
}


@pytest.mark.turns(6)
@pytest.mark.parametrize("state", STATES)
def test_law_08_a_kill_of_the_recovery_is_one_more_case_of_the_same(
    state: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    name, find = STATES[state]
    stage, points = Stage(scenes, name, place), tally("kill -9, again during recovery")
    first = stage.strike(find(stage.calls()), KILL)
    assert first.finished.returncode == KILLED, first
    stage.keep("prune")  # a command that recovers meets the second kill
    calls = chosen(stage.calls(), turn(), every_point=False)
    if not every_point:
        calls = [calls[number - 1] for number in evenly(len(calls), 1, turn())]
    for number, call in enumerate(calls):
        points.add(state, str(call), kill(stage, number, call))
    points.check()
