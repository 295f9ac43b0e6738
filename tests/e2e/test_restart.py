"""The ways to restart a site: gunicorn without a gap, units of systemd, Passenger, and workers beside it."""

import contextlib
import http.server
import json
import os
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.scenes import MET_NEVER_WORKED, make_old, refused, says
from tests.e2e.test_going_live import SICK, served
from tests.e2e.test_telling import setting_of
from tests.support.commands import require, started
from tests.support.servers import Handler, serve, web_site
from tests.support.sites import SampleSite, SiteFactory

WSGI = """\
import alpha

def application(environ, start_response):
    start_response("500 Ill" if getattr(alpha, "IS_ILL", False) else "200 OK", [("Content-Type", "text/plain")])
    return [alpha.__version__.encode()]
"""
CONFIG = """\
def on_starting(server): server.START_CTX[0], server.START_CTX["args"][:2] = \
"{0}/python", ["{0}/python", "{0}/gunicorn"]
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
def under_gunicorn(site: SampleSite, *start: str, cwd: Path | None = None) -> Iterator[Visitors]:
    """Serve a site by gunicorn, which visitors ask meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    pid = site.outer / "gunicorn.pid"
    words = ["--daemon", "--workers", "2", "--no-control-socket", "--pid", str(pid), "--bind", f"127.0.0.1:{port}"]
    site.run(*start, *words, "--log-file", site.outer / "log", "wsgi:application", cwd=cwd)
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
    require(subprocess.run(words, check=False).returncode == 0, "the package index does not answer")
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("gunicorn", {"gunicorn.conf.py": CONFIG.format(site.link / "bin")}, lock=True)
    site.releaser("init", check=0)
    return site


RELOAD = "sh -c 'kill -HUP $(cat ../gunicorn.pid)'"
SCRIPT, MODULE = (".venv/bin/gunicorn",), (".venv/bin/python", "-m", "gunicorn")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("start", [SCRIPT, MODULE], ids=["script", "module"])
def test_law_04_21_gunicorn_hands_over_without_a_failed_request(
    gunicorn_site: SampleSite, start: tuple[str, ...]
) -> None:
    """An update, a release that does not start, and a rollback; also beside a module of the project with that name."""
    site = gunicorn_site
    if start == SCRIPT:
        site.edit("gunicorn.py", "from importlib.metadata import version\n__version__ = version('gunicorn')\n")
    with under_gunicorn(site, *start) as visitors:
        way = f"set `restart` to `gunicorn:{site.outer}/gunicorn.pid`"
        says(site.releaser("check", check=0, env={"RELEASER_RESTART": "auto"}), way)
        assert "set `restart`" not in site.releaser("check", check=0).stderr
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
    """But a release that cures an ill one does."""
    site = gunicorn_site
    with under_gunicorn(site, *SCRIPT) as visitors:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": ILL})
        says(site.releaser("update", check=6), "failed its health check under the new gunicorn")
        assert (site.version("alpha"), visitors.ask()) == ("1.0.0", "1.0.0")
        assert len(visitors.failed) < 100, "as if it had served until the end of `health_timeout`"
        site.releaser("unhold", "--all", check=0)
        site.releaser("update", check=0, env={"RELEASER_HEALTH_CHECK": ""})
        assert site.version("alpha") == "1.2.0"
        site.update_to("1.3.0")
        assert visitors.ask() == "1.3.0"


COLD = """\
__version__ = "1.2.0"
import time
began = time.monotonic()
def __getattr__(name):
    if name != "IS_ILL":
        raise AttributeError(name)
    return time.monotonic() < began + 2
"""


@pytest.mark.slow
@pytest.mark.network
def test_law_06_21_a_release_that_needs_to_warm_up_takes_over(gunicorn_site: SampleSite) -> None:
    """Its first answers are bad. The gunicorn runs in another directory, so that its release alone says its site."""
    site = gunicorn_site
    config = ("--config", str(site.path / "gunicorn.conf.py"), "--pythonpath", str(site.path))
    with under_gunicorn(site, str(site.link / "bin/gunicorn"), *config, cwd=site.base) as visitors:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": COLD})
        site.releaser("update", check=0)
        assert (visitors.ask(), site.json("status", check=0)["on_hold"]) == ("1.2.0", [])


@pytest.mark.slow
@pytest.mark.network
def test_law_42_a_gunicorn_that_ends_before_it_has_a_pid_file_is_not_waited_for(gunicorn_site: SampleSite) -> None:
    """As by `--preload`."""
    site = gunicorn_site
    with under_gunicorn(site, *SCRIPT, "--preload") as visitors:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": DEAD})
        answer = site.json("update", check=6, env={"RELEASER_RESTART_TIMEOUT": "10m"})
        assert "did not come to work" in answer["headline"]
        assert visitors.ask() == "1.0.0"
    assert visitors.failed == []


SLOW = '__version__ = "1.2.0"\nimport os, time\n"SERVER_SOFTWARE" in os.environ and time.sleep(600)\n'


@pytest.mark.slow
@pytest.mark.network
def test_law_28_a_start_that_takes_too_long_is_told_with_its_limit(gunicorn_site: SampleSite) -> None:
    site = gunicorn_site
    with under_gunicorn(site, *SCRIPT) as visitors:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": SLOW})
        finished = site.releaser("update", check=6, env={"RELEASER_RESTART_TIMEOUT": "8s"})
        says(finished, "by `restart`", "did not come to work", "set `restart_timeout`")
        assert visitors.ask() == "1.0.0"
    assert visitors.failed == []


@pytest.mark.slow
@pytest.mark.network
def test_law_08_21_a_gunicorn_that_is_too_slow_does_not_come_later(gunicorn_site: SampleSite) -> None:
    """With `--preload` it has no pid file until its application is loaded."""
    site = gunicorn_site
    with under_gunicorn(site, *SCRIPT, "--preload") as visitors:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": SLOW})
        finished = site.releaser("update", check=6, env={"RELEASER_RESTART_TIMEOUT": "8s"})
        says(finished, "did not come to work")
        assert site.json("status", check=10)["old_processes"] == []
        site.publish("alpha", "1.3.0")
        site.releaser("update", check=0)
        assert visitors.ask() == "1.3.0"
    assert visitors.failed == []


@pytest.mark.slow
@pytest.mark.network
def test_law_21_a_pid_file_that_lies_ends_nothing(gunicorn_site: SampleSite) -> None:
    """It outlives its process, or others write it."""
    site, second = gunicorn_site, gunicorn_site.outer / "gunicorn.pid.2"
    with started(["sleep", "600"], cwd=site.path, env=site.env) as innocent:
        (site.outer / "gunicorn.pid").write_text(f"{innocent.pid}\n", encoding="utf-8")
        site.write_dotenv(restart="gunicorn:../gunicorn.pid", health_timeout="0s")
        says(site.releaser("check", check=0), "No gunicorn of this site runs")
        site.publish("alpha", "1.1.0")
        says(site.releaser("update", check=6), "No gunicorn of this site runs")
        assert (innocent.poll(), site.json("status", check=10)["on_hold"]) == (None, [])
        (site.outer / "gunicorn.pid").unlink()
        with under_gunicorn(site, *SCRIPT) as visitors:
            second.write_text(f"{innocent.pid}\n", encoding="utf-8")
            site.releaser("update", check=0)
            assert (innocent.poll(), visitors.ask()) == (None, "1.1.0")
            os.mkfifo(second)
            site.update_to("1.2.0")
            assert visitors.ask() == "1.2.0"
        assert visitors.failed == []


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
def test_law_28_a_pinned_master_keeps_its_release_and_the_line_to_write_is_told(gunicorn_site: SampleSite) -> None:
    site = gunicorn_site
    (site.path / "gunicorn.conf.py").write_text("", encoding="utf-8")
    site.push_commit("No lines", {"gunicorn.conf.py": ""})
    with under_gunicorn(site, *SCRIPT) as visitors:
        says(site.releaser("check", check=0), CONFIG.format(site.link / "bin").strip())
        site.publish("alpha", "1.1.0")
        says(site.releaser("update", check=6), CONFIG.format(site.link / "bin").strip())
        assert (visitors.ask(), visitors.failed, site.json("status", check=10)["on_hold"]) == ("1.0.0", [], [])
        settings = setting_of(site) | {"RELEASER_HEALTH_TIMEOUT": "3s"}
        listening = "sh -c '.venv/bin/python -m http.server --bind 127.0.0.1 0 > /dev/null 2>&1 & echo $! > ../worker'"
        site.write_dotenv(settings, restart=RELOAD, restart_workers=listening)  # a worker, which is restarted, listens
        answer = site.json("update", check=7)
        assert answer["result"] == "updated-not-restarted"
        assert "gunicorn" in str(answer["problems"])
        assert "A reload keeps the release" in str(answer["problems"])
        os.kill(int((site.outer / "worker").read_text(encoding="utf-8")), signal.SIGTERM)
        says(site.releaser("check", check=0), "A reload keeps the release", "set `restart` to `gunicorn:")


@pytest.mark.slow
@pytest.mark.network
def test_law_28_a_gunicorn_that_a_supervisor_watches_is_refused(gunicorn_site: SampleSite) -> None:
    site = gunicorn_site
    supervisor, pid = site.outer / "supervisord", site.outer / "gunicorn.pid"
    supervisor.write_text('"$@" & wait', encoding="utf-8")
    words = [".venv/bin/gunicorn", "--no-control-socket", "--pid", str(pid), "--bind", f"unix:{site.outer}/socket"]
    site.write_dotenv(restart="gunicorn:../gunicorn.pid")
    with started(["sh", supervisor, *words, "wsgi:application"], cwd=site.path, env=site.env):
        wait_until(pid.exists)
        says(refused(site, "check"), "supervisor")
        os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGTERM)
        wait_until(lambda: not pid.exists())
    says(site.releaser("check", check=0), "No gunicorn of this site runs")


SYSTEMCTL = """#!/bin/sh
echo "$@" >> {calls}
case "$*" in
    *"--user show"*LoadState*) echo {user};;
    *LoadState*) echo {system};;
    *TriggeredBy*) echo "shop.socket shop.timer";;
esac
"""


@contextlib.contextmanager
def fake_program(site: SampleSite, name: str, text: str) -> Iterator[Path]:
    """Put a program on PATH for the block; yield the file to which it writes its calls."""
    directory, calls = site.base / "fake", site.base / f"{name}.calls"
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(text.replace("{calls}", str(calls)), encoding="utf-8")
    program.chmod(0o755)
    site.env["PATH"] = f"{directory}:{site.env['PATH']}"
    yield calls
    shutil.rmtree(directory)


@pytest.mark.slow
def test_units_of_systemd_are_restarted_and_their_sockets_stay(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_RESTART": "systemd:shop, shop.socket"})
    text = SYSTEMCTL.replace("{user}", "").replace("{system}", "loaded")
    with fake_program(site, "systemctl", text) as calls:
        site.releaser("update", check=0)
        done = [line for line in calls.read_text(encoding="utf-8").splitlines() if " show " not in line]
    system = "--no-ask-password"
    assert done[:3] == [
        f"{system} reset-failed shop.service shop.socket",
        f"{system} start shop.socket",
        f"{system} restart shop.service",
    ]
    assert done[-1] == f"{system} start shop.socket", "a restart would refuse requests"


ENDING = """#!/bin/sh
case "$*" in
    *LoadState*) echo loaded;;
    *Type*worker*) echo simple;;
    *Type*) echo notify;;
    *{property}*worker*) test "$(readlink {link})" = {well} || echo {value};;
    *SubState*) echo running;;
esac
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"), [("SubState", "failed"), ("SubState", "auto-restart"), ("NRestarts", "2")], ids=str
)
def test_law_04_a_worker_that_systemd_has_started_and_that_ends_again_goes_back(
    make_site: SiteFactory, name: str, value: str
) -> None:
    """systemd calls a simple service started before it is; no health check asks a worker."""
    site = make_site.live(due="1.1.0")
    site.write_dotenv(restart="systemd:shop", restart_workers="systemd:beat,worker", health_check="true")
    text = ENDING.replace("{link}", str(site.link)).replace("{well}", os.readlink(site.link))
    with fake_program(site, "systemctl", text.replace("{property}", name).replace("{value}", value)):
        finished = site.releaser("update", check=6)
        says(finished, "by `restart_workers`: After its start, `worker.service` failed.", "status worker.service`")
        assert "beat" not in finished.stderr
        assert (site.version("alpha"), len(site.json("status", check=10)["on_hold"])) == ("1.0.0", 1)


@pytest.mark.slow
def test_law_04_a_worker_that_ends_when_its_work_is_done_goes_not_back(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.write_dotenv(restart="systemd:shop", restart_workers="systemd:worker", health_check="true")
    text = ENDING.replace("{link}", "/").replace("{well}", "").replace("{property}", "NRestarts")
    with fake_program(site, "systemctl", text.replace("{value}", "40")):
        site.releaser("update", check=0)
    assert site.version("alpha") == "1.1.0"


@pytest.mark.slow
def test_law_20_a_site_is_not_well_while_a_unit_of_it_has_failed(make_site: SiteFactory) -> None:
    site = make_site.live(dotenv={"RELEASER_RESTART_WORKERS": "systemd:beat,worker"})
    text = ENDING.replace("{link}", "/").replace("{well}", "/").replace("{property}", "SubState")
    again = text.replace("esac", "    *Result*) echo success;;\nesac").replace("{value}", "auto-restart")
    for well in (text.replace("{value}", "running"), again):  # its work is done, and it is started again later
        with fake_program(site, "systemctl", well):
            site.releaser("status", check=0)
    with fake_program(site, "systemctl", text.replace("{value}", "failed")):
        assert "`worker.service` has failed" in site.releaser("status", check=10).stdout
        says(site.releaser("check", "--live", check=4), "`worker.service` has failed")
        site.releaser("check", check=0)


@pytest.mark.slow
@pytest.mark.parametrize(("state", "word"), [("not-found", "list-units"), ("", "enable-linger")])
def test_law_28_a_unit_that_systemd_does_not_know_is_refused(user_site: SampleSite, state: str, word: str) -> None:
    user_site.write_dotenv(restart="systemd:shop")
    is_user = bool(user_site.user or os.geteuid())
    text = SYSTEMCTL.replace("{user}", state).replace("{system}", "not-found" if is_user else state)
    with fake_program(user_site, "systemctl", text.replace("{calls}", "/dev/null")):
        word = word if is_user or state else "Set a command"
        says(refused(user_site, "check"), "shop.service", word)


@pytest.mark.slow
def test_passenger_is_asked_and_else_its_file_is_touched(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_RESTART": "passenger"})
    names = {"Shop (staging)": site.path, f"{site.path}2 (production)": f"{site.path}2"}
    pool = {name: {"app_root": [{"value": str(path)}], "enabled": [{"value": True}]} for name, path in names.items()}
    (site.outer / "pool").write_text(json.dumps(pool), encoding="utf-8")
    text = "#!/bin/sh\necho $@ >> {calls}; test $1 = restart-app || cat ../pool\n"
    with fake_program(site, "passenger-config", text) as calls:
        touched = site.restarted_at()
        site.releaser("update", check=0)
        assert calls.read_text(encoding="utf-8") == "api-call get /pool.json\nrestart-app --name Shop (staging)\n"
        assert site.restarted_at() == touched
        (site.outer / "pool").write_text("{}", encoding="utf-8")
        site.releaser("rollback", check=0)
        assert site.restarted_at() != touched


WORKER = "import alpha, time\nprint(alpha.__version__, flush=True)\ntime.sleep(600)\n"


@pytest.mark.met(
    "a worker beside the web server", "dye #97", "celery #5181", "policykit #437", "kuma #4106", "eJournal #635"
)
@pytest.mark.slow
def test_a_worker_on_an_old_release_is_named_and_restarted_if_that_is_set(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", files={"worker.py": WORKER})
    words = [".venv/bin/python", "worker.py"]
    with subprocess.Popen(words, cwd=site.path, stdout=subprocess.PIPE, start_new_session=True) as worker:
        try:
            assert worker.stdout is not None
            worker.stdout.readline()
            earlier = site.live()
            answer = site.json("update")
            assert f"process {worker.pid} (`.venv/bin/python worker.py`" in str(answer["notes"])
            (row,) = site.json("status")["old_processes"]
            assert (row["pid"], row["release"], row["command"]) == (worker.pid, earlier, ".venv/bin/python worker.py")
            assert "worker.py" in site.releaser("status", check=0).stdout
            site.write_dotenv(restart_workers=f"kill {worker.pid}")
            site.update_to("1.2.0")
            assert worker.wait(20) == -signal.SIGTERM
            assert site.json("status")["old_processes"] == []
        finally:
            worker.kill()


@pytest.mark.slow
def test_law_21_workers_that_all_stay_are_seen_where_nothing_but_workers_runs(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", files={"worker.py": WORKER})
    site.write_dotenv(restart="none", restart_workers="true", health_timeout="0s")
    words = [".venv/bin/python", "worker.py"]
    with started(words, cwd=site.path, env=site.env) as old:
        assert old.stdout is not None
        assert old.stdout.readline()
        earlier = site.live()
        finished = site.releaser("update", check=7)
        says(finished, "No process uses release", f"process {old.pid}", "correct `restart_workers`")
        assert site.json("update", check=0)["result"] == "no-changes"
        says_of_status = site.releaser("status", check=10).stdout
        assert f"No process uses the live release; {earlier} is in use" in says_of_status
        with started(words, cwd=site.path, env=site.env) as new:  # the old one ends its task meanwhile
            assert new.stdout is not None
            assert new.stdout.readline()
            assert str(old.pid) in site.releaser("status", check=0).stdout
    again = site.outer / "again"  # like a supervisor, which does not wait
    again.write_text("kill $1; (sleep 1; exec .venv/bin/python worker.py) & echo $! > ../pid", encoding="utf-8")
    with started(words, cwd=site.path, env=site.env) as old:
        site.write_dotenv(restart="none", restart_workers=f"sh ../again {old.pid}")
        assert old.stdout is not None
        assert old.stdout.readline()
        try:
            site.update_to("1.2.0")
        finally:
            os.kill(int((site.outer / "pid").read_text(encoding="utf-8")), signal.SIGKILL)


@pytest.mark.slow
def test_law_04_21_what_a_timer_starts_comes_and_goes(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", files={"worker.py": WORKER})
    (site.outer / "jobs.timer").write_text("kill $1", encoding="utf-8")
    with started([".venv/bin/python", "worker.py"], cwd=site.path, env=site.env) as job:
        site.write_dotenv(restart="none", restart_workers=f"sh ../jobs.timer {job.pid}", health_timeout="0s")
        assert job.stdout is not None
        assert job.stdout.readline()
        site.releaser("update", check=0)
        assert site.version("alpha") == "1.1.0"


DYING = "import alpha, time\nprint(alpha.__version__, flush=True)\ntime.sleep(600 * (alpha.__version__ == '1.0.0'))\n"
KEEPER = ".venv/bin/python worker.py & echo $! > ../pid; wait"


@pytest.mark.slow
@pytest.mark.parametrize("keeper", [KEEPER, f"while :; do {KEEPER}; sleep 0.2; done"], ids=["ended", "kept"])
def test_law_04_workers_alone_that_end_again_go_back(make_site: SiteFactory, keeper: str) -> None:
    """Whether or not something starts them again and again."""
    site = make_site.live(due="1.1.0", files={"worker.py": DYING})
    (site.outer / "keeper").write_text(f"({keeper}) > /dev/null 2>&1 &", encoding="utf-8")
    (site.outer / "again").write_text("kill $(cat ../pid) 2> /dev/null; sh ../keeper", encoding="utf-8")
    command = "kill $(cat ../pid) 2> /dev/null || true" if keeper != KEEPER else "sh ../again"
    site.write_dotenv(restart="none", restart_workers=shlex.join(["sh", "-c", command]), health_timeout="2s")
    with started(["sh", "-c", keeper], cwd=site.path, env=site.env) as old:
        assert old.stdout is not None
        assert old.stdout.readline()
        try:
            says(site.releaser("update", check=6), "no worker of the site keeps running")
            assert (site.version("alpha"), len(site.json("status", check=10)["on_hold"])) == ("1.0.0", 1)
        finally:
            os.kill(int((site.outer / "pid").read_text(encoding="utf-8")), signal.SIGKILL)


@pytest.mark.slow
def test_law_21_a_process_of_another_user_that_stays_alone_is_seen_without_a_health_check(
    user_site: SampleSite,
) -> None:
    site = user_site
    require(site.user is not None, "only root starts a process of another user")
    site.edit("../waits.py", "import alpha, time\nprint(alpha.__version__, flush=True)\ntime.sleep(600)\n")
    site.publish("alpha", "1.1.0")
    site.write_dotenv(restart="true", health_timeout="0s")
    with started([".venv/bin/python", "../waits.py"], cwd=site.path, env=site.env) as old:
        assert old.stdout is not None
        assert old.stdout.readline()
        says(site.releaser("update", check=7), "No process uses release", "a process of another user", "`restart`")
        assert "is in use" in site.releaser("status", check=10).stdout


def answer_slowly() -> int:
    """Answer as a slow page does, after half of the time that the health check below has."""
    time.sleep(1.6)
    return 200


@pytest.mark.slow
def test_law_06_a_slow_page_is_not_ill_for_want_of_time(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    with web_site(answer_slowly) as web:
        site.write_dotenv(health_check=web.url, restart="true", health_timeout="3s")
        assert site.json("update", check=7)["result"] == "updated-not-restarted"
    assert (site.version("alpha"), site.json("status", check=10)["on_hold"]) == ("1.1.0", [])


class Cache(http.server.BaseHTTPRequestHandler):
    """Answers from what it remembers, unless it is asked not to; the site behind it is ill."""

    def do_GET(self) -> None:
        self.send_response(503 if "no-cache" in (self.headers["Cache-Control"] or "") else 200)
        self.end_headers()


@pytest.mark.slow
def test_law_20_a_health_page_of_a_cache_is_not_asked_for(make_site: SiteFactory) -> None:
    site = make_site.live()
    with socketserver.TCPServer(("127.0.0.1", 0), Cache) as cache:
        threading.Thread(target=cache.serve_forever).start()
        try:
            site.write_dotenv(health_check=f"http://127.0.0.1:{cache.server_address[1]}/", health_timeout="2s")
            says(site.releaser("check", "--live", check=10), "answered 503")
        finally:
            cache.shutdown()


#: Where a site leads who asks it, by what is asked; and the exit code of `check --live`.
REDIRECTS = {
    "itself, by a name": ("http://127.0.0.1:{port}/", "/well", 0),
    "itself, by an address": ("http://127.0.0.1:{port}/", "http://127.0.0.1:{port}/well", 0),
    "itself, where it is ill": ("http://127.0.0.1:{port}/", "/ill", 10),
    "another host": ("http://127.0.0.1:{port}/", "http://localhost:{port}/well", 10),
}


@pytest.mark.slow
def test_law_21_another_host_does_not_answer_for_a_site(make_site: SiteFactory) -> None:
    class Leading(Handler):
        def do_GET(self) -> None:  # noqa: N802
            if self.path == "/":
                self.answer(301, Location=place)
            else:
                self.answer(200 if self.path == "/well" else 503)

    site, place = make_site.live(), ""
    with serve(Leading) as address:
        port = address.rpartition(":")[2]
        for name, (url, place, code) in REDIRECTS.items():
            place = place.format(port=port)
            site.write_dotenv(health_check=url.format(port=port), health_timeout="1s")
            finished = site.releaser("check", "--live", check=code)
            assert ("another host, localhost" in finished.stdout + finished.stderr) == (name == "another host")


@pytest.mark.met(*MET_NEVER_WORKED)
@pytest.mark.slow
def test_law_06_a_restart_that_never_worked_holds_nothing_and_is_tried_again(make_site: SiteFactory) -> None:
    """As `sudo` does that asks for a password; then a person corrects it."""
    site = make_site.live(due="1.1.0")
    script = site.outer / "sudo"
    script.write_text("#!/bin/sh\necho $$: a password is required >&2; exit 1\n", encoding="utf-8")
    script.chmod(0o755)
    site.write_dotenv(restart=str(script), health_timeout="0s")
    says(site.releaser("check", "--live", check=4), "`restart` is not allowed", "a password is required")
    for _ in range(2):
        finished = site.releaser("update", check=6)
        says(finished, "by `restart`: `", "a password is required", "Start the site: run the command of `restart`.")
    site.write_dotenv(restart="true --secret", restart_workers=f"{script} --secret", health_timeout="0s")
    finished = site.releaser("update", check=6)
    says(finished, "by `restart_workers`: `", "a password is required")
    assert "--secret" not in finished.stdout + finished.stderr
    assert (site.version("alpha"), site.json("status", check=10)["on_hold"]) == ("1.0.0", [])
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    site.releaser("check", "--live", check=0)
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.1.0"


@pytest.mark.slow
def test_law_06_a_step_that_fails_with_both_releases_holds_nothing(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.write_dotenv(before_restart="sh -c 'test -e ../repaired'", health_timeout="0s")
    assert "may not answer" not in site.releaser("update", check=6).stderr  # it was restarted
    assert (site.version("alpha"), site.json("status", check=10)["on_hold"]) == ("1.0.0", [])
    (site.outer / "repaired").touch()
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.1.0"


@pytest.mark.slow
def test_law_21_a_site_that_is_well_after_a_failed_way_back_is_not_called_down(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    workers = "sh -c 'echo no such worker >&2; exit 3'"
    site.write_dotenv(restart="true", restart_workers=workers, health_check="true", health_timeout="0s")
    finished = site.releaser("update", check=6)
    says(finished, "no such worker", "automatic rollback")
    assert "may not answer" not in finished.stderr
    assert "Start the site" not in finished.stderr


@pytest.mark.slow
def test_law_04_21_a_server_that_does_not_come_up_goes_back_without_a_health_check(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": SICK})
    script, pid = site.base / "restart.sh", site.base / "serve.pid"
    with served(site) as service:
        end = f"kill -9 $(cat {pid}); rm {pid}; .venv/bin/python -c 'import alpha' serve.py && {service.restart}; true"
        script.write_text(end, encoding="utf-8")
        site.write_dotenv(restart=f"sh {script}", health_timeout="1s")
        says(site.releaser("update", check=6), "listens any more")
        assert (site.version("alpha"), service.ask("alpha")) == ("1.0.0", "1.0.0")
    assert [hold["name"] for hold in site.json("status", check=10)["on_hold"]] == ["alpha"]


@pytest.mark.slow
def test_law_04_06_a_server_may_take_as_long_to_start_as_a_restart_may(make_site: SiteFactory) -> None:
    """Without a health check. What never listens goes back, once: another night would be another outage."""
    site = make_site.live(due="1.1.0", files={"application.py": APPLICATION})
    script, pid, out = (site.base / name for name in ("restart.sh", "pid", "out"))
    wait = "import alpha, time\ntime.sleep({'1.1.0': 4, '1.2.0': 600}.get(alpha.__version__, 0))"
    start = f".venv/bin/python -c \"{wait}\nexec(open('application.py').read())\" > {out} 2>&1 & echo $! > {pid}"
    script.write_text(f"test -e {pid} && kill -9 $(cat {pid})\n{start}\n", encoding="utf-8")
    try:
        site.run("sh", script)
        wait_until(lambda: out.read_text(encoding="utf-8"))
        site.write_dotenv(restart=f"sh {script}", health_timeout="1s")
        site.releaser("update", check=0)
        assert site.version("alpha") == "1.1.0"
        site.write_dotenv(restart=f"sh {script}", health_timeout="1s", restart_timeout="6s")
        site.publish("alpha", "1.2.0")
        says(site.releaser("update", check=6), "listens any more", "set `restart_timeout`")
        held = [hold["version"] for hold in site.json("status", check=10)["on_hold"]]
        assert (site.version("alpha"), held) == ("1.1.0", ["1.2.0"])
    finally:
        site.run("sh", "-c", f"kill -9 $(cat {pid})", check=None)


@pytest.mark.slow
def test_law_21_a_server_that_no_visitor_restarts_is_seen(make_site: SiteFactory) -> None:
    """The file that is touched by default is Passenger's."""
    site = make_site.live(due="1.1.0", files={"application.py": APPLICATION})
    words = [".venv/bin/python", "application.py"]
    with started(words, cwd=site.path, env=site.env) as process:
        assert process.stdout is not None
        process.stdout.readline()
        site.write_dotenv(health_timeout="2s")
        answer = site.json("update", check=7)
    assert (answer["result"], site.version("alpha")) == ("updated-not-restarted", "1.1.0")


@pytest.mark.slow
def test_law_21_a_server_that_looks_at_its_file_now_and_then_is_waited_for(make_site: SiteFactory) -> None:
    """As uWSGI does with `touch-reload`, two seconds after the touch here."""
    site = make_site.live(due="1.1.0", files={"application.py": APPLICATION})
    touched, stop = site.restarted_at(), threading.Event()

    def serve() -> None:
        while not stop.is_set():
            before = site.restarted_at()
            with started([".venv/bin/python", "application.py"], cwd=site.path, env=site.env) as process:
                assert process.stdout is not None
                process.stdout.readline()
                up.set()
                while not stop.wait(0.1) and site.restarted_at() == before:
                    pass
                stop.wait(2)

    up, thread = threading.Event(), threading.Thread(target=serve)
    thread.start()
    try:
        up.wait()
        assert site.json("update", check=0)["result"] == "updated"
        assert site.restarted_at() != touched
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_law_20_21_a_web_server_that_stays_is_seen_beside_a_worker_that_does_not(make_site: SiteFactory) -> None:
    """As after a reload of a pinned master; by an update, and by a rollback to a release that a worker still uses."""
    site = make_site.live(due="1.1.0", files={"worker.py": WORKER})
    script = site.base / "workers.sh"
    start = ".venv/bin/python worker.py > ../started 2>&1 & echo $! >> ../workers; until test -s ../started; do :; done"
    script.write_text(f"rm -f ../started; {start}", encoding="utf-8")
    try:
        with served(site) as service:
            settings = {"RELEASER_HEALTH_CHECK": f"{service.url}/beta", "RELEASER_HEALTH_TIMEOUT": "1s"}
            site.write_dotenv(settings, restart="true", restart_workers=f"sh {script}")
            assert site.json("update", check=7)["result"] == "updated-not-restarted"
            assert service.ask("alpha") == "1.0.0"
            assert [each["code"] for each in site.json("status", check=10)["attention"]] == ["not-restarted"]
            site.run("sh", "-c", service.restart)
            assert site.json("status")["attention"] == []
            site.write_dotenv(settings, restart="true")
            site.run("sh", script)  # on 1.1.0, and stays there
            site.write_dotenv(settings, restart=service.restart)
            site.update_to("1.2.0")
            assert site.json("status")["attention"] == []
            make_old(site.state / "history.jsonl", "ended_at", 2)
            assert [each["code"] for each in site.json("status", check=10)["attention"]] == ["old-processes"]
            site.write_dotenv(settings, restart="true")
            assert site.json("rollback", check=7)["result"] == "updated-not-restarted"
            assert service.ask("alpha") == "1.2.0"
    finally:
        site.run("sh", "-c", "kill $(cat ../workers)")


RECYCLING = """\
import os, socket, time
server = socket.create_server(("127.0.0.1", 0))
print(flush=True)
while True:
    if not (pid := os.fork()):
        os._exit(time.sleep(0.05) or 0)
    os.waitpid(pid, 0)
"""


@pytest.mark.slow
def test_a_listener_elsewhere_does_not_delay_an_update(make_site: SiteFactory) -> None:
    """Nor is it the site's, although it starts new workers, as a server with `--max-requests` does."""
    site = make_site.live(due="1.1.0")
    words = [".venv/bin/python", "-u", "-c", RECYCLING]
    with started(words, cwd=site.path, env=site.env) as process, served(site) as service:
        assert process.stdout is not None
        process.stdout.readline()
        site.write_dotenv(restart=service.restart, health_check=f"{service.url}/beta", health_timeout="300s")
        answer = site.json("update")  # in two minutes
        assert "Still on an earlier release" in str(answer["notes"])


APPLICATION = """\
import alpha, socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(500 if getattr(alpha, "IS_ILL", False) else 200, flush=True)
time.sleep(600)
"""


@dataclass
class Visited:
    """A server that looks at the restart file when a visitor comes, but not for three seconds, as Passenger does."""

    site: SampleSite
    process: "subprocess.Popen[str] | None" = None
    status: int = 0
    looked: float = 0.0
    started: float = 0.0
    touched: int | None = 0
    warms_up: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self) -> int:
        """Answer a visitor."""
        with self.lock:
            status = self._look()
            return 503 if self.warms_up and time.monotonic() < self.started + 0.6 else status

    def _look(self) -> int:
        if time.monotonic() < self.looked + 3:
            return self.status
        self.looked, touched = time.monotonic(), self.site.restarted_at()
        if self.process is None or touched != self.touched:
            self.end()
            words = [".venv/bin/python", "application.py", "Passenger"]
            self.process = subprocess.Popen(words, cwd=self.site.path, stdout=subprocess.PIPE, text=True)
            assert self.process.stdout is not None
            self.status, self.touched = int(self.process.stdout.readline()), touched
            self.started = time.monotonic()
        return self.status

    def end(self) -> None:
        """End the application."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.mark.slow
def test_law_04_20_21_a_site_that_restarts_at_the_next_request(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", files={"application.py": APPLICATION})
    visited = Visited(site)
    try:
        with web_site(visited.answer) as web:
            visited.answer()
            answer = site.json("update")
            assert (answer["result"], "application.py" in str(answer["notes"])) == ("updated", True)
            site.releaser("status", check=0)
            site.write_dotenv(health_check=web.url, health_timeout="1s")
            site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": ILL})
            finished = site.releaser("update", check=6)
            says(finished, "500")
            assert "may not answer" not in finished.stderr
            assert (site.version("alpha"), visited.status) == ("1.1.0", 200)
            visited.warms_up = True
            ask = f"{sys.executable} -c \"import urllib.request; urllib.request.urlopen('{web.url}')\""
            site.write_dotenv(health_check=web.url, health_timeout="2s", before_restart=ask)
            site.update_to("1.3.0")  # which starts later than in two seconds, and then needs one
    finally:
        visited.end()


@pytest.mark.slow
def test_law_04_the_restart_of_the_way_back_is_repeated(make_site: SiteFactory) -> None:
    """As under systemd, which refuses further starts for a while."""
    site = make_site.live(due="1.1.0")
    first = site.live()
    script = f"readlink .venv | grep -q {first} || exit 4; test -e ../once || {{ touch ../once; exit 5; }}"
    site.write_dotenv(restart=f'sh -c "{script}"', health_timeout="20s")
    answer = site.json("update", check=6)
    assert [problem["code"] for problem in answer["problems"]] == ["rolled-back"]
    assert (site.live(), [hold["name"] for hold in site.json("status", check=10)["on_hold"]]) == (first, ["alpha"])


@pytest.mark.slow
def test_law_28_34_a_link_out_of_the_checkout_is_refused_before_the_flip(make_site: SiteFactory) -> None:
    site = make_site.live(files={".gitignore": "tmp\n"}, settings={"restart": "none"}, restart_file=False)
    shared = site.outer / "shared"
    shared.mkdir()
    (site.path / "tmp").symlink_to(shared)
    site.write_dotenv(restart="auto")
    says(refused(site, "check"), f"RELEASER_RESTART_FILE={shared}/restart.txt")
    site.write_dotenv(restart="auto", restart_file=f"{shared}/restart.txt")
    site.update_to("1.1.0")
    assert (shared / "restart.txt").exists()


@pytest.mark.slow
def test_a_health_check_asks_by_a_socket(make_site: SiteFactory) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.headers["Host"], self.path))
            self.send_response(500 if self.path == "/ill" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    site, asked = make_site.live(), list[tuple[str, str]]()
    with socketserver.UnixStreamServer(str(site.outer / "web"), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            for value, code in {"../web": 0, f"{site.outer}/web:/ill": 10, "../web:shop.test/x": 0}.items():
                site.write_dotenv(health_check=f"unix:{value}")
                site.releaser("check", "--live", check=code)
        finally:
            server.shutdown()
    assert asked == [("localhost", "/"), ("localhost", "/ill"), ("shop.test", "/x")]


@pytest.mark.slow
def test_check_asks_a_site_that_is_live(make_site: SiteFactory) -> None:
    site = make_site.live(dotenv={"RELEASER_HEALTH_CHECK": "test -e ../well", "RELEASER_HEALTH_TIMEOUT": "0s"})
    assert [each["code"] for each in site.json("check", "--live", check=10)["problems"]] == ["unhealthy"]
    (site.outer / "well").touch()
    site.write_dotenv(health_check="sleep 10.5")  # slow, but well
    assert "passes its health check" in site.releaser("check", "--live", check=0).stderr
