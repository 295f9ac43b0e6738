"""The mail of a run says what happened, whatever the run was like, and cannot be abused."""

import itertools
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest

from releaser.errors import Finding
from releaser.locks.bisect import CulpritsSection
from releaser.locks.blocks import Block
from releaser.locks.lock import Change
from releaser.locks.vulnerabilities import SecuritySection, Vulnerability
from releaser.releases.blocks import FailedTestsSection, HoldsSection
from releaser.releases.journal import MailSection
from releaser.releases.leases import LeftBehind, ProcessesSection
from releaser.report import HealthCheckResult, Outcome, RunReport
from releaser.reporting.mail import compose, render_bodies
from releaser.reporting.outbox import Outbox, QueuedMail, flush
from releaser.reporting.page import page_of
from releaser.reporting.style import DAY, NIGHT, WIDEST
from releaser.reporting.subject import subject
from releaser.reporting.threads import message_id
from releaser.site.addresses import Address
from releaser.site.restart_settings import OutageSection
from releaser.site.site import Pulled
from releaser.tools.git_state import Commit
from releaser.tools.mail_transport import SmtpServer
from tests.reporting.makers import CHANGES, QUIET, STARTED
from tests.reporting.test_page import FULL, NOTHING
from tests.support.chromium import MISSING, chromium
from tests.support.guards import require
from tests.support.smtp import MailServer

ANN = Address(name="Ann", address="ann@example.org")
UPDATED = replace(
    QUIET,
    result="updated",
    headline="Updated to release r2.",
    live_changed=True,
    release="r2",
    previous="r1",
    changes=CHANGES,
)
BROKEN = replace(QUIET, result="refused", exit_code=5, headline="The tests failed.", changes=CHANGES, blame="update")
WENT_BACK = replace(UPDATED, command="rollback", release="r1", previous="r2", changes=())
TAKEN_BACK = replace(
    QUIET,
    result="rolled-back",
    exit_code=6,
    headline="health check failed: it answered 500",
    release="r2",
    previous="r1",
    steps=(
        Outcome(step="flip", status="ok"),
        Outcome(step="health check", status="failed", detail="health check failed: it answered 500"),
        Outcome(step="restart again", status="ok"),
    ),
    problems=(Finding("a", message="health check failed: it answered 500"),),
)
STILL_LIVE = replace(
    TAKEN_BACK, live_changed=True, steps=(*TAKEN_BACK.steps[:2], Outcome(step="flip back", status="failed"))
)
REFUSED = replace(
    QUIET,
    result="refused",
    exit_code=3,
    headline="/srv/mysite: the tree is not clean: x",
    problems=(Finding("a", message="/srv/mysite: the tree is not clean: x", advice="Commit it."),),
    advice="Commit it.",
)


TWO_COMMITS = Pulled(old="a", new="b", count=2)
FIX = replace(CHANGES[0], fixes=("CVE-2026-1",))
DIRECT = Change(name="pillow", old="11.1", new="11.0", bump="minor", direct=True)
PICKLE = Vulnerability(name="django", version="5.1.2", id="CVE-2026-1", summary="Pickles", link="")
FAILS_TOO = HealthCheckResult(release="r1", good=False, text="500")


def with_fix(report: RunReport, fixed: Vulnerability) -> RunReport:
    return report.with_section(SecuritySection(fixed=(fixed,)))


def arrived(
    report: RunReport, *, sender: str = "releaser@web1.example.org", recipients: Sequence[Address] = (ANN,)
) -> EmailMessage:
    """Compose the mail, and read it as its receiver does."""
    message = message_from_bytes(compose(report, sender=sender, recipients=recipients).as_bytes(), policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


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
    ("report", "said"),
    [
        (QUIET, "✓ mysite: all clear"),
        (replace(QUIET, recovered="a flip was undone", noted="b"), "! mysite: recovered from an interrupted run"),
        (replace(QUIET, noted="The tests of r1 pass again."), "! mysite: The tests of r1 pass again"),
        (QUIET.with_section(MailSection(solved=("build",))), "✓ mysite: solved, releases can be built again"),
        (replace(QUIET, noted="ledger.json was lost.", problems=(Finding("a", message="a"),)), "! mysite: a"),
        (replace(QUIET, problems=(Finding("a", message="git push failed."),)), "! mysite: git push failed"),
        (replace(QUIET, problems=(Finding("a", message="a"), Finding("a", message="b"))), "! mysite: 2 problems"),
        (replace(QUIET, exit_code=7), "! mysite: problem"),
        (UPDATED, "✓ mysite: updated django 5.1.2 → 5.2 and 2 more"),
        (replace(UPDATED, changes=(CHANGES[0], DIRECT)), "✓ mysite: updated pillow 11.1 ↓ 11.0 and 1 more"),
        (replace(UPDATED, changes=(DIRECT, FIX)), "✓ mysite: updated django 5.1.2 → 5.2 and 1 more"),
        (replace(UPDATED, changes=CHANGES[1:2]), "✓ mysite: updated a-longer-name 1.0 (new)"),
        (replace(UPDATED, changes=CHANGES[2:]), "✓ mysite: updated gone 3.0 (removed)"),
        (replace(UPDATED, changes=(), pulled=TWO_COMMITS), "✓ mysite: updated 2 new commits"),
        (replace(UPDATED, changes=()), "✓ mysite: updated"),
        (replace(UPDATED, changes=CHANGES[:1]), "✓ mysite: updated django 5.1.2 → 5.2"),
        (
            replace(UPDATED, result="updated-not-restarted", exit_code=7, changes=CHANGES[:1]),
            "! mysite: updated, not restarted, django 5.1.2 → 5.2",
        ),
        (replace(UPDATED, changes=()).with_section(MailSection(solved=("tests",))), "✓ mysite: updated, solved"),
        (
            UPDATED.with_section(CulpritsSection(culprits=("a 2",))),
            "! mysite: updated, a 2 on hold, django 5.1.2 → 5.2 and 2 mo…",
        ),
        (
            replace(UPDATED, changes=CHANGES[:1]).with_section(CulpritsSection(culprits=("a 2", "b 3"))),
            "! mysite: updated, 2 on hold, django 5.1.2 → 5.2",
        ),
        (
            with_fix(UPDATED, PICKLE),
            "✓ mysite: updated, security fix, django 5.1.2 → 5.2 and 2 m…",
        ),
        (
            replace(UPDATED, exit_code=7, problems=(Finding("a", message="git push failed"),)),
            "! mysite: updated, problem, django 5.1.2 → 5.2 and 2 more",
        ),
        (
            replace(UPDATED, exit_code=7, live_changed=False, problems=(Finding("a", message="no push"),)),
            "! mysite: no push",
        ),
        (replace(UPDATED, live_changed=False, changes=()), "✓ mysite: adopted"),
        (replace(UPDATED, rebuilt="Python 3.11.7 is 3.11.9", changes=()), "✓ mysite: rebuilt, Python 3.11.7 is 3.11.9"),
        (
            replace(BROKEN, command="rebuild", blame="before"),
            "✗ mysite: rebuild refused, tests fail without the update too",
        ),
        (replace(UPDATED, command="adopt", changes=()), "✓ mysite: adopt done"),
        (BROKEN, "✗ mysite: refused, one of 3 packages breaks the tests"),
        (replace(BROKEN, changes=CHANGES[:1]), "✗ mysite: refused, django 5.2 breaks the tests"),
        *(
            (replace(BROKEN, changes=CHANGES[:1]).with_section(FailedTestsSection(failed_tests=tests)), said)
            for tests, said in (
                (("test_a (shop.tests.T.test_a)",), "✗ mysite: refused, django 5.2 breaks test_a"),
                (("tests/test_a.py::T::test_a[x y]",), "✗ mysite: refused, django 5.2 breaks test_a[x y]"),
                (("test_a (a.T)", "test_b (a.T)"), "✗ mysite: refused, django 5.2 breaks 2 tests"),
            )
        ),
        (replace(BROKEN, changes=CHANGES[2:]), "✗ mysite: refused, the removal of gone breaks the tests"),
        (
            replace(BROKEN, changes=(), pulled=TWO_COMMITS),
            "✗ mysite: refused, 2 new commits break the tests",
        ),
        (replace(BROKEN, blame="before"), "✗ mysite: refused, tests fail without the update too"),
        (
            replace(BROKEN, blame="", steps=(Outcome(step="migrations", status="failed"),)),
            "✗ mysite: refused, migrations not applied",
        ),
        (
            replace(BROKEN, steps=(Outcome(step="django check", status="failed"),)),
            "✗ mysite: refused, one of 3 packages breaks django check",
        ),
        (
            replace(BROKEN, blame="before", steps=(Outcome(step="test live release", status="failed"),)),
            "✗ mysite: refused, tests of the live release fail",
        ),
        (
            replace(BROKEN, result="failed", exit_code=4, steps=(Outcome(step="resolve", status="failed"),)),
            "✗ mysite: failed at resolve",
        ),
        (replace(BROKEN, result="failed", exit_code=1), "✗ mysite: failed, a bug in releaser"),
        (
            replace(BROKEN, exit_code=130, steps=(Outcome(step="test", status="failed"),)),
            "✗ mysite: interrupted",
        ),
        (TAKEN_BACK, "↩ mysite: rolled back, health check failed"),
        (replace(TAKEN_BACK, answers=(FAILS_TOO,)), "✗ mysite: rolled back, PREVIOUS RELEASE FAILS TOO"),
        (replace(TAKEN_BACK, command="rollback"), "↩ mysite: rollback failed, health check failed"),
        (STILL_LIVE, "✗ mysite: FAILED RELEASE IS LIVE, health check failed"),
        (WENT_BACK, "↩ mysite: rolled back to r1"),
        (replace(WENT_BACK, release=None), "↩ mysite: rolled back"),
        (replace(WENT_BACK, release="r3"), "↩ mysite: switched to r3"),
        (replace(WENT_BACK, command="update"), "↩ mysite: rolled back to r1"),  # by a channel
        (replace(WENT_BACK, command="update", steps=(Outcome(step="seal", status="ok"),)), "✓ mysite: updated"),
        (
            replace(WENT_BACK, exit_code=7, problems=(Finding("a", message="no"),)),
            "! mysite: rolled back to r1, problem",
        ),
        (replace(WENT_BACK, result="failed", exit_code=4), "✗ mysite: rollback failed at build"),
        (replace(REFUSED, headline="b is checked out", problems=()), "✗ mysite: refused, b is checked out"),
        (replace(REFUSED, headline="/srv/mysite/uv.lock is bad"), "✗ mysite: refused, uv.lock is bad"),
        (
            replace(REFUSED, problems=(*REFUSED.problems, Finding("a", message="a"))),
            "✗ mysite: refused, the tree is not clean: x",
        ),
        (
            replace(
                REFUSED, headline="2 problems found", problems=(Finding("a", message="a"), Finding("a", message="b"))
            ),
            "✗ mysite: refused, 2 problems",
        ),
    ],
)
def test_the_subject_begins_with_the_outcome(report: RunReport, said: str) -> None:
    assert subject(replace(report, host="")) == said


@pytest.mark.parametrize("host", ["web1", "a-long-name-of-a-host-for-which-there-is-no-room"])
@pytest.mark.parametrize("project", ["shop", "a_project_with_a_very_long_name_indeed"])
@pytest.mark.parametrize("report", [UPDATED, REFUSED, TAKEN_BACK, BROKEN])
def test_the_subject_names_project_and_host_whatever_has_to_be_cut(report: RunReport, project: str, host: str) -> None:
    problem = replace(report.problems[0], message="x" * 200) if report.problems else Finding("a", "x" * 200)
    found = subject(replace(report, project=project, host=host, problems=(problem,), headline="x" * 200))
    assert len(found) <= 60
    assert found[2:].startswith(project[:19])
    assert found.endswith("]")
    assert f" [{host[:11]}" in found


@pytest.mark.parametrize(("project", "name"), [("", "/srv/mysite"), ("my\r\n\0 site", "my site")])
def test_a_project_goes_by_its_path_or_its_name_without_control_characters(project: str, name: str) -> None:
    assert subject(replace(QUIET, project=project)) == f"✓ {name}: all clear [web1]"


# --- threads ---


def test_a_mail_continues_the_threads_of_what_it_is_about() -> None:
    message = compose(BROKEN, sender="r@example.org", recipients=[ANN], references=("<a@x>", "<b@x>"))
    read = message_from_bytes(message.as_bytes(), policy=SMTP)
    assert (read["References"], read["In-Reply-To"]) == ("<a@x> <b@x>", "<b@x>")
    assert "References" not in arrived(BROKEN)


# --- headers ---


def test_the_headers() -> None:
    message = arrived(QUIET, sender="Releaser on web1 <releaser@web1.example.org>")
    assert str(message["From"]) == "Releaser on web1 <releaser@web1.example.org>"
    assert str(message["To"]) == "Ann <ann@example.org>"
    assert message["Date"].datetime == STARTED + timedelta(seconds=75)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Releaser-Run"] == "20260102-030405"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert "To" not in arrived(QUIET, recipients=())
    with pytest.raises(ValueError, match="has no @"):
        compose(QUIET, sender="releaser", recipients=[ANN])


def test_the_same_run_has_the_same_message_id() -> None:
    later = replace(QUIET, headline="told again", seconds=90.0)
    assert arrived(QUIET)["Message-ID"] == arrived(later)["Message-ID"]
    others = [{"host": "web2"}, {"run_id": "20260102-030406"}, {"path": "/srv/other"}]
    assert len({message_id(replace(QUIET, **cast("Any", other))) for other in [{}, *others]}) == 4


def test_every_message_id_is_well_formed() -> None:
    atoms = r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"
    for odd in ("", "a b\n<c>@d", "ü", "x" * 500, "..", "-", "a_b", "\udcff", "web1.example.org", "=?utf-8?q?=0A?="):
        found = message_id(replace(QUIET, host=odd, run_id=odd, path=odd))
        assert re.fullmatch(rf"<{atoms}@{atoms}>", found), odd


def test_names_outside_of_ascii_and_with_commas_arrive() -> None:
    people = [
        Address(name="Jürgen Groß", address="jg@example.org"),
        Address(name="Doe, Jane", address="jd@example.org"),
        Address(name='Bob "the" <builder>', address="bob@example.org"),
    ]
    long = "Jürgen Müller-Lüdenscheidt, der {}. seines Namens"
    many = [Address(name=long.format(number), address=f"j{number}@example.org") for number in range(40)]
    found = arrived(QUIET, recipients=people + many)["To"].addresses
    assert [one.addr_spec for one in found] == [one.address for one in people + many]
    assert [one.display_name for one in found][:3] == [one.name for one in people]


def test_names_and_subject_are_whole_for_readers_of_rfc_2047() -> None:
    names = [f"Jürgen Müller-Lüdenscheidt, der {number}. seines Namens, usw. usf." for number in range(9)]
    people = [Address(name=name, address=f"j{number}@example.org") for number, name in enumerate(names)]
    report = replace(QUIET, project="die schöne große Anwendung für Bäckereien in Köln und Düsseldorf")
    plain = message_from_bytes(compose(report, sender="r@example.org", recipients=people).as_bytes())
    decoded = {name: "".join(plain[name].splitlines()) for name in ("Subject", "To")}
    assert whole(decoded["Subject"]) == f"✓ {report.project[:19]}…: all clear [web1]"
    assert [whole(name) for name, _ in getaddresses([decoded["To"]])] == names


def whole(words: str) -> str:
    return str(make_header(decode_header(words)))


def test_a_mail_goes_through_a_real_server_and_the_outbox(smtp_server: MailServer, tmp_path: Path) -> None:
    people = [Address(name=f"Jürgen, der {number}.", address=f"j{number}@example.org") for number in range(20)]
    server, outbox = SmtpServer(host=smtp_server.host, port=smtp_server.port), Outbox(tmp_path)
    message = compose(replace(QUIET, headline="Größe"), sender="Releaser <r@example.org>", recipients=people)
    outbox.put(message, queued=True)
    assert flush(outbox, server, unkept=QueuedMail.of(message)).sent == 2
    for received in smtp_server.messages:
        assert received.recipients == tuple(one.address for one in people)
        assert received.raw.strip() == message.as_bytes().strip()
        assert content(received.message, "plain").startswith("Größe\n")


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
def test_no_header_comes_in_with_a_report_or_a_recipient(evil: str) -> None:
    recipients = [Address(name=evil, address="ann@example.org"), ANN]
    fails_at = replace(BROKEN, result="failed", exit_code=4, steps=(Outcome(step=evil, status="failed"),))
    for report in (everything_is(evil), fails_at, replace(BROKEN, project=evil), replace(BROKEN, command=evil)):
        message = compose(report, sender="r@example.org", recipients=recipients)
        assert_not_injected(message.as_bytes())
        received = arrived(report, recipients=recipients)
        # A reader that decodes the subject must not meet a line break either.
        assert len(str(received["Subject"]).splitlines()) == 1
        assert [one.addr_spec for one in received["To"].addresses] == ["ann@example.org", "ann@example.org"]


@pytest.mark.parametrize("evil", INJECTIONS[:5])
def test_a_package_name_stays_in_its_row(evil: str) -> None:
    report = replace(UPDATED, changes=(Change(name=evil, old="1", new="2", bump="major"),))
    text, shown = both(report)
    assert re.search(r"^x.*X-Evil.* +1 +2 +major$", text, re.MULTILINE)
    assert not re.search(r"^X-Evil", text, re.MULTILINE)
    assert not re.search(r"^X-Evil", shown, re.MULTILINE)


# --- the body ---


DJANGO = replace(
    CHANGES[0], link="https://docs.example.org/?a=1&b=2", fixes=("CVE-2026-1",), dragged_by=("wagtail",), direct=True
)
TWO_PROBLEMS = (
    Finding("a", message="git push failed:\n! [remote rejected]", advice="Look at the remote.\nPush by hand."),
    Finding("a", message="the disk is nearly full"),
)
LOGGED = replace(
    BROKEN,
    log_file="/var/log/releaser/20260102.log",
    advice="Fix the tests.",
    recovered="A flip was half done;\nit was undone.",
    noted="The project was moved.",
)
HELD = Block(name="celery", version="5.9", reason="was backed out on Monday")
MANY_HELD = tuple(Block(name=f"p{number}", version="2.0", reason="rolled back to r1") for number in range(23))
FACTS = ("web1", "mysite", "/srv/mysite", "20260102-030405", "2026-01-02 03:04:05+00:00", "1 min 15 s")
NOT_SO = ("Package", "Problems", "Steps", "Output", "ommits", "On hold", "Log file", "What to do", "None")
WAY_BACK = "releaser rollback"
NO_RESTART = OutageSection(restart_skipped="switched off")
NOT_RESTARTED = replace(
    UPDATED,
    result="updated-not-restarted",
    exit_code=7,
    problems=(Finding("restart-nothing", message="nothing to touch", advice="Set `restart`."),),
)


@pytest.mark.parametrize(
    ("report", "said", "unsaid"),
    [
        (QUIET, ["Nothing to update."], NOT_SO),
        (UPDATED, FACTS, ["that are not live", "Release (not live)"]),
        (
            UPDATED.with_section(NO_RESTART),
            ["Warning: Nothing was restarted (switched off): running processes stay on the earlier release until"],
            [],
        ),
        (
            UPDATED.with_section(replace(NO_RESTART, outage_seconds=1.0)),
            [],
            ["Nothing was restarted"],
        ),
        (replace(UPDATED, live_changed=False).with_section(NO_RESTART), [], ["Nothing was restarted", "Warning"]),
        (UPDATED.with_section(OutageSection(restart_skipped="")), [], ["Nothing was restarted", "Warning"]),
        (
            replace(NOT_RESTARTED, problems=(*NOT_RESTARTED.problems, *TWO_PROBLEMS)),
            ["and 2 more, but the site was not restarted",
             "Warning: The site was not restarted. Restart it now. Nothing to touch.", "Problems", "nearly full"],
            [],
        ),
        (NOT_RESTARTED, ["Warning: The site was not restarted."], ["Problems"]),
        (replace(UPDATED, previous=None), ["The live release changed to r2."], [WAY_BACK]),
        (
            replace(UPDATED, path="/srv/my site's"),
            ["The live release changed from r1 to r2.", "releaser rollback --project '/srv/my site'\"'\"'s'"],
            [],
        ),
        (replace(BROKEN, release="r2", previous="r1"), ["Live release"], ["Previous release"]),
        (
            replace(UPDATED, on_hold=(HELD,)).with_section(CulpritsSection(culprits=("celery 5.9",))),
            ["Updates try celery 5.9 again when the code changes. To try now:", "releaser update --force"],
            [],
        ),
        (BROKEN, ["The live release is unchanged.", "Package changes that are not live"], [WAY_BACK]),
        (replace(BROKEN, release="r2", previous="r1"), ["The live release is unchanged: r1."], []),
        (replace(BROKEN, live_differs=True), ["was changed, but not by releaser; see the problems."], ["unchanged"]),
        (
            replace(TAKEN_BACK, answers=(FAILS_TOO,)),
            ["r1 is live again. The previous release fails its health check, too: look at the site."],
            [],
        ),
        (WENT_BACK, ["releaser rollback r2 --project /srv/mysite"], []),
        (
            TAKEN_BACK,
            ["Release r2 went live and was rolled back; r1 is live again.", "What to do: Read the output",
             "releaser update --force", "Release (not live)"],
            ["unchanged", WAY_BACK],
        ),
        (replace(TAKEN_BACK, release=None, previous=None), ["the previous release is live again."], []),
        (
            replace(TAKEN_BACK, command="rollback", release="r1", previous="r2"),
            ["The site was switched to r1 and back to r2, which is live again.", "releaser list"],
            ["rolled back"],
        ),
        *(
            (
                replace(STILL_LIVE, command=command, advice="Repair the disk."),
                ["Release r2 went live and failed", "STILL RUNS on the failed release", "Repair the disk."],
                ["live again", "To undo this", "Release (not live)"],
            )
            for command in ("update", "rollback")
        ),
        (
            replace(UPDATED, problems=TWO_PROBLEMS),
            ["git push failed: ! [remote rejected]", "What to do: Look at the remote. Push by hand.", "nearly full"],
            [],
        ),
        (replace(UPDATED, changes=(DJANGO,)), ["fixes CVE-2026-1", "changed because of wagtail"], []),
        (replace(UPDATED, on_hold=(HELD,)), ["celery 5.9: was backed out on Monday"], []),
        (
            replace(UPDATED, on_hold=(*MANY_HELD, HELD)),
            ["23 versions (p0 2.0, p1 2.0, p2 2.0, p3 2.0, p4 2.0 and 18 more): rolled back to r1", "celery 5.9: was"],
            [],
        ),
        (
            LOGGED,
            ["/var/log/releaser/20260102.log", "Fix the tests.", "Repair of an interrupted run",
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
    text, shown = both(UPDATED)
    assert (
        "Package changes\n---------------\n"
        "Package        Old    New  Size\n"
        "django         5.1.2  5.2  minor\n"
        "a-longer-name  -      1.0  added\n"
        "gone           3.0    -    removed\n"
    ) in text
    for row in ("django 5.1.2 → 5.2 minor", "a-longer-name - → 1.0 added", "gone 3.0 → - removed"):
        assert row in " ".join(shown.split())


REFUSED_BY_TESTS = replace(
    BROKEN,
    headline="the tests failed with the new packages: this update is the cause",
    release="r2",
    previous="r1",
    changes=CHANGES[:1],
    output="FAIL: test_a (shop.tests.T.test_a)\nAssertionError: 1 is not 2\n",
    steps=(Outcome(step="test", status="failed", detail="exit code 1"),),
).with_section(FailedTestsSection(failed_tests=("test_a (shop.tests.T.test_a)",)))


def test_a_refusal_names_package_and_test_and_has_three_commands() -> None:
    text, shown = both(replace(REFUSED_BY_TESTS, path="/srv/my site"))
    assert text.startswith("Django 5.2 breaks `shop.tests.T.test_a`\n")
    assert "Django 5.2 breaks shop.tests.T.test_a" in shown
    for body in (text, shown):
        words = " ".join(body.split())
        assert (
            "The tests failed with the new packages: this update is the cause. The live release is unchanged: r1."
            in words
        )
        assert body.count("1 is not 2") == 1
        commands = [
            "/srv/my site:",
            "releaser show r2",
            "Keep django 5.1.2:",
            "releaser hold django",
            "releaser update --force",
        ]
        places = [words.index(command) for command in commands]
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("report", "commands"),
    [
        (replace(REFUSED_BY_TESTS, changes=CHANGES, release=None), ["status", "outdated", "update --force"]),
        (replace(REFUSED_BY_TESTS, changes=CHANGES[1:2]), ["show r2", "hold a-longer-name", "update --force"]),
        (replace(REFUSED_BY_TESTS, changes=(), pulled=TWO_COMMITS), ["show r2", "outdated", "update --force"]),
        (replace(REFUSED_BY_TESTS, blame="before"), []),
        (replace(REFUSED_BY_TESTS, command="rebuild"), []),
        (REFUSED, []),
        (TAKEN_BACK, []),
        (STILL_LIVE, ["rollback r1", "status"]),
    ],
)
def test_only_what_needs_a_person_has_commands(report: RunReport, commands: list[str]) -> None:
    assert re.findall(r"^    releaser (.*)$", text_of(replace(report, advice="x")), re.MULTILINE) == commands


def test_the_failure_of_the_tests_is_told_once() -> None:
    output = "FAIL: test_a\nit broke\n"
    held = replace(HELD, output=output, since="2026-01-02T03:04:06+00:00")
    for body in both(replace(REFUSED_BY_TESTS, output=output, on_hold=(held,))):
        assert body.count("it broke") == 1
        assert "celery 5.9" in body
    assert "it broke" in text_of(replace(UPDATED, on_hold=(held,)))


def test_a_rollback_lists_what_updates_skip_now() -> None:
    holds = tuple(Block(name=name, version="2.0", reason="it answered 500") for name in ("alpha", "beta"))
    by_you = Block(name="gamma", version="1.0", reason="ask Ada", by="person")
    for body in both(TAKEN_BACK.with_section(HoldsSection(holds=(*holds, by_you)))):
        skipped = body.partition("Updates skip from now on")[2].partition("On hold")[0]
        assert re.findall(r"(?:alpha|beta|gamma) \d\.\d", skipped) == ["alpha 2.0", "beta 2.0"]
        assert "releaser unhold alpha beta" in skipped
        assert body.count("alpha 2.0") == 1
        assert "gamma 1.0: ask Ada" in body
    commits = ("commit 0123456789ab (Work) was rolled back: no (since 2026-01-02)", "commit aaaa (x) breaks the tests")
    bad = replace(TAKEN_BACK, commit="0123456789abcdef").with_section(HoldsSection(commits_on_hold=commits))
    skipped, on_hold = text_of(bad).partition("Updates skip from now on")[2].split("\nOn hold\n")
    assert "(Work) was rolled back: no" in skipped
    assert "Undo: `releaser unhold 0123456789ab`" in skipped
    assert "(Work)" not in on_hold
    assert "commit aaaa" in on_hold
    many = tuple(Block(name=f"p{number:02}", version="2.0", reason="x") for number in range(25))
    text = text_of(TAKEN_BACK.with_section(HoldsSection(holds=many)))
    assert "* p19 2.0\n* and 5 more; `releaser status` lists them\n" in text
    assert "p24" in " ".join(text.split())
    assert "Updates skip" not in text_of(UPDATED)


FOOTER = ("You get this mail because `admins` names you.", "Or <b>.")


def test_the_footer_comes_last_in_both_parts() -> None:
    text, html = render_bodies(UPDATED, footer=FOOTER)
    assert text.endswith("\n--\nYou get this mail because `admins` names you.\nOr <b>.\n")
    assert html.index("<code>admins</code> names you") > html.index("About this run")
    assert "Or &lt;b&gt;." in html
    assert 'class="footer"' not in html_of(UPDATED)


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (QUIET, "The site runs on the same release as before."),
        (BROKEN, "The site runs on the same release as before."),
        (TAKEN_BACK, "The site runs on the previous release again."),
        (STILL_LIVE, "The site runs on a release that failed. Act now."),
        (
            replace(TAKEN_BACK, answers=(FAILS_TOO,)),
            "The site runs on the previous release again, which fails its health check, too. Act now.",
        ),
        (
            replace(BROKEN, live_differs=True),
            "The live release or the checkout was changed, but not by releaser; see the problems.",
        ),
        (
            replace(UPDATED, pulled=TWO_COMMITS),
            "The site runs on r2 now. a-longer-name 1.0 (new), gone 3.0 (removed); 2 new commits",
        ),
    ],
)
def test_a_list_of_mails_shows_the_consequence_for_the_site(report: RunReport, line: str) -> None:
    found = re.search(r'<body>\s*<div class="preheader" style="display: none[^>]*>(.*?)</div>', html_of(report))
    assert found is not None
    assert found[1] == line


def test_packages_are_in_groups() -> None:
    report = replace(UPDATED, changes=(*CHANGES[1:], DIRECT, replace(FIX, direct=True)))
    shown = " ".join("".join(seen_in_html(report).shown).partition("Package changes")[2].split())
    order = (
        "Security fixes django 5.1.2 → 5.2",
        "Direct dependencies pillow 11.1 ↓ 11.0",
        "Other packages a-longer-name",
    )
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert "Other packages" not in html_of(UPDATED)


@pytest.mark.parametrize(
    ("link", "label"),
    [
        ("https://docs.example.org/changelog", "changelog"),
        ("https://github.example.org/a/b/releases", "changelog"),
        ("https://docs.example.org/CHANGES.rst", "changelog"),
        ("https://changes.example.org/a", "home page"),
        ("https://a.example.org", "home page"),
    ],
)
def test_a_link_says_where_it_leads(link: str, label: str) -> None:
    html = html_of(replace(UPDATED, changes=(replace(CHANGES[0], link=link),)))
    assert f'<a class="link" href="{link}">{label}</a>' in html


@pytest.mark.parametrize(
    ("found", "first"),
    [
        ("the disk is full", "The disk is full"),
        ("health: no", "Health: no"),
        ("/srv/mysite is gone", "/srv/mysite is gone"),
        ("uv.lock is bad", "uv.lock is bad"),
        ("git push failed", "git push failed"),
        ("`a` failed", "`a` failed"),
        ("x.example.org does not answer", "x.example.org does not answer"),
    ],
)
def test_a_headline_begins_like_a_sentence_and_keeps_names_and_paths(found: str, first: str) -> None:
    text, html = text_of(replace(QUIET, headline=found)), html_of(replace(QUIET, headline=found))
    assert text.startswith(f"{first}\n")
    assert "text-transform" not in html


def test_ids_of_releases_and_commits_are_small() -> None:
    html = html_of(replace(UPDATED, release="20260102T030405Z", previous="20260101T030405Z-2"))
    for name in ("20260102T030405Z", "20260101T030405Z-2"):
        assert f'<span class="id">{name}</span>' in html
    html = html_of(replace(UPDATED, pulled=Pulled(old="a" * 40, new="b" * 40, count=1), commits=COMMITS[1:2]))
    assert '<span class="id">aaaaaaaaaaaa</span>..<span class="id">bbbbbbbbbbbb</span></h2>' in html
    assert '<span class="id">000000000000</span> Work 1 (Ada)' in html


def test_a_package_leads_to_its_page_in_html_and_shows_it_in_text() -> None:
    report = replace(UPDATED, changes=(DJANGO, *CHANGES[1:]))
    assert '<a class="link" href="https://docs.example.org/?a=1&amp;b=2">home page</a>' in html_of(report)
    assert f"\n    {DJANGO.link}\n" in text_of(report)


def test_addresses_and_commands_in_sentences_are_links_and_code() -> None:
    advice = "Ask (https://example.org/a?b=1&c=2), or https://me:secret@example.org/; `releaser hold <x>`."
    html = html_of(replace(BROKEN, advice=advice))
    assert '(<a href="https://example.org/a?b=1&amp;c=2">https://example.org/a?b=1&amp;c=2</a>)' in html
    assert "<code>releaser hold &lt;x&gt;</code>." in html
    assert html.count("<a ") == 1


def test_what_fixes_a_vulnerability_leads_to_it() -> None:
    fixed = replace(PICKLE, link="https://osv.example.org/CVE-2026-1")
    html = html_of(with_fix(replace(UPDATED, changes=(DJANGO,)), fixed))
    assert 'fixes <a href="https://osv.example.org/CVE-2026-1">CVE-2026-1</a>' in html


def test_html_is_for_phones_and_nights_and_gets_nothing_from_elsewhere() -> None:
    html = html_of(everything_is("x"))
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert not re.search(r"<(table|img|link|script|iframe)\b|url\(|@import|\bsrc=", html)
    assert (
        html.index("<details>")
        < html.index("<h2>Steps")
        < html.index("About this run")
        < html.index("</details>\n</div>")
    )


def test_the_end_of_the_output_is_seen_and_the_rest_unfolds() -> None:
    html = html_of(replace(BROKEN, output="".join(f"line {number}\n" for number in range(100))))
    assert "<summary>85 lines before</summary><pre>\nline 0\n" in html
    assert "<pre>\nline 85\n" in html
    assert "lines before" not in html_of(replace(BROKEN, output="a\nb"))


def test_the_text_has_no_line_that_is_too_long() -> None:
    words = "some words and then some more of them " * 9
    report = replace(everything_is(words), path="/srv/" + "long-name/" * 12, started_at=STARTED)
    lines = text_of(report).splitlines()
    too_long = [line for line in lines if len(line) > WIDEST and " " in line.strip()]
    assert [line for line in too_long if not line.startswith("  releaser rollback ")] == []


def test_the_difference_of_the_locks_is_attached() -> None:
    difference = "--- a/uv.lock\n+++ b/uv.lock\n-größer\n+\x1b[31mx" + "y" * 2000 + "\n"
    made = [compose(UPDATED, sender="r@example.org", recipients=[ANN], lock_diff=difference) for _ in range(2)]
    assert made[0].as_bytes() == made[1].as_bytes()
    message = message_from_bytes(made[0].as_bytes(), policy=SMTP)
    assert isinstance(message, EmailMessage)
    (attached,) = message.iter_attachments()
    assert (attached.get_content_type(), attached.get_filename()) == ("text/x-diff", "uv.lock.diff")
    assert attached.get_content().replace("\r\n", "\n") == difference.replace("\x1b[31m", "")
    assert content(message, "plain").startswith("Django 5.1.2 → 5.2 and 2 more\n")
    assert "<h1" in content(message, "html")


def brightness(colour: str) -> float:
    """Return the relative luminance, as WCAG 2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colours", [DAY, NIGHT])
def test_every_text_can_be_read_on_what_it_stands_on(colours: dict[str, str]) -> None:
    names = ("green", "amber", "red", "blue")
    pairs = [
        *((words, ground) for words in ("text", "muted", "link", *names) for ground in ("page", "box")),
        *(("on-badge", badge) for badge in names),
    ]
    for words, ground in pairs:
        low, high = sorted((brightness(colours[words]), brightness(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (words, ground)  # WCAG AA


# How many dots each empty cell has at its sides, without those before it.
HANGING_DOTS = """[...new Set([...document.querySelectorAll("td:empty")].map(
    cell => [[cell, "::before"], [cell.previousElementSibling, "::after"]]
        .filter(where => getComputedStyle(...where).content.includes("·")).length))]"""


@pytest.mark.slow
def test_nothing_is_wider_than_a_phone() -> None:
    require(shutil.which("chromium"), MISSING)
    long = replace(
        everything_is("x" * 300), path="/srv/" + "y" * 200, advice="`" + "z" * 200 + "`", started_at=STARTED,
        headline="https://example.org/" + "a" * 200,
    ).with_section(MailSection(solved=("build",)))  # fmt: skip
    with chromium() as browser:
        for report in (UPDATED, BROKEN, REFUSED, long):
            browser.show(html_of(report).replace("<details", "<details open"), width=375)
            assert browser.evaluate("document.documentElement.scrollWidth") == 375
            assert browser.evaluate("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollWidth))") <= 375
        for found, width, dark in itertools.product((NOTHING, FULL), (375, 1200), (False, True)):
            browser.show(page_of(found), width=width, dark=dark)
            assert browser.evaluate("document.documentElement.scrollWidth") == width
            colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            assert colour == "rgb({}, {}, {})".format(*bytes.fromhex((NIGHT if dark else DAY)["page"][1:]))
        browser.show(page_of(FULL).replace("</td></tr>", "</td><td></td></tr>"), width=375)
        assert browser.evaluate(HANGING_DOTS) == [0]
        browser.show(html_of(UPDATED), width=375, dark=True)
        colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour == "rgb({}, {}, {})".format(*bytes.fromhex(NIGHT["page"][1:]))


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x.example.org/\"onclick='x'", "//example.org"])
def test_what_is_no_link_to_a_page_is_in_no_mail(link: str) -> None:
    report = replace(UPDATED, changes=(replace(CHANGES[0], link=link),))
    assert "<a " not in html_of(report)
    assert link not in text_of(report)


@pytest.mark.parametrize("report", [REFUSED, replace(TAKEN_BACK, advice="Commit it.")])
def test_the_only_problem_and_its_advice_are_told_once(report: RunReport) -> None:
    for body in both(report):
        shown = body.replace(subject(report), "", 1)  # the title of the HTML
        assert shown.lower().count(report.headline.lower()) == 1
        assert shown.count("Commit it.") == 1
        assert "Problems" not in shown


def test_the_problem_that_tells_more_than_the_headline_takes_its_place() -> None:
    problems = (
        Finding("a", message="git push failed: denied by the hook", advice="Ask the admin."),
        Finding("a", message="the disk is nearly full"),
        Finding("a", message="the disk is nearly full"),
    )
    report = replace(BROKEN, exit_code=4, headline="git push failed", problems=problems, advice="Ask the admin.")
    text = text_of(report)
    assert text.startswith("git push failed: denied by the hook\n")
    assert [text.count(words) for words in ("git push failed", "Ask the admin.", "disk is nearly full")] == [1, 1, 1]


def test_what_matters_most_comes_first() -> None:
    report = replace(
        BROKEN,
        problems=(Finding("a", message="a problem"),),
        on_hold=(HELD,),
        pulled=Pulled(old="a", new="b", count=1),
        steps=(Outcome(step="test", status="failed", detail="red"),),
        advice="Mend them.",
        output="the failing output",
    )
    order = (
        "The tests failed.", "The live release", "What to do", "a problem", "Package changes", "Commits that failed",
        "On hold", "Steps", "About this run",
    )  # fmt: skip
    text, shown = both(report)
    assert text.index("On hold") < text.index("the failing output") < text.index("Steps")
    assert shown.index("a problem") < shown.index("the failing output") < shown.index("Package changes")
    for body in (text, shown):
        start = body.index("The tests failed.")
        places = [body.index(words, start) for words in order]
        assert places == sorted(places)


COMMITS = tuple(Commit(id=f"{number:040x}", subject=f"Work {number}", author="Ada") for number in range(100))
TRIED = "Commits that failed and are not live"


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (UPDATED, "Commits that went live"),
        (replace(UPDATED, exit_code=7), "Commits that went live"),
        (STILL_LIVE, "Commits that went live"),
        (BROKEN, TRIED),
        (REFUSED, TRIED),
        (TAKEN_BACK, TRIED),
        (replace(BROKEN, live_changed=True), "New commits"),  # as of a symlink that was repaired before
        (replace(QUIET, recovered="x"), "New commits"),  # which came in, without a release
    ],
)
def test_it_is_said_whether_the_commits_came_in(report: RunReport, title: str) -> None:
    pulled = Pulled(old="a" * 40, new="b" * 40, count=2)
    for body in both(replace(report, changes=report.changes[:1], pulled=pulled, commits=COMMITS[:2])):
        assert f"{title} (2): {'a' * 12}..{'b' * 12}" in body
        assert len(re.findall(r"ommits[a-z ]* \(", body)) == 1
        assert f"{COMMITS[1].id[:12]} Work 1 (Ada)" in body
        assert "more" not in body
    assert f"\n{title}\n---" in text_of(replace(report, commits=COMMITS[:1]))


def test_code_that_went_back_is_named_although_no_commit_is_new() -> None:
    for body in both(replace(UPDATED, pulled=Pulled(old="a" * 40, new="b" * 40, count=0), commits=())):
        assert f"{'a' * 12}..{'b' * 12}" in body
        assert "none: an earlier commit of the branch" in body


@pytest.mark.parametrize(("count", "rest"), [(20, 0), (21, 1)])
def test_of_many_commits_it_is_said_how_many_more_there_are(count: int, rest: int) -> None:
    report = replace(UPDATED, changes=(), pulled=Pulled(old="a", new="b", count=count), commits=COMMITS[:count])
    for body in both(report):
        assert "Work 19 (Ada)" in body
        assert "Work 20 (Ada)" not in body
        assert ("more" in body) == bool(rest)
        assert f"and {rest} more" in body or not rest


LATE = "2026-11-19T03:00:00+00:00"


@pytest.mark.parametrize(
    ("by", "since", "reason", "line"),
    [
        ("rollback", LATE, "rolled back", "* alpha 2.0: rolled back (since 2026-11-19)"),
        ("tests", LATE, "exit code 1", "* alpha 2.0: exit code 1 (on hold by the tests since 2026-11-19)"),
        ("person", LATE, "", "* alpha 2.0: on hold by you since 2026-11-19"),
        ("person", "", "ask Ada", "* alpha 2.0: ask Ada (on hold by you)"),
        ("policy", "", "`upgrade` keeps it out", "* alpha 2.0: `upgrade` keeps it out"),
    ],
)
def test_of_what_is_held_back_it_is_said_by_what_and_since_when(by: str, since: str, reason: str, line: str) -> None:
    held = Block(name="alpha", version="2.0", reason=reason, by=by, since=since)
    assert f"\n{line}\n" in text_of(replace(UPDATED, on_hold=(held,)))


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
    left = (LeftBehind(release=evil, pid=1, user=evil, command=evil, since=evil),)
    fixed = (Vulnerability(name=evil, version=evil, id=evil, summary=evil, link=evil),)
    processes = ProcessesSection(left_behind=left)
    security = SecuritySection(fixed=fixed, audit="unknown", audit_reason=evil)
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
        on_hold=(Block(name=evil, version=evil, reason=evil, since=LATE, output=evil, tests=(evil,)),),
        answers=(HealthCheckResult(release=evil, good=False, text=evil, body=evil),),
        sections={type(one): one for one in (processes, security)},
        pulled=Pulled(old=evil, new=evil, count=1),
        commits=(Commit(id=evil, subject=evil, author=evil),),
        steps=(Outcome(step=evil, status="failed", detail=evil),),
        problems=(Finding("a", message=evil, advice=evil),),
        blame="update",
        output=evil,
        advice=evil,
        log_file=evil,
        recovered=evil,
        noted=evil,
    )  # fmt: skip


def test_markup_is_escaped_in_html_and_left_as_it_is_in_text_and_is_no_template() -> None:
    reader, text = seen_in_html(everything_is(EVERYWHERE)), text_of(everything_is(EVERYWHERE))
    assert "script" not in reader.elements
    assert "".join(reader.shown).count(EVERYWHERE) >= 20
    assert text.count(EVERYWHERE) >= 20
    assert "&lt;" not in text
    for body in both(everything_is("{{ 7 * 7 }}{% raw %}")):
        assert "{{ 7 * 7 }}" in body
        assert "49" not in body


def test_no_dirt_gets_through_anywhere() -> None:
    message = arrived(everything_is("a\0b\x1b[31mred\x1b[0m\udcff\ud800a\u2028b\x85c\x1b]0;t\x07"))
    for kind in ("plain", "html"):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", content(message, kind))


def test_enormous_facts_make_no_enormous_mail() -> None:
    huge = replace(
        everything_is("x" * 100_000),
        path="/srv/mysite",
        changes=CHANGES,
        problems=(Finding("a", message="m\n" * 100_000, advice="a" * 10**5),),
    )
    assert len(compose(huge, sender="r@example.org", recipients=[ANN]).as_bytes()) < 400_000
