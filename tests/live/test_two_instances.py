"""Two instances of a service take turns under a real systemd: visitors notice nothing, and never meet a bad release."""

import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.report import Step
from releaser.serving.restarts.control_sockets import listener_of
from releaser.serving.restarts.systemd import Systemd
from releaser.site.site import Site, open_site
from tests.e2e.scenes import eventually
from tests.live.pair import Pair
from tests.live.test_servers import ask
from tests.support.guards import require
from tests.support.systemd import Systemd as RealSystemd
from tests.support.systemd import running_systemd

pytestmark = pytest.mark.slow

APPLICATION = """
import json, os
import early

BODY = json.dumps({"release": early.RELEASE, "pid": os.getpid()}).encode()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]

def wsgi(environ, start_response):
    start_response("200 OK", [(name.decode().title(), value.decode()) for name, value in HEADERS])
    return [BODY]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
"""
PYTHON = "{link}/bin/python -m"
SERVERS = {
    "uvicorn": f"{PYTHON} uvicorn --uds {{run}}/%i.sock app:asgi",
    "hypercorn": f"{PYTHON} hypercorn --bind unix:{{run}}/%i.sock app:asgi",
    "daphne": f"{PYTHON} daphne -u {{run}}/%i.sock app:asgi",
    "granian": f"{PYTHON} granian --interface asgi --uds {{run}}/%i.sock app:asgi",
    "gunicorn": f"{PYTHON} gunicorn --workers 2 --bind unix:{{run}}/%i.sock app:wsgi",
    "uwsgi": "/usr/bin/uwsgi --plugin python3 --master --need-app --die-on-term --processes 2 --virtualenv {link}"
    " --http-socket {run}/%i.sock --wsgi-file app.py --callable wsgi",
}
BROKEN = "raise ImportError('this release does not start')\n"


def documented() -> str:
    """Return the unit of the guide."""
    guide = Path("docs/guides/web-servers.md").read_text(encoding="utf-8")
    return guide.partition("/shop@.service`")[2].partition("```ini\n")[2].partition("```")[0]


class Stand:
    """A pair of releases, served by the instances of `shop@.service`."""

    def __init__(self, base: Path, systemd: RealSystemd, server: str) -> None:
        is_debian = server == "uwsgi"  # of which the plugin is built for one Python
        self.pair = Pair(base, "3.11" if is_debian else "{}.{}".format(*sys.version_info))
        self.run = base / "run"
        self.run.mkdir()
        self.systemd = systemd
        (self.pair.site / "app.py").write_text(APPLICATION, encoding="utf-8")
        for name in "ab" if not is_debian else "":
            packages = self.pair.packages(name)
            (packages / "servers.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n", encoding="utf-8")
        command = SERVERS[server].format(run=self.run, link=self.pair.link)
        # The unit is the documented one, but for the user, the place and the server.
        unit = documented().replace("User=deploy", "User=root").replace("/srv/shop_stuff/shop\n", f"{self.pair.site}\n")
        unit = re.sub(r"(?m)^ExecStart=.*$", lambda _: f"ExecStart={command}", unit)
        kind = "notify" if server == "gunicorn" else "exec"
        more = f"Type={kind}\nEnvironment=HOME={base} PYTHONPATH={self.pair.site}\nTimeoutStopSec=10\n"
        output = f"StandardOutput=append:{base}/output\nStandardError=inherit\n"
        systemd.add({"shop@.service": unit.replace("[Service]\n", f"[Service]\n{more}{output}")})
        # releaser finds `systemctl` as everywhere else, and reaches this systemd by it.
        programs = base / "programs"
        programs.mkdir()
        (programs / "systemctl").write_text(f'#!/bin/sh\nexec {" ".join(systemd.inside)} /usr/bin/systemctl "$@"\n')
        (programs / "systemctl").chmod(0o755)
        self.link = self.run / "live.sock"
        self._environ = {**self.pair.env, "PATH": f"{programs}:{self.pair.env['PATH']}"}

    def site(self, **settings: Any) -> Site:
        opened = open_site(self.pair.site, self._environ)
        given = {"restart": ("systemd",), "restart_unit": "shop@.service", "restart_socket": str(self.link), **settings}
        return replace(opened, settings=replace(opened.settings, **given))

    def restart(self, name: str, **settings: Any) -> Step:
        """Let the symlink lead to a release, and restart."""
        self.pair.flip(name)
        step = Step()
        Systemd().restart(self.site(**settings), self.pair.venv(name), step)
        return step

    @property
    def states(self) -> Mapping[str, str]:
        return {name: self.systemd.state(f"shop@{name}.service") for name in "ab"}


class Visitors:
    """Three visitors, each with one connection after the other; `answers` are the releases in order, or errors."""

    def __init__(self, socket: Path) -> None:
        self.answers: list[str] = []
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(socket,)) for _ in range(3)]

    def __enter__(self) -> "Visitors":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, socket: Path) -> None:
        while not self._ends.is_set():
            try:
                answer = ask(socket)["release"]
            except (OSError, ValueError, KeyError) as error:
                answer = repr(error)
            self.answers.append(answer)

    def wait(self, number: int = 20) -> int:
        """Wait for some more answers; return how many there were before."""
        before = len(self.answers)
        eventually(lambda: len(self.answers) >= before + number, "more answers")
        return before


@pytest.fixture
def systemd() -> Iterator[RealSystemd]:
    with running_systemd() as found:
        yield found


@pytest.mark.parametrize("server", SERVERS)
def test_no_visitor_notices_a_release_and_none_meets_one_that_does_not_start(
    tmp_path: Path, systemd: RealSystemd, server: str
) -> None:
    if server == "uwsgi":
        require(shutil.which("uwsgi"), "uwsgi is needed")
    stand = Stand(tmp_path, systemd, server)
    stand.restart("a")
    with Visitors(stand.link) as visitors:
        visitors.wait()
        step = stand.restart("b")
        assert step.detail.endswith("shop@b.service serves the site"), step
        after = visitors.wait()
        (stand.pair.packages("a") / "early.py").write_text(BROKEN, encoding="utf-8")
        with pytest.raises(ToolError, match=r"shop@a\.service"):
            stand.restart("a", restart_timeout=20.0)
        visitors.wait()
    assert set(visitors.answers) == {"a", "b"}, {answer for answer in visitors.answers if len(answer) > 1}
    assert set(visitors.answers[after + 3 :]) == {"b"}
    assert stand.states["b"] == "active"
    assert stand.states["a"] in ("failed", "inactive")
    assert stand.link.readlink() == Path("b.sock")


@pytest.mark.parametrize("moved", [False, True], ids=["before the symlink moved", "after it"])
def test_a_restart_that_was_cut_off_leaves_two_instances_and_the_next_one_ends_that(
    tmp_path: Path, systemd: RealSystemd, moved: bool
) -> None:
    stand = Stand(tmp_path, systemd, "gunicorn")
    stand.restart("a")
    stand.pair.flip("b")
    systemd.run("systemctl", "start", "shop@b.service")
    assert set(stand.states.values()) == {"active"}
    if moved:
        stand.link.unlink()
        stand.link.symlink_to("b.sock")
    stand.restart("b")
    serves = "a" if moved else "b"
    assert {name for name, state in stand.states.items() if state == "active"} == {serves}
    assert stand.link.readlink() == Path(f"{serves}.sock")
    assert ask(stand.link)["release"] == "b"


def test_the_setting_may_name_the_sockets_by_another_path_than_the_unit(tmp_path: Path, systemd: RealSystemd) -> None:
    stand = Stand(tmp_path, systemd, "gunicorn")
    (other := tmp_path / "var").symlink_to(stand.run)  # as /var/run
    for name in "ab":
        stand.restart(name, restart_socket=str(other / "live.sock"), restart_timeout=20.0)
        assert ask(stand.link)["release"] == name


def test_a_release_that_answers_badly_gets_no_visitor(tmp_path: Path, systemd: RealSystemd) -> None:
    stand = Stand(tmp_path, systemd, "gunicorn")
    check = {"health_check": "https://shop.example.org/", "health_retries": 1, "health_pause": 0.1}
    stand.restart("a", health_text='"release": "a"', **check)
    control = str(tmp_path / ".gunicorn" / "gunicorn.ctl")  # of both instances
    eventually(lambda: listener_of(control), "the socket for the control of gunicorn")
    with Visitors(stand.link) as visitors:
        with pytest.raises(ToolError, match="is not in the page"):
            stand.restart("b", health_text='"release": "a"', **check)
        visitors.wait()
    assert set(visitors.answers) == {"a"}
    assert stand.states["b"] == "inactive"
    assert listener_of(control) == listener_of(str(stand.run / "a.sock"))
    stand.restart("b")
    assert listener_of(control) == listener_of(str(stand.run / "b.sock"))


@pytest.mark.parametrize("change", ["another network", "a relative path"])
def test_a_socket_that_the_kernel_lists_elsewhere_or_by_another_name_is_found(
    tmp_path: Path, systemd: RealSystemd, change: str
) -> None:
    stand = Stand(tmp_path, systemd, "gunicorn")
    unit = systemd.run("cat", "/run/units/shop@.service")
    private = unit.replace("[Service]\n", "[Service]\nPrivateNetwork=yes\n")
    relative = unit.replace(f"unix:{stand.run}/", "unix:../run/")
    systemd.add({"shop@.service": private if change == "another network" else relative})
    for name in "ab":
        stand.restart(name, restart_timeout=20.0)
        assert ask(stand.link)["release"] == name


@pytest.mark.parametrize("server", ["daphne", "granian"])
def test_the_socket_of_an_instance_that_was_killed_does_not_keep_the_next_one_from_its_start(
    tmp_path: Path, systemd: RealSystemd, server: str
) -> None:
    stand = Stand(tmp_path, systemd, server)
    stand.restart("a")
    with socket.socket(socket.AF_UNIX) as of_killed:
        of_killed.bind(str(stand.run / "b.sock"))
    stand.restart("b")
    assert ask(stand.link)["release"] == "b"


@pytest.mark.parametrize(("words", "ends"), [(["restart"], ""), (["kill", "--signal=SIGKILL"], "ended before")])
def test_an_instance_that_a_person_restarts_while_it_starts_is_no_failure_of_the_release(
    tmp_path: Path, systemd: RealSystemd, words: list[str], ends: str
) -> None:
    stand = Stand(tmp_path, systemd, "gunicorn" if ends else "uvicorn")
    stand.restart("a")
    begun, app = tmp_path / "begun", stand.pair.site / "app.py"
    wait = f"import pathlib, time\nis_first = not pathlib.Path({str(begun)!r}).exists()\n"
    wait += f"pathlib.Path({str(begun)!r}).touch()\nif is_first: time.sleep(600)\n"
    app.write_text(wait + APPLICATION, encoding="utf-8")

    def act() -> None:
        eventually(begun.exists, "the start of the second instance")
        systemd.run("systemctl", *words, "shop@b.service")

    person = threading.Thread(target=act)
    person.start()
    found = ""
    try:
        stand.restart("b")
    except ToolError as error:
        found = error.message
    person.join()
    assert (ends in found) if ends else not found
    assert ask(stand.link)["release"] == ("a" if ends else "b")
