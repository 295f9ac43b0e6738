"""A real gunicorn is exchanged for one on another release while visitors ask: none fails, and exactly one is left."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from releaser.errors import ToolError
from releaser.releases.leases import release_of
from releaser.serving.restarts import gunicorn
from releaser.serving.restarts.control_sockets import listener_of
from releaser.serving.restarts.gunicorn import (
    Gunicorn,
    _has_sockets,
    _master_findings,
    exchange,
    find_second,
    heartbeats,
)
from releaser.serving.servers import find_servers
from releaser.serving.test_start import command_on_socket, start_on_socket
from releaser.site.site import open_site
from tests.e2e.scenes import eventually
from tests.live.pair import Pair
from tests.support.systemd import running_systemd

pytestmark = [pytest.mark.slow, pytest.mark.spawns]

LIMIT = 60.0
PACKAGES = sysconfig.get_path("purelib")  # of the tests, with their gunicorn
# It notes each request with the release that answered, and boots slowly or not at all, by a file in the site.
APP = """
import json, os, time, early
os.chdir(os.path.dirname(os.path.abspath(__file__)))
fate = json.load(open("fates.json")).get(early.RELEASE, "")
if fate == "dies":
    raise RuntimeError("no workers today")
time.sleep(3 if fate == "slow" else 0.3)
def application(environ, start_response):
    with open("answered.log", "a") as file:
        file.write(early.RELEASE)
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1)
    start_response("200 OK", [("Content-Length", "1")])
    return [early.RELEASE.encode()]
"""
# The package of that name does this, too: the title overwrites the words and the variables of the process.
SETPROCTITLE = """
def setproctitle(title):
    with open("/proc/self/stat") as file:
        begin, _, _, end = map(int, file.read().rpartition(")")[2].split()[45:49])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(title.encode().ljust(end - begin, b"\\0")[:end - begin])
def getproctitle():
    return ""
"""
# The second gunicorn looks like the first one for a moment.
CONFIGURATION = "import time\npre_exec = lambda server: time.sleep(0.3)\n"
WAYS = {
    "module": [".venv/bin/python", "-m", "gunicorn"],
    "script": [".venv/bin/gunicorn"],
}
KINDS = {
    "sync": [],
    "threads": ["--worker-class", "gthread", "--threads", "2"],
    "preload": ["--preload"],
    "title": ["--config", "titled.py"],
    "moved": ["--chdir", "inner", "--pythonpath", ".."],
}


def ask(place: Path, path: str = "/") -> str:
    """Ask the site once, on a new connection, as nginx does."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT)
        client.connect(str(place))
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head[8:12] == b" 200", answer
    return body.decode()


class Served:
    """A gunicorn on release `a`, and visitors."""

    def __init__(self, pair: Pair, first: int) -> None:
        self.pair, self.first = pair, first
        self.socket = pair.site / "s"
        self.answers: list[str] = []
        self.failures: list[BaseException] = []

    @contextlib.contextmanager
    def visited(self) -> Iterator[None]:
        """Let visitors ask all the time, quickly and slowly."""
        closed = threading.Event()

        def visit(path: str) -> None:
            while not closed.is_set():
                try:
                    self.answers.append(ask(self.socket, path))
                except BaseException as error:  # noqa: BLE001 - counted
                    self.failures.append(error)
                time.sleep(0.002)

        threads = [threading.Thread(target=visit, args=(path,)) for path in ("/", "/", "/slow")]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            closed.set()
            for thread in threads:
                thread.join()

    def exchange(self) -> str:
        """Exchange the gunicorn for one on the release to which the symlink leads."""
        return exchange(self.first, os.path.realpath(self.pair.link), LIMIT)

    def start_second(self) -> int:
        """Let the gunicorn start a second one, as an exchange that is cut off then; return that one."""

        def start() -> int:  # again and again: gunicorn ignores the signal for a moment after it has taken over
            os.kill(self.first, signal.SIGUSR2)
            return find_second(self.first)

        eventually(start, "a second gunicorn")
        return find_second(self.first)

    def master(self) -> int:
        """Return the only gunicorn that is left, once the last workers of the earlier one have ended."""
        eventually(lambda: len(self.masters()) == 1, "the end of all but one gunicorn")
        return self.masters()[0]

    def fate(self, **fates: str) -> None:
        (self.pair.site / "fates.json").write_text(json.dumps(fates), encoding="utf-8")

    def masters(self) -> list[int]:
        """Return the gunicorns that run on this site, without their workers."""
        found = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if heartbeats(pid)]
        here = (str(self.pair.site), str(self.pair.site / "inner"))
        cwd = {pid: os.path.realpath(f"/proc/{pid}/cwd") for pid in found}
        firsts = [pid for pid in found if cwd[pid] in here and parent(pid) not in found]
        return [pid for first in firsts for pid in (first, find_second(first)) if pid]


def parent(pid: int) -> int:
    from releaser.releases.leases import parent_of

    return parent_of(pid)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    pair = Pair(tmp_path_factory.mktemp("gunicorn"), "{}.{}".format(*sys.version_info))
    for name in "ab":
        (pair.packages(name) / "gunicorn.pth").write_text(f"{PACKAGES}\n", encoding="utf-8")
        script = pair.venv(name) / "bin" / "gunicorn"
        script.write_text(f"#!{pair.venv(name)}/bin/python\nfrom gunicorn.app.wsgiapp import run\nrun()\n")
        script.chmod(0o755)
    (pair.site / "app.py").write_text(APP, encoding="utf-8")
    (pair.site / "titled.py").write_text(CONFIGURATION, encoding="utf-8")
    (pair.site / "titles").mkdir()
    (pair.site / "titles" / "setproctitle.py").write_text(SETPROCTITLE, encoding="utf-8")
    (pair.site / "inner").mkdir()
    (pair.site / "inner" / "inside.py").write_text("import sys; sys.path.append('..')\nfrom app import application\n")
    (pair.site / "daemon.py").write_text("daemon = True\n")
    return pair


def variables(pair: Pair, words: Sequence[str]) -> dict[str, str]:
    """Return the variables of a gunicorn; one whose words say so sets its title."""
    return {**pair.env, **({"PYTHONPATH": "titles"} if any(word.endswith("titled.py") for word in words) else {})}


@contextlib.contextmanager
def serving(pair: Pair, words: Sequence[str], *, app: str = "app", directory: str = ".") -> Iterator[Served]:
    """Start a gunicorn on release `a`; at the end, end whatever runs in its session."""
    pair.flip("a")
    found = partial(find_servers, pair.site, pair.link)
    eventually(lambda: not found(), "the end of an earlier gunicorn")
    for file in pair.site.rglob("g.pid*"):  # a killed gunicorn stays a zombie in some containers
        file.unlink()
    (pair.site / "answered.log").write_text("")
    output = (pair.site / "gunicorn.log").open("w")
    (pair.site / "fates.json").write_text("{}")
    places = ["--bind", f"unix:{pair.site / 's'}", "--pid", str(pair.site / "g.pid")]
    argv = [*words, *places, "--workers", "2", f"{app}:application"]
    env = variables(pair, words)
    cwd = pair.site / directory
    process = subprocess.Popen(argv, cwd=cwd, env=env, stdout=output, stderr=output, start_new_session=True)
    threading.Thread(target=process.wait, daemon=True).start()  # else it would stay as a zombie
    try:
        served = Served(pair, process.pid)
        eventually(lambda: [True, True] in [heartbeats(one.pid) for one in found()], "the start of two workers")
        yield served
    except BaseException:
        print((pair.site / "gunicorn.log").read_text())  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output.close()


@pytest.mark.parametrize(
    ("way", "kind"),
    [("module", "sync"), ("script", "threads"), ("module", "title"), ("module", "preload"), ("script", "moved")],
)
def test_visitors_meet_no_failure_while_gunicorn_is_exchanged_to_and_fro(pair: Pair, way: str, kind: str) -> None:
    with serving(pair, [*WAYS[way], *KINDS[kind]]) as served:
        with served.visited():
            for name in ("b", "a", "b"):
                pair.flip(name)
                said = served.exchange()
                assert "with 2 workers took over" in said
                master = served.master()
                assert release_of(master) == str(pair.venv(name))
                assert ask(served.socket) == name
                served.first = master
        assert served.failures == []
        assert {*served.answers} == {"a", "b"}


@pytest.mark.parametrize(
    ("app", "directory", "options"),
    [
        ("app", ".", []),
        ("inside", "inner", []),
        ("inside", ".", ["--chdir", "inner"]),
        ("app", ".", ["--config", "daemon.py"]),  # the test start stays in the foreground
    ],
)
def test_a_test_start_begins_where_the_running_gunicorn_did(
    pair: Pair, app: str, directory: str, options: list[str]
) -> None:
    variables = {"RELEASER_RESTART": "gunicorn", "RELEASER_HEALTH_CHECK": "http://localhost/"}
    site, words = open_site(pair.site, {**pair.env, **variables}), [f"{pair.link}/bin/python", "-m", "gunicorn"]
    with serving(pair, [*words, *options], app=app, directory=directory) as served:
        try:
            command = command_on_socket(site)
            assert command is not None
            with start_on_socket(site, command, pair.venv("b")) as started:
                assert "answered 200" in started.answer
        finally:
            os.kill(served.master(), signal.SIGTERM)  # `serving` does not end a daemon, whose session is another one


def test_a_release_whose_workers_do_not_start_gets_no_request(pair: Pair) -> None:
    with serving(pair, WAYS["module"]) as served:
        served.fate(b="dies")
        with served.visited():
            pair.flip("b")
            with pytest.raises(ToolError, match="did not start"):
                served.exchange()
            eventually(lambda: served.masters() == [served.first], "the end of the workers")
            served.fate()
            served.exchange()  # nothing of the failure is left that would keep it from that
        assert served.failures == []
        assert "b" in (pair.site / "answered.log").read_text()


@pytest.mark.parametrize(
    ("options", "place"), [([], "../home/.gunicorn/gunicorn.ctl"), (["--control-socket", "own.ctl"], "own.ctl")]
)
def test_the_second_gunicorn_keeps_its_control_socket_whose_path_the_first_one_deletes(
    pair: Pair, options: list[str], place: str
) -> None:
    with serving(pair, [*WAYS["module"], *options]) as served:
        control = os.path.normpath(pair.site / place)
        eventually(lambda: listener_of(control) == served.first, "the control socket of the first gunicorn")
        for name in "ba":
            pair.flip(name)
            assert "took over" in served.exchange()
            served.first = served.master()
            assert listener_of(control) == served.first
        served.fate(b="dies")
        pair.flip("b")
        with pytest.raises(ToolError, match="did not start"):
            served.exchange()
        assert listener_of(control) == served.first
        assert not [*Path(control).parent.glob("*.releaser-*")]


def test_a_cut_off_exchange_goes_on_or_is_undone(pair: Pair) -> None:
    with serving(pair, WAYS["module"]) as served, served.visited():
        pair.flip("b")
        second = served.start_second()
        eventually(lambda: release_of(second) == str(pair.venv("b")), "a second gunicorn on the new release")
        pair.flip("a")  # the way back
        assert f"process {second} " not in served.exchange()
        served.first = served.master()
        assert ask(served.socket) == "a"
        pair.flip("b")
        second = served.start_second()
        assert served.exchange().startswith(f"process {second} with 2 workers")
        assert served.master() == second
        assert served.failures == []


def test_a_gunicorn_that_alone_serves_the_site_is_never_ended_for_one_that_is_about_to_end(pair: Pair) -> None:
    limit = ["--graceful-timeout", "3"]
    with serving(pair, [*WAYS["module"], *limit]) as served, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.socket))
        client.sendall(b"GET / HTTP/1.0\r\n")  # a last request, whose end never comes
        assert ask(served.socket) == "a"
        pair.flip("b")
        second = served.start_second()
        eventually(lambda: heartbeats(second) == [True, True], "the workers of another one")
        os.kill(served.first, signal.SIGTERM)
        eventually(lambda: ask(served.socket) == "b", "an answer of the second one")
        pair.flip("a")  # the way back, at once
        (ending,) = (one for one in find_servers(pair.site, pair.link) if one.pid == served.first)
        assert [*_master_findings(cast("Any", None), ending)] == []
        with served.visited():
            served.exchange()
        assert served.failures == []
        master = served.master()
        assert master not in (served.first, second)
        assert (release_of(master), ask(served.socket)) == (str(pair.venv("a")), "a")


def test_a_gunicorn_that_a_person_restarts_during_its_exchange_is_no_failure_of_the_release(pair: Pair) -> None:
    site, said = open_site(pair.site, dict(pair.env)), list[str]()
    with contextlib.ExitStack() as stack, serving(pair, WAYS["module"]) as served:
        served.fate(b="slow")
        pair.flip("b")

        def restart_by_hand() -> None:
            eventually(lambda: find_second(served.first), "a second gunicorn")
            os.killpg(served.first, signal.SIGKILL)  # as systemd ends all processes of a service
            eventually(lambda: not find_servers(pair.site, pair.link), "the end of both")
            argv = [*WAYS["module"], "--bind", f"unix:{served.socket}", "app:application"]
            again = stack.enter_context(subprocess.Popen(argv, cwd=pair.site, env=pair.env))
            stack.callback(again.terminate)

        person = threading.Thread(target=restart_by_hand)
        person.start()
        Gunicorn().restart(site, pair.venv("b"), cast("Any", SimpleNamespace(says=said.append, skip=said.append)))
        person.join()
        eventually(lambda: [True] in [heartbeats(one.pid) for one in find_servers(pair.site, pair.link)], "its worker")
        assert "during the restart" in said[0]
        assert ask(served.socket) == "b"


def test_a_second_gunicorn_is_known_by_its_variables_if_addresses_are_not_random(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunicorn, "_addresses_of", lambda _: [])
    with serving(pair, WAYS["module"]) as served:
        for name in ("b", "a"):  # from the second exchange on, each has the variable of a second one
            pair.flip(name)
            served.exchange()
            served.first = served.master()
            assert ask(served.socket) == name


UNIT = """
[Service]
Type=notify
WorkingDirectory={site}
Environment=HOME={home}
Environment=PYTHONPATH=titles
ExecStart={link}/bin/python -m gunicorn --bind unix:s --workers 2 app:application
Restart=on-failure
"""
EXCHANGE = """
import os, sys
from releaser.serving.restarts.gunicorn import exchange
print(exchange(int(sys.argv[1]), os.path.realpath(sys.argv[2]), 60.0))
"""


@pytest.mark.parametrize("holds_socket", [False, True])
def test_systemd_goes_on_with_the_gunicorn_that_took_over(pair: Pair, holds_socket: bool) -> None:
    pair.flip("a")
    (pair.site / "fates.json").write_text("{}")
    served = Served(pair, 0)
    with running_systemd() as systemd:
        unit = UNIT.format(site=pair.site, link=pair.link, home=pair.site)
        if holds_socket:
            unit = f"[Unit]\nRequires=shop.socket\n{unit.replace('--bind unix:s', '')}"
            systemd.add({"shop.socket": f"[Socket]\nListenStream={pair.site}/s\nListenStream={pair.site}/other\n"})
        systemd.add({"shop.service": unit})
        systemd.run("systemctl", "start", "shop.service")

        def main_process() -> str:
            return systemd.run("systemctl", "show", "--property=MainPID", "--value", "shop.service").strip()

        with served.visited():
            for name in ("b", "a", "b"):
                pair.flip(name)
                first = main_process()
                systemd.run(sys.executable, "-c", EXCHANGE, first, pair.link)
                gone = (first, "0")
                eventually(lambda gone=gone: main_process() not in gone, "another main process")  # type: ignore[misc]
                assert (systemd.state("shop.service"), ask(served.socket)) == ("active", name)
                assert not holds_socket or ask(pair.site / "other") == name
            assert "gunicorn: master" in systemd.run("cat", f"/proc/{main_process()}/cmdline")
        assert served.failures == []
        assert systemd.run("systemctl", "show", "--property=NRestarts", "--value", "shop.service").strip() == "0"
        systemd.run("systemctl", "stop", *(["shop.socket"] if holds_socket else []), "shop.service")
        assert served.masters() == []


FINDINGS = """
import subprocess, sys
from pathlib import Path
from releaser.serving.restarts import gunicorn
from releaser.serving.servers import find_servers
gunicorn.ask_program = lambda _, words: subprocess.run(words, capture_output=True, text=True, check=True).stdout
(master,) = find_servers(Path(sys.argv[1]), Path(sys.argv[2]))
print(*(one.code for one in gunicorn._master_findings(None, master)))
"""


def test_a_unit_that_was_changed_to_notify_without_a_restart_is_found(pair: Pair) -> None:
    pair.flip("a")
    (pair.site / "fates.json").write_text("{}")
    unit = UNIT.format(site=pair.site, link=pair.link, home=pair.site)
    with running_systemd() as systemd:
        systemd.add({"shop.service": unit.replace("Type=notify", "Type=simple")})
        systemd.run("systemctl", "start", "shop.service")
        found = partial(find_servers, pair.site, pair.link)
        eventually(lambda: [True, True] in [heartbeats(one.pid) for one in found()], "the start of two workers")
        systemd.add({"shop.service": unit})
        asking = (sys.executable, "-c", FINDINGS, pair.site, pair.link)
        assert "gunicorn-unit-type" in systemd.run(*asking).split()
        systemd.run("systemctl", "restart", "shop.service")
        eventually(lambda: [True, True] in [heartbeats(one.pid) for one in found()], "the start of two workers")
        assert "gunicorn-unit-type" not in systemd.run(*asking).split()
        systemd.run("systemctl", "stop", "shop.service")


@pytest.mark.parametrize(
    ("script", "words", "code"),
    [
        ("run", [], None),
        ("supervisord", [], "gunicorn-supervised"),
        ("honcho", [], "gunicorn-supervised"),
    ],
)
def test_a_gunicorn_that_cannot_be_exchanged_is_found(
    pair: Pair, script: str, words: list[str], code: str | None
) -> None:
    start, site = pair.site / script, cast("Any", None)
    start.write_text('#!/bin/sh\nsh -c \'"$@"; exit\' sh "$@"\n', encoding="utf-8")
    start.chmod(0o755)
    # Its title hides the words, and it has gone to another directory.
    titled = [*WAYS["module"], "--config", str(pair.site / "titled.py")]
    titled += ["--chdir", "titles", "--pythonpath", str(pair.site)]
    with serving(pair, [str(start), *titled, *words]):
        (found,) = find_servers(pair.site, pair.link)
        assert found.command[0].startswith("gunicorn: master")
        assert [one.code for one in _master_findings(site, found)] == ([code] if code else [])


LISTENS = """
import os, socket, sys
def listen(): return socket.create_server(("127.0.0.1", 0))
shared = sys.argv[1] == "first" and listen()
if not os.fork():
    own = sys.argv[1] == "worker" and listen()
    print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("who", "has"), [("first", True), ("worker", False), ("neither", True)])
def test_with_reuse_port_the_first_gunicorn_has_no_socket_to_give(who: str, *, has: bool) -> None:
    words = [sys.executable, "-c", LISTENS, who]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        assert _has_sockets(first.pid) is has
        first.communicate("")
