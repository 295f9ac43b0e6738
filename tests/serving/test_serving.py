"""What preflight finds out about the restart and the health check, before anything is flipped."""

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.serving.health_settings import health_findings
from releaser.serving.restarts import program_findings, restart_findings, restart_of
from releaser.serving.restarts.passenger import app_root
from releaser.site.site import Site, open_site
from tests.site.fakes import FakeRunner
from tests.support.guards import require

URL = "http://127.0.0.1:8000/health"


def site(root: Path, *, restarted: str | ToolError = "", path: str = "", **settings: Any) -> Site:
    """Open a project without anything but settings; `restarted` is what passenger-config prints."""
    runner = FakeRunner(environ={"PATH": path}, answers={"passenger-config restart-app": restarted})
    opened = open_site(root, {})
    return replace(opened, settings=replace(opened.settings, **settings), runner=runner)


def messages(site: Site) -> list[str]:
    return [one.message for one in (*restart_findings(site), *health_findings(site))]


@pytest.mark.parametrize(("there", "missing"), [("stop", "start"), ("start", "stop")])
def test_what_stops_a_service_and_what_starts_it_go_together(tmp_path: Path, there: str, missing: str) -> None:
    both: dict[str, Any] = {"stop": ("true",), "start": ("true",)}
    assert messages(site(tmp_path, **both)) == []
    only: dict[str, Any] = {there: ("true",)}
    (message,) = messages(site(tmp_path, **only))
    assert message.startswith(f"`{there}` is set without `{missing}`")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory).resolve()


def messages_for_another_user(site: Site) -> list[str]:
    """Find what is wrong as a user who owns nothing here."""
    require(os.geteuid() == 0, "only root may become another user")
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(65534, 65534, 0)
    os.setresuid(65534, 65534, 0)
    try:
        return messages(site)
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


# What is touched


def test_a_file_that_this_user_may_touch_or_make_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "tmp" / "restart.txt"
    for make in (list, file.parent.mkdir, file.touch, partial(file.chmod, 0o400)):  # its owner may set its time
        make()
        assert messages(site(tmp_path)) == []
    assert restart_of(site(tmp_path)).restart_file(site(tmp_path)) == file


def test_a_file_of_somebody_else_is_found_before_anything_is_flipped(public: Path) -> None:
    (public / "tmp").mkdir()
    found, file = site(public), public / "tmp" / "restart.txt"
    message = f"this user cannot touch restart_file {file}"
    assert messages_for_another_user(found) == [message]  # nor made
    file.touch()
    file.chmod(0o644)
    assert messages_for_another_user(found) == [message]
    file.chmod(0o666)
    assert messages_for_another_user(found) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "restart.txt").symlink_to(tmp_path / "nothing" / "restart.txt")
    (message,) = messages(site(tmp_path))
    assert message == f"restart_file {tmp_path}/tmp/restart.txt: the directory {tmp_path}/nothing does not exist"


@pytest.mark.parametrize("restart", [("none",), ("systemctl", "reload", "shop")])
def test_another_way_to_restart_touches_nothing(tmp_path: Path, restart: tuple[str, ...]) -> None:
    found = site(tmp_path, restart=restart, restart_file="no/such/restart.txt")
    assert messages(found) == []
    assert restart_of(found).restart_file(found) is None


@pytest.mark.parametrize("setting", ["restart", "health_check", "after_live"])
def test_a_program_that_is_neither_on_path_nor_in_the_release_is_found(tmp_path: Path, setting: str) -> None:
    """`http:/` is no URL, so it is taken for a command."""
    (tmp_path / "release" / "bin").mkdir(parents=True)
    (tmp_path / "release" / "bin" / "there").touch(mode=0o755)
    for word in ("http:/shop.example.org", ".venv/bin/no", "there"):
        settings: dict[str, Any] = {setting: f"{word} now" if setting == "health_check" else (word, "now")}
        found = site(tmp_path, **settings)
        missing = [f"{setting}: the program {word!r} does not exist"] if word != "there" else []
        assert [one.message for one in program_findings(found, tmp_path / "release")] == missing


# Passenger


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH with a passenger-config."""
    directory = tmp_path / "programs"
    directory.mkdir()
    (directory / "passenger-config").touch(mode=0o755)
    return str(directory)


def test_passenger_is_asked_without_an_effect(tmp_path: Path, programs: str) -> None:
    found = site(tmp_path, restart=("passenger",), path=programs, restarted="There are no applications running.")
    assert messages(found) == []
    assert isinstance(found.runner, FakeRunner)
    words = ["passenger-config", "restart-app", "--ignore-app-not-running", "/dev/null/releaser"]
    assert found.runner.asked == [words]


@pytest.mark.parametrize(
    "restarted",
    [
        "*** ERROR: You are not authorized to query the status.",
        ToolError("failed", output="*** ERROR: You are not authorized to query the status.\n\n 1. Because.\n"),
    ],
    ids=["status 0", "status 1"],
)
def test_passenger_that_refuses_this_user_is_found(tmp_path: Path, programs: str, restarted: str | ToolError) -> None:
    (finding,) = restart_findings(site(tmp_path, restart=("passenger",), path=programs, restarted=restarted))
    assert finding.message == (
        "restart is `passenger`, but passenger-config does not work: You are not authorized to query the status."
    )
    assert "PASSENGER_INSTANCE_REGISTRY_DIR" in finding.advice


def test_the_root_of_the_application_is_the_project_unless_it_is_set(tmp_path: Path, programs: str) -> None:
    (tmp_path / "web").symlink_to("programs")
    assert app_root(site(tmp_path)) == tmp_path
    for setting, root in (("web", tmp_path / "web"), ("/srv/shop/", "/srv/shop"), ("~/shop", "~/shop")):
        found = app_root(site(tmp_path, passenger_app_root=setting))
        assert found == Path(root).expanduser()
    wrong = site(tmp_path, restart=("passenger",), path=programs, passenger_app_root="nowhere")
    assert messages(wrong) == [f"passenger_app_root {tmp_path}/nowhere is not a directory"]


# The health check


@pytest.mark.parametrize(
    ("check", "why"),
    [(None, "health_check is not set"), ("curl http://x", "health_check is a command"), (URL, None)],
)
def test_what_is_for_urls_needs_one(tmp_path: Path, check: str | None, why: str | None) -> None:
    host = {"health_socket": "/run/shop.sock", "health_host": "shop.example.org"}
    settings: dict[str, Any] = {"health_status": (range(200, 201),), "health_text": "well", **host}
    for name, value in settings.items():
        found = messages(site(tmp_path, health_check=check, **{name: value}))
        assert found == ([f"{name} is set, but {why}; it is for a URL"] if why else [])


def test_a_unix_socket_needs_plain_http_and_may_be_missing_but_nothing_else_may_be_there(tmp_path: Path) -> None:
    path = tmp_path / "site.sock"
    assert messages(site(tmp_path)) == []
    assert messages(site(tmp_path, health_check="python manage.py check")) == []
    found = messages(site(tmp_path, health_check="https://shop.example.org/", health_socket=str(path)))
    assert found == ["health_socket is set, but health_check begins with https://"]
    asked = {"health_check": URL, "health_socket": str(path)}
    assert messages(site(tmp_path, **asked)) == []
    path.touch()
    assert messages(site(tmp_path, **asked)) == [f"health_socket {path} is not a socket"]
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert messages(site(tmp_path, **asked)) == []


def test_a_socket_that_this_user_may_not_use_is_found(public: Path) -> None:
    path = public / "site.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o660)
        found = messages_for_another_user(site(public, health_check=URL, health_socket=str(path)))
    assert found == [f"health_socket {path}: this user is not permitted to connect"]
