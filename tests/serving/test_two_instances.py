"""The checks of `restart = "systemd"`, with what systemd and sudo answer made up; tests/live has the real ones."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import ToolError
from releaser.report import Step
from releaser.serving.restarts import restart_findings, restart_of, systemd
from releaser.serving.restarts.systemd import Systemd
from releaser.site.site import Site, open_site
from tests.site.fakes import FakeRunner

LOADED = "ActiveState=inactive\nInvocationID=\nLoadState=loaded\n"
MISSING = LOADED.replace("loaded", "not-found")
DENIED = ToolError("sudo: a password is required", returncode=1)


def site(root: Path, *, shown: str | ToolError = LOADED, sudo: str | ToolError = "", **settings: Any) -> Site:
    """Open a project whose link leads to instance `a`, if nothing else is there."""
    (root / "run").mkdir(exist_ok=True)
    link = root / "run" / "live.sock"
    if not os.path.lexists(link):
        link.symlink_to("a.sock")
    runner = FakeRunner(environ={"HOME": str(root)}, answers={"systemctl show": shown})
    of_user = f"env XDG_RUNTIME_DIR=/run/user/{os.getuid()} systemctl"
    runner.answers |= {of_user: shown, "sudo /usr/bin/systemctl": sudo}
    given = {"restart": ("systemd",), "restart_unit": "shop@.service", "restart_socket": str(link), **settings}
    opened = open_site(root, {})
    return replace(opened, settings=replace(opened.settings, **given), runner=runner)


def codes(site: Site) -> list[str]:
    return [finding.code for finding in restart_findings(site)]


def test_the_word_selects_the_method(tmp_path: Path) -> None:
    assert isinstance(restart_of(site(tmp_path)), Systemd)
    assert codes(site(tmp_path)) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"restart_unit": None}, ["restart-unit"]),
        ({"restart_unit": "shop.service"}, ["restart-unit"]),
        ({"restart_unit": "--now@.service x"}, ["restart-unit"]),
        ({"restart_unit": "shop@a.service"}, ["restart-unit"]),
        ({"restart_socket": None}, ["restart-socket"]),
        ({"restart_unit": None, "restart_socket": None}, ["restart-unit", "restart-socket"]),
        ({"restart_socket": "/nowhere/at/all/live.sock"}, ["restart-socket-directory"]),
        ({"shown": MISSING}, ["restart-unit-missing"]),
        ({"shown": ToolError("systemctl is not installed")}, ["restart-unit-missing"]),
    ],
)
def test_what_would_make_a_restart_fail_is_found_before_it(
    tmp_path: Path, given: dict[str, Any], found: list[str]
) -> None:
    assert codes(site(tmp_path, **given)) == found


@pytest.mark.parametrize("kind", ["file", "link elsewhere", "directory"])
def test_what_a_person_put_in_place_of_the_symlink_stays(tmp_path: Path, kind: str) -> None:
    link = tmp_path / "live.sock"
    match kind:
        case "file":
            link.write_text("mine", encoding="utf-8")
        case "directory":
            link.mkdir()
        case _:
            link.symlink_to("/run/other.sock")
    before = os.lstat(link)
    opened = site(tmp_path, restart_socket=str(link))
    assert codes(opened) == ["restart-socket-link"]
    with pytest.raises(ToolError, match=r"not a symlink to a\.sock or b\.sock: it "):
        Systemd().restart(opened, tmp_path, None)  # type: ignore[arg-type]
    assert os.lstat(link) == before
    assert isinstance(opened.runner, FakeRunner)
    assert not [words for words in opened.runner.asked if "stop" in words or "start" in words]


@pytest.mark.parametrize("user_unit", [False, True])
def test_another_user_needs_sudo_for_both_instances_but_not_for_own_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_unit: bool
) -> None:
    opened = site(tmp_path, sudo=DENIED)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    if user_unit:
        own = tmp_path / ".config" / "systemd" / "user"
        own.mkdir(parents=True)
        (own / "shop@.service").touch()
    found = list(restart_findings(opened))
    assert [finding.code for finding in found] == ([] if user_unit else ["restart-unit-denied"])
    for finding in found:
        for verb, name in (("start", "a"), ("stop", "a"), ("start", "b"), ("stop", "b")):
            assert f"/usr/bin/systemctl {verb} shop@{name}.service" in finding.advice


@pytest.mark.parametrize(("moves", "stopped"), [(False, ["b", "b"]), (True, ["b"])])
def test_an_instance_that_the_link_leads_to_is_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: bool, stopped: list[str]
) -> None:
    """The disk may fail after the rename: visitors then reach the new instance alone."""
    found = list[str]()

    def fail(link: Path, target: str, **_: Any) -> None:
        if moves:
            link.unlink()
            link.symlink_to(target)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(systemd, "replace_symlink", fail)
    monkeypatch.setattr(systemd.Pair, "start", lambda *_: None)
    monkeypatch.setattr(systemd.Pair, "ask", lambda *_: "well")
    monkeypatch.setattr(systemd.Pair, "stop", lambda _, name: found.append(name))
    with pytest.raises(ToolError, match=r"cannot be moved to b\.sock: Input/output error"):
        Systemd().restart(site(tmp_path), tmp_path, Step())
    assert found == stopped


@pytest.mark.parametrize("name", systemd.INSTANCES)
def test_an_instance_that_is_masked_is_found_before_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    masked = {"ActiveState": "inactive", "InvocationID": "", "LoadState": "masked"}
    loaded = masked | {"LoadState": "loaded"}
    monkeypatch.setattr(systemd.Pair, "_show", lambda _, shown: masked if shown == name else loaded)
    (found,) = restart_findings(site(tmp_path))
    assert found.message == f"shop@{name}.service is masked"


def test_an_instance_that_does_not_stop_in_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        message = "systemctl was still running after 3 s and was ended"
        raise ToolError(message, timed_out=True)

    opened = site(tmp_path, shown=LOADED.replace("inactive", "deactivating"))
    monkeypatch.setattr(systemd.Pair, "_control", fail)
    with pytest.raises(ToolError, match=r"^shop@b\.service did not stop: systemctl was still running") as caught:
        Systemd().restart(opened, tmp_path, Step())
    assert "TimeoutStopSec" in caught.value.advice
