"""SIGTERM and Ctrl-C at every call of releaser that changes something, and children that are killed under it."""

import re
import signal
from pathlib import Path

import pytest

from tests.faults.aftermath import Expected
from tests.faults.invariants import unless
from tests.faults.scenes import Scenes
from tests.faults.stage import AKIN, Stage, chosen, evenly, few_alike, thinned
from tests.faults.tally import Tallies
from tests.faults.tracing import Call, Struck, followed

pytestmark = pytest.mark.usefixtures("strace")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
LATE = re.compile("interrupted (while mails were being sent|at the end of the run)")
MAILING = ("update", "rollback")  # the commands that tell the administrators how they ended
# Points of the spread, by scene.
OWN = {"init": 1, "init without a venv": 1, "update": 4, "update, taken back": 1, "rollback": 2, "prune": 1}


def interrupt(stage: Stage, number: int, at: Call, by: signal.Signals, *, begun: bool) -> list[str]:
    """Let a signal hit releaser at a call, and name what does not hold: also before anything else has run."""
    met = stage.strike(at, f"signal={by.name.removeprefix('SIG')}")
    finished, broken = met.finished, unless(met.made, "no signal was sent there")
    if LATE.search(finished.stderr):  # all is done, and said
        return broken + stage.aftermath(number, cleaned=True)
    # Before releaser has begun with anything, and after it has ended with everything, a signal ends it as any program.
    ended = finished.returncode in (128 + by, -by)
    broken += unless(ended, f"it did not end as an interrupted command: {finished}")
    tells = finished.returncode > 0 and begun
    says = f"was interrupted by {by.name}" in finished.stderr
    broken += unless(says or not tells, f"it did not say that it was interrupted: {finished}")
    named = "" if stage.command == "update" else f"{stage.command} "
    wanted = Expected(told=f"site: {named}interrupted", versions=None)
    mails = tells and stage.command in MAILING
    return broken + stage.aftermath(number, cleaned=True, expected=wanted if mails else None)


def under_way(calls: list[Call]) -> range:
    """Return the positions between which a command is under way: before and after, Ctrl-C ends it without a word."""
    notes = [call.position for call in calls if call.concerns("/lock.holder") and call.name in ("write", "unlink")]
    return range(notes[0] + 1, notes[-1])


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", OWN)
def test_interrupt_at_every_change(name: str, scenes: Scenes, place: Path, tally: Tallies, all_points: bool) -> None:
    stage = Stage(scenes, name, place)
    made = {by: tally(by.name) for by in SIGNALS}
    calls = stage.own_points()
    begun = under_way(calls)
    wanted = thinned(name, few_alike(calls) if all_points else calls)
    wanted = chosen(wanted, OWN[name], all_points=all_points)
    for number, call in enumerate(wanted, start=list(OWN).index(name)):
        turn = SIGNALS[number // 2 % 2]  # with and without another command that comes first
        for by in SIGNALS if all_points and name not in AKIN and not call.is_one_of_many else (turn,):
            broken = interrupt(stage, number, call, by, begun=call.position in begun)
            made[by].add(stage.command, f"{name}: {call}", broken)
    for points in made.values():
        if points.tried or all_points:
            points.check()


@pytest.mark.spread(1)
@pytest.mark.parametrize("by", SIGNALS)
def test_an_interrupt_while_the_history_is_written_comes_too_late(
    by: signal.Signals, scenes: Scenes, place: Path
) -> None:
    stage = Stage(scenes, "rollback", place)
    at = next(call for call in stage.own_points() if call.concerns("/history.jsonl"))
    assert interrupt(stage, 0, at, by, begun=True) == []
    assert len(stage.site.json("history")) > len(stage.again().json("history"))


@pytest.mark.spread(1)
@pytest.mark.parametrize("by", SIGNALS[::-1])
def test_an_interrupt_while_processes_are_looked_for_keeps_no_mail_from_being_written(
    by: signal.Signals, scenes: Scenes, place: Path
) -> None:
    stage = Stage(scenes, "rollback", place)
    calls = stage.own_points()
    mail = next(number for number, call in enumerate(calls) if "/outbox/" in call.text)
    at = [call for call in calls[:mail] if "/releaser.lease" in call.text][-1]
    assert interrupt(stage, 0, at, by, begun=True) == []


# Points at calls of the children: all, and those of the spread.
CHILDREN = {"update": (80, 2), "init without a venv": (40, 1), "update, tests fail": (30, 1), "rollback": (30, 1)}
# How releaser may end when something that it started was killed, and what is to be told and live then.
REPORTED = {0, 3, 4, 5, 6, 7}
FAILED = {5: r"this update is the cause|could not be run", 6: r"site: rolled back|rollback failed"}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", CHILDREN)
def test_a_killed_child_is_reported_and_cleared_up_after(
    name: str, scenes: Scenes, place: Path, tally: Tallies, all_points: bool
) -> None:
    stage, points = Stage(scenes, name, place), tally("a child killed with -9")
    counted = stage.count_children()
    for number, at in enumerate(evenly(counted, CHILDREN[name][not all_points])):
        struck = followed(stage.again(), stage.command, at=at, victim=lambda _, call: call.process)
        code, words = struck.finished.returncode, struck.finished.stderr
        broken = unless(struck.victim, f"nothing was killed: {struck}")
        reported = code in REPORTED and (not code or "releaser" in words)
        broken += unless(reported, f"it did not report a child that was killed: {struck.finished}")
        for lock in stage.site.remote.rglob("*.lock"):  # git there was killed, too, which stands for another machine
            lock.unlink()
        broken += stage.aftermath(number, cleaned=True, expected=expected(stage, struck))
        points.add(stage.command, f"{name}: call {at} of {counted}, {struck.victim}", broken)
    points.check()


def expected(stage: Stage, struck: Struck) -> Expected | None:
    """Return what is to come: what tests or a health check were killed on is not tried again."""
    code = struck.finished.returncode
    if code in FAILED:
        return Expected(told=FAILED[code] if stage.command in MAILING else None, versions=None)
    return stage.expected_after(struck.finished)
