"""The end of a run: who is mailed, when, in which thread, and what becomes of a mail that cannot be sent."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.releases.journal import MailSection, read_notes
from releaser.report import RunReport
from releaser.reporting import notify
from releaser.reporting.changes import Item
from releaser.reporting.notify import finish
from releaser.reporting.outbox import Outbox
from releaser.site.site import Site
from tests.reporting.makers import QUIET, REFUSED, UPDATED, a_sendmail, a_site
from tests.site.fakes import with_settings
from tests.support.logs import a_log
from tests.support.smtp import MailServer

ADA = {"admins": "ada@example.org", "sendmail": "none"}


def open_site(tmp_path: Path, **settings: str) -> Site:
    site = a_site(tmp_path, **{**ADA, **settings})
    site.state_dir.mkdir(parents=True, exist_ok=True)
    return site


def ended(site: Site, report: RunReport, run: str = "1") -> RunReport:
    return finish(site, a_log(), replace(report, run_id=run), mails=True)


def subjects(site: Site) -> list[str]:
    return [str(mail.message["Subject"]) for mail in Outbox(path=site.project.outbox).list_queued()]


def test_a_heartbeat_comes_once_in_its_time_and_any_mail_is_one(tmp_path: Path) -> None:
    site = open_site(tmp_path, heartbeat="7d")
    for run in ("1", "2"):
        ended(site, QUIET, run)
    assert subjects(site) == ["✓ mysite: all clear [web1]"]
    ended(site, UPDATED, "3")
    ended(open_site(tmp_path, heartbeat="7d"), QUIET, "4")
    assert len(subjects(site)) == 2
    ended(open_site(tmp_path, heartbeat="0.001s"), QUIET, "5")
    assert len(subjects(site)) == 3


def test_only_the_first_mail_about_a_release_says_that_commits_go_live(tmp_path: Path) -> None:
    site = with_settings(open_site(tmp_path), git_pull=True)
    ended(site, replace(UPDATED, command="uninstall", release=None), "1")
    assert not read_notes(site.state_dir).introduced
    ended(site, UPDATED, "2")
    ended(site, UPDATED, "3")
    bodies = [mail.message.get_body(("plain",)) for mail in Outbox(path=site.project.outbox).list_queued()]
    found = [body is not None and "go live each night" in body.get_content() for body in bodies]
    assert found == [False, True, False]


def test_a_problem_of_several_nights_is_one_thread_and_told_as_solved_in_it(tmp_path: Path) -> None:
    site = open_site(tmp_path)
    for run in ("1", "2"):
        ended(site, REFUSED, run)
    kept = site.project.outbox.rename(tmp_path / "aside")
    site.project.outbox.write_text("in the way", encoding="utf-8")
    lost = ended(site, QUIET, "3")
    assert ([one.code for one in lost.problems], lost.exit_code) == (["mail-failed"], 7)
    site.project.outbox.unlink()
    kept.rename(site.project.outbox)  # what nobody could be told is told by the next run, and once
    for run in ("4", "5"):
        assert ended(site, QUIET, run).exit_code == 0
    first, again, solved = (mail.message for mail in Outbox(path=site.project.outbox).list_queued())
    assert first["References"] is None
    assert [one["References"] for one in (again, solved)] == [first["Message-ID"]] * 2
    assert first["Subject"] == again["Subject"]
    assert solved["Subject"].startswith("✓ mysite: solved, updates are no longer refused")


def test_a_mail_waits_for_a_run_that_can_send_it(tmp_path: Path, smtp_server: MailServer) -> None:
    by_hand = ended(open_site(tmp_path), UPDATED)
    assert (MailSection.of(by_hand).mailed, by_hand.exit_code) == (False, 0)
    server = {"smtp_host": smtp_server.host, "smtp_port": str(smtp_server.port)}
    by_cron = open_site(tmp_path, **server)
    quiet = ended(by_cron, QUIET, "2")
    assert (MailSection.of(quiet).mail, quiet.problems, subjects(by_cron)) == ("", (), [])
    (mail,) = smtp_server.messages
    assert mail.message["Subject"].startswith("✓ mysite: updated")


def test_a_sendmail_that_fails_leaves_the_mail_for_the_next_run(tmp_path: Path) -> None:
    sendmail = a_sendmail(tmp_path, status=75)
    site = open_site(tmp_path, sendmail=str(sendmail), mail_from="releaser@example.org")
    failed = ended(site, UPDATED)
    (problem,) = failed.problems
    assert (problem.code, failed.exit_code, len(subjects(site))) == ("mail-failed", 7, 1)
    assert f"{sendmail} did not accept the mail" in problem.message
    assert "said by sendmail" in problem.message
    a_sendmail(tmp_path)
    told = MailSection.of(ended(site, UPDATED, "2"))
    assert (told.mail, told.mailed) == (f"sent to ada@example.org by {sendmail}", True)
    assert (tmp_path / "sent.words").read_text().split() == [
        "-i",
        "-f",
        "releaser@example.org",
        "--",
        "ada@example.org",
    ]
    assert subjects(site) == []


@pytest.mark.parametrize("error", [ToolError("no answer"), ValueError("a strange text"), RecursionError()])
def test_a_list_that_fails_costs_neither_the_mail_nor_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    site = open_site(tmp_path)

    def fail(*_: object) -> Iterator[tuple[str, list[Item]]]:
        yield "First", [Item(text="one \x1b[31mred\u202e")]
        raise error

    def add(*_: object) -> Iterator[tuple[str, list[Item]]]:
        yield "Second", [Item(text="two", note="a note", passage="<i>")]

    monkeypatch.setattr(notify, "gather", {"mail_lists": (fail, add)}.__getitem__)
    ended(site, UPDATED)
    (mail,) = Outbox(path=site.project.outbox).list_queued()
    text, html = (mail.message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert "\nFirst\n-----\n* one red\n\nSecond\n------\n* two\n  a note\n    <i>\n" in text.get_content()
    assert "&lt;i&gt;" in html.get_content()
