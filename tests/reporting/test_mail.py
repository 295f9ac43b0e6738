"""The mail of a run says what happened, whatever the run was like, and cannot be abused."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, cast

import pytest

from releaser.errors import Finding
from releaser.locks.lock import Change
from releaser.locks.rules import By, Withheld
from releaser.locks.vulnerabilities import Vulnerability
from releaser.report import Answer, Blame, LeftBehind, Outcome, RunReport
from releaser.reporting.mail import compose, message_id
from releaser.reporting.outbox import Outbox, QueuedMail, flush
from releaser.site.site import Pulled
from releaser.site.values import Address
from releaser.tools.git_state import Commit
from releaser.tools.mail_transport import SmtpServer
from tests.reporting.makers import CHANGES, QUIET, STARTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.smtp import MailServer

ANN = Address(name="Ann", address="ann@example.org")
UPDATED = replace(
    QUIET,
    result="activated",
    headline="Updated to release r2.",
    live_changed=True,
    release="r2",
    previous="r1",
    changes=CHANGES,
)
BROKEN = replace(QUIET, result="failed", exit_code=5, headline="The tests failed.", changes=CHANGES, blame="update")
WENT_BACK = replace(UPDATED, command="rollback", release="r1", previous="r2", changes=())
TAKEN_BACK = replace(
    QUIET,
    result="rolled_back",
    exit_code=6,
    headline="health check failed: it answered 500",
    release="r2",
    previous="r1",
    steps=(
        Outcome(step="flip", status="ok"),
        Outcome(step="health check", status="failed", detail="health check failed: it answered 500"),
        Outcome(step="restart again", status="ok"),
    ),
    problems=(Finding(message="health check failed: it answered 500"),),
)
STILL_LIVE = replace(
    TAKEN_BACK, live_changed=True, steps=(*TAKEN_BACK.steps[:2], Outcome(step="flip back", status="failed"))
)
REFUSED = replace(
    QUIET,
    result="refused",
    exit_code=3,
    headline="/srv/mysite: the tree is not clean: x",
    problems=(Finding(message="/srv/mysite: the tree is not clean: x", advice="Commit it."),),
    advice="Commit it.",
)


def arrived(
    report: RunReport, *, sender: str = "releaser@web1.example.org", recipients: Sequence[Address] = (ANN,)
) -> EmailMessage:
    """Compose the mail, and read it as its receiver does."""
    message = message_from_bytes(compose(report, sender=sender, recipients=recipients).as_bytes(), policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


def subject_of(report: RunReport) -> str:
    return str(arrived(report)["Subject"])


def text_of(report: RunReport) -> str:
    return content(arrived(report), "plain")


def html_of(report: RunReport) -> str:
    return content(arrived(report), "html")


def content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return cast("str", part.get_content()).replace("\r\n", "\n")


class Reader(HTMLParser):
    """Collects what a browser would show, and which elements there are."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.shown: list[str] = []

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def seen_in_html(report: RunReport) -> Reader:
    reader = Reader()
    reader.feed(html_of(report))
    reader.close()
    return reader


def both(report: RunReport) -> tuple[str, str]:
    """Give the text, and what is shown of the HTML."""
    return text_of(report), "".join(seen_in_html(report).shown)


# --- the subject ---


@pytest.mark.parametrize(
    ("report", "subject"),
    [
        (QUIET, "all clear"),
        (replace(QUIET, command="heartbeat"), "all clear"),
        (replace(QUIET, recovered="an interrupted flip was undone"), "recovered from an interrupted run"),
        (replace(QUIET, noted="The tests of r1 pass again."), "The tests of r1 pass again"),
        (replace(QUIET, recovered="a flip was undone", noted="b"), "recovered from an interrupted run"),
        (replace(QUIET, noted="ledger.json was lost.", problems=(Finding(message="a"),)), "problem: a"),
        (replace(QUIET, problems=(Finding(message="git push failed."),)), "problem: git push failed"),
        (replace(QUIET, problems=(Finding(message="a"), Finding(message="b"))), "2 problems"),
        (replace(QUIET, exit_code=7), "problem"),
        (UPDATED, "updated, 3 packages"),
        (replace(UPDATED, changes=CHANGES[:1]), "updated, 1 package"),
        (replace(UPDATED, changes=()), "updated"),
        (
            replace(UPDATED, exit_code=7, problems=(Finding(message="git push failed"),)),
            "updated, 3 packages, problem",
        ),
        (replace(UPDATED, exit_code=7, live_changed=False, problems=(Finding(message="no push"),)), "problem: no push"),
        (replace(UPDATED, live_changed=False, changes=()), "adopted"),
        (replace(UPDATED, rebuilt="Python 3.11.7 became 3.11.9", changes=()), "rebuilt (Python 3.11.7 became 3.11.9)"),
        (replace(UPDATED, command="rebuild", rebuilt="x", live_changed=False, changes=()), "rebuilt (x)"),
        (replace(BROKEN, command="rebuild"), "rebuild failed: tests"),
        (replace(BROKEN, command="rebuild", blame="before"), "rebuild failed: tests (it was failing before)"),
        (replace(UPDATED, command="adopt", changes=()), "adopt done"),
        (BROKEN, "update failed: tests (this update broke it)"),
        (replace(BROKEN, blame="before"), "update failed: tests (it was failing before)"),
        (replace(BROKEN, blame="unknown"), "update failed: tests"),
        (replace(BROKEN, blame=""), "update failed: tests"),
        (
            replace(BROKEN, exit_code=4, steps=(Outcome(step="resolve", status="failed"),)),
            "update failed: resolve",
        ),
        (replace(BROKEN, exit_code=4), "update failed: build"),
        (replace(BROKEN, exit_code=1), "update failed: a bug in releaser"),
        (replace(BROKEN, exit_code=-1), "update failed"),
        (replace(BROKEN, exit_code=130, steps=(Outcome(step="test", status="failed"),)), "update interrupted"),
        (replace(BROKEN, exit_code=143), "update interrupted"),
        (replace(BROKEN, exit_code=129, command="rollback"), "rollback interrupted"),
        (TAKEN_BACK, "update rolled back: health check"),
        (replace(TAKEN_BACK, command="rollback"), "rollback failed: health check"),
        (replace(TAKEN_BACK, steps=()), "update rolled back: activation"),
        (STILL_LIVE, "update failed: health check, STILL LIVE"),
        (replace(STILL_LIVE, command="rollback"), "rollback failed: health check, STILL LIVE"),
        (WENT_BACK, "rolled back to r1"),
        (replace(WENT_BACK, release=None), "rolled back"),
        (replace(WENT_BACK, release="r3"), "went to r3"),
        (replace(WENT_BACK, exit_code=7, problems=(Finding(message="no push"),)), "rolled back to r1, problem"),
        (replace(WENT_BACK, result="failed", exit_code=4), "rollback failed: build"),
        (replace(REFUSED, headline="b is checked out", problems=()), "update refused: b is checked out"),
        (REFUSED, "update refused: the tree is not clean: x"),
        (
            replace(REFUSED, command="rollback", exit_code=9, headline="no such release.", problems=()),
            "rollback refused: no such release",
        ),
        (replace(REFUSED, headline="/srv/mysite/uv.lock is empty", problems=()), "update refused: uv.lock is empty"),
        (
            replace(REFUSED, problems=(*REFUSED.problems, Finding(message="a"))),
            "update refused: the tree is not clean: x",
        ),
        (
            replace(REFUSED, headline="2 problems found", problems=(Finding(message="a"), Finding(message="b"))),
            "update refused: 2 problems",
        ),
    ],
)
def test_the_subject_tells_how_it_ended(report: RunReport, subject: str) -> None:
    assert subject_of(report) == f"[web1] mysite: {subject}"


def test_a_project_without_a_name_goes_by_its_path() -> None:
    assert subject_of(replace(QUIET, project="")) == "[web1] /srv/mysite: all clear"


def test_the_end_of_the_subject_survives_long_names() -> None:
    subject = subject_of(replace(BROKEN, host="h" * 500, project="p" * 500, blame=""))
    assert len(subject) <= 200
    assert subject.endswith("…: update failed: tests")


def test_a_long_reason_is_cut() -> None:
    steps = (Outcome(step="s" * 500, status="failed"),)
    assert len(subject_of(replace(BROKEN, exit_code=4, steps=steps))) == 200
    refused = replace(REFUSED, headline="r" * 500, problems=())
    assert len(subject_of(refused)) < 120


# --- headers ---


def test_the_headers() -> None:
    message = arrived(QUIET, sender="Releaser on web1 <releaser@web1.example.org>")
    assert str(message["From"]) == "Releaser on web1 <releaser@web1.example.org>"
    assert str(message["To"]) == "Ann <ann@example.org>"
    assert message["Date"].datetime == STARTED + timedelta(seconds=75)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Releaser-Run"] == "20260102-030405"


def test_the_same_run_has_the_same_message_id() -> None:
    later = replace(QUIET, headline="told again", seconds=90.0)
    assert arrived(QUIET)["Message-ID"] == arrived(later)["Message-ID"]


def test_the_same_report_makes_the_same_mail() -> None:
    mails = {compose(everything_is("x"), sender="r@example.org", recipients=[ANN]).as_bytes() for _ in range(2)}
    assert len(mails) == 1


@pytest.mark.parametrize("other", [{"host": "web2"}, {"run_id": "20260102-030406"}, {"path": "/srv/other"}])
def test_another_run_has_another_message_id(other: dict[str, str]) -> None:
    assert message_id(QUIET) != message_id(replace(QUIET, **cast("Any", other)))


@pytest.mark.parametrize(
    "odd",
    ["", "a b\n<c>@d", "ü", "x" * 500, "..", "-", "a_b", "\udcff", "web1.example.org", "=?utf-8?q?=0A?="],
)
def test_every_message_id_is_well_formed(odd: str) -> None:
    message = arrived(replace(QUIET, host=odd, run_id=odd, path=odd))
    atoms = r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"
    assert re.fullmatch(rf"<{atoms}@{atoms}>", str(message["Message-ID"]))


def test_names_outside_of_ascii_and_with_commas_arrive() -> None:
    people = [
        Address(name="Jürgen Groß", address="jg@example.org"),
        Address(name="Doe, Jane", address="jd@example.org"),
        Address(name='Bob "the" <builder>', address="bob@example.org"),
    ]
    found = arrived(QUIET, recipients=people)["To"].addresses
    assert [(one.display_name, one.addr_spec) for one in found] == [(one.name, one.address) for one in people]


def test_many_long_names_keep_their_addresses() -> None:
    people = [
        Address(name=f"Jürgen Müller-Lüdenscheidt, der {number}. seines Namens", address=f"j{number}@example.org")
        for number in range(40)
    ]
    found = arrived(QUIET, recipients=people)["To"].addresses
    assert [one.addr_spec for one in found] == [one.address for one in people]


def test_names_and_subject_are_whole_for_readers_of_rfc_2047() -> None:
    names = [f"Jürgen Müller-Lüdenscheidt, der {number}. seines Namens, usw. usf." for number in range(9)]
    people = [Address(name=name, address=f"j{number}@example.org") for number, name in enumerate(names)]
    report = replace(QUIET, project="die schöne große Anwendung für Bäckereien in Köln und Düsseldorf")
    plain = message_from_bytes(compose(report, sender="r@example.org", recipients=people).as_bytes())
    decoded = {name: "".join(plain[name].splitlines()) for name in ("Subject", "To")}
    assert whole(decoded["Subject"]) == f"[web1] {report.project}: all clear"
    assert [whole(name) for name, _ in getaddresses([decoded["To"]])] == names


def whole(words: str) -> str:
    return str(make_header(decode_header(words)))


def test_a_mail_goes_through_a_real_server_and_the_outbox(smtp_server: MailServer, tmp_path: Path) -> None:
    people = [Address(name=f"Jürgen, der {number}.", address=f"j{number}@example.org") for number in range(20)]
    server, outbox = SmtpServer(host=smtp_server.host, port=smtp_server.port), Outbox(tmp_path)
    message = compose(replace(UPDATED, headline="Größe"), sender="Releaser <r@example.org>", recipients=people)
    outbox.put(message, queued=True)
    assert flush(outbox, server, unkept=QueuedMail.of(message)).sent == 2
    for received in smtp_server.messages:
        assert received.recipients == tuple(one.address for one in people)
        assert received.raw.strip() == message.as_bytes().strip()
        assert content(received.message, "plain").startswith("Größe\n")


def test_without_recipients_there_is_no_to() -> None:
    assert "To" not in arrived(QUIET, recipients=())


def test_a_sender_that_is_no_address() -> None:
    with pytest.raises(ValueError, match="has no @"):
        compose(QUIET, sender="releaser", recipients=[ANN])


@pytest.mark.parametrize("output", ["", "ü" * 5000 + "\n.\nFrom me\n", "x" * 5000])
def test_nothing_but_ascii_and_short_lines_goes_over_the_wire(output: str) -> None:
    report = replace(BROKEN, host="wéb", headline="Größe", output=output)
    data = compose(report, sender="r@example.org", recipients=[ANN]).as_bytes()
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")


# --- header injection ---

INJECTIONS = [
    "x\r\nX-Evil: yes",
    "x\nX-Evil: yes\n\nbody",
    "x\rX-Evil: yes",
    "x\0\x1b[31m\x85X-Evil: yes",
    "x\u2028X-Evil: yes",
    "=?utf-8?q?x=0D=0AX-Evil=3A_yes?=",
    "=?utf-8?b?eA0KWC1FdmlsOiB5ZXM=?=",
    "=?utf-8?q?x=0D=0A_=0D=0AX-Evil=3A_yes?= and more of it, so that the line has to be folded somewhere",
]


def assert_not_injected(data: bytes) -> None:
    head = data.split(b"\r\n\r\n")[0]
    names = {line.split(b":")[0].lower() for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))}
    assert names == {
        b"subject", b"from", b"to", b"date", b"message-id", b"auto-submitted", b"x-releaser-run",
        b"mime-version", b"content-type",
    }  # fmt: skip
    assert b"\0" not in head
    assert b"\x1b" not in head


@pytest.mark.parametrize("evil", INJECTIONS)
@pytest.mark.parametrize("where", ["project", "host", "run_id", "command", "path"])
def test_no_header_comes_in_with_the_report(where: str, evil: str) -> None:
    report = replace(BROKEN, **cast("Any", {where: evil}))
    message = compose(report, sender="r@example.org", recipients=[ANN])
    assert_not_injected(message.as_bytes())
    # A reader that decodes the subject must not meet a line break either.
    assert len(str(arrived(report)["Subject"]).splitlines()) == 1


@pytest.mark.parametrize("evil", INJECTIONS)
def test_no_header_comes_in_with_the_failed_step(evil: str) -> None:
    report = replace(BROKEN, exit_code=4, steps=(Outcome(step=evil, status="failed"),))
    assert_not_injected(compose(report, sender="r@example.org", recipients=[ANN]).as_bytes())


@pytest.mark.parametrize("evil", INJECTIONS)
def test_no_header_comes_in_with_the_name_of_a_recipient(evil: str) -> None:
    evil_ann = Address(name=evil, address="ann@example.org")
    message = compose(QUIET, sender="r@example.org", recipients=[evil_ann, ANN])
    assert_not_injected(message.as_bytes())
    received = arrived(QUIET, recipients=[evil_ann, ANN])
    assert [one.addr_spec for one in received["To"].addresses] == ["ann@example.org", "ann@example.org"]


def test_control_characters_in_a_name_become_one_space() -> None:
    assert subject_of(replace(QUIET, project="my\r\n\0 site")) == "[web1] my site: all clear"


@pytest.mark.parametrize("evil", INJECTIONS[:5])
def test_a_package_name_stays_in_its_row(evil: str) -> None:
    report = replace(UPDATED, changes=(Change(name=evil, old="1", new="2", bump="major"),))
    text, shown = both(report)
    assert re.search(r"^x.*X-Evil.* +1 +2 +major$", text, re.MULTILINE)
    assert not re.search(r"^X-Evil", text, re.MULTILINE)
    assert not re.search(r"^X-Evil", shown, re.MULTILINE)
    assert_not_injected(compose(report, sender="r@example.org", recipients=[ANN]).as_bytes())


# --- the body ---


def test_there_is_a_text_and_an_html_part() -> None:
    message = arrived(UPDATED)
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert text_of(UPDATED).startswith("Updated to release r2.\n")
    assert "<h1" in html_of(UPDATED)


DJANGO = replace(
    CHANGES[0], link="https://docs.example.org/?a=1&b=2", fixes=("CVE-2026-1",), dragged_by=("wagtail",), direct=True
)
TWO_PROBLEMS = (
    Finding(message="git push failed:\n! [remote rejected]", advice="Look at the remote.\nPush by hand."),
    Finding(message="the disk is nearly full"),
)
LOGGED = replace(
    BROKEN,
    log_file="/var/log/releaser/20260102.log",
    advice="Fix the tests.",
    recovered="A flip was half done;\nit was undone.",
    noted="The project was moved.",
)
HELD = Withheld(name="celery", version="5.9", reason="was backed out on Monday")
MANY_HELD = tuple(Withheld(name=f"p{number}", version="2.0", reason="rolled back to r1") for number in range(23))
FACTS = ("web1", "mysite", "/srv/mysite", "20260102-030405", "2026-01-02 03:04:05+00:00", "1 min 15 s")
NOT_SO = ("Package", "Problems", "Steps", "Output", "ommits", "Held back", "Log file", "What to do", "None")
WAY_BACK = "releaser rollback"


@pytest.mark.parametrize(
    ("report", "said", "unsaid"),
    [
        (QUIET, ["Nothing to update."], NOT_SO),
        (UPDATED, FACTS, ["that are not live", "Release (not live)"]),
        (replace(UPDATED, previous=None), ["The live release changed to r2."], [WAY_BACK]),
        (
            replace(UPDATED, path="/srv/my site's"),
            ["The live release changed from r1 to r2.", "releaser rollback --project '/srv/my site'\"'\"'s'"],
            [],
        ),
        (BROKEN, ["The live release is the same as before.", "Package changes that are not live"], [WAY_BACK]),
        (replace(BROKEN, release="r2", previous="r1"), ["The live release is the same as before: r1."], []),
        (WENT_BACK, ["releaser rollback r2 --project /srv/mysite"], []),
        (
            TAKEN_BACK,
            ["Release r2 went live and was taken back; r1 is live again.", "What to do: Find out why",
             "releaser update --force", "Release (not live)"],
            ["same as before", WAY_BACK],
        ),
        (replace(TAKEN_BACK, release=None, previous=None), ["what was live before is live again."], []),
        (
            replace(TAKEN_BACK, command="rollback", release="r1", previous="r2"),
            ["The site was switched to r1 and back to r2, which is live again.", "releaser list"],
            ["rolled back"],
        ),
        *(
            (
                replace(STILL_LIVE, command=command, advice="Repair the disk."),
                ["STILL LIVE: Release r2 went live, failed and could not be taken back", "Repair the disk."],
                ["live again", WAY_BACK, "Release (not live)"],
            )
            for command in ("update", "rollback")
        ),
        (
            replace(UPDATED, problems=TWO_PROBLEMS),
            ["git push failed: ! [remote rejected]", "What to do: Look at the remote. Push by hand.", "nearly full"],
            [],
        ),
        (replace(UPDATED, changes=(DJANGO,)), ["fixes CVE-2026-1", "changed because of wagtail"], []),
        (replace(UPDATED, held_back=(HELD,)), ["celery 5.9: was backed out on Monday"], []),
        (
            replace(UPDATED, held_back=(*MANY_HELD, HELD)),
            ["23 versions (p0 2.0, p1 2.0, p2 2.0, p3 2.0, p4 2.0 and 18 more): rolled back to r1", "celery 5.9: was"],
            [],
        ),
        (
            LOGGED,
            ["/var/log/releaser/20260102.log", "Fix the tests.", "What became of an interrupted run",
             "A flip was half done; it was undone.", "Since the last run:", "The project was moved."],
            [],
        ),
    ],
)  # fmt: skip
def test_both_parts_say_what_is_so_and_nothing_else(
    report: RunReport, said: Sequence[str], unsaid: Sequence[str]
) -> None:
    for body in both(report):
        words = " ".join(body.split())
        assert [one for one in said if one not in words] == []
        assert [one for one in unsaid if one in words] == []
        assert words.count("What to do") <= 1
    assert "\n\n\n" not in text_of(report)


def test_package_changes_are_a_table() -> None:
    text, html = text_of(UPDATED), html_of(UPDATED)
    assert (
        "Package changes\n---------------\n"
        "Package        Old    New  Size\n"
        "django         5.1.2  5.2  minor\n"
        "a-longer-name  -      1.0  added\n"
        "gone           3.0    -    removed\n"
    ) in text
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    assert ["django", "5.1.2", "5.2", "minor"] in cells
    assert ["gone", "3.0", "-", "removed"] in cells


def test_a_package_leads_to_its_page_in_html_and_shows_it_in_text() -> None:
    report = replace(UPDATED, changes=(DJANGO, *CHANGES[1:]))
    assert '<a href="https://docs.example.org/?a=1&amp;b=2">django</a>' in html_of(report)
    assert f"\n    {DJANGO.link}\n" in text_of(report)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x.example.org/\"onclick='x'", "//example.org"])
def test_what_is_no_link_to_a_page_is_in_no_mail(link: str) -> None:
    report = replace(UPDATED, changes=(replace(CHANGES[0], link=link),))
    assert "<a " not in html_of(report)
    assert link not in text_of(report)


@pytest.mark.parametrize("report", [REFUSED, replace(TAKEN_BACK, advice="Commit it.")])
def test_the_only_problem_and_its_advice_are_told_once(report: RunReport) -> None:
    for body in both(report):
        shown = body.replace(subject_of(report), "", 1)  # the title of the HTML
        assert shown.count(report.headline) == 1
        assert shown.count("Commit it.") == 1
        assert "Problems" not in shown


def test_the_problem_that_tells_more_than_the_headline_takes_its_place() -> None:
    problems = (
        Finding(message="git push failed: denied by the hook", advice="Ask the admin."),
        Finding(message="the disk is nearly full"),
        Finding(message="the disk is nearly full"),
    )
    report = replace(BROKEN, exit_code=4, headline="git push failed", problems=problems, advice="Ask the admin.")
    text = text_of(report)
    assert text.startswith("git push failed: denied by the hook\n")
    assert [text.count(words) for words in ("git push failed", "Ask the admin.", "disk is nearly full")] == [1, 1, 1]


def test_what_matters_most_comes_first() -> None:
    report = replace(
        BROKEN,
        problems=(Finding(message="a problem"),),
        held_back=(HELD,),
        pulled=Pulled(old="a", new="b", count=1),
        steps=(Outcome(step="test", status="failed", detail="red"),),
        advice="Mend them.",
        output="the failing output",
    )
    order = (
        "The tests failed.", "The live release", "What to do", "a problem", "the failing output", "Commits that were",
        "Package changes", "Held back", "Steps", "About this run",
    )  # fmt: skip
    for body in both(report):
        start = body.index("The tests failed.")
        places = [body.index(words, start) for words in order]
        assert places == sorted(places)


COMMITS = tuple(Commit(id=f"{number:040x}", subject=f"Work {number}", author="Ada") for number in range(100))
TRIED = "Commits that were tried and did not come in"


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (UPDATED, "Commits that came in"),
        (replace(UPDATED, exit_code=7), "Commits that came in"),
        (STILL_LIVE, "Commits that came in"),
        (BROKEN, TRIED),
        (REFUSED, TRIED),
        (TAKEN_BACK, TRIED),
        (replace(BROKEN, live_changed=True), "New commits"),  # as of a symlink that was repaired before
        (replace(QUIET, recovered="x"), "New commits"),  # which came in, without a release
    ],
)
def test_it_is_said_whether_the_commits_came_in(report: RunReport, title: str) -> None:
    for body in both(replace(report, pulled=Pulled(old="a" * 40, new="b" * 40, count=2), commits=COMMITS[:2])):
        assert f"{title} (2): {'a' * 12}..{'b' * 12}" in body
        assert body.count("ommits") == 1
        assert f"{COMMITS[1].id[:12]} Work 1 (Ada)" in body
        assert "more" not in body
    assert f"\n{title}:\n" in text_of(replace(report, commits=COMMITS[:1]))


@pytest.mark.parametrize(("count", "rest"), [(20, 0), (21, 1), (250, 230)])
def test_of_many_commits_it_is_said_how_many_more_there_are(count: int, rest: int) -> None:
    report = replace(UPDATED, pulled=Pulled(old="a", new="b", count=count), commits=COMMITS[:count])
    for body in both(report):
        assert "Work 19 (Ada)" in body
        assert "Work 20 (Ada)" not in body
        assert ("more" in body) == bool(rest)
        assert f"and {rest} more" in body or not rest


LATE = "2026-11-19T03:00:00+00:00"


@pytest.mark.parametrize(
    ("by", "since", "reason", "line"),
    [
        ("activation", LATE, "rolled back", "* alpha 2.0: rolled back (since 2026-11-19)"),
        ("tests", LATE, "exit code 1", "* alpha 2.0: exit code 1 (held by the tests since 2026-11-19)"),
        ("person", LATE, "", "* alpha 2.0: held by hand since 2026-11-19"),
        ("person", "", "ask Ada", "* alpha 2.0: ask Ada (held by hand)"),
        ("policy", "", "`upgrade` keeps it out", "* alpha 2.0: `upgrade` keeps it out"),
    ],
)
def test_of_what_is_held_back_it_is_said_by_what_and_since_when(by: By, since: str, reason: str, line: str) -> None:
    held = Withheld(name="alpha", version="2.0", reason=reason, by=by, since=since)
    assert f"\n{line}\n" in text_of(replace(UPDATED, held_back=(held,)))


@pytest.mark.parametrize("blame", ["", "update", "before", "unknown"])
def test_the_blame_is_left_to_the_headline_and_the_subject(blame: Blame) -> None:
    assert text_of(replace(BROKEN, blame=blame)) == text_of(BROKEN)


def test_the_steps_with_their_times() -> None:
    steps = (
        Outcome(step="build", status="ok", detail="59 packages", seconds=3.04),
        Outcome(step="run the tests", status="failed", detail="exit code 1", seconds=754.6),
        Outcome(step="flip", status="skipped"),
    )
    text, shown = both(replace(BROKEN, steps=steps))
    assert (
        "Step           Status   Time         Detail\n"
        "build          ok       3.0 s        59 packages\n"
        "run the tests  failed   12 min 35 s  exit code 1\n"
        "flip           skipped  0.0 s\n"
    ) in text
    assert "12 min 35 s" in shown


def test_the_output_is_cleaned_and_capped_again_and_keeps_its_lines() -> None:
    output = "the first line\n" + "\x1b[31mnoise\x1b[0m\n" * 50_000 + "\0def f():\n    return 1\n\n  <- here"
    for body in both(replace(BROKEN, output=output)):
        assert "the first line" in body
        assert "def f():\n    return 1\n\n  <- here" in body
        assert "cut ...]" in body
        assert "\x1b" not in body
        assert "\0" not in body
        assert len(body) < 20_000


EVERYWHERE = "<script>alert('x')</script>&amp;"


def everything_is(evil: str) -> RunReport:
    return RunReport(
        command=evil, project=evil, path=evil, host=evil, run_id=evil,
        started_at=STARTED,
        seconds=1.0,
        result="failed",
        exit_code=4,
        headline=evil,
        live_changed=True,
        release=evil,
        previous=evil,
        changes=(
            Change(
                name=evil, old=evil, new=evil, bump=evil, through=(evil,), released=evil, link=evil, fixes=(evil,),
                dragged_by=(evil,),
            ),
        ),
        held_back=(Withheld(name=evil, version=evil, reason=evil, since=LATE, output=evil, tests=(evil,)),),
        left_behind=(LeftBehind(release=evil, pid=1, user=evil, command=evil, since=evil),),
        answers=(Answer(release=evil, good=False, text=evil, body=evil),),
        fixed=(Vulnerability(name=evil, version=evil, id=evil, summary=evil, link=evil),),
        audit="unknown",
        audit_reason=evil,
        pulled=Pulled(old=evil, new=evil, count=1),
        commits=(Commit(id=evil, subject=evil, author=evil),),
        steps=(Outcome(step=evil, status="failed", detail=evil),),
        problems=(Finding(message=evil, advice=evil),),
        blame="update",
        output=evil,
        advice=evil,
        log_file=evil,
        recovered=evil,
        noted=evil,
    )  # fmt: skip


def test_markup_is_escaped_in_html_everywhere() -> None:
    reader = seen_in_html(everything_is(EVERYWHERE))
    assert "script" not in reader.elements
    assert "".join(reader.shown).count(EVERYWHERE) >= 20


def test_markup_is_left_as_it_is_in_text() -> None:
    text = text_of(everything_is(EVERYWHERE))
    assert text.count(EVERYWHERE) >= 20
    assert "&lt;" not in text


def test_templates_in_the_data_are_not_run() -> None:
    for body in both(everything_is("{{ 7 * 7 }}{% raw %}")):
        assert "{{ 7 * 7 }}" in body
        assert "49" not in body


@pytest.mark.parametrize("dirt", ["a\0b", "\x1b[31mred\x1b[0m", "\udcff\ud800", "a\u2028b\x85c", "\x1b]0;t\x07"])
def test_no_dirt_gets_through_anywhere(dirt: str) -> None:
    message = arrived(everything_is(dirt))
    for kind in ("plain", "html"):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", content(message, kind))


def test_enormous_facts_make_no_enormous_mail() -> None:
    huge = replace(
        everything_is("x" * 1_000_000),
        path="/srv/mysite",
        changes=CHANGES,
        problems=(Finding(message="m\n" * 100_000, advice="a" * 10**6),),
    )
    assert len(compose(huge, sender="r@example.org", recipients=[ANN]).as_bytes()) < 400_000
