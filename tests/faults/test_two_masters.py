"""kill -9 at any moment of a handover between two masters of gunicorn, and the next command afterwards."""

import os
import signal

import pytest

from tests.e2e.test_restart import SCRIPT, gunicorn_site, under_gunicorn
from tests.faults.invariants import unless
from tests.faults.tally import Tallies, turn
from tests.faults.tracing import require_strace, run_under
from tests.support.sites import SampleSite

__all__ = ["gunicorn_site"]
POINTS_OF_CI = 3
# A handover asks all the time whether a process runs, so the calls of `kill` are its moments.
STRACE = ["strace", "-qq", "-o", os.devnull, "-e", "trace=kill", "-e"]


def kill_handover(site: SampleSite, number: int) -> bool:
    """Go to the release that is not live, and be killed at a call; return False if the command ends before that."""
    other = next(release["id"] for release in site.json("list") if not release["live"])
    command = f"rollback {other} --keep-code"
    finished = run_under(site, [*STRACE, f"inject=kill:signal=KILL:when={number}"], command)
    assert finished.returncode in (0, -signal.SIGKILL), str(finished)
    return finished.returncode != 0


def find_broken(site: SampleSite, answer: str, failed: list[str]) -> list[str]:
    """Return what does not hold after the next command: one master, on the live release, and no failed request."""
    live = site.version("alpha")
    broken = unless(answer == live, f"the site answers {answer}, but {live} is live")
    broken += unless(not (site.outer / "gunicorn.pid.2").exists(), "two masters run")
    broken += unless(site.json("status")["old_processes"] == [], "processes run on an earlier release")
    return broken + unless(not failed, f"failed requests: {failed[:1]}")


@pytest.mark.network
def test_law_07_08_a_kill_at_any_moment_of_a_handover_is_finished(
    gunicorn_site: SampleSite, tally: Tallies, every_point: bool
) -> None:
    require_strace()
    site, points = gunicorn_site, tally("kill -9, while gunicorn is handed over")
    with under_gunicorn(site, *SCRIPT) as visitors:
        site.update_to("1.1.0")
        step = 1 if every_point else 12
        number = 1 if every_point else 1 + turn() % step
        while kill_handover(site, number) and (every_point or points.tried.total() < POINTS_OF_CI):
            finished = site.releaser("update")
            broken = unless(finished.returncode == 0, str(finished))
            points.add("rollback", f"kill#{number}", broken + find_broken(site, visitors.ask(), visitors.failed))
            visitors.failed.clear()
            number += step
    assert points.tried.total() > 0
    points.check()
