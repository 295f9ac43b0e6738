"""SIGTERM and Ctrl-C at calls of releaser that change something, and at any moment."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.invariants import served_release, unless
from tests.faults.scenes import Scenes
from tests.faults.stage import Stage, spread
from tests.faults.tally import Tallies, turn
from tests.faults.tracing import Call, run_under
from tests.support.commands import Finished

OWN = {"update": 6, "update, ill": 3, "rollback": 4, "init, fresh": 2, "init, adopt": 2, "install": 3}  # for CI


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
    late = ("/history.jsonl", ".releaser/site/lock")  # once the lock is let go, all is done
    sure = [call for call in calls if not call.is_one_of_many and not any(map(call.concerns, late))]
    last = [call for call in sure if call.position < flips_at(calls)][-1]  # has most to undo
    for number, call in enumerate([last, *spread(sure, OWN[name] * (10 if every_point else 1), turn())]):
        by, is_early = (signal.SIGTERM, signal.SIGINT)[number % 2], call.position < flips_at(calls)
        points.add(name, str(call), interrupt(stage, number, call, by, is_before_flip=is_early))
    points.check()


STORM = {"update": 100, "update, ill": 50, "rollback": 50, "install": 50}  # signals; a run of CI sends a tenth of them
FORKS = "?fork,?vfork,clone,?clone3"
QUICK = 15.0  # seconds on a busy machine


@pytest.mark.parametrize("name", STORM)
def test_law_42_a_signal_at_any_moment_ends_a_run_in_seconds(
    name: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    """Half of the signals come at a moment of the run, the others as it forks: exceptions in callbacks are dropped."""
    stage, points, codes = Stage(scenes, name, place), tally("signals at any moment"), Counter[str]()
    seconds, forks = measured(stage)
    count = STORM[name] // (1 if every_point else 10)
    for number in range(count):
        by = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[number % 3]
        part = (number + (turn() % 16) / 16) / count
        fork = None if number % 2 else forks[int(part * len(forks))]
        storm = Storm(stage, by, part * seconds, fork)
        broken = storm.hit(number)
        points.add(name, str(storm), broken)
        print(name, storm, *broken)
        codes[f"{by.name}, after the end" if storm.is_late else f"{by.name} {storm.code}"] += 1
    print(f"{name}: exit codes {dict(sorted(codes.items()))}")
    points.check()


def measured(stage: Stage) -> tuple[float, list[tuple[str, int]]]:
    """Return how many seconds a run takes, and its calls that fork, each with its number among those of its name."""
    stage.bring_back()
    began = time.monotonic()
    assert stage.site.releaser(stage.command).returncode == stage.scene.code
    seconds = time.monotonic() - began
    stage.bring_back()
    note = stage.site.base / "forks"
    run_under(stage.site, ["strace", "-qq", "-o", str(note), "-e", f"trace={FORKS}"], stage.command)
    names = [line.partition("(")[0] for line in note.read_text(encoding="utf-8").splitlines()]
    return seconds, [(name, 1 + names[:place].count(name)) for place, name in enumerate(names) if name[0].isalpha()]


@dataclass
class Storm:
    """A signal that comes with a `fork` of a command, or `delay` seconds after its start."""

    stage: Stage
    by: signal.Signals
    delay: float
    fork: tuple[str, int] | None
    code: int = 0
    is_late: bool = False

    def __str__(self) -> str:
        moment = f"{self.fork[0]}#{self.fork[1]}" if self.fork else f"{self.delay:.2f} s"
        return f"{self.by.name} at {moment}, exit {self.code}" + (", after the end" if self.is_late else "")

    def hit(self, number: int) -> list[str]:
        """Send the signal; name what does not hold. No work is lost without a word, and nothing is half done."""
        stage, site, seen = self.stage, self.stage.site, self.stage.eyewitness
        stage.bring_back()
        finished, seconds = self._run_at_fork(*self.fork) if self.fork else self._run_at_moment()
        self.code = finished.returncode
        ended = (stage.scene.code,) if self.is_late else (128 + self.by, -self.by)  # -by: before or after its work
        is_python = "init_import_site" in finished.stderr  # Ctrl-C ends Python itself while it starts
        broken = unless(self.code in ended or is_python, f"the signal was lost: {finished}")
        is_start = is_python or (self.code == -self.by and ", in main" not in finished.stderr)  # Python says where
        is_silent = "Traceback" not in finished.stderr or is_start
        broken += unless(is_silent, f"a traceback: {finished}")
        broken += unless("Exception ignored" not in finished.stderr, f"a dropped exception: {finished}")
        broken += unless(seconds < QUICK, f"it went on for {seconds:.0f} s")
        link = os.readlink(site.link)
        if self.code == stage.scene.code:
            broken += unless(stage.scene.code or link != seen.link, f"it ended by itself, without its work: {finished}")
            broken += unless(not (site.state / "journal.json").exists(), "it ended by itself, and left its journal")
        elif link == seen.link and not stage.scene.code:
            broken += seen.changed()
        is_undone = self.code == 128 + self.by and link == seen.link and not stage.scene.code
        return broken + seen.aftermath(number, is_cleaned=is_undone)

    def _run_at_moment(self) -> tuple[Finished, float]:
        with self.stage.site.starting(self.stage.command) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.is_late = process.wait(timeout=self.delay) == self.stage.scene.code
            sent = time.monotonic()
            process.send_signal(self.by)
            stdout, stderr = process.communicate(timeout=60)
        return Finished(returncode=process.returncode, stdout=stdout, stderr=stderr), time.monotonic() - sent

    def _run_at_fork(self, call: str, number: int) -> tuple[Finished, float]:
        inject = f"inject={call}:signal={self.by.name.removeprefix('SIG')}:when={number}"
        words = ["strace", "-qq", "-o", os.devnull, "-e", f"trace={FORKS}", "-e", inject]
        return run_under(self.stage.site, words, self.stage.command), 0.0
