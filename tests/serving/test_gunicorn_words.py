"""The command of the running gunicorn, as it is started once more on a private socket."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from releaser.report import Step
from releaser.serving.restarts import gunicorn
from releaser.serving.restarts.gunicorn import on_socket
from releaser.serving.servers import Server
from releaser.serving.test_start import _explain
from releaser.site.restart_settings import RestartSettings

SITE = cast("Any", SimpleNamespace(project=SimpleNamespace(venv=Path("/srv/shop/.venv"))))


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("/srv/shop/.venv/bin/python -m gunicorn --workers 3 shop.wsgi", "shop.wsgi"),
        ("/r/1/venv/bin/python /srv/shop/.venv/bin/gunicorn -b :80 --bind=unix:s -w4 shop.wsgi", "shop.wsgi"),
        (
            "/r/1/venv/bin/python -m gunicorn -p g.pid --pid=x -D --daemon -w 2 -b :80 --chdir sub shop.wsgi",
            "--chdir sub shop.wsgi",
        ),
        ("/r/1/venv/bin/python /r/1/venv/lib/python3.11/site-packages/gunicorn/__main__.py -c c.py", "-c c.py"),
    ],
)
def test_the_command_keeps_all_but_sockets_workers_and_pid_file(command: str, kept: str) -> None:
    python, *words = on_socket(SITE, tuple(command.split()))
    assert python == "/srv/shop/.venv/bin/python"
    assert words[:2] == ["-m", "gunicorn.app.wsgiapp"]
    assert " ".join(words[2:]) == f"{kept} --bind unix:{{socket}} --workers 1 --pid {{socket}}.pid"


@pytest.mark.parametrize("command", ["gunicorn: master [shop]", "/srv/shop/.venv/bin/python serve.py", "x"])
def test_another_command_is_unknown(command: str) -> None:
    assert on_socket(SITE, tuple(command.split(" ", 1))) == ()


def test_a_test_start_leaves_the_control_socket_of_the_running_gunicorn_alone(tmp_path: Path) -> None:
    site = cast("Any", SimpleNamespace(project=SimpleNamespace(venv=tmp_path / ".venv")))
    command = (f"{tmp_path}/.venv/bin/python", "-m", "gunicorn", "shop.wsgi")
    assert "--no-control-socket" not in on_socket(site, command), "before version 24, gunicorn has no such option"
    (tmp_path / ".venv" / "lib" / "python3.13" / "site-packages" / "gunicorn" / "ctl").mkdir(parents=True)
    assert "--no-control-socket" in on_socket(site, command)


BEGIN = """\
[2026-11-27 18:38:53 +0000] [22847] [INFO] Listening at: unix:s (22847)
[2026-11-27 18:38:53 +0000] [22898] [INFO] Booting worker with pid: 22898
"""
END = """\
[2026-11-27 18:38:53 +0000] [22898] [INFO] Worker exiting (pid: 22898)
[2026-11-27 18:38:53 +0000] [22847] [ERROR] Worker (pid:22898) exited with code 3.
[2026-11-27 18:38:53 +0000] [22847] [ERROR] Shutting down: Master
[2026-11-27 18:38:53 +0000] [22847] [ERROR] Reason: Worker failed to boot.
"""
IN_USE = "[2026-11-27 18:38:53 +0000] [22847] [ERROR] Connection in use: ('127.0.0.1', 80)"


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (f"{BEGIN}ModuleNotFoundError: No module named 'shop'\n{END}", ": ModuleNotFoundError: No module named 'shop'"),
        (BEGIN, ""),
        (f"{BEGIN}{END}", f": {END.splitlines()[-1]}"),
        (f"{BEGIN}{IN_USE}\n", f": {IN_USE}"),
        ("the workers failed", ": the workers failed"),
        ("", ""),
    ],
)
def test_a_failed_test_start_names_the_cause_and_not_the_last_line(output: str, cause: str) -> None:
    assert _explain("it failed", output) == f"it failed{cause}"


@pytest.mark.parametrize("named", ["other", "itself", "second", "ended", "nothing", "text"])
def test_a_pid_file_that_keeps_a_second_gunicorn_from_its_start_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gunicorn, "find_second", lambda _: os.getppid() if named == "second" else 0)
    monkeypatch.setattr(gunicorn, "_has_handed_over", lambda *_: False)
    texts = {"itself": str(os.getpid()), "ended": str(2**30), "nothing": "", "text": "x"}
    (tmp_path / "g.pid.2").write_text(f"{texts.get(named, os.getppid())}\n")
    master = Server(kind="gunicorn", pid=os.getpid(), unit="", is_user_unit=False, command=("gunicorn", "-p", "g.pid"))
    found = [one for one in gunicorn._master_findings(SITE, master) if one.code == "gunicorn-pid-file"]
    assert [f"{tmp_path}/g.pid.2" in one.message for one in found] == ([True] if named == "other" else [])


def test_a_gunicorn_that_has_just_ended_is_neither_unpinned_nor_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answered its last requests when it was found, and its successor has to be exchanged."""
    with subprocess.Popen(["true"]) as ended:
        pass
    servers = [Server(pid=pid, kind="gunicorn", command=()) for pid in (ended.pid, os.getpid())]
    looks = iter(servers)
    monkeypatch.setattr(gunicorn, "find_masters", lambda _: (next(looks),))
    monkeypatch.setattr(gunicorn, "release_of", lambda pid: "/r/1/venv" if pid == os.getpid() else None)
    monkeypatch.setattr(gunicorn, "_master_findings", lambda *_: ())
    monkeypatch.setattr(gunicorn, "exchange", lambda pid, *_: f"{pid} was exchanged")
    step = Step()
    monkeypatch.setattr(RestartSettings, "of", lambda _: SimpleNamespace(restart_timeout=1.0))
    gunicorn.Gunicorn().restart(SITE, Path("/r/1/venv"), step)
    assert (step.status, step.detail) == ("ok", f"{os.getpid()} was exchanged")
    monkeypatch.undo()
    assert list(gunicorn._master_findings(SITE, servers[0])) == []
