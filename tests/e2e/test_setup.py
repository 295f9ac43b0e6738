"""Setting a site up, by answers on a terminal or by options; what is wrong changes nothing, nor does a second time."""

import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from releaser.serving.servers import find_addresses
from tests.e2e.scenes import eventually, on_terminal, outer_snapshot
from tests.e2e.test_uninstall import crontab_of
from tests.support.commands import beside
from tests.support.serving import http_server
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer

OPTIONS = ("--yes", "--admin", "Ada <ada@example.org>", "--set", "keep=3", "--environment", "local", "--at", "4:05")


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that nobody has set up yet."""
    site = make_site(venv=True)
    for line in (site.outer / ".env").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name.startswith("RELEASER_") and name not in ("RELEASER_ENVIRONMENT", "RELEASER_MAIL_FROM"):
            site.env[name] = value.strip("'")
    (site.outer / ".env").unlink()
    return site


@pytest.fixture
def crontab(site: SampleSite) -> Path:
    return crontab_of(site, "# mine\n")


def by_mail_server(site: SampleSite, server: MailServer) -> None:
    site.env |= {"RELEASER_SMTP_PORT": str(server.port), "RELEASER_SMTP_SECURITY": "none"}


@pytest.mark.story
def test_all_is_done_by_options_and_a_second_time_nothing_is(
    site: SampleSite, crontab: Path, smtp_server: MailServer
) -> None:
    by_mail_server(site, smtp_server)
    words = (*OPTIONS, "--smtp-host", "127.0.0.1", "--mail-from", "releaser@example.org")
    before = outer_snapshot(site)
    secret = "hunter2-hunter2"
    planned = site.releaser("setup", *words[1:], "--set", f"smtp_password={secret}", "--dry-run", check=0)
    assert "would write" in planned.stdout
    assert "SMTP_PASSWORD" in planned.stdout
    assert secret not in planned.stdout
    assert outer_snapshot(site) == before
    assert not smtp_server.messages
    done = site.json("setup", *words)
    env = site.outer / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert done["written"] == {str(env): env.read_text(encoding="utf-8").splitlines()}
    assert done["mail"]["sent"]
    assert [one.recipients for one in smtp_server.messages] == [("ada@example.org",)]
    assert crontab.read_text().splitlines() == ["# mine", done["schedule"]["line"]]
    assert "5 4 * * * " in done["schedule"]["line"]
    settings = {one["name"]: one["value"] for one in site.json("config")}
    assert (settings["keep"], settings["environment"], settings["smtp_host"]) == (3, "local", "127.0.0.1")
    before = outer_snapshot(site) | {"crontab": crontab.read_text()}
    assert site.json("setup", *words)["written"] == {}
    assert outer_snapshot(site) | {"crontab": crontab.read_text()} == before
    assert "next: `releaser init` adopts the site" in site.releaser("setup", *words, "--no-mail", check=0).stderr
    site.releaser("init", check=0)
    assert "next: `releaser update`" in site.releaser("setup", *words, "--no-mail", check=0).stderr
    site.update_to("alpha", "1.1.0")


def test_it_asks_on_a_terminal_and_offers_what_is_found(
    site: SampleSite, crontab: Path, smtp_server: MailServer
) -> None:
    by_mail_server(site, smtp_server)
    site.git("switch", "--quiet", "--create", "master")
    site.git("push", "--quiet", "--set-upstream", "origin", "master")
    mails = "none\nada@example.org, bob@example.org\n127.0.0.1\n"
    status, said = on_terminal(site, "setup", typed=f"\nprod\nlocal\n\n\n \n{mails}corn\n\ny\n")
    assert status == 0, said
    assert "Detected: the checkout is on master.\r\nBranch that goes live [master]: " in said
    assert "Did you mean production?" in said
    assert "Did you mean cron?\r\n" in said
    assert " [cron]: " in said
    assert "Next: send a test mail; add to the crontab: " in said
    assert "sent to ada@example.org, bob@example.org by 127.0.0.1" in said
    assert "python manage.py test --noinput" in said
    assert (site.outer / ".env").read_text(encoding="utf-8").splitlines() == [
        "RELEASER_BRANCH='master'",
        """ADMINS_JSON='[["", "ada@example.org"], ["", "bob@example.org"]]'""",
        "RELEASER_SMTP_HOST='127.0.0.1'",
    ]
    assert len(smtp_server.messages) == 1
    assert str(site.path) in crontab.read_text()
    assert "everything is ready for an update" in said
    status, said = on_terminal(site, "setup", typed="\n" * 9)
    assert status == 0, said
    assert "+ADMINS" not in said


def test_answers_are_offered_again_after_an_error_at_the_end_and_when_they_are_broken_off(
    site: SampleSite, crontab: Path
) -> None:
    site.env.pop("RELEASER_RESTART", None)

    def break_and_answer(request: BaseHTTPRequestHandler) -> None:
        """Answer well, after a change of the `.env` that releaser cannot read."""
        (site.outer / ".env").write_text("not a line\n", encoding="utf-8")
        request.send_response(200)
        request.end_headers()

    with http_server(break_and_answer) as url:
        answers = f"local\n\n\nnone\n{url}\nada@example.org\nnone\nnone\n"
        status, said = on_terminal(site, "setup", typed=f"{answers}y\n" + "\n" * 8 + "n\n")
    assert status == 3, said
    assert "Your answers are kept. Change them? [Y/n]" in said
    assert "Recipients of mails (addresses, separated by commas) [ada@example.org]" in said
    assert f"releaser setup --set=restart=none --set=health_check={url} '--set=admins=[[" in " ".join(said.split())
    said = site.releaser("setup", "--yes", "--no-mail", "--restart", "none", check=3).stderr
    assert f"{site.outer / '.env'}, line 1: not of the form" in said
    (site.outer / ".env").unlink()
    status, said = on_terminal(site, "setup", typed="local\n\n\nnone\n\x04")
    assert status == 130, said
    assert "To continue with your answers: `releaser setup --set=restart=none`" in said


def test_a_running_server_is_detected_and_the_page_at_its_address_proposed(site: SampleSite, crontab: Path) -> None:
    site.env.pop("RELEASER_RESTART", None)
    site.edit("served.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'hello']\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "gunicorn", "--bind", address, "served:app"]
    with beside(words, cwd=site.path, env=site.environment(), stdin=subprocess.DEVNULL):
        eventually(lambda: find_addresses(site.path, site.path / ".venv") == (address,), "gunicorn listens")
        _, said = on_terminal(site, "setup", typed="local\n\n\n\n\n\n\n\nnone\ny\n")
        said = " ".join(said.split())
    assert "or with `none` if no process needs a restart." in said
    assert "config/tmp/restart.txt does not restart gunicorn (process" in said  # so that the answer is asked for twice
    assert f"Detected: the site listens on {address}. URL" in said
    assert f"RELEASER_HEALTH_CHECK='http://{address}/'" in (site.outer / ".env").read_text(encoding="utf-8"), said


def test_the_service_of_the_site_is_proposed_and_a_restart_that_cannot_work_is_doubted(
    site: SampleSite, crontab: Path
) -> None:
    shutil.rmtree(site.path / "config", ignore_errors=True)
    site.env.pop("RELEASER_RESTART", None)
    units = site.outer.parent / "own" / "systemd" / "user"
    (units / "default.target.wants").mkdir(parents=True)
    (units / "shop.service").write_text(f"[Service]\nWorkingDirectory={site.path}\nExecStart=/usr/bin/true\n")
    (units / "default.target.wants" / "shop.service").symlink_to(units / "shop.service")
    site.env["XDG_CONFIG_HOME"] = str(units.parents[1])
    known = 'case "$*" in *shop.service) echo LoadState=loaded;; *) echo LoadState=not-found;; esac'
    for name, text in (("systemctl", known), ("sudo", "exit 1")):
        program = crontab.with_name(name)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    wrong = "sudo -n systemctl restart shop.service\nsystemctl restart shpo.service\n"
    right = "systemctl --user restart shop.service"
    _, said = on_terminal(site, "setup", typed=f"local\n\n\n{wrong}{right}\nnone\n\n\nnone\ny\n")
    said = " ".join(said.split())
    assert f"Detected: systemd starts shop.service in {site.path}. Restart" in said
    assert f"or a command) [{right}]:" in said
    user = pwd.getpwuid(os.geteuid()).pw_name
    program = crontab.with_name("systemctl")
    assert f"add this line: {user} ALL=(root) NOPASSWD: {program} restart shop.service" in said
    assert "systemd has no unit shpo.service." in said
    assert f"RELEASER_RESTART='{right}'" in (site.outer / ".env").read_text(encoding="utf-8")


def test_a_project_in_the_same_directory_keeps_its_settings(site: SampleSite, crontab: Path) -> None:
    for name in ("RELEASER_RESTART", "RELEASER_ENVIRONMENT"):
        site.env.pop(name, None)
    shutil.copytree(site.path, site.outer / "blog", symlinks=True)
    env = site.outer / ".env"
    env.write_text("RELEASER_KEEP=4\n", encoding="utf-8")
    env.chmod(0o600)
    said = site.releaser("setup", "--yes", "--no-mail", "--set", "keep=3", check=3).stderr
    assert f"{env} is also read by blog, where " in said
    status, said = on_terminal(
        site, "setup", "--no-mail", "--schedule", "none", typed="\n\n\n\nnone\n\nada@example.org\n\ny\n"
    )
    assert "so setup does not change it" in " ".join(said.split())
    assert env.read_text() == "RELEASER_KEEP=4\n"
    table = tomllib.loads((site.path / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["releaser"]
    assert (table["restart"], table["admins"]) == (["none"], [["", "ada@example.org"]]), said
    assert status == 3, said  # as pyproject.toml is to be committed
    before = outer_snapshot(site)
    assert on_terminal(site, "setup", typed="n\n")[0] == 0
    assert outer_snapshot(site) == before


def test_no_secret_is_shown_neither_the_old_one_nor_the_new_one(site: SampleSite, crontab: Path) -> None:
    old, new = "hunter2-hunter2", "hunter3-hunter3"
    (site.outer / ".env").write_text(f"RELEASER_SMTP_PASSWORD='{old}'\nREDIS_URL=redis://x\n", encoding="utf-8")
    (site.outer / ".env").chmod(0o600)
    finished = site.releaser("setup", "--yes", "--no-mail", "--set", f"smtp_password={new}", check=0)
    assert ".env sets REDIS_URL. Tests that read these variables use the same services" in finished.stderr
    assert "-RELEASER_SMTP_PASSWORD" in finished.stdout
    assert not {old, new} & set(re.split(r"[^\w-]", finished.stdout + finished.stderr))
    assert new in (site.outer / ".env").read_text(encoding="utf-8")
    site.env.pop("RELEASER_RESTART", None)
    given = ("--set", f"smtp_password={old}", "--no-mail", "--schedule", "none")
    status, said = on_terminal(site, "setup", *given, typed=f"local\n\n\nnone\ncurl http://me:{old}@x/\n\x04")
    said = " ".join(said.partition("URL that must answer")[2].split())
    assert status == 130, said
    assert "`releaser setup --set=restart=none`. Add health_check, smtp_password: secrets are not shown." in said
    site.env["RELEASER_HEALTH_CHECK"] = f"curl http://me:{old}@x/"
    said = on_terminal(site, "setup", typed="\n\n\n\n\n\x04")[1]
    assert "[curl http://***@x/]" in said
    assert old not in said


WRONG: dict[tuple[str, ...], tuple[int, str]] = {
    ("--yes", "--admin", "nobody"): (2, "has no @"),
    ("--yes", "--set", "keep=many"): (2, "keep must be"),
    ("--yes", "--set", "keep"): (2, "NAME=VALUE"),
    ("--yes", "--at", "25:00"): (2, "not a time of day"),
    (): (2, "--yes"),
}


def test_what_is_wrong_changes_nothing_and_who_does_not_agree_gets_nothing(site: SampleSite, crontab: Path) -> None:
    before = outer_snapshot(site)
    for words, (code, why) in WRONG.items():
        said = site.releaser("setup", "--admin", "ada@example.org", *words, check=code).stderr
        assert why in said
        assert "live: " not in said  # which nothing of this could have changed
    for typed, code in (("local\n\n\n\nnone\nada@example.org\nnone\nnone\nn\n", 0), ("local\n\x04", 130)):
        status, said = on_terminal(site, "setup", typed=typed)
        assert status == code, said
    assert (outer_snapshot(site), crontab.read_text()) == (before, "# mine\n")


def test_what_is_not_ready_is_told_and_what_is_written_stays(site: SampleSite, crontab: Path) -> None:
    site.edit("mine.txt", "x")
    finished = site.releaser("setup", *OPTIONS, "--no-mail", "--schedule", "none", check=3)
    assert "The settings are written. Correct what follows, then run `releaser check`." in finished.stderr
    assert "working tree is not clean" in finished.stderr
    assert "ada@example.org" in (site.outer / ".env").read_text(encoding="utf-8")
    assert crontab.read_text() == "# mine\n"
