"""Tables of the ways to restart."""

import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from releaser.live.health import _name_site
from releaser.live.programs import RELOAD
from releaser.live.restart import PID_FILE, command, find_way, gunicorn, passenger, systemd, touch
from releaser.live.restart.systemd import list_units
from releaser.system import proc

WAYS = {
    ("auto",): touch,
    ("passenger",): passenger,
    ("passenger", "start"): command,
    ("systemd:shop",): systemd,
    ("systemd:shop,", "worker.service"): systemd,
    ("gunicorn:../gunicorn.pid",): gunicorn,
    ("gunicorn", "--reload"): command,
    ("sudo", "-n", "systemctl", "restart", "shop"): command,
    ("/srv/auto",): command,
}
UNITS = {
    ("systemd:shop",): ["shop.service"],
    ("systemd:shop.socket,shop",): ["shop.socket", "shop.service"],
    ("systemd:shop,", "worker@1"): ["shop.service", "worker@1.service"],
    ("systemd:shop", "worker"): ["shop.service", "worker.service"],
}


@pytest.mark.parametrize("words", WAYS)
def test_a_setting_has_a_way(words: tuple[str, ...]) -> None:
    found: object = find_way(words)
    assert isinstance(found, ModuleType)
    assert found is WAYS[words]


@pytest.mark.parametrize("words", UNITS)
def test_units_have_their_type(words: tuple[str, ...]) -> None:
    assert list_units(words) == UNITS[words]


RELOADS = {
    "sh -c 'kill -HUP $(cat ../gunicorn.pid)'": True,
    "kill -s SIGHUP 12": True,
    "supervisorctl signal HUP shop": True,
    "systemctl reload shop": True,
    "systemctl reload-or-restart shop": True,
    "../reload-shop.sh": False,
    "sudo /opt/WHUP/restart": False,
    "touch reload.txt": False,
}


@pytest.mark.parametrize("setting", RELOADS)
def test_a_reload_is_known_by_its_word(setting: str) -> None:
    assert bool(RELOAD.search(setting)) is RELOADS[setting]


@pytest.mark.parametrize(
    ("host", "other", "is_same"),
    [
        ("shop.test", "www.shop.test", True),
        ("www.shop.test.", "shop.test", True),
        ("shop.test", "login.shop.test", False),
        ("shop.test", "wwwshop.test", False),
    ],
)
def test_a_site_has_the_same_name_with_and_without_www(host: str, other: str, is_same: bool) -> None:
    assert (_name_site(host) == _name_site(other)) is is_same


PID_FILES = {
    ("gunicorn", "--pid", "/srv/my site/g.pid", "app"): "/srv/my site/g.pid",
    ("gunicorn", "--pid=g.pid"): "g.pid",
    ("gunicorn", "-p", "g.pid", "app"): "g.pid",
    ("gunicorn", "-pg.pid", "app"): "g.pid",
    ("gunicorn", "--pythonpath", "/srv/a --pid b", "app"): None,
    ("gunicorn: master [app]",): None,
}


@pytest.mark.parametrize("words", PID_FILES)
def test_a_pid_file_is_found_in_a_command_line(words: tuple[str, ...]) -> None:
    found = PID_FILE.search("\0".join(words))
    assert (found and found[1]) == PID_FILES[words]


def test_a_pid_file_may_have_spaces() -> None:
    site: Any = SimpleNamespace(paths=SimpleNamespace(project=Path("/srv/shop")))
    assert gunicorn._find_file(site, ("gunicorn:/srv/my", "site/g.pid")) == "/srv/my site/g.pid"


# The master's id and session, its parent, the parent's session and command line, and whether that would miss it.
PARENTS = {
    "the first of a container": (1, 1, 0, 0, "", True),
    "of docker exec": (50, 50, 0, 0, "", False),
    "a daemon": (50, 40, 1, 1, "/tini -- sleep inf", False),
    "a daemon of systemd's user": (50, 40, 9, 9, "/lib/systemd/systemd --user", False),
    "of tini": (50, 1, 1, 1, "/tini -- gunicorn app", True),
    "of docker --init": (50, 1, 1, 1, "/sbin/docker-init -- gunicorn app", True),
    "of an early docker --init": (50, 1, 1, 1, "/dev/init -- gunicorn app", True),
    "of a shell that is first": (50, 1, 1, 1, "sh -c gunicorn app", True),
    "of a script below tini": (50, 1, 7, 1, "sh /entry.sh", True),
    "by setsid": (50, 50, 1, 1, "/sbin/init splash", False),
    "of supervisord": (50, 30, 30, 30, "/usr/bin/python3 /usr/bin/supervisord", True),
    "of a script that leads": (50, 30, 30, 30, "sh run.sh", True),
    "of runit": (50, 50, 30, 20, "runsv shop", True),
    "of cron": (50, 30, 30, 30, "/bin/sh -c cd shop && gunicorn app", False),
    "of cron alone": (50, 50, 30, 20, "/usr/sbin/CRON -f", False),
    "of a terminal": (50, 30, 30, 30, "-bash", False),
}


@pytest.mark.parametrize("name", PARENTS)
def test_what_would_miss_a_process_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    master, session, parent, parents_session, words, is_watched = PARENTS[name]
    monkeypatch.setattr(proc, "find_unit", lambda _: "")
    monkeypatch.setattr(proc, "find_parent", lambda _: parent)
    monkeypatch.setattr(proc, "find_session", lambda pid: session if pid == master else parents_session)
    monkeypatch.setattr(proc, "read_words", lambda _: words.split(" "))
    site: Any = None  # which no unit needs
    assert bool(gunicorn.find_supervisor(site, master)) is is_watched


def test_a_master_that_does_not_end_is_killed() -> None:
    code = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (3, 15)]; print(flush=True); signal.pause()"
    site: Any = SimpleNamespace(settings=SimpleNamespace(live=SimpleNamespace(restart_timeout=0.2)))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as master:
        assert master.stdout is not None
        master.stdout.readline()
        gunicorn._end(site, master.pid)
        assert master.poll() == -signal.SIGKILL
