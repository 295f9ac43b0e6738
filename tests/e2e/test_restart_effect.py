"""Whether the restart has had an effect, told by the processes of a real server that runs from the live release.

A health check that an old worker answers proves nothing: as with gunicorn on SIGHUP, the old process may go on
answering for a while.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import SECONDS, body, eventually, step
from tests.support.sites import SampleSite, SiteFactory

# Takes over the port from whoever has it, once it is asked to; an argument says how.
SERVER = """\
import http.server, os, socket, sys
import alpha

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{alpha.__version__} {os.getpid()}".encode())
    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
with open(os.environ["PIDS"], "a") as file:
    print(os.getpid(), file=file)
server.serve_forever()
"""
# Starts a new server and ends the old ones, in this order: at once, after a while, or only one of both, or nothing.
RESTART = """\
import contextlib, os, pathlib, signal, subprocess, sys, time
how, delay = [*sys.argv[1:], "1.0"][:2]
notes = pathlib.Path(os.environ["PIDS"])
old = [int(line) for line in notes.read_text().split()]
if how == "later":
    if os.fork():
        sys.exit(0)
    os.setsid()
    time.sleep(float(delay))
    notes.read_text()  # which is gone when the test is over
if how in ("now", "later", "beside"):
    subprocess.Popen(["timeout", "300", sys.executable, "server.py"], start_new_session=True)
    while len(notes.read_text().split()) == len(old):
        time.sleep(0.01)
if how == "later":
    time.sleep(0.2)
if how in ("now", "later", "stop"):
    for pid in old:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
"""
FILES = {"server.py": SERVER, "restart.py": RESTART}


def take_beta(site: SampleSite) -> None:
    """Leave the adopted release, which no server holds a lease of."""
    site.update_to("beta", "1.1.0")


class Servers:
    """The servers of a site: all that were ever started note their ids."""

    def __init__(self, site: SampleSite, port: int, notes: Path) -> None:
        self.site = site
        self.notes = notes
        self.port = port
        self.env = {"PORT": str(port), "PIDS": str(notes), "RELEASER_HEALTH_CHECK": f"http://127.0.0.1:{port}/"}

    @property
    def pids(self) -> list[int]:
        """The ids of all servers, the oldest first."""
        return [int(line) for line in self.notes.read_text(encoding="ascii").split()]

    def update(
        self, how: str, version: str = "1.1.0", *words: str, package: str = "alpha", check: int = 0, **settings: str
    ) -> Any:
        """Update to a new version, with a restart of this kind."""
        self.site.publish(package, version)
        chosen = {"restart": f"python restart.py {how}", "health_retries": "3", "health_pause": "0.5s", **settings}
        return self.site.json(
            "update", *words, check=check, env=self.env | {f"RELEASER_{key.upper()}": chosen[key] for key in chosen}
        )

    def end(self) -> None:
        pids = self.pids
        self.notes.unlink()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def served(make_site: SiteFactory, notes: Path, **options: Any) -> Iterator[Servers]:
    """Let a server run from `.venv` of a site that was updated once, as people start them; end all that came of it."""
    site = make_site.adopted(prepare=take_beta, files=FILES, **options)
    notes.touch()
    with socket.socket() as keeper:  # holds the port without listening
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind(("127.0.0.1", 0))
        servers = Servers(site, keeper.getsockname()[1], notes)
        words = [str(site.link / "bin" / "python"), "server.py"]
        first = subprocess.Popen(words, cwd=site.path, env=site.environment(servers.env))
        try:
            eventually(lambda: servers.pids, "the start of the first server")
            yield servers
        finally:
            servers.end()
            first.wait(SECONDS)


@pytest.fixture
def servers(make_site: SiteFactory, tmp_path: Path) -> Iterator[Servers]:
    with served(make_site, tmp_path / "pids") as found:
        yield found


def test_a_restart_that_takes_a_while_is_waited_for(servers: Servers) -> None:
    report = servers.update("later 2", health_pause="60s")
    found = step(report, "health check")
    # The one that started the server may just be there still.
    assert found["detail"].startswith(servers.env["RELEASER_HEALTH_CHECK"])
    assert re.search("200; (1 process has|2 processes have) started on the release$", found["detail"])
    assert (found["status"], report["problems"]) == ("ok", [])
    assert 0.3 < found["seconds"] < 30  # as long as it takes, not a whole pause


def test_a_restart_without_effect_is_a_problem_but_no_failure(servers: Servers) -> None:
    earlier = servers.site.live_id()
    report = servers.update("not")
    (pid,), (problem,) = servers.pids, report["problems"]
    assert (report["result"], report["exit_code"]) == ("updated", 0)
    assert servers.site.live_version("alpha") == "1.1.0"
    left = f"1 process still runs on release {earlier}"
    assert problem.startswith(f"{left}, which was live before: {pid} (")
    assert "server.py" in problem
    found = step(report, "health check")
    assert (found["status"], f"answered 200, but {left}" in found["detail"]) == ("warning", True)
    assert 1.0 < found["seconds"] < 30  # four tries, three pauses
    assert left in " ".join(body(servers.site).split())


def test_the_moment_of_the_flip_outlives_the_run(servers: Servers) -> None:
    """A run that is killed in the middle of its restart: the next one knows who began after the flip."""
    site = servers.site
    kills = "sh -c 'test -e killed || { touch killed; kill -9 $PPID; }; exec python restart.py now'"
    (site.path / ".git" / "info" / "exclude").write_text("/killed\n/.venv\n", encoding="utf-8")
    site.publish("alpha", "1.1.0")
    env = servers.env | {"RELEASER_RESTART": kills, "RELEASER_HEALTH_PAUSE": "60s"}
    started = time.monotonic()
    assert site.releaser("update", env=env).returncode == -signal.SIGKILL
    eventually(lambda: len(servers.pids) > 1, "the restart")
    report = site.json("update", env=env)
    assert time.monotonic() - started < 60
    assert step(report, "health check")["detail"].endswith("on the release")
    assert report["problems"] == []


# `make demo-health` tries it 20 times.
@pytest.mark.spread(1)
@pytest.mark.parametrize(("pin", "delay"), [(False, "0.2"), (True, "0.7")])
def test_old_workers_do_not_save_a_release_that_breaks_the_site(
    make_site: SiteFactory, tmp_path: Path, *, pin: bool, delay: str
) -> None:
    with served(make_site, tmp_path / "pids", settings={"pin_processes": pin}) as servers:
        patient: dict[str, Any] = {"health_text": "1.0.0", "health_pause": "0.2s", "health_retries": "20"}
        if not pin:
            report = servers.update("later 0.3", "1.2.0", package="beta", health_seconds="2s", **patient)
            found = step(report, "health check")
            assert found["detail"].endswith("answered 200, and kept answering well for 2 s")
            assert 2 <= found["seconds"] < 30
        live = servers.site.live_id()
        report = servers.update(f"later {delay}", "1.1.0", "--force", check=6, health_seconds="4s", **patient)
        assert (report["result"], report["previous"], servers.site.live_id()) == ("rolled-back", live, live)
        assert "'1.0.0' is not in the page" in report["headline"]
        assert [answer["good"] for answer in report["answers"]] == [False, True]
