"""Processes that a candidate's code starts end with its tests, wherever they go."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from releaser.system.signals import is_alive
from tests.e2e.scenes import body
from tests.support.guards import require
from tests.support.sites import SiteFactory, variables

#: Forks twice, leaves group and session, forgets its environment, and refuses to end.
DAEMON = """
import os, signal, sys, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open({place!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    os.write(write, b"!")
    os.execve(sys.executable, ["lingering-daemon", "-S", "-c", "import time; time.sleep(1000)"], {{}})
os.wait()
os.read(read, 1)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the daemons of a test write their numbers; whatever is left of them is ended."""
    place = tmp_path / "daemons"
    yield place
    for pid in numbers(place):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def numbers(place: Path) -> list[int]:
    return [int(line) for line in place.read_text(encoding="utf-8").split()] if place.exists() else []


@pytest.mark.parametrize("sandbox", ["off", "bwrap"])
def test_a_daemon_of_the_tests_is_ended_and_named(make_site: SiteFactory, place: Path, sandbox: str) -> None:
    require(sandbox == "off" or shutil.which("bwrap"), "bubblewrap is needed")
    site = make_site.adopted(settings={"sandbox": sandbox})
    daemon = DAEMON.format(place=str(place) if sandbox == "off" else os.devnull)
    guard = 'if "test" in __import__("sys").argv:\n' + "".join(f"    {line}\n" for line in daemon.splitlines())
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": f'__version__ = "1.1.0"\n{guard}'})
    finished = site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    known = [f" (pid {pid})" for pid in numbers(place) if not is_alive(pid)]
    assert len(known) == (sandbox == "off"), "in a process namespace it has another number"
    named = f"left lingering-daemon -S -c import time; time.sleep(1000){''.join(known)} running; it was ended"
    assert named in finished.stderr


@pytest.mark.parametrize("leaves", [True, False])
def test_a_restart_command_leaves_a_service_if_it_may(make_site: SiteFactory, place: Path, *, leaves: bool) -> None:
    site = make_site.adopted()
    script, daemon = site.outer / "serve.py", DAEMON.format(place=str(place))
    script.write_text(daemon.replace("], {})", "], os.environ)") if leaves else daemon, encoding="utf-8")
    site.write_dotenv(variables(restart=f"{sys.executable} {script}", restart_leaves_service=leaves))
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", check=0)
    (pid,) = numbers(place)
    assert (is_alive(pid), "running; it was ended" in finished.stderr) == (leaves, not leaves)
    named = f"; it left lingering-daemon -S -c import time; time.sleep(1000) (pid {pid}) running"
    assert (named in body(site)) == leaves
