"""Two runs at once: one does its work, the other ends with 8; and the children of a killed run stop no run."""

import os
import re
import shlex
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import pytest

from tests.faults.invariants import Witness, unless
from tests.faults.scenes import Scenes
from tests.faults.tally import Tallies
from tests.support.commands import Finished
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite

OTHERS = ("update", "prune", "init", "pin {live}", "unhold alpha")
SECONDS = 30.0


@pytest.mark.parametrize("other", OTHERS)
def test_law_10_the_second_of_two_ends_with_8_and_changes_nothing(
    other: str, scenes: Scenes, place: Path, tally: Tallies
) -> None:
    points = tally("two at once, the second refused")
    points.add(other, "during the tests", broken_after_second_run(scenes.copy("rollback", place), other))
    points.check()


def broken_after_second_run(site: SampleSite, other: str) -> list[str]:
    """Start another command while an update tests its candidate; name what does not hold."""
    site.push_commit("Wait", {"site_tests.py": WAITING_TESTS})
    with meeting() as place_to_meet, site.starting("update", env=place_to_meet.env) as update:
        with place_to_meet.kept_waiting():
            before = everything(site)
            finished = site.releaser(other.format(live=site.live()))
            broken = refusal(finished, "update", update.pid)
            broken += unless(everything(site) == before, f"the refused `{other}` changed something")
        first = ended(update)
    return broken + unless(first.returncode == 0, f"the first run failed: {first}")


def everything(site: SampleSite) -> dict[str, str]:
    """Return a fingerprint of the site and its state, except for the files of the run that goes on."""
    names = ("releases", "holds.json", "pending.json", "history.jsonl", "journal.json")
    state = {name: str(sorted(os.walk(site.state / name))) for name in names}
    return {**site.snapshot(), **state}


def refusal(finished: Finished, command: str, pid: int) -> list[str]:
    """Name what is wrong with how the second run ended."""
    named = f"releaser {command}" in finished.stderr and str(pid) in finished.stderr
    since = re.search(r"since .*\d\d:\d\d", finished.stderr)
    broken = unless(finished.returncode == 8, f"it should have ended with 8: {finished}")
    return broken + unless(
        named and since, f"it should name `releaser {command}`, its pid {pid}, and since: {finished}"
    )


LINGER = """\
import os, subprocess, sys
with open(os.environ["LINGER_PIDS"], "a") as file:
    file.write(f"{os.getpid()}\\n")
    file.flush()
    code = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(1000)"
    subprocess.run([sys.executable, "-c", code], stdout=file)
"""


def test_law_10_the_next_run_ends_what_a_killed_run_has_started(scenes: Scenes, place: Path, tally: Tallies) -> None:
    points = tally("run killed while its tests hang")
    points.add("update", "tests", broken_by_children_of_killed_run(scenes.copy("rollback", place)))
    points.check()


def broken_by_children_of_killed_run(site: SampleSite) -> list[str]:
    """Kill a run whose tests hang, in a session of their own: no time limit and no signal to a group ends them.

    Without mounts: there the kernel ends all processes of a namespace.
    """
    site.publish("alpha", "1.1.9")
    witness, linger, pids = Witness.of(site), site.base / "linger.py", site.base / "pids"
    linger.write_text(LINGER, encoding="utf-8")
    env = {
        "RELEASER_SHADOW": "off",
        "RELEASER_TEST_COMMAND": f"python {linger}",
        "RELEASER_TEST_ENVIRONMENT": f'{{"LINGER_PIDS": "{pids}"}}',
    }
    started: list[int] = []
    try:
        with site.starting("update", env=env) as update:
            ends_at = time.monotonic() + SECONDS
            while len(started) < 2 and time.monotonic() < ends_at and update.poll() is None:
                started = [int(pid) for pid in pids.read_text().split()] if pids.exists() else []
                time.sleep(0.02)
            assert len(started) == 2, f"the tests did not start: {ended(update) if update.poll() is not None else ''}"
            os.kill(update.pid, signal.SIGKILL)
            update.wait()
        check = f"for pid in $(cat '{pids}'); do [ -e /proc/$pid/exe ] && echo $pid >> '{pids}.beside'; done"
        tests = {
            "RELEASER_SHADOW": "off",
            "RELEASER_TEST_COMMAND": shlex.join(["sh", "-c", f"{check}; exec python run_tests.py"]),
        }
        finished = site.releaser("update", env=tests)
        broken = unless(not alive(started), f"{alive(started)} of the killed run go on")
        broken += unless(not Path(f"{pids}.beside").exists(), "children of the killed run went on beside the next one")
    finally:
        for pid in alive(started):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return broken + witness.after_update(finished, versions={"alpha": "1.1.9"})


def ended(process: Popen[str]) -> Finished:
    """Wait for the end of a process; kill it if it does not come."""
    try:
        stdout, stderr = process.communicate(timeout=SECONDS)
    except TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
    return Finished(returncode=process.returncode, stdout=stdout, stderr=stderr)


def alive(pids: Sequence[int]) -> set[int]:
    """Return those of the processes that can still do something: a dying one has lost its files."""
    living = set()
    for pid in pids:
        with suppress(OSError):
            living |= {pid} if os.listdir(f"/proc/{pid}/fd") else set()
    return living
