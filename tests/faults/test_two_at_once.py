"""Two runs at once: one does its work, the other says who keeps it out; and what a killed run started stops nobody.

Nobody knows which of two that are started together comes first, so both orders are right, and nothing in between is.
"""

import contextlib
import glob
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.refusals import script
from tests.e2e.scenes import SECONDS, eventually, in_background
from tests.faults.invariants import Witness, unless
from tests.faults.scenes import SCENES, Scenes
from tests.faults.tally import Tallies
from tests.support.commands import Finished, uv_executable
from tests.support.sites import SampleSite

PAIRS = {  # the command beside `update`: the scene, how many rounds of it, what tells of the update
    "update": ("rollback", 100, r"alpha +1\.1\.0 +1\.1\.9"),
    "rollback": ("rollback", 50, r"alpha +1\.\d\.0 +1\.1\.9"),
    "prune": ("prune", 50, r"alpha +1\.1\.3 +1\.1\.9"),
}
UPDATE = SCENES["update"]
KILLS = 60
STAGGER = 0.6  # seconds: so much later than the first one the second one starts at the most
HELD_BY = re.compile(r"`releaser (\w+)` \(pid (\d+)\) has held the lock of this project since \d{4}-")


def spread(points: int, *, of: int, everything: bool) -> Sequence[int]:
    """Choose numbers of points, evenly."""
    return range(of) if everything else [number * (of - 1) // max(points - 1, 1) for number in range(points)]


# Two that are started together


@dataclass(frozen=True)
class Racer:
    """A run that was started beside another one."""

    command: str
    pid: int
    finished: Finished


def race(site: SampleSite, first: str, second: str, *args: str, apart: float) -> list[Racer]:
    """Start two commands, so many seconds apart, and let both come to their end."""
    with in_background(site, first, *args) as one:
        time.sleep(apart)  # what the points differ in
        with in_background(site, second, *args) as other:
            return [Racer(first, one.pid, ended(one)), Racer(second, other.pid, ended(other))]


def ended(process: subprocess.Popen[str]) -> Finished:
    stdout, stderr = process.communicate(timeout=SECONDS)
    return Finished(returncode=process.returncode, stdout=stdout, stderr=stderr)


def broken_by(racers: Sequence[Racer], *, waits: bool) -> list[str]:
    """Name what two runs should not have said."""
    codes = [one.finished.returncode for one in racers]
    if waits:
        return unless(codes == [0, 0], f"both should have done their work: {racers}")
    if 0 not in codes or not {0, 8}.issuperset(codes):
        return [f"one should have done its work, the other ended with 0 or 8: {racers}"]
    if codes == [0, 0] and {one.command for one in racers} == {"update"}:
        return [f"two updates should not both have gone on: {racers}"]
    broken = []
    for loser, winner in (racers, racers[::-1]):
        named = HELD_BY.findall(loser.finished.stderr) == [(winner.command, str(winner.pid))]
        if loser.finished.returncode == 8:
            broken += unless(named, f"`{loser.command}` should have named pid {winner.pid}: {loser.finished}")
    return broken


@pytest.mark.parametrize("other", PAIRS)
def test_two_that_are_started_together(
    other: str, scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    scene, rounds, told = PAIRS[other]
    points = tally("two at once")
    for number in spread(2, of=rounds, everything=all_points):
        site = scenes.copy(scene, tmp_path / str(number))
        site.publish("alpha", "1.1.9")
        witness = Witness.of(site, may_go=[row["id"] for row in site.json("list")])
        waits, order = number % 2 == 1, ("update", other) if number % 4 < 2 else (other, "update")
        racers = race(site, *order, *(["--wait", "60"] if waits else []), apart=STAGGER * (number // 4 * 4) / rounds)
        broken = broken_by(racers, waits=waits) + witness.at_once()
        finished = site.releaser("update")
        both = other == "rollback" and not any(one.finished.returncode for one in racers)
        versions = None if both else {"alpha": "1.1.9"}  # it depends on which of them was the first
        broken += witness.after_update(finished, told=told, versions=versions)
        points.add(f"update, {other}", f"round {number}", broken)
    points.check()


# What a killed run had started


def descendants(pid: int) -> set[int]:
    """Return the processes that a process has started, and theirs."""
    found: set[int] = set()
    for task in glob.glob(f"/proc/{pid}/task/*/children"):  # noqa: PTH207 - it minds no process that ends meanwhile
        with contextlib.suppress(OSError):  # it has ended
            found |= {int(child) for child in Path(task).read_text(encoding="utf-8").split()}
    return found.union(*map(descendants, found))


def at_work(pids: set[int]) -> set[int]:
    """Return those of the processes that can still do something: a dying one has lost its files."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found |= {pid} if os.listdir(f"/proc/{pid}/fd") else set()
    return found


def kill_alone(process: subprocess.Popen[str]) -> set[int]:
    """Kill a run and nothing else; return what it had started by then."""
    os.kill(process.pid, signal.SIGSTOP)  # by its number, as the object would reap it first if it has ended
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    orphans = descendants(process.pid)
    process.kill()
    process.wait()
    return orphans


def next_run(site: SampleSite, orphans: set[int]) -> tuple[Finished, list[str]]:
    """Start the next update; name what went on building beside it."""
    beside: set[int] = set()
    with in_background(site, "update") as update:
        while update.poll() is None:
            if at_work(orphans) and descendants(update.pid):
                beside |= at_work(orphans)  # looked at last: what is at work now was so when the other had begun
        finished = ended(update)
    if finished.returncode == 8 and not HELD_BY.search(finished.stderr):
        return finished, [f"nobody is named: {finished}"]
    return finished, unless(not beside, f"processes {sorted(beside)} of the killed run went on beside the next one")


def next_runs(site: SampleSite, orphans: set[int]) -> tuple[Finished, list[str]]:
    """Start updates, as cron would, until one is not kept out any more; nobody lends a hand."""
    ends_at = time.monotonic() + SECONDS
    while True:
        finished, broken = next_run(site, orphans)
        if broken or finished.returncode != 8 or time.monotonic() > ends_at:
            return finished, broken


def test_a_run_that_is_killed_at_any_time(scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool) -> None:
    points = tally("holder killed, next run at once")
    measured = scenes.copy("update", tmp_path / "measured")
    began = time.monotonic()
    measured.releaser("update", check=0)
    took = time.monotonic() - began
    for number in spread(3, of=KILLS, everything=all_points):
        site = scenes.copy("update", tmp_path / str(number))
        witness = Witness.of(site)
        with in_background(site, "update") as update:
            time.sleep(took * (number + 1) / (KILLS + 1))  # what the points differ in
            orphans = kill_alone(update)
        finished, broken = next_runs(site, orphans)
        broken += witness.after_update(finished, told=UPDATE.told, versions=UPDATE.versions)
        points.add("update", f"after {number + 1}/{KILLS + 1}", broken)
    points.check()


# Starts a program that is out of the reach of the signal which a child gets when its parent dies.
LINGER = """\
sh -c 'echo $$ >> "{pids}"; exec sleep 1000' &
echo $$ >> "{pids}"
wait
"""


@pytest.mark.parametrize("where", ["uv", "the tests"])
def test_what_a_killed_run_started_is_ended_by_the_next(
    where: str, scenes: Scenes, tmp_path: Path, tally: Tallies
) -> None:
    """It hangs, and nobody limits its time any more: the next run must not wait for a person to end it."""
    points = tally("holder killed, next run at once")
    site = scenes.copy("update", tmp_path / "site")
    witness, pids = Witness.of(site), tmp_path / "site" / "pids"
    linger = script(tmp_path / "linger", LINGER.format(pids=pids))
    try:
        with in_background(site, "update", env=lingering(where, linger)) as update:
            eventually(lambda: len(processes_in(pids)) == 2, "the program")
            orphans = kill_alone(update)
        assert processes_in(pids) <= orphans
        finished, broken = next_run(site, orphans)
        broken += witness.after_update(finished, told=UPDATE.told, versions=UPDATE.versions)
    finally:  # nothing is left behind, also where releaser leaves it
        for pid in at_work(processes_in(pids)):
            os.kill(pid, signal.SIGKILL)
    points.add("update", f"while {where} hangs", broken)
    points.check()


def processes_in(pids: Path) -> set[int]:
    return {int(pid) for pid in pids.read_text(encoding="utf-8").split()} if pids.exists() else set()


def lingering(where: str, linger: Path) -> dict[str, str]:
    """Return settings under which `linger` is run by uv, or by the tests."""
    if where == "uv":
        real = f'exec "{uv_executable()}" "$@"'
        proxy = script(linger.with_name("uv"), f'case " $* " in *" sync "*) "{linger}";; esac\n{real}')
        return {"RELEASER_UV": str(proxy)}
    tests = f"import subprocess; subprocess.run([{str(linger)!r}])"
    program = linger.with_name("tests.py")
    program.write_text(tests, encoding="utf-8")
    # In a sandbox, it would end with the run.
    return {"RELEASER_TEST_COMMAND": f"python {program}", "RELEASER_SANDBOX": "off"}
