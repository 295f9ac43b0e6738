"""What is told of many sites: a line for each, and the mail that sums up."""

import email
import email.policy
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from releaser.reporting.many_sites import SiteAnswer, is_news, rows, send_summary, summary, with_states
from releaser.site.addresses import Address, MailSettings
from releaser.system.files import encode_state
from tests.reporting.makers import BRIEF, WELL, a_sendmail

FAILED = SiteAnswer(site="/srv/b", exit_code=5, answer={"result": "refused", "headline": "the tests fail with alpha 2"})
WAITS = "20261120T061200Z is ready and waits: /srv/b (listed in `first`) did not succeed: its tests failed"
WAITING = SiteAnswer(site="/srv/c", exit_code=0, waits=WAITS, answer={"result": "no-changes", "headline": WAITS})
UPDATED = SiteAnswer(site="/srv/a", exit_code=0, answer={"result": "updated", "headline": "updated to X"})
QUIET = SiteAnswer(site="/srv/d", exit_code=0, answer={"result": "no-changes", "headline": "everything is up to date"})
CRASHED = SiteAnswer(site="/srv/e", exit_code=1, errors=("releaser: something is wrong", "  what to do: look"))
ALL = (FAILED, WAITING, UPDATED, QUIET)
ADA = [Address(name="Ada", address="ada@example.org")]


def said(answer: object, code: int = 0) -> SiteAnswer:
    return SiteAnswer(site="/srv/a", exit_code=code, answer=answer)


@pytest.mark.parametrize(
    ("command", "answer", "says"),
    [
        ("update", FAILED, "the tests fail with alpha 2"),
        ("update", WAITING, WAITS),
        ("update", CRASHED, "something is wrong"),
        ("update", said({"dry_run": True, "would": ["a", "b"]}), "a; b"),
        ("update", said({"headline": "2 problems found", "problems": ["x", "y"]}, 3), "2 problems found: x, y"),
        ("check", said({"fit": True}), "everything is ready for an update"),
        ("check", said({"fit": False, "problems": ["x", "y"]}, 3), "x, y"),
        ("status", said({"live": None, "last_deployment": None, "problems": ["p"]}), "no release is live; p"),
    ],
)
def test_a_line_says_what_has_come_of_a_site(command: str, answer: SiteAnswer, says: str) -> None:
    assert rows(command, [answer]) == [(answer.site, str(answer.exit_code), says)]


@pytest.mark.parametrize("command", ["update", "check", "status"])
@pytest.mark.parametrize(
    "answer",
    [
        None, 5, [], {}, {"problems": 5}, {"problems": [5]}, {"headline": 5, "live": 5, "last_deployment": "x"},
        {"live": "A", "live_age_seconds": float("inf")}, {"live": "A", "live_age_seconds": float("nan")},
    ],
)  # fmt: skip
def test_whatever_a_site_says_is_one_row(command: str, answer: object) -> None:
    assert len(rows(command, [said(answer)])) == 1


def test_no_site_can_write_the_row_of_another() -> None:
    forged = said({"headline": "well\n/srv/b  0  \x1b[31mwell\ud800"})
    ((site, _, what),) = rows("update", [replace(forged, site="/srv/a\nb")])
    assert (site, what) == ("/srv/a b", "well /srv/b 0 well\ufffd")
    assert what.encode()


@pytest.mark.parametrize(
    ("facts", "exit_code", "state"),
    [
        ({}, 0, 0),
        ({"blocked": "all failed"}, 0, 10),
        ({"last_deployment": replace(BRIEF, exit_code=5)}, 0, 5),
        ({"problems": ("p",)}, 3, 3),
        ({"last_success": replace(BRIEF, started_at="never")}, 0, 0),  # of another version
    ],
)
def test_the_exit_code_of_a_status_is_the_state_of_the_site(facts: dict[str, Any], exit_code: int, state: int) -> None:
    now = replace(BRIEF, started_at=datetime.now(UTC).isoformat())
    answer = json.loads(encode_state(replace(WELL, **{"last_success": now, **facts})))
    (found,) = with_states([said(answer, exit_code)])
    assert found.exit_code == state


def test_only_what_has_failed_or_changed_is_news() -> None:
    assert [is_news(one) for one in (*ALL, CRASHED)] == [True, True, True, False, True]
    assert summary(ALL) == "4 sites, 1 failed, 1 waiting, 1 updated"
    assert summary([QUIET]) == "1 site"


def mailed(place: Path, answers: Sequence[SiteAnswer], **settings: Any) -> tuple[EmailMessage, str]:
    """Mail the summary by a sendmail; return the mail and the arguments."""
    where = MailSettings(sendmail=str(a_sendmail(place)), **settings)
    assert send_summary(answers, ADA, where, {"PATH": "/usr/bin:/bin"}) == ""
    message = email.message_from_bytes((place / "sent").read_bytes(), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message, (place / "sent.words").read_text()


def test_the_summary_is_mailed_the_worst_first(tmp_path: Path) -> None:
    message, words = mailed(tmp_path, ALL)
    assert str(message["Subject"]).startswith("✗ 4 sites: 1 failed, 1 waiting, 1 updated")
    text = message.get_content()
    assert text.index("/srv/b") < text.index("/srv/c") < text.index("/srv/a")
    assert "ada@example.org" in words


@pytest.mark.parametrize(
    ("senders", "mail_from", "sender"),
    [
        (["Ops <ops@example.org>"] * 2, "", "Ops <ops@example.org>"),
        (["Ops <ops@example.org>"] * 2, "root@example.org", "root@example.org"),
        (["Ops <ops@example.org>", "x@example.org"], "", "releaser@"),
        (["\n"], "", "releaser@"),
    ],
)
def test_it_is_from_whom_the_mails_of_the_sites_are_from(
    tmp_path: Path, senders: list[str], mail_from: str, sender: str
) -> None:
    message, _ = mailed(tmp_path, [said({"mail_from": one}) for one in senders], mail_from=mail_from)
    assert str(message["From"]).startswith(sender)


def test_it_is_said_why_the_summary_was_not_sent(tmp_path: Path) -> None:
    full = MailSettings(sendmail=str(a_sendmail(tmp_path, status=75)))
    assert "said by sendmail" in send_summary(ALL, ADA, full, {"PATH": "/usr/bin:/bin"})
    assert "smtp_host is not set" in send_summary(ALL, ADA, MailSettings(sendmail="none"), {})
