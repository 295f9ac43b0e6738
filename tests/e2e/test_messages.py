"""What people, cron and log files hear of a run, and what nobody may hear."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.scenes import body, everything_said, on_terminal, silent
from tests.support.sites import SampleSite, SiteFactory, variables
from tests.support.smtp import PASSWORD, USER, Behaviour, mail_server

COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECRET = "hunter2-of-the-index"
CHATTY_TESTS = "import os, sys\nprint(sorted(os.environ.items()))\nsys.exit(1)\n"


def last_line(text: str) -> str:
    return [line for line in CONTROL.sub("", text).replace("\r", "\n").splitlines() if line.strip()][-1]


# A terminal


@pytest.mark.story
def test_a_terminal_shows_steps_changes_failures_and_a_last_line(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    status, text = on_terminal(site, "update")
    assert (status, last_line(text)) == (0, "releaser update: site: everything is up to date")
    site.publish("alpha", "1.1.0")
    status, text = on_terminal(site, "update")
    assert status == 0
    plain = CONTROL.sub("", text)
    for name in ("preflight", "resolve", "build", "test", "flip", "collectstatic", "restart", "commit", "push"):
        assert re.search(rf"✓ {name} +\d+\.\d s", plain), name
    assert re.search(r"alpha +1\.0\.0 +1\.1\.0 +minor", plain)
    assert last_line(text) == f"releaser update: site: updated to {site.live_id()}: 1 package changed"
    assert COLOUR.search(text)
    status, text = on_terminal(site, "list")
    assert status == 0
    assert site.live_id() in text
    status, text = on_terminal(site, "prune", "--dry-run", env={"COLUMNS": "80"})
    assert status == 0
    assert re.search(rf"keep +{site.live_id()} +live", CONTROL.sub("", text))
    assert max(map(len, CONTROL.sub("", text).splitlines())) <= 80
    site.publish("alpha", "2.0.0", broken=True)
    status, text = on_terminal(site, "update", env={"RELEASER_CULPRITS": "off"})
    assert status == 5
    plain = CONTROL.sub("", text)
    assert re.search(r"✗ test ", plain)
    assert "alpha 2.0.0 breaks the site" in plain
    assert "live: unchanged" in plain
    headline, advice = plain.replace("\r", "").rpartition("releaser update: ")[2].split("  what to do: ")
    assert "this update is the cause" in " ".join(headline.split())
    assert "not tried again" in " ".join(advice.split())


# No terminal


# Heartbeat


def test_a_heartbeat_comes_once_in_its_time_and_any_mail_is_one(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(heartbeat="7d"))
    for _ in range(2):
        silent(site.releaser("update"))
    (mail,) = site.outbox_mails()
    assert mail["subject"].startswith("✓ site: all clear")
    assert "Everything is up to date" in body(site)
    silent(site.releaser("update", env={"RELEASER_HEARTBEAT": "0.001s"}))
    assert len(site.outbox_mails()) == 2


# Threads


def test_what_is_told_for_several_nights_is_one_thread_and_told_as_solved_in_it(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.git("switch", "--quiet", "--create", "elsewhere")
    for _ in range(2):
        site.releaser("update", check=3)
    site.git("switch", "--quiet", "main")
    outbox = site.state_dir / "outbox"
    kept = outbox.rename(outbox.with_name("aside"))
    outbox.write_text("in the way", encoding="utf-8")
    assert "the mail cannot be kept" in site.releaser("update", check=7).stderr
    outbox.unlink()
    kept.rename(outbox)  # what nobody could be told is told by the next run, and once
    for _ in range(2):
        silent(site.releaser("update"))
    first, again, solved = site.outbox_mails()
    assert first["References"] is None
    assert [one["References"] for one in (again, solved)] == [first["Message-ID"]] * 2
    assert first["subject"] == again["subject"]
    assert solved["subject"].startswith("✓ site: solved, updates are no longer refused")
    assert "Solved: updates are no longer refused." in body(site)


# Logs


def test_each_run_has_a_log_with_everything_and_the_newest_thirty_are_kept(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    logs = site.state_dir / "logs"
    for number in range(40):
        log = logs / f"20200101T0000{number:02}Z-1.log"
        log.write_text("old", encoding="utf-8")
        os.utime(log, (number, number))
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    text = Path(report["log_file"]).read_text(encoding="utf-8")
    for words in ("DEBUG", "step build", "uv --no-progress", "test_packages ... ok", "push --quiet origin"):
        assert words in text
    kept = {path.name for path in logs.glob("*.log")}
    assert len(kept) == 30
    assert {Path(report["log_file"]).name, "20200101T000039Z-1.log"} < kept
    assert "20200101T000010Z-1.log" not in kept


# Secrets


def said_of(site: SampleSite, *, check: int, env: Mapping[str, str] | None = None) -> str:
    finished = site.releaser("update", "--json", "-v", check=check, env=env)
    return everything_said(site, finished.stdout, finished.stderr)


@pytest.mark.story
def test_the_password_of_the_mail_server_and_of_the_environment_is_never_shown(make_site: SiteFactory) -> None:
    gossip = Behaviour(refuse=lambda _: True, rcpt_reply=f"550 I know that {USER} uses {PASSWORD}")
    with mail_server(gossip) as server:
        to = {"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(server.port)}
        secret = {"RELEASER_SMTP_PASSWORD": PASSWORD}
        site = make_site.adopted(files={"run_tests.py": CHATTY_TESTS}, dotenv={**to, **secret}, due="1.1.0")
        names = ("RELEASER_SMTP_PASSWORD", "UV_INDEX_PRIVATE_PASSWORD")
        passed = {**secret, "UV_INDEX_PRIVATE_PASSWORD": SECRET, "RELEASER_TEST_ENVIRONMENT": ",".join(names)}
        said = said_of(site, check=5, env=passed)
    for name in names:
        assert f"'{name}', " in said  # the tests printed it
    assert "I know that releaser uses ***" in said
    assert PASSWORD not in said
    assert SECRET not in said


def test_credentials_of_an_index_are_never_shown(make_site: SiteFactory, dead_port: int) -> None:
    url = f"http://{SECRET}@127.0.0.1:{dead_port}/simple"
    site = make_site(venv=True, extra_toml=f'\n[[tool.uv.index]]\nname = "private"\nurl = "{url}"\n')
    site.push_commit("Use the private index", {"pyproject.toml": index_allowed(site)})
    said = said_of(site, check=4, env={"UV_HTTP_RETRIES": "0"})
    assert f"127.0.0.1:{dead_port}" in said
    assert SECRET not in said


def index_allowed(site: SampleSite) -> str:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    return text.replace("no-index = true\n", "").replace('"beta"', '"beta", "ghost"')


def test_credentials_in_the_url_of_a_remote_are_never_shown(make_site: SiteFactory, dead_port: int) -> None:
    site = make_site.adopted()
    site.git("remote", "set-url", "origin", f"http://bot:{SECRET}@127.0.0.1:{dead_port}/shop.git")
    site.publish("alpha", "1.1.0")
    for pulls, code in (("true", 4), ("false", 7)):
        said = said_of(site, check=code, env={"RELEASER_GIT_PULL": pulls})
        assert f"127.0.0.1:{dead_port}" in said
        assert SECRET not in said
