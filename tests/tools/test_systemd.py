"""The units of systemd: as systemd reads them, written and enabled, and never over somebody's edits."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from releaser.errors import PreflightError
from releaser.system.process import Runner
from releaser.tools import systemd as module
from releaser.tools.systemd import TEMPLATE, Job, Systemd, packaged_timer
from tests.support.guards import require


def a_job(project: Path, user: str = "") -> Job:
    words = (sys.executable, "update", "--project", str(project))
    writable = (str(project.parent), "-/home/a b/.cache/uv")
    return Job(project=project, words=words, user=user, writable=writable, when="*-*-* 03:07:00")


def systemd_of(tmp_path: Path, *, fails_at: str = "nothing", says: str = "") -> Systemd:
    """Let `systemctl` write down what it is asked for."""
    program = tmp_path / "systemctl"
    asked = tmp_path / "asked"
    fails = f"*) echo {says} >&2; exit 1;;" if says else f"*{fails_at}*) echo no bus >&2; exit 1;;"
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\ncase "$*" in {fails} esac\n')
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    return Systemd(runner=Runner(environ=environ), of_user=True)


@pytest.mark.parametrize("user", ["root", ""], ids=["system", "user"])
@pytest.mark.parametrize("name", ["shop", "sh op 100%$HOME \"x\" 'y' \\z"])
def test_systemd_reads_the_units_as_they_are_meant(tmp_path: Path, name: str, user: str) -> None:
    require(shutil.which("systemd-analyze"), "systemd-analyze reads them")
    units = a_job(Path("/srv/stuff", name), user).units({"HOME": "/home/ada"})
    for path, text in units.items():
        (tmp_path / path.name).write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / path.name) for path in units)]
    finished = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
    assert not [line for line in finished.stderr.splitlines() if "releaser-" in line], finished.stderr
    (when,) = re.findall(r"(?m)^OnCalendar=(.*)$", "".join(units.values()))
    subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, check=True)


def test_the_service_of_the_system_is_the_one_that_comes_with_releaser(tmp_path: Path) -> None:
    units = a_job(Path("/srv/shop_stuff/shop"), "ada").units({})
    service = next(text for path, text in units.items() if path.suffix == ".service")
    ours = {"Description", "User", "ExecStart", "ReadWritePaths"}
    pattern = rf"(?m)^({'|'.join(ours)})=.*\n"
    assert re.sub(pattern, "", service.partition("\n")[2]) == re.sub(pattern, "", TEMPLATE.read_text())
    assert "User=ada\n" in service
    assert 'ReadWritePaths=/srv/shop_stuff "-/home/a b/.cache/uv"\n' in service


JOB = a_job(Path("/srv/stuff/shop"))


def test_units_are_written_once_and_enabled_and_removed(tmp_path: Path) -> None:
    systemd, place = systemd_of(tmp_path), tmp_path / "config/systemd/user"
    systemd.install(JOB)
    assert (tmp_path / "asked").read_text().splitlines() == ["--user daemon-reload", f"--user enable --now {JOB.timer}"]
    assert not systemd.would_change(JOB)
    assert sorted(path.name for path in place.iterdir()) == [f"{JOB.name}.service", JOB.timer]
    systemd.remove(JOB)
    assert not [*place.iterdir()]
    assert f"--user disable --now {JOB.timer}" in (tmp_path / "asked").read_text()


def test_a_unit_that_somebody_has_edited_stays(tmp_path: Path) -> None:
    systemd, file = systemd_of(tmp_path), tmp_path / "config/systemd/user" / JOB.timer
    systemd.install(JOB)
    file.write_text(edited := file.read_text().replace("03:07", "05:00"))
    with pytest.raises(PreflightError, match="was edited"):
        systemd.install(JOB)
    assert file.read_text() == edited


def test_what_systemd_refuses_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match=r"not installed: systemctl failed .*: no bus"):
        systemd_of(tmp_path, fails_at="enable").install(JOB)
    assert not [*(tmp_path / "config/systemd/user").iterdir()]


@pytest.mark.parametrize("of_user", [True, False])
def test_without_a_bus_of_the_user_it_says_how_to_get_one(tmp_path: Path, of_user: bool) -> None:
    systemd = systemd_of(tmp_path, says="Failed to connect to bus: No medium found")
    with pytest.raises(PreflightError) as error:
        replace(systemd, of_user=of_user).install(JOB)
    assert "releaser schedule cron --install" in error.value.advice
    for words in ("loginctl enable-linger $USER", "XDG_RUNTIME_DIR=/run/user/$(id -u)"):
        assert (words in error.value.advice) is of_user


def test_a_path_that_no_unit_can_name_is_refused() -> None:
    with pytest.raises(PreflightError, match="cannot name"):
        a_job(Path("/srv/stuff/a\nUser=root")).units({})


@pytest.mark.parametrize("name", ["srv/shop_stuff/shop", "srv/.tea-time/café 100%:/.x", "a\\b"])
def test_the_timer_of_a_project_is_called_as_systemd_escapes_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    require(shutil.which("systemd-escape"), "systemd-escape says how")
    monkeypatch.setattr(module, "_SYSTEM", tmp_path)
    (wants := tmp_path / "timers.target.wants").mkdir()
    assert not packaged_timer(Path("/", name))
    words = ["systemd-escape", "--path", "--template=releaser@.timer", f"/{name}"]
    timer = subprocess.run(words, capture_output=True, check=True, text=True).stdout.strip()
    (wants / timer).symlink_to("/usr/lib/systemd/system/releaser@.timer")
    assert packaged_timer(Path("/", name)) == timer
