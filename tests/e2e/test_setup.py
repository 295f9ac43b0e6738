"""The first five minutes: `setup`, `schedule systemd`, the first release by `update`, and `releaser` alone."""

import os
import pty
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.scenes import BROKEN_CODE, no_change, refused, says
from tests.support.commands import HOUSE, releaser_command, require, run
from tests.support.servers import web_site
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

SYSTEMCTL = '#!/bin/sh\necho "$@" >> "$SYSTEMCTL_LOG"\ntest ! -e "$SYSTEMCTL_LOG.refuse"\n'


def answer(site: SampleSite, text: str, *words: str) -> tuple[int, str]:
    """Run releaser on a terminal, and type; return the exit code and the screen."""
    master, slave = pty.openpty()
    command = [*releaser_command(), *words, "--project", str(site.path)]
    with subprocess.Popen(command, env=site.env, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        os.write(master, text.encode())
        shown = b""
        try:
            while data := os.read(master, 65536):
                shown += data
        except OSError:  # the terminal is gone
            pass
    os.close(master)
    return process.returncode, shown.decode()


@pytest.mark.slow
def test_setup_asks_three_questions_and_writes_the_environment_file_alone(site: SampleSite) -> None:
    with mail_server() as server, web_site(lambda: 200) as web:
        site.write_dotenv(smtp_host=server.host)
        dotenv, before = site.outer / ".env", site.snapshot()
        earlier = dotenv.read_text("utf-8")
        dotenv.write_text(f"# mine\n\nOTHER='a b'\n{earlier}", "utf-8")
        code, screen = answer(site, f"ada\nada@example.org\n\n{web.url}\n", "setup")
        assert (code, site.snapshot()) == (0, before), screen
        assert screen.count("]: ") == 4, "three questions, one of them twice"
        added = f"RELEASER_ADMINS='ada@example.org'\nRELEASER_RESTART='auto'\nRELEASER_HEALTH_CHECK='{web.url}'\n"
        assert dotenv.read_text("utf-8") == f"# mine\n\nOTHER='a b'\n{earlier}{added}"
        assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
        table = f'[tool.releaser]\r\nrestart = "auto"\r\nhealth_check = "{web.url}"'
        assert table in screen
        assert "had mode 644" in screen, "a service of another user reads it no more"
        assert f"update --project {site.path}" in screen
        (((to,), mail, _),) = server.mails
        assert (to, "Test" in mail["Subject"]) == ("ada@example.org", True)
        code, screen = answer(site, "", "setup")
        assert (code, "]: " in screen) == (0, False), "nothing is asked again"


def test_setup_without_a_terminal_is_refused_and_yes_asks_nothing(fresh: SampleSite) -> None:
    earlier = (fresh.outer / ".env").read_text("utf-8")
    says(refused(fresh, "setup"), "has no terminal", "--yes", "--set KEY=VALUE")
    found = fresh.json("setup", "--yes")
    assert (found["written"], found["table"]) == (["RELEASER_RESTART"], '[tool.releaser]\nrestart = "auto"')
    assert (fresh.outer / ".env").read_text("utf-8") == f"{earlier}RELEASER_RESTART='auto'\n"
    assert fresh.json("setup", "--yes")["written"] == []


def test_setup_set_changes_that_setting_alone(fresh: SampleSite) -> None:
    dotenv = fresh.outer / ".env"
    dotenv.write_text("A=1 # one\nRELEASER_KEEP=1\n\nexport B=$A\nlast='no newline'", "utf-8")
    value = 'it\'s \\ "x" $A # y'
    fresh.releaser("setup", "--set", "keep=3", "--set", f"RELEASER_SMTP_PASSWORD={value}", check=0)
    lines = dotenv.read_text("utf-8").splitlines()
    assert (lines[:1], lines[1], lines[2:5]) == (
        ["A=1 # one"],
        "RELEASER_KEEP='3'",
        ["", "export B=$A", "last='no newline'"],
    )
    assert fresh.json("config", "keep")["value"] == 3
    script = "import dotenv, sys; print(dotenv.dotenv_values(sys.argv[1], interpolate=False)['RELEASER_SMTP_PASSWORD'])"
    assert fresh.run(sys.executable, "-c", script, dotenv).stdout == f"{value}\n"
    assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
    fresh.releaser("setup", "--set", "smtp_password=", check=0)
    assert "PASSWORD" not in dotenv.read_text("utf-8")
    text = dotenv.read_bytes()
    for pair, word in (("restrat=none", "`restart`"), ("keep=x", "whole number"), ("keep", "--set keep=VALUE")):
        says(fresh.releaser("setup", "--set", pair, check=2), word)
    assert dotenv.read_bytes() == text
    dotenv.write_bytes(b"A=1\r\nB=2\r\nRELEASER_KEEP=1\r\n")  # from an editor of another system
    fresh.releaser("setup", "--set", "keep=3", check=0)
    assert dotenv.read_bytes() == b"A=1\r\nB=2\r\nRELEASER_KEEP='3'\r\n"


def test_a_timer_is_installed_once_and_uninstall_removes_it(site: SampleSite) -> None:
    shim = site.edit("../shim/systemctl", SYSTEMCTL)
    shim.chmod(0o755)
    log, home = site.base / "systemctl.log", site.base / "config"
    env = {"PATH": f"{shim.parent}:{site.env['PATH']}", "SYSTEMCTL_LOG": str(log), "XDG_CONFIG_HOME": str(home)}
    is_root = os.geteuid() == 0
    units = Path("/etc/systemd/system") if is_root else home / "systemd/user"
    printed = site.json("schedule systemd", env=env)
    assert not log.exists()
    timer, service = printed["units"]
    assert (Path(timer).parent, Path(service).suffix) == (units, ".service")
    assert f'"update" "--project" "{site.path}"' in printed["units"][service]
    log.with_name("systemctl.log.refuse").touch()
    says(refused(site, "schedule systemd", "--install", env=env), "systemd did not take the timer", "schedule cron")
    assert not Path(timer).exists()
    log.with_name("systemctl.log.refuse").unlink()
    log.unlink()
    try:
        results = [site.json("schedule systemd", "--install", env=env)["result"] for _ in range(2)]
        assert (results, Path(timer).is_file(), Path(service).is_file()) == (["added", "unchanged"], True, True)
        name = printed["timer"]
        assert any(line.endswith(f"enable --now {name}") for line in log.read_text("utf-8").splitlines())
        if (analyze := shutil.which("systemd-analyze")) is not None:
            site.run(analyze, "verify", timer, service)
        says(site.releaser("uninstall", env=env, check=0), f"Removed the timer: {timer}")
        assert (Path(timer).exists(), Path(service).exists()) == (False, False)
        assert any(line.endswith(f"disable --now {name}") for line in log.read_text("utf-8").splitlines())
    finally:
        for unit in printed["units"]:
            Path(unit).unlink(missing_ok=True)


def test_update_makes_the_first_release_of_a_fresh_clone(fresh: SampleSite) -> None:
    fresh.publish("alpha", "1.1.0")
    with no_change(fresh):
        says(fresh.releaser("update", "--dry-run", check=0), "first release from uv.lock")
    assert not fresh.state.exists()
    says(refused(fresh, "update", "--prepare"), "No release is live yet", "`releaser update`")
    found = fresh.json("update")
    assert (found["result"], found["previous"], fresh.version("alpha")) == ("updated", None, "1.0.0")
    assert fresh.json("update")["changes"][0]["new"] == "1.1.0"


@pytest.mark.slow
def test_law_27_a_first_release_that_fails_is_said_once(make_site: SiteFactory) -> None:
    site = make_site(files=BROKEN_CODE)
    says(site.releaser("update", check=5), "the shop is closed")
    runs = len(site.test_runs())
    finished = site.releaser("update", check=5)
    assert (finished.stderr, len(site.test_runs())) == ("", runs)
    site.releaser("update", "--force", check=5)
    assert len(site.test_runs()) == runs + 1
    site.push_from_elsewhere({"shop.py": "EDITION = 2\nBROKEN = False\n"}, message="Open the shop")
    assert (site.json("update")["result"], site.git("log", "-1", "--format=%s")) == ("updated", "Open the shop")


def test_releaser_alone_shows_the_status_in_a_project_and_else_the_help(site: SampleSite) -> None:
    words, env = releaser_command(), site.env
    assert site.live() in run(words, cwd=site.path / "config", env=env, check=0).stdout
    finished = run(words, cwd=site.base, env=env, check=0)
    assert finished.stdout == run([*words, "--help"], cwd=site.base, env=env, check=0).stdout


@pytest.mark.slow
def test_the_page_about_gunicorn_has_whole_units_and_settings(fresh: SampleSite) -> None:
    page = (HOUSE / "docs/gunicorn.md").read_text("utf-8")
    commands = re.findall(r"^releaser setup (--set .*)$", page, re.MULTILINE)
    for command in commands:
        fresh.releaser("setup", *shlex.split(command), check=0)
    assert (len(commands), fresh.json("config", "restart")["value"]) == (3, "systemd:shop")
    units = re.findall(r'^```ini title="/etc/systemd/system/(.+?)"\n(.+?)^```', page, re.MULTILINE | re.DOTALL)
    require(analyze := shutil.which("systemd-analyze"), "systemd-analyze is needed")
    for name, text in units:
        text = text.replace("/srv/shop_stuff/shop/.venv/bin/python", sys.executable)
        (fresh.base / name).write_text(text.replace("/srv/shop_stuff/shop", str(fresh.path)), "utf-8")
    assert fresh.run(str(analyze), "verify", *(fresh.base / name for name, _ in units)).stderr == ""


def test_check_names_exact_versions_and_what_to_write(fresh: SampleSite) -> None:
    fresh.replace("pyproject.toml", '"alpha"', '"alpha==1.0.0"')
    assert any("`alpha~=1.0.0`" in hint for hint in fresh.json("check", check=3)["hints"])


def test_setup_adds_the_completion_to_a_start_up_file_once(site: SampleSite) -> None:
    before, bashrc = site.snapshot(), Path(site.env["HOME"], ".bashrc")
    bashrc.write_text("alias ll='ls -l'", "utf-8")
    says(site.releaser("setup", "--completion", "bash", check=0), "Added to")
    added = bashrc.read_text("utf-8")
    assert re.fullmatch(r"alias ll='ls -l'\neval .*releaser\)\"\n", added)
    says(site.releaser("setup", "--completion", "bash", check=0), "already")
    assert (bashrc.read_text("utf-8"), site.snapshot()) == (added, before)
