"""What is told of many sites: a line for each, and the mail that sums up."""

import email
import email.policy
from dataclasses import replace
from pathlib import Path

import pytest

from releaser.reporting.many_sites import SiteAnswer, is_news, rows, send_summary, summary
from releaser.site.addresses import Address, MailSettings

FAILED = SiteAnswer(site="/srv/b", exit_code=5, answer={"result": "refused", "headline": "the tests fail with alpha 2"})
WAITS = "20261120T061200Z is ready and waits: /srv/b, which goes first, did not succeed: its tests failed"
WAITING = SiteAnswer(site="/srv/c", exit_code=0, waits=WAITS, answer={"result": "no-changes", "headline": WAITS})
UPDATED = SiteAnswer(site="/srv/a", exit_code=0, answer={"result": "updated", "headline": "updated to X"})
QUIET = SiteAnswer(site="/srv/d", exit_code=0, answer={"result": "no-changes", "headline": "everything is up to date"})
CRASHED = SiteAnswer(site="/srv/e", exit_code=1, errors=("releaser: something is wrong", "  what to do: look"))
ALL = (FAILED, WAITING, UPDATED, QUIET)


@pytest.mark.parametrize(
    ("command", "answer", "says"),
    [
        ("update", FAILED, "the tests fail with alpha 2"),
        ("update", WAITING, WAITS),
        ("update", CRASHED, "something is wrong"),
        ("update", SiteAnswer(site="/", exit_code=0, answer={"dry_run": True, "would": ["a", "b"]}), "a; b"),
        ("check", SiteAnswer(site="/", exit_code=0, answer={"fit": True}), "everything is ready for an update"),
        ("check", SiteAnswer(site="/", exit_code=3, answer={"fit": False, "problems": ["x", "y"]}), "x, y"),
        (
            "status",
            SiteAnswer(
                site="/", exit_code=0, answer={"live": None, "last_deployment": None, "problems": ["p"]}
            ),
            "no release is live; p",
        ),
        (
            "update",
            SiteAnswer(site="/", exit_code=3, answer={"headline": "2 problems found", "problems": ["x", "y"]}),
            "2 problems found: x, y",
        ),
    ],
)  # fmt: skip
def test_a_line_says_what_has_come_of_a_site(command: str, answer: SiteAnswer, says: str) -> None:
    assert rows(command, [answer]) == [(answer.site, str(answer.exit_code), says)]


def test_only_what_has_failed_or_changed_is_news() -> None:
    assert [is_news(one) for one in (*ALL, CRASHED)] == [True, True, True, False, True]
    assert summary(ALL) == "4 sites, 1 failed, 1 waiting, 1 updated"
    assert summary([QUIET]) == "1 site"


def test_the_summary_is_from_whom_the_mails_of_the_sites_are_from(tmp_path: Path) -> None:
    sendmail, mail = tmp_path / "sendmail", tmp_path / "mail"
    sendmail.write_text(f"#!/bin/sh\ncat > {mail}\n")
    sendmail.chmod(0o755)
    sites = [replace(one, answer={**one.answer, "mail_from": "Ops <ops@example.org>"}) for one in (UPDATED, QUIET)]
    for answers, settings, sender in (
        (sites, MailSettings(sendmail=str(sendmail)), "Ops <ops@example.org>"),
        (sites, MailSettings(sendmail=str(sendmail), mail_from="root@example.org"), "root@example.org"),
        (
            [*sites, replace(QUIET, answer={"mail_from": "x@example.org"})],
            MailSettings(sendmail=str(sendmail)),
            "releaser@",
        ),
        ([replace(QUIET, answer={"mail_from": "\n"})], MailSettings(sendmail=str(sendmail)), "releaser@"),
    ):
        people = [Address(name="", address="a@example.org")]
        assert send_summary(answers, people, settings, {"PATH": "/usr/bin:/bin"}) == ""
        message = email.message_from_bytes(mail.read_bytes(), policy=email.policy.default)
        assert str(message["From"]).startswith(sender)


def test_the_summary_is_mailed(tmp_path: Path) -> None:
    sendmail, mail = tmp_path / "sendmail", tmp_path / "mail"
    sendmail.write_text(f'#!/bin/sh\necho "$@" > {mail}.to\ncat > {mail}\n')
    sendmail.chmod(0o755)
    settings = MailSettings(sendmail=str(sendmail), mail_from="ops@example.org")
    environ = {"PATH": "/usr/bin:/bin"}
    assert send_summary(ALL, [Address(name="Ada", address="ada@example.org")], settings, environ) == ""
    message = email.message_from_bytes(mail.read_bytes(), policy=email.policy.default)
    assert str(message["Subject"]).startswith("✗ 4 sites: 1 failed, 1 waiting, 1 updated")
    text = message.get_content()
    assert text.index("/srv/b") < text.index("/srv/c") < text.index("/srv/a")
    assert "ada@example.org" in Path(f"{mail}.to").read_text()
    sendmail.write_text("#!/bin/sh\necho full >&2; exit 75\n")
    assert "full" in send_summary(ALL, [Address(name="", address="a@example.org")], settings, environ)


def test_it_is_said_when_nothing_can_send_the_summary() -> None:
    settings = MailSettings(sendmail="none")
    assert "smtp_host is not set" in send_summary(ALL, [Address(name="", address="a@example.org")], settings, {})


@pytest.mark.parametrize("command", ["update", "check", "status"])
@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        [],
        {},
        {"problems": 5},
        {"problems": [5]},
        {"headline": 5, "live": 5, "last_deployment": "x"},
        {"live": "A", "live_age_seconds": float("inf")},
        {"live": "A", "live_age_seconds": float("nan")},
    ],
)
def test_whatever_a_site_says_is_one_row(command: str, answer: object) -> None:
    assert len(rows(command, [SiteAnswer(site="/srv/a", exit_code=0, answer=answer)])) == 1


def test_no_site_can_write_the_row_of_another() -> None:
    said = "well\n/srv/b  0  \x1b[31mwell\ud800"
    ((site, _, what),) = rows("update", [SiteAnswer(site="/srv/a\nb", exit_code=0, answer={"headline": said})])
    assert (site, what) == ("/srv/a b", "well /srv/b 0 well\ufffd")
    assert what.encode()
