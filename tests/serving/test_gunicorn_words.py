"""The command of the running gunicorn, as it is started once more on a private socket."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from releaser.serving.restarts.gunicorn import on_socket

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
