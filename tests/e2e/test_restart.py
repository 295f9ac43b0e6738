"""The ways to restart a site: gunicorn without a gap, units of systemd, Passenger, and workers beside the web process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.scenes import refused, says
from tests.support.sites import SampleSite, SiteFactory

WSGI = """\
import alpha

def application(environ, start_response):
    start_response("500 Ill" if getattr(alpha, "IS_ILL", False) else "200 OK", [("Content-Type", "text/plain")])
    return [alpha.__version__.encode()]
"""
CONFIG = """\
def on_starting(server): server.START_CTX[0], server.START_CTX["args"][:2] = "{0}/python", ["{0}/python", "{0}/gunicorn"]
"""
DEAD = '__version__ = "1.2.0"\nimport os\nassert "gunicorn" not in os.environ.get("SERVER_SOFTWARE", "")\n'
ILL = '__version__ = "1.2.0"\nIS_ILL = True\n'


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


@dataclass
class Visitors:
    """Clients that ask a site twenty times a second; `failed` are the requests that were not answered well."""

    url: str
    answers: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def ask(self) -> str:
        """Return the answer of the site."""
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            return str(answer.read().decode())

    def visit(self, stop: threading.Event) -> None:
        """Ask until the end."""
        while not stop.wait(0.05):
            try:
                self.answers.append(self.ask())
            except OSError as error:
                self.failed.append(str(error))


@contextlib.contextmanager
def under_gunicorn(site: SampleSite, *start: str) -> Iterator[Visitors]:
    """Serve a site by gunicorn, which visitors ask meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    pid = site.outer / "gunicorn.pid"
    words = ["--daemon", "--workers", "2", "--no-control-socket", "--pid", str(pid), "--bind", f"127.0.0.1:{port}"]
    site.run(*start, *words, "--log-file", site.outer / "log", "wsgi:application")
    visitors, stop = Visitors(f"http://127.0.0.1:{port}/"), threading.Event()
    thread = threading.Thread(target=visitors.visit, args=(stop,))
    try:
        wait_until(pid.exists)
        wait_until(lambda: _answers(visitors))
        thread.start()
        site.write_dotenv(restart="gunicorn:../gunicorn.pid", health_check=visitors.url, health_timeout="10s")
        yield visitors
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()
        for path in (pid, pid.with_name("gunicorn.pid.2")):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text(encoding="utf-8")), signal.SIGTERM)


def _answers(visitors: Visitors) -> bool:
    with contextlib.suppress(OSError):
        return bool(visitors.ask())
    return False


@pytest.fixture
def gunicorn_site(make_site: SiteFactory) -> SampleSite:
    """A site with a release that has gunicorn, from the package index."""
    site = make_site(packages={"alpha": "1.0.0", "gunicorn": "0.1"}, files={"wsgi.py": WSGI})
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(site.index), "gunicorn>=25.1"]
    if subprocess.run(words, check=False).returncode != 0:
        pytest.skip("the package index does not answer")
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("gunicorn", {"gunicorn.conf.py": CONFIG.format(site.link / "bin")}, lock=True)
    site.releaser("init", check=0)
    return site


SCRIPT, MODULE = (".venv/bin/gunicorn",), (".venv/bin/python", "-m", "gunicorn")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("start", [SCRIPT, MODULE], ids=["script", "module"])
def test_law_04_21_gunicorn_hands_over_without_a_failed_request(
    gunicorn_site: SampleSite, start: tuple[str, ...]
) -> None:
    """An update, a release that does not start, and a rollback."""
    site = gunicorn_site
    with under_gunicorn(site, *start) as visitors:
        site.releaser("check", check=0)
        site.update_to("1.1.0")
        assert visitors.ask() == "1.1.0"
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": DEAD})
        says(site.releaser("update", check=6), "did not come to work")
        assert (site.version("alpha"), visitors.ask()) == ("1.1.0", "1.1.0")
        site.releaser("rollback", check=0)
        assert visitors.ask() == "1.0.0"
        assert site.json("status")["old_processes"] == []
    assert visitors.failed == []
    assert {*visitors.answers} == {"1.0.0", "1.1.0"}


@pytest.mark.slow
@pytest.mark.network
def test_law_21_an_ill_release_does_not_take_over(gunicorn_site: SampleSite) -> None:
    site = gunicorn_site
    with under_gunicorn(site, *SCRIPT) as visitors:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": ILL})
        says(site.releaser("update", check=6), "500")
        assert (site.version("alpha"), visitors.ask()) == ("1.0.0", "1.0.0")


@pytest.mark.slow
@pytest.mark.network
def test_law_07_a_kill_while_two_masters_run_is_finished_by_the_next_run(gunicorn_site: SampleSite) -> None:
    site = gunicorn_site
    with under_gunicorn(site, *SCRIPT) as visitors:
        site.publish("alpha", "1.1.0")
        second = site.outer / "gunicorn.pid.2"
        with site.starting("update") as process:
            wait_until(second.exists)
            process.kill()
        site.releaser("update", check=0)
        assert (site.version("alpha"), visitors.ask()) == ("1.1.0", "1.1.0")
        assert not second.exists()
        assert site.json("status")["old_processes"] == []
    assert visitors.failed == []


@pytest.mark.slow
@pytest.mark.network
def test_law_28_a_pinned_master_is_refused_with_the_lines_to_write(gunicorn_site: SampleSite) -> None:
    site = gunicorn_site
    (site.path / "gunicorn.conf.py").write_text("", encoding="utf-8")
    site.push_commit("No lines", {"gunicorn.conf.py": ""})
    with under_gunicorn(site, *SCRIPT):
        says(refused(site, "check"), CONFIG.format(site.link / "bin").strip())
        site.write_dotenv(restart="sh -c 'kill -HUP $(cat ../gunicorn.pid)'", health_timeout="3s")
        site.publish("alpha", "1.1.0")
        answer = site.json("update", check=7)
        assert answer["result"] == "updated-not-restarted"
        assert "gunicorn" in str(answer["problems"])
        assert "A reload keeps the release" in str(answer["problems"])
