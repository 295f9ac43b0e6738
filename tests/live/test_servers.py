"""Web servers stay whole on the release that they were started on: master and workers, forked by Python and by C."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from releaser.releases import leases
from tests.e2e.scenes import eventually
from tests.live.pair import WAIT, Pair, names_of
from tests.support.guards import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What `/late` answers is imported no earlier than that; `/` imports nothing.
APPLICATION = """
import json, os
import early, package

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] != "/late":
        return [json.dumps({"pid": os.getpid()}).encode()]
    import probe
    return [json.dumps(probe.facts()).encode()]
"""


class SocketConnection(HTTPConnection):
    """HTTP through a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT)
        self._path = str(path)

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT)
        self.sock.connect(self._path)


def ask(path: Path, question: str = "/") -> dict[str, Any]:
    with contextlib.closing(SocketConnection(path)) as connection:
        connection.request("GET", question)
        return dict(json.loads(connection.getresponse().read()))


def answers(path: Path) -> bool:
    try:
        return bool(ask(path))
    except OSError:
        return False


@contextlib.contextmanager
def serving(pair: Pair, *words: str) -> Iterator[Path]:
    """Run a server on the release that is live; gives its socket."""
    place = pair.site / "socket"
    (pair.site / "app.py").write_text(APPLICATION, encoding="utf-8")
    log = pair.site / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [word.format(socket=place, link=pair.link) for word in words],
            cwd=pair.site,
            env=pair.env,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        eventually(lambda: answers(place) or process.poll() is not None, "an answer")
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield place
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=WAIT)


def is_whole(facts: dict[str, Any], pair: Pair) -> None:
    """See that it runs on release `a`; what its executable is, is a matter of the server."""
    assert {facts[name] for name in ("early", "late", "extra", "submodule", "metadata")} == {"a"}
    assert (facts["prefix"], facts["exec_prefix"]) == (str(pair.venv("a")), str(pair.venv("a")))
    assert names_of(facts["path"], pair.link) == []


@pytest.mark.parametrize("lazy", [[], ["--lazy-apps"]], ids=["loaded by the master", "loaded by workers"])
def test_uwsgi(tmp_path: Path, lazy: list[str]) -> None:
    """Its master and workers are forked by C code; `--venv` is how its documentation names a virtual environment."""
    require(shutil.which("uwsgi"), "uwsgi is needed")
    pair = Pair(tmp_path, "3.11")
    options = ["--need-app", "--master", "--processes", "2", "--wsgi-file", "app.py", "--venv", "{link}", *lazy]
    with serving(pair, "uwsgi", "--plugin", "python3", "--http-socket", "{socket}", *options) as place:
        users = {user.pid for user in leases.users(str(pair.release("a")))}
        pair.flip("b")
        facts = ask(place, "/late")
        is_whole(facts, pair)
        assert users, "somebody of it is seen"
        assert leases.claim(str(pair.release("a"))) is None
        assert leases.users(str(pair.release("b"))) == []
