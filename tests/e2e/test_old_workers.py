"""A health check that an old worker answers proves nothing: a release that breaks the site is taken back all the same.

The server does as gunicorn does on SIGHUP: the old process goes on answering for a while after the restart was told to
it, then a new one takes over. Whether processes have a lease or not, every one of many tries must end well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.scenes import SECONDS, eventually, step
from tests.e2e.test_restart_effect import SERVER, take_beta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

TIMES = 2  # once for each delay; `make demo-health` tries it 20 times
# Tells nobody to wait: the new server comes after a while, and takes over from the old one.
RESTART = """\
import os, pathlib, signal, subprocess, sys, time
notes = pathlib.Path(os.environ["PIDS"])
old = [int(line) for line in notes.read_text().split()]
if os.fork():
    sys.exit(0)
os.setsid()
time.sleep(float(sys.argv[1]))
notes.read_text()  # which is gone when the test is over
subprocess.Popen(["timeout", "300", sys.executable, "server.py"], start_new_session=True)
while len(notes.read_text().split()) == len(old):
    time.sleep(0.01)
time.sleep(0.2)
for pid in old:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
FILES = {"server.py": SERVER, "restart.py": RESTART}
DELAYS = ("0.2", "0.7")


class Served:
    """A site whose pages show the version of alpha that the answering process has loaded; 1.0.0 alone is well."""

    def __init__(self, site: SampleSite, port: int, notes: Path) -> None:
        self.site = site
        self.notes = notes
        self.env = {
            "PORT": str(port),
            "PIDS": str(notes),
            "RELEASER_HEALTH_CHECK": f"http://127.0.0.1:{port}/",
            "RELEASER_HEALTH_TEXT": "1.0.0",
            "RELEASER_HEALTH_PAUSE": "0.2s",
            "RELEASER_HEALTH_RETRIES": "20",
        }

    def update(self, *words: str, delay: str, check: int, seconds: str = "4") -> Any:
        """Update with a restart that takes effect after `delay` seconds."""
        chosen = {"RELEASER_RESTART": f"python restart.py {delay}", "RELEASER_HEALTH_SECONDS": f"{seconds}s"}
        return self.site.json("update", *words, check=check, env=self.env | chosen)


@contextlib.contextmanager
def served(site: SampleSite, notes: Path) -> Iterator[Served]:
    """Let a server run from `.venv`, whatever that is; end it and all that came after it."""
    notes.touch()
    with socket.socket() as keeper:  # holds the port without listening
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(("127.0.0.1", 0))
        found = Served(site, keeper.getsockname()[1], notes)
        words: list[str | Path] = [site.link / "bin" / "python", "server.py"]
        first = subprocess.Popen(words, cwd=site.path, env=site.environment(found.env))
        try:
            eventually(lambda: notes.read_text(encoding="ascii"), "the start of the first server")
            yield found
        finally:
            pids = notes.read_text(encoding="ascii").split()
            notes.unlink()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            first.wait(SECONDS)


def see_that_it_is_taken_back(report: Any, live: str) -> None:
    assert (report["result"], report["previous"]) == ("rolled_back", live)
    assert "'1.0.0' is not in the page" in report["headline"]
    assert [answer["good"] for answer in report["answers"]] == [False, True]


@pytest.mark.parametrize("pin", [False, True], ids=["without the pin", "with the pin"])
def test_a_release_that_breaks_the_site_is_taken_back_each_time(
    make_site: SiteFactory, tmp_path: Path, *, pin: bool
) -> None:
    site = make_site.adopted(prepare=take_beta, files=FILES, settings={"pin": pin})
    site.publish("alpha", "1.1.0")
    with served(site, tmp_path / "pids") as web:
        live = site.live_id()
        for number in range(TIMES):
            report = web.update("--force", delay=DELAYS[number % len(DELAYS)], check=6)
            see_that_it_is_taken_back(report, live)
            assert site.live_id() == live


def test_the_first_update_after_adoption_is_taken_back_each_time(make_site: SiteFactory, tmp_path: Path) -> None:
    """The processes that run then were started before their release could count them."""
    for number in range(TIMES):
        site = make_site(venv=True, outer=f"outer{number}", files=FILES)
        site.publish("alpha", "1.1.0")
        with served(site, tmp_path / f"pids{number}") as web:
            report = web.update(delay=DELAYS[number % len(DELAYS)], check=6)
            see_that_it_is_taken_back(report, site.live_id())
        assert site.live_version("alpha") == "1.0.0"


def test_a_good_release_stays_and_the_step_says_how_long_it_was_asked(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted(files=FILES, settings={"pin": False})
    with served(site, tmp_path / "pids") as web:
        site.publish("beta", "1.1.0")
        report = web.update(delay="0.3", check=0, seconds="2")
        site.publish("beta", "1.2.0")
        once = step(web.update(delay="0.3", check=0, seconds="0"), "health check")
    found = step(report, "health check")
    assert found["status"] == "ok"
    assert found["detail"].endswith("answered 200, and kept answering well for 2 s")
    assert 2 <= found["seconds"] < 30
    assert once["detail"].endswith("answered 200")  # with zero seconds the site is asked once


def test_processes_with_leases_are_not_asked_for_longer_than_needed(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted(prepare=take_beta, files=FILES)
    site.publish("beta", "1.2.0")
    with served(site, tmp_path / "pids") as web:
        found = step(web.update(delay="0.3", check=0, seconds="60"), "health check")
    assert "since the flip" in found["detail"]
    assert found["seconds"] < 30
