"""The exchange of Passenger's processes, with the answers of the socket of Passenger 6.0.17 as recorded."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.report import Step
from releaser.serving import servers
from releaser.serving.restarts import passenger, passenger_pool
from releaser.serving.restarts.passenger_pool import Exchange, Pool, PoolError, pools_in
from releaser.site.site import open_site
from tests.site.fakes import FakeRunner, with_settings

# The elements that are read, in their order, with the values of a pool of one application.
POOL = """<?xml version="1.0" encoding="iso-8859-1" ?>
<info version="3"><passenger_version>6.0.17</passenger_version><group_count>1</group_count><process_count>{count}\
</process_count><max>{most}</max><capacity_used>{used}</capacity_used><get_wait_list_size>0</get_wait_list_size>\
<supergroups><supergroup><name>/srv/shop &#40;production&#41;</name><state>READY</state><get_wait_list_size>0\
</get_wait_list_size><capacity_used>{used}</capacity_used><group default="true"><name>/srv/shop &#40;production&#41;\
</name><component_name>/srv/shop &#40;production&#41;</component_name><app_root>{root}</app_root><app_type>python\
</app_type><enabled_process_count>{count}</enabled_process_count><capacity_used>{used}</capacity_used>\
<processes_being_spawned>{starting}</processes_being_spawned><life_status>ALIVE</life_status><user>shop</user>\
<options><app_root>/srv/shop</app_root><startup_file>{startup_file}</startup_file><min_processes>{least}\
</min_processes></options><processes>{processes}\
</processes></group></supergroup></supergroups></info>"""
PROCESS = """<process><pid>{pid}</pid><gupid>1c8ae8b-{pid}</gupid><concurrency>1</concurrency><sessions>0</sessions>\
<life_status>ALIVE</life_status><enabled>{enabled}</enabled></process>"""
NAME = "/srv/shop (production)"
LOOKS = 2  # as often as the pool is looked at, a process is starting


class Passenger:
    """Passenger with one application: `old` processes run; at most `most` may, and at least `least` should.

    `alive` notes how many could answer after each change.
    """

    def __init__(self, old: int, *, most: int = 6, least: int = 1, broken: bool = False) -> None:
        self.running = [100 + number for number in range(old)]
        self.old = frozenset(self.running)
        self.detached: list[int] = []
        self.most, self.least, self.broken = most, least, broken
        self.starting = 0  # looks until the process that starts is there
        self.alive = [old]
        self.asking = 0
        self.status = 200
        self.root = "/srv/shop"
        self.startup_file = ""
        self._next = 200
        self._state = threading.Condition()

    def start(self) -> None:
        """Start a process, as when a request finds all processes busy."""
        if not self.starting and len(self.running) < self.most:
            self.starting = LOOKS

    def ask(self) -> None:
        """Be one of several visitors at once, who are only answered once a process is free."""
        with self._state:
            self.asking += 1
            if self.asking > len(self.running):
                self.start()
                self._state.notify_all()
            self._state.wait_for(lambda: self.starting or self.asking > len(self.running), timeout=0.2)
            self.asking -= 1

    def look(self) -> str:
        """Return pool.xml."""
        with self._state:
            if self.starting == 1 and not self.broken:
                self.running.append(self._next)
                self._next += 1
                self.alive.append(len(self.running))
            self.starting = max(0, self.starting - 1)
            processes = [(pid, "ENABLED") for pid in self.running] + [(pid, "DETACHED") for pid in self.detached]
            return POOL.format(
                count=len(self.running),
                most=self.most,
                least=self.least,
                used=len(self.running) + bool(self.starting),
                starting=int(bool(self.starting)),
                root=self.root,
                startup_file=self.startup_file,
                processes="".join(PROCESS.format(pid=pid, enabled=enabled) for pid, enabled in processes),
            )

    def detach(self, pid: int) -> bool:
        """Detach a process."""
        with self._state:
            if pid not in self.running:
                return False
            self.running.remove(pid)
            self.detached.append(pid)
            self.alive.append(len(self.running))
            if len(self.running) < self.least:
                self.start()
            return True

    @contextmanager
    def serving(self, directory: Path) -> Iterator[Pool]:
        """Answer on the socket."""
        passenger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(passenger.look())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(json.dumps({"detached": passenger.detach(body["pid"])}))

            def answer(self, text: str) -> None:
                self.send_response(passenger.status)
                self.end_headers()
                self.wfile.write(text.encode("iso-8859-1"))

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingMixIn, UnixStreamServer):
            daemon_threads = True

        socket = directory / passenger_pool.SOCKET
        socket.parent.mkdir(parents=True)
        with Server(str(socket), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield Pool(directory=directory)
            server.shutdown()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short path, as that of a socket is limited."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(passenger_pool, "_POLL", 0.001)
    return Path("i")


def exchange(pool: Pool, ask: Callable[[], object] | None) -> tuple[int, bool]:
    return Exchange(pool=pool, name=NAME, ask=ask, limit=5).run()


@pytest.mark.parametrize(
    ("old", "most", "least", "has_page", "waits", "lowest"),
    [
        pytest.param(1, 6, 1, True, False, 1, id="one process"),
        pytest.param(2, 6, 2, True, False, 2, id="two processes"),
        pytest.param(4, 6, 1, True, False, 4, id="more than necessary"),
        pytest.param(2, 2, 2, True, False, 1, id="a full pool"),
        pytest.param(2, 2, 1, True, False, 1, id="a full pool of busy processes"),
        pytest.param(3, 6, 3, False, False, 2, id="without a page to ask"),
        pytest.param(1, 1, 1, True, True, 0, id="room for one process"),
        pytest.param(1, 6, 1, False, True, 0, id="one process, without a page to ask"),
    ],
)
def test_each_old_process_ends_after_a_new_one_answers(
    place: Path, old: int, most: int, least: int, *, has_page: bool, waits: bool, lowest: int
) -> None:
    pool = Passenger(old, most=most, least=least)
    with pool.serving(place) as served:
        assert exchange(served, pool.ask if has_page else None) == (old, waits)
    assert not pool.old & {*pool.running}
    assert pool.running
    assert min(pool.alive) == lowest
    assert sorted(pool.detached) == sorted(pool.old)


def test_old_processes_stay_if_no_new_one_starts(place: Path) -> None:
    pool = Passenger(2, broken=True)
    with pool.serving(place) as served, pytest.raises(ToolError, match="started no new process of /srv/shop"):
        exchange(served, pool.ask)
    assert {*pool.running} == pool.old


def test_an_old_process_stays_if_a_full_pool_starts_no_new_one(place: Path) -> None:
    pool = Passenger(2, most=2, broken=True)
    with pool.serving(place) as served, pytest.raises(ToolError, match="started no new process"):
        exchange(served, pool.ask)
    assert len(pool.running) == 1


def test_an_exchange_ends_if_passenger_detaches_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Passenger(2)
    monkeypatch.setattr(pool, "detach", lambda _: True)
    with pool.serving(place) as served, pytest.raises(ToolError, match="did not detach process 100"):
        Exchange(pool=served, name=NAME, ask=pool.ask, limit=0.5).run()
    assert pool.old <= {*pool.running}


def test_a_process_that_was_starting_before_counts_as_an_old_one(place: Path) -> None:
    pool = Passenger(1)
    pool.start()
    with pool.serving(place) as served:
        assert exchange(served, pool.ask) == (2, False)
    assert {100, 200} == {*pool.detached}


def test_an_exchange_that_was_interrupted_is_made_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, detach = Passenger(3), Pool.detach

    def die(served: Pool, worker: passenger_pool.Worker) -> None:
        detach(served, worker)
        raise KeyboardInterrupt

    with pool.serving(place) as served:
        monkeypatch.setattr(Pool, "detach", die)
        with pytest.raises(KeyboardInterrupt):
            exchange(served, pool.ask)
        assert pool.old & {*pool.running}
        monkeypatch.setattr(Pool, "detach", detach)
        exchange(served, pool.ask)
    assert not pool.old & {*pool.running}
    assert min(pool.alive) == 3


def test_an_application_below_another_path_is_left_alone(place: Path) -> None:
    with Passenger(1).serving(place) as served:
        assert served.applications(Path("/srv/shopping")) == ()
        assert served.applications(Path("/srv/sho")) == ()  # of another site
        assert [one.name for one in served.applications(Path("/srv/shop"))] == [NAME]


def test_an_application_is_found_whose_path_is_not_ascii(place: Path) -> None:
    pool = Passenger(1)
    pool.root = "/srv/sit&#195;&#169;"  # Passenger writes each byte as a character
    with pool.serving(place) as served:
        assert [one.root for one in served.applications(Path("/srv/sité"))] == ["/srv/sité"]


@pytest.mark.parametrize("fault", ["refused", "not XML", "gone"])
def test_a_socket_that_does_not_answer_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    pool = Passenger(1)
    with pool.serving(place) as served:
        if fault == "refused":
            pool.status = 401
        elif fault == "not XML":
            monkeypatch.setattr(pool, "look", lambda: "Unauthorized")
        else:
            (place / passenger_pool.SOCKET).unlink()
        with pytest.raises(PoolError):
            served.applications(Path("/srv/shop"))


def listing(place: Path) -> str:
    """Return what `passenger-config list-instances --json` prints, after it removed a directory that was left."""
    return f'*** Cleaning stale instance directory /tmp/passenger.x\n[{{"instance_dir": {{"path": "{place}"}}}}]\n'


def test_the_socket_of_another_user_is_not_asked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.mkdir()
    assert [*pools_in(listing(place))] == [Pool(directory=place)]
    assert [*pools_in("There are no Phusion Passenger(R) instances running.\n")] == []
    status = os.lstat(place)
    other = os.stat_result((*status[:4], 12345, *status[5:]))
    monkeypatch.setattr(os, "lstat", lambda _: other)
    assert [*pools_in(listing(place))] == []


@pytest.mark.parametrize("shows", [True, False])
def test_passenger_restarts_at_once_where_it_shows_no_processes(place: Path, tmp_path: Path, *, shows: bool) -> None:
    pool = Passenger(2, least=2)
    with pool.serving(place):
        pool.status = 200 if shows else 401
        runner = FakeRunner(
            environ={"PATH": ""},
            answers={
                "passenger-config list-instances": listing(place),
                "passenger-config restart-app": "Restarting /srv/shop (production)\n",
            },
        )
        site = with_settings(open_site(tmp_path, {}), restart=("passenger",), passenger_app_root="/srv/shop")
        object.__setattr__(site, "runner", runner)
        step = Step()
        passenger.Passenger().restart(site, tmp_path / ".venv", step)
    asked = [words[1] for words in runner.asked]
    if shows:
        assert (step.detail, asked) == ("Passenger replaced 2 processes without a gap", ["list-instances"])
    else:
        assert asked == ["list-instances", "restart-app"]
        assert step.detail == "passenger-config: Restarting /srv/shop (production)"


def test_the_application_of_a_site_inside_this_one_keeps_its_processes(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Passenger(2)
    monkeypatch.setattr(servers, "is_of_another", lambda pid, venv: (pid in pool.old, venv.name) == (True, ".venv"))
    runner = FakeRunner(environ={}, answers={"passenger-config list-instances": listing(place)})
    site = with_settings(open_site(tmp_path, {}), restart=("passenger",), passenger_app_root="/srv/shop")
    object.__setattr__(site, "runner", runner)
    step = Step()
    with pool.serving(place):
        passenger.Passenger().restart(site, tmp_path / ".venv", step)
    assert step.detail == "Passenger runs no process of /srv/shop now"
    assert pool.detached == []
    assert [words[1] for words in runner.asked] == ["list-instances"], "restart-app would restart that application"


@pytest.mark.parametrize("fault", ["", "error", "no application", "of another user"])
def test_an_application_that_does_not_load_gets_no_process(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    file = tmp_path / "passenger_wsgi.py"
    lines = [
        "import os, pathlib, threading, time",
        "threading.Thread(target=time.sleep, args=(60,)).start()",
        "pathlib.Path('seen').write_text(os.environ.get('HOME', ''))",
        {"error": "1 / 0"}.get(fault, ""),
        "application = None" if fault != "no application" else "",
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    pool = Passenger(1)
    pool.root, pool.startup_file = str(tmp_path), str(file)
    pool.running = [os.getpid()]
    site = with_settings(open_site(tmp_path, {"PATH": "/usr/bin:/bin"}), restart=("passenger",))
    if fault == "of another user":
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pool.serving(place) as served:
        (application,) = served.applications(tmp_path)
    venv = Path(sys.prefix)
    if fault in ("", "of another user"):
        passenger.check_that_it_loads(site, venv, application)
        assert (tmp_path / "seen").exists() == (fault == "")
        assert fault or (tmp_path / "seen").read_text() == os.environ.get("HOME", "")
    else:
        with pytest.raises(ToolError, match=r"does not load with the new packages: (Zero|Attribute)"):
            passenger.check_that_it_loads(site, venv, application)
