"""Web servers stay whole on the release that they were started on: master and workers, forked by Python and by C."""

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from releaser.releases import leases
from tests.e2e.scenes import eventually
from tests.live.pair import WAIT, Pair, names_of
from tests.support.guards import require

pytestmark = pytest.mark.slow

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


def ask(path: Path, question: str = "/") -> dict[str, Any]:
    """Ask over HTTP through a unix socket."""
    connection = HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.settimeout(WAIT)
        connection.sock.connect(str(path))
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


# The master tells where it runs when a worker of it has ended: it imports all that only then.
GUNICORN = """
bind = "unix:socket"
workers = 2

def child_exit(server, worker):
    import json, probe
    with open("master.new", "w") as file:
        json.dump(probe.facts(), file)
    import os
    os.rename("master.new", "master.json")
"""


@pytest.mark.parametrize("words", [["{link}/bin/python", "-m", "gunicorn"], ["{link}/bin/gunicorn"]], ids=["-m", "bin"])
def test_gunicorn(tmp_path: Path, words: list[str]) -> None:
    pair = Pair(tmp_path, "{}.{}".format(*sys.version_info))
    for name in "ab":
        with_gunicorn(pair, name)
    (pair.site / "gunicorn.conf.py").write_text(GUNICORN, encoding="utf-8")
    with serving(pair, *words, "app:application") as place:
        pair.flip("b")
        first = ask(place, "/late")
        is_whole(first, pair)
        assert {user.pid for user in leases.users(str(pair.release("a")))} >= {first["pid"]}
        os.kill(first["pid"], signal.SIGTERM)
        eventually((pair.site / "master.json").exists, "the end of a worker")
        master = json.loads((pair.site / "master.json").read_text(encoding="utf-8"))
        is_whole(master, pair)
        assert master["executable"] == str(pair.venv("a") / "bin" / "python")
        eventually(lambda: len(leases.users(str(pair.release("a")))) == 3, "another worker")
        late = {answer["pid"]: answer for answer in (ask(place, "/late") for _ in range(50))}
        for facts in late.values():  # those that were forked after the flip too
            is_whole(facts, pair)
            assert facts["executable"] == str(pair.venv("a") / "bin" / "python")
        assert leases.users(str(pair.release("b"))) == []


def with_gunicorn(pair: Pair, name: str) -> None:
    """Install the gunicorn of the tests in a release, with what it needs."""
    for package in ("gunicorn", "packaging"):
        source = Path(str(importlib.metadata.distribution(package).locate_file(package)))
        shutil.copytree(source, pair.packages(name) / package)
    script = pair.venv(name) / "bin" / "gunicorn"
    shebang = f"#!{pair.venv(name) / 'bin' / 'python'}\n"  # as uv writes it
    script.write_text(f"{shebang}import sys\nfrom gunicorn.app.wsgiapp import run\nsys.exit(run())\n", encoding="utf-8")
    script.chmod(0o755)
