"""A forked run of releaser is like one that was started: its words, files, signals and status."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.commands import console_script, run
from tests.support.forks import Fork, can_fork
from tests.support.sites import SampleSite, SiteFactory

pytestmark = pytest.mark.spawns

WORDS = [("list", "--json"), ("rollback", "nothing-of-the-kind"), ("--help",)]


def started(site: SampleSite) -> dict[str, str]:
    """Return an environment that only an interpreter of its own can read."""
    return {**site.env, "PYTHONDONTWRITEBYTECODE": "1"}


def test_it_says_and_ends_as_a_started_one(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    assert can_fork([str(console_script())], console_script(), site.env)
    assert not can_fork([str(console_script())], console_script(), started(site))
    for words in WORDS:
        forked, other = (run([console_script(), *words], cwd=site.path, env=env) for env in (site.env, started(site)))
        assert (forked.returncode, plain(forked.stdout)) == (other.returncode, plain(other.stdout))
        assert plain(forked.stderr) == plain(other.stderr)


def plain(text: str) -> str:
    """Leave out what is another in each run: ages, ids, and what is free on the disk."""
    return re.sub(r"\d+ s old|\d{8}T\d{6}Z-\d+|[\d.]+ .B are free", "", text)


SLEEPS = """\
import pathlib, time

def test_shop(packages):
    pathlib.Path("../../began").touch()
    time.sleep(60)
"""


def test_it_is_a_process_of_its_own(make_site: SiteFactory) -> None:
    site = make_site.adopted(files={"site_tests.py": SLEEPS}, due="1.1.0")
    with open(os.devnull, "r+b") as nothing:
        words = [str(console_script()), "update"]
        fork = Fork(words, cwd=site.path, env=site.env, files=[nothing.fileno()] * 3)
    while not (site.outer.parent / "began").exists():
        with pytest.raises(TimeoutError):
            fork.wait(0.05)
    assert os.getsid(fork.pid) == os.getpgid(fork.pid) == fork.pid
    process = Path(f"/proc/{fork.pid}")
    assert (process / "cwd").readlink() == site.path
    assert not [one for one in (process / "fd").iterdir() if "socket" in os.readlink(one)]
    os.kill(fork.pid, signal.SIGKILL)
    assert fork.wait(20) == -signal.SIGKILL
