"""News outlives a kill, and trouble stays in the status until it is cured."""

import mailbox
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import CODE, NEW_IS_SICK, silent
from tests.e2e.test_mail import mailing
from tests.support.commands import started
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer, mail_server, read_mail

SICK = {"HEALTH_CHECK": NEW_IS_SICK, "HEALTH_TIMEOUT": "0s"}


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server that takes everything."""
    with mail_server() as running:
        yield running


def subjects(server: MailServer) -> list[str]:
    """Return the subjects of the mails that a server took, without the host."""
    return [mail["Subject"].partition(" [")[0] for _, mail, _ in server.mails]


def news(site: SampleSite) -> list[tuple[str, str, int]]:
    """Return command, result and exit code of the runs that were news, newest first."""
    history: list[dict[str, Any]] = site.json("history")
    return [(line["command"], line["result"], line["exit_code"]) for line in history if line["result"] != "no-changes"]


def kill_at(site: SampleSite, setting: str) -> None:
    """Let an update be killed while a command of the site runs, such as the hook of that name."""
    program = site.edit("../meet.py", WAITING_TESTS + "\nunittest.main()\n")
    site.write_dotenv(setting_of(site), **{setting: f"{sys.executable} {program}"})
    with meeting() as met, site.starting("update", env=met.env) as process, met.kept_waiting():
        process.kill()
        process.wait(timeout=30)


def setting_of(site: SampleSite) -> dict[str, str | None]:
    """Return what `.env` sets."""
    lines = (site.outer / ".env").read_text(encoding="utf-8").splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_law_26_a_kill_during_on_failure_loses_no_news(make_site: SiteFactory, server: MailServer) -> None:
    site = make_site.live(due="1.1.0", dotenv=mailing(server.host, **SICK))
    site.edit("../sick", "")
    kill_at(site, "on_failure")
    box = mailbox.Maildir(site.state / "outbox", create=False)
    assert ([mail["Subject"][:18] for mail in box], server.mails) == (["Rolled back: site,"], [])
    assert news(site)[0] == ("update", "rolled-back", 6)
    assert not (site.state / "journal.json").exists()
    site.releaser("update", check=0)
    assert ([text[:11] for text in subjects(server)], len(box)) == (["Rolled back"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("is_sick", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_law_20_26_prune_tells_of_the_dead_update_that_it_finished(
    make_site: SiteFactory, server: MailServer, is_sick: bool
) -> None:
    site = make_site.live(due="1.1.0", dotenv=mailing(server.host, **SICK))
    site.push_from_elsewhere(CODE, message="Widen the door")
    old = site.live()
    kill_at(site, "restart")
    new = site.live()
    site.edit("../sick", "") if is_sick else None
    finished = site.releaser("prune", check=7 if is_sick else 0)
    (subject,), text = subjects(server), read_mail(server.mails[0][1])
    assert subject[:24] == ("Rolled back: site, The h" if is_sick else "Updated: site, alpha 1.1"), subject
    assert (new in text, "Widen the door" in text, "alpha 1.0.0 → 1.1.0" in text) == (True, True, True), text
    assert (news(site)[0], site.live()) == (
        (("update", "rolled-back", 6), old) if is_sick else (("update", "updated", 0), new)
    )
    assert ("is live again" if is_sick else "had made") in finished.stderr
    if is_sick:
        return
    silent(site.releaser("update"))
    assert (len(server.mails), site.releaser("status").returncode) == (1, 0)


@pytest.mark.slow
def test_law_26_each_automatic_rollback_is_a_mail(make_site: SiteFactory, server: MailServer) -> None:
    site = make_site.live(dotenv=mailing(server.host, **SICK))
    site.edit("../sick", "")
    for night, version in enumerate(("1.1.0", "1.2.0"), 1):
        site.publish("alpha", version)
        site.releaser("update", check=6)
        assert len(server.mails) == night, subjects(server)
    site.releaser("update")  # nothing is newer than what is on hold
    assert len(server.mails) == 2


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["restart", "restart_workers", "after_live"])
def test_law_20_21_a_failed_restart_or_hook_stays_in_the_status(make_site: SiteFactory, setting: str) -> None:
    site = make_site.live("1.1.0", dotenv={f"RELEASER_{setting.upper()}": "test ! -e ../broken"})
    site.edit("../broken", "")
    answer = site.json("rollback", check=7)
    assert (answer["result"], site.version("alpha")) == (
        "updated" if setting == "after_live" else "updated-not-restarted",
        "1.0.0",
    )
    (site.outer / "broken").unlink()
    silent(site.releaser("update"))  # a quiet night cures nothing, nor does a process that serves nobody
    code = "print(flush=True); input()"
    if setting == "restart_workers":  # the server has restarted, so one that listens is no sign
        code = f"import socket; server = socket.create_server(('127.0.0.1', 0)); {code}"
    idle: list[str | Path] = [site.link / "bin/python", "-c", code]
    with started(idle, cwd=site.path, env=site.env, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        codes = [problem["code"] for problem in site.json("status", check=10)["attention"]]
    assert codes == [{"restart": "not-restarted", "restart_workers": "not-gone-back"}.get(setting, setting)]
    site.update_to("1.2.0")
    site.releaser("status", check=0)
