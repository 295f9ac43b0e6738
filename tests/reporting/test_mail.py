"""The mail of a run says what happened, whatever the run was like, and cannot be abused."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from html import unescape
from pathlib import Path
from typing import Any, cast

import pytest

from releaser.errors import Finding
from releaser.locks.blocks import Block, CulpritsSection
from releaser.locks.changes import Change
from releaser.locks.vulnerabilities import SecuritySection, Vulnerability
from releaser.releases.blocks import FailedTestsSection, HoldsSection
from releaser.releases.leases import LeftBehind, ProcessesSection
from releaser.report import HealthCheckResult, Outcome, RunReport
from releaser.reporting.mail import compose, render_bodies
from releaser.reporting.outbox import Outbox, QueuedMail, flush
from releaser.reporting.style import DAY, NIGHT, WIDEST
from releaser.reporting.subject import subject
from releaser.site.addresses import Address
from releaser.site.restart_settings import OutageSection
from releaser.site.site import Pulled
from releaser.tools.git_state import Commit
from releaser.tools.mail_transport import SmtpServer
from tests.reporting.makers import (
    BROKEN,
    CHANGES,
    QUIET,
    REFUSED,
    ROLLED_BACK,
    STARTED,
    STILL_LIVE,
    UPDATED,
    WENT_BACK,
    failed,
    findings,
)
from tests.support.smtp import MailServer

ANN = Address(name="Ann", address="ann@example.org")
TWO_COMMITS = Pulled(old="a", new="b", count=2)
ILL_BEFORE = (HealthCheckResult(release="r1", good=False, text="500"),)


def arrived(report: RunReport, **options: Any) -> EmailMessage:
    """Compose the mail, and read it as its receiver does."""
    data = composed(report, **options)
    message = message_from_bytes(data, policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


def composed(report: RunReport, **options: Any) -> bytes:
    return compose(report, **{"sender": "r@example.org", "recipients": [ANN], **options}).as_bytes()


def content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return cast("str", part.get_content()).replace("\r\n", "\n")


def text_of(report: RunReport) -> str:
    return content(arrived(report), "plain")


def html_of(report: RunReport) -> str:
    return content(arrived(report), "html")


def both(report: RunReport) -> tuple[str, str]:
    """Give the text, and what is shown of the HTML."""
    return text_of(report), without_tags(html_of(report))


def without_tags(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html))


def assert_in_order(text: str, *parts: str) -> None:
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


# --- headers ---


def test_the_headers() -> None:
    message = arrived(QUIET, sender="Releaser on web1 <releaser@web1.example.org>")
    assert str(message["From"]) == "Releaser on web1 <releaser@web1.example.org>"
    assert str(message["To"]) == "Ann <ann@example.org>"
    assert message["Date"].datetime == STARTED + timedelta(seconds=75)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Releaser-Run"] == "20260102-030405"
    assert message["References"] is None
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert "To" not in arrived(QUIET, recipients=())
    continued = arrived(BROKEN, references=("<a@x>", "<b@x>"))
    assert (continued["References"], continued["In-Reply-To"]) == ("<a@x> <b@x>", "<b@x>")
    with pytest.raises(ValueError, match="has no @"):
        compose(QUIET, sender="releaser", recipients=[ANN])


def test_names_and_subject_are_whole_for_every_reader() -> None:
    long = "Jürgen Müller-Lüdenscheidt, der {}. seines Namens, usw. usf."
    names = ["Jürgen Groß", "Doe, Jane", 'Bob "the" <builder>', *map(long.format, range(40))]
    people = [Address(name=name, address=f"j{number}@example.org") for number, name in enumerate(names)]
    report = replace(QUIET, project="die schöne große Anwendung für Bäckereien in Köln und Düsseldorf")
    found = arrived(report, recipients=people)["To"].addresses
    assert [one.addr_spec for one in found] == [one.address for one in people]
    assert [one.display_name for one in found][:3] == names[:3]
    plain = message_from_bytes(composed(report, recipients=people))  # for readers of RFC 2047 alone
    title, to = ("".join(plain[name].splitlines()) for name in ("Subject", "To"))
    assert decoded(title) == f"✓ {report.project[:19]}…: all clear [web1]"
    assert [decoded(name) for name, _ in getaddresses([to])] == names


def decoded(words: str) -> str:
    return str(make_header(decode_header(words)))


def test_a_mail_goes_through_a_real_server_and_the_outbox(smtp_server: MailServer, tmp_path: Path) -> None:
    people = [Address(name=f"Jürgen, der {number}.", address=f"j{number}@example.org") for number in range(60)]
    server, outbox = SmtpServer(host=smtp_server.host, port=smtp_server.port), Outbox(path=tmp_path)
    message = compose(replace(QUIET, headline="Größe"), sender="Releaser <r@example.org>", recipients=people)
    outbox.put(message, queued=True)
    assert flush(outbox, server, unkept=QueuedMail.of(message)).sent == 2
    for received in smtp_server.messages:
        assert received.recipients == tuple(one.address for one in people)
        assert received.raw.strip() == message.as_bytes().strip()
        assert content(received.message, "plain").startswith("Größe\n")


@pytest.mark.parametrize("output", ["", "ü" * 5000 + "\n.\nFrom me\n", "x" * 5000])
def test_nothing_but_ascii_and_short_lines_goes_over_the_wire(output: str) -> None:
    data = composed(replace(BROKEN, host="wéb", headline="Größe", output=output))
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")


def test_the_difference_of_the_locks_is_attached() -> None:
    difference = "--- a/uv.lock\n+++ b/uv.lock\n-größer\n+\x1b[31mx" + "y" * 2000 + "\n"
    assert composed(UPDATED, lock_diff=difference) == composed(UPDATED, lock_diff=difference)
    message = arrived(UPDATED, lock_diff=difference)
    (attached,) = message.iter_attachments()
    assert (attached.get_content_type(), attached.get_filename()) == ("text/x-diff", "uv.lock.diff")
    assert attached.get_content().replace("\r\n", "\n") == difference.replace("\x1b[31m", "")
    assert content(message, "plain").startswith("Django 5.1.2 → 5.2 and 2 more\n")
    assert "<h1" in content(message, "html")


# --- the body ---


DJANGO = replace(
    CHANGES[0], link="https://docs.example.org/?a=1&b=2", fixes=("CVE-2026-1",), dragged_by=("wagtail",), direct=True
)
HELD = Block(name="celery", version="5.9", reason="was backed out on Monday")
MANY_HELD = tuple(Block(name=f"p{number}", version="2.0", reason="rolled back to r1") for number in range(23))
PUSH = Finding("a", message="git push failed:\n! [remote rejected]", advice="Look at the remote.\nPush by hand.")
TWO_PROBLEMS = (PUSH, Finding("a", message="the disk is nearly full"))
NOT_RESTARTED = replace(
    UPDATED,
    result="updated-not-restarted",
    exit_code=7,
    problems=(Finding("restart-nothing", message="nothing to touch", advice="Set `restart`."),),
)
SKIPPED = OutageSection(restart_skipped="switched off")
NOT_SO = ("Package", "Problems", "Steps", "Output", "ommits", "On hold", "Log file", "What to do", "None")
WAY_BACK = "releaser rollback"


@pytest.mark.parametrize(
    ("report", "said", "unsaid"),
    [
        (QUIET, ["Nothing to update."], NOT_SO),
        (UPDATED, ["web1", "mysite", "/srv/mysite", "20260102-030405", "2026-01-02 03:04:05+00:00", "1 min 15 s"],
            ["that are not live", "Release (not live)", "Warning", "Updates skip"]),
        (UPDATED.with_section(SKIPPED),
            ["Warning: Nothing was restarted (switched off): running processes stay on the earlier release until"], []),
        (UPDATED.with_section(replace(SKIPPED, outage_seconds=1.0)), [], ["Nothing was restarted"]),
        (replace(UPDATED, live_changed=False).with_section(SKIPPED), [], ["Nothing was restarted", "Warning"]),
        (replace(NOT_RESTARTED, problems=(*NOT_RESTARTED.problems, *TWO_PROBLEMS)),
            ["and 2 more, but the site was not restarted",
            "Warning: The site was not restarted. Restart it now. Nothing to touch.", "Problems", "nearly full"], []),
        (NOT_RESTARTED, ["Warning: The site was not restarted."], ["Problems"]),
        (replace(UPDATED, previous=None), ["The live release changed to r2."], [WAY_BACK]),
        (replace(UPDATED, path="/srv/my site's"), ["The live release changed from r1 to r2.",
            "releaser rollback --project '/srv/my site'\"'\"'s'"], []),
        (WENT_BACK, ["releaser rollback r2 --project /srv/mysite"], []),
        (BROKEN, ["The live release is unchanged.", "Package changes that are not live"], [WAY_BACK]),
        (replace(BROKEN, release="r2", previous="r1"), ["The live release is unchanged: r1.", "Live release"],
            ["Previous release"]),
        (replace(BROKEN, live_differs=True), ["was changed, but not by releaser; see the problems."], ["unchanged"]),
        (ROLLED_BACK, ["Release r2 went live and was rolled back; r1 is live again.", "What to do: Read the output",
            "releaser update --force", "Release (not live)"], ["unchanged", WAY_BACK]),
        (replace(ROLLED_BACK, release=None, previous=None), ["the previous release is live again."], []),
        (replace(ROLLED_BACK, answers=ILL_BEFORE),
            ["r1 is live again. The previous release also fails its health check: look at the site."], []),
        (replace(ROLLED_BACK, command="rollback", release="r1", previous="r2"),
            ["The site was switched to r1 and back to r2, which is live again.", "releaser list"], ["rolled back"]),
        *(
            (
                replace(STILL_LIVE, command=command, advice="Repair the disk."),
                ["Release r2 went live and failed", "STILL RUNS on the failed release", "Repair the disk."],
                ["live again", "To undo this", "Release (not live)"],
            )
            for command in ("update", "rollback")
        ),
        (replace(UPDATED, problems=TWO_PROBLEMS), ["git push failed: ! [remote rejected]",
            "What to do: Look at the remote. Push by hand.", "nearly full"], []),
        (replace(UPDATED, changes=(DJANGO,)), ["fixes CVE-2026-1", "changed because of wagtail"], []),
        (replace(UPDATED, on_hold=(*MANY_HELD, HELD)),
            ["23 versions (p0 2.0, p1 2.0, p2 2.0, p3 2.0, p4 2.0 and 18 more): rolled back to r1",
            "celery 5.9: was backed out on Monday"], []),
        (replace(UPDATED, on_hold=(HELD,)).with_section(CulpritsSection(culprits=("celery 5.9",))),
            ["Updates try celery 5.9 again when the code changes. To try now:", "releaser update --force"], []),
        (replace(BROKEN, log_file="/var/log/1.log", advice="Fix the tests.", recovered="A;\nb.", noted="It."),
            ["/var/log/1.log", "Fix the tests.", "Repair of an interrupted run", "A; b.", "Since the last run:", "It."],
            []),
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


SAME = "The site runs on the same release as before."
AGAIN = "The site runs on the previous release again"


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (QUIET, SAME),
        (BROKEN, SAME),
        (ROLLED_BACK, f"{AGAIN}."),
        (replace(ROLLED_BACK, answers=ILL_BEFORE), f"{AGAIN}, which also fails its health check. Act now."),
        (STILL_LIVE, "The site runs on a release that failed. Act now."),
        (replace(BROKEN, live_differs=True),
            "The live release or the checkout was changed, but not by releaser; see the problems."),
        (replace(UPDATED, pulled=TWO_COMMITS),
            "The site runs on r2 now. a-longer-name 1.0 (new), gone 3.0 (removed); 2 new commits"),
    ],
)  # fmt: skip
def test_a_list_of_mails_shows_the_consequence_for_the_site(report: RunReport, line: str) -> None:
    found = re.findall(r'<body>\s*<div class="preheader" style="display: none[^>]*>(.*?)</div>', html_of(report))
    assert found == [line]


@pytest.mark.parametrize("report", [REFUSED, replace(ROLLED_BACK, advice="Commit it.")])
def test_the_only_problem_and_its_advice_are_told_once(report: RunReport) -> None:
    for body in both(report):
        shown = body.replace(subject(report), "", 1)  # the title of the HTML
        assert shown.lower().count(report.headline.lower()) == 1
        assert shown.count("Commit it.") == 1
        assert "Problems" not in shown


def test_what_matters_most_comes_first() -> None:
    report = replace(
        BROKEN,
        problems=findings("a problem"),
        on_hold=(HELD,),
        pulled=Pulled(old="a", new="b", count=1),
        steps=failed("test", detail="red"),
        advice="Mend them.",
        output="the failing output",
    )
    order = ("The tests failed.", "The live release", "What to do", "a problem", "Package changes",
             "Commits that failed", "On hold", "Steps", "About this run")  # fmt: skip
    text, shown = both(report)
    assert_in_order(text, "On hold", "the failing output", "Steps")
    assert_in_order(shown, "a problem", "the failing output", "Package changes")
    for body in (text, shown):
        assert_in_order(body[body.index("The tests failed.") :], *order)


def test_the_footer_comes_last_in_both_parts() -> None:
    text, html = render_bodies(UPDATED, footer=("You get this mail because `admins` names you.", "Or <b>."))
    assert text.endswith("\n--\nYou get this mail because `admins` names you.\nOr <b>.\n")
    assert_in_order(html, "About this run", "<code>admins</code> names you", "Or &lt;b&gt;.")
    assert 'class="footer"' not in html_of(UPDATED)


# --- what failed, and what to do ---


REFUSED_BY_TESTS = replace(
    BROKEN,
    headline="the tests failed with the new packages: this update is the cause",
    release="r2",
    previous="r1",
    changes=CHANGES[:1],
    output="FAIL: test_a (shop.tests.T.test_a)\nAssertionError: 1 is not 2\n",
    steps=failed("test", detail="exit code 1"),
).with_section(FailedTestsSection(failed_tests=("test_a (shop.tests.T.test_a)",)))


def test_a_refusal_names_package_and_test_and_has_three_commands() -> None:
    report = replace(REFUSED_BY_TESTS, path="/srv/my site")
    assert text_of(report).startswith("Django 5.2 breaks `shop.tests.T.test_a`\n")
    for body in both(report):
        words = " ".join(body.replace("`", "").split())
        assert "Django 5.2 breaks shop.tests.T.test_a" in words
        assert f"T{report.headline[1:]}. The live release is unchanged: r1." in words
        assert body.count("1 is not 2") == 1
        assert_in_order(
            words, "/srv/my site:", "releaser show r2", "Keep django 5.1.2:", "releaser hold django",
            "releaser update --force",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("report", "commands"),
    [
        (replace(REFUSED_BY_TESTS, changes=CHANGES, release=None), ["status", "outdated", "update --force"]),
        (replace(REFUSED_BY_TESTS, changes=CHANGES[1:2]), ["show r2", "hold a-longer-name", "update --force"]),
        (replace(REFUSED_BY_TESTS, changes=(), pulled=TWO_COMMITS), ["show r2", "outdated", "update --force"]),
        (replace(REFUSED_BY_TESTS, blame="before"), []),
        (replace(REFUSED_BY_TESTS, command="rebuild"), []),
        (REFUSED, []),
        (ROLLED_BACK, []),
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


def skipped(**holds: Any) -> tuple[str, str]:
    """Return what a mail about an automatic rollback says that updates skip now, and the rest."""
    report = replace(ROLLED_BACK, commit="0123456789abcdef").with_section(HoldsSection(**holds))
    rest, on_hold = text_of(report).partition("Updates will skip")[2].partition("\nOn hold\n")[::2]
    return rest, on_hold


def test_a_rollback_lists_what_updates_skip_now() -> None:
    by_rollback = tuple(Block(name=name, version="2.0", reason="it answered 500") for name in ("alpha", "beta"))
    by_you = Block(name="gamma", version="1.0", reason="ask Ada", by="person")
    rest, on_hold = skipped(holds=(*by_rollback, by_you))
    assert re.findall(r"(?:alpha|beta|gamma) \d\.\d", rest) == ["alpha 2.0", "beta 2.0"]
    assert "releaser unhold alpha beta" in rest
    assert "gamma 1.0: ask Ada" in on_hold
    assert "alpha 2.0" not in on_hold
    commits = ("commit 0123456789ab (Work) was rolled back: no (since 2026-01-02)", "commit aaaa (x) breaks the tests")
    rest, on_hold = skipped(commits_on_hold=commits)
    assert "(Work) was rolled back: no" in rest
    assert "Undo: `releaser unhold 0123456789ab`" in rest
    assert "(Work)" not in on_hold
    assert "commit aaaa" in on_hold
    rest, _ = skipped(holds=tuple(Block(name=f"p{number:02}", version="2.0", reason="x") for number in range(25)))
    assert "* p19 2.0\n* and 5 more; `releaser status` lists them\n" in rest
    assert "p24" in rest


def test_the_steps_with_their_times() -> None:
    steps = (Outcome(step="flip", status="skipped"), Outcome(step="test", status="failed", detail="red", seconds=754.6))
    text, shown = both(replace(BROKEN, steps=steps))
    assert "Step  Status   Time         Detail\nflip  skipped  0.0 s\ntest  failed   12 min 35 s  red\n" in text
    assert "12 min 35 s" in shown


def test_the_end_of_the_output_is_seen_and_the_rest_unfolds() -> None:
    html = html_of(replace(BROKEN, output="".join(f"line {number}\n" for number in range(100))))
    assert "<summary>85 lines before</summary><pre>\nline 0\n" in html
    assert "<pre>\nline 85\n" in html
    assert "lines before" not in html_of(replace(BROKEN, output="a\nb"))
    long = "the first line\n" + "\x1b[31mnoise\x1b[0m\n" * 50_000 + "\0def f():\n    return 1\n\n  <- here"
    for body in both(replace(BROKEN, output=long)):
        assert "the first line" in body
        assert "def f():\n    return 1\n\n  <- here" in body
        assert "cut ...]" in body
        assert not {"\x1b", "\0"} & {*body}
        assert len(body) < 20_000


# --- package changes and commits ---


def test_package_changes_are_a_table_and_in_html_groups() -> None:
    text, shown = both(UPDATED)
    rows = [
        "django         5.1.2  5.2  minor",
        "a-longer-name  -      1.0  added",
        "gone           3.0    -    removed",
    ]
    assert "\n".join(["Package changes", "-" * 15, "Package        Old    New  Size", *rows]) in text
    for row in ("django 5.1.2 → 5.2 minor", "a-longer-name - → 1.0 added", "gone 3.0 → - removed"):
        assert row in " ".join(shown.split())
    assert "Other packages" not in shown
    downgrade = Change(name="pillow", old="11.1", new="11.0", bump="minor", direct=True)
    grouped = without_tags(html_of(replace(UPDATED, changes=(*CHANGES[1:], downgrade, DJANGO))))
    groups = ("Security fixes django 5.1.2 → 5.2", "Direct dependencies pillow 11.1 ↓ 11.0", "Other packages a-long")
    assert_in_order(" ".join(grouped.partition("Package changes")[2].split()), *groups)


@pytest.mark.parametrize(
    ("link", "labels"),
    [
        ("https://docs.example.org/changelog", ["changelog"]),
        ("https://github.example.org/a/b/releases", ["changelog"]),
        ("https://docs.example.org/CHANGES.rst", ["changelog"]),
        ("https://changes.example.org/a", ["home page"]),
        ("https://a.example.org", ["home page"]),
        ("javascript:alert(1)", []),
        ("https://x.example.org/\"onclick='x'", []),
        ("//example.org", []),
    ],
)
def test_a_package_leads_to_its_page_in_html_and_shows_it_in_text(link: str, labels: list[str]) -> None:
    report = replace(UPDATED, changes=(replace(CHANGES[0], link=link), *CHANGES[1:]))
    html = html_of(report)
    assert re.findall(rf'<a class="link" href="{re.escape(link)}">(.*?)</a>', html) == labels
    assert html.count("<a ") == len(labels)
    assert (f"\n    {link}\n" in text_of(report)) is bool(labels)


def test_sentences_and_fixes_have_links_and_ids_of_releases_and_commits_are_small() -> None:
    fixed = Vulnerability(name="django", version="5.1.2", id="CVE-2026-1", link="https://osv.example.org/CVE-2026-1")
    report = replace(
        UPDATED,
        release="20260102T030405Z",
        changes=(DJANGO,),
        pulled=Pulled(old="a" * 40, new="b" * 40, count=1),
        commits=COMMITS[1:2],
        problems=findings("a", advice="Ask `releaser status`, or https://example.org/?b=1&c=2."),
    )
    html = html_of(report.with_section(SecuritySection(fixed=(fixed,))))
    for part in (
        '<span class="id">20260102T030405Z</span>',
        '<span class="id">aaaaaaaaaaaa</span>..<span class="id">bbbbbbbbbbbb</span></h2>',
        '<span class="id">000000000000</span> Work 1 (Ada)',
        'fixes <a href="https://osv.example.org/CVE-2026-1">CVE-2026-1</a>',
        'href="https://docs.example.org/?a=1&amp;b=2"',
        'Ask <code>releaser status</code>, or <a href="https://example.org/?b=1&amp;c=2">',
    ):
        assert part in html


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
        (ROLLED_BACK, TRIED),
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


@pytest.mark.parametrize(
    ("count", "said", "unsaid"),
    [
        (0, ["none: an earlier commit of the branch"], []),  # code that went back
        (20, ["Work 19 (Ada)"], ["Work 20 (Ada)", "more"]),
        (21, ["Work 19 (Ada)", "and 1 more"], ["Work 20 (Ada)"]),
    ],
)
def test_of_many_commits_it_is_said_how_many_more_there_are(count: int, said: list[str], unsaid: list[str]) -> None:
    pulled = Pulled(old="a" * 40, new="b" * 40, count=count)
    for body in both(replace(UPDATED, changes=(), pulled=pulled, commits=COMMITS[:count])):
        assert [one for one in (*said, f"{'a' * 12}..{'b' * 12}") if one not in body] == []
        assert [one for one in unsaid if one in body] == []


# --- what strangers write ---


def everything_is(evil: str) -> RunReport:
    left = (LeftBehind(release=evil, pid=1, user=evil, command=evil, since=evil),)
    fixed = (Vulnerability(name=evil, version=evil, id=evil, summary=evil, link=evil),)
    processes = ProcessesSection(left_behind=left)
    security = SecuritySection(fixed=fixed, audit="unknown", audit_reason=evil)
    change = Change(
        name=evil, old=evil, new=evil, bump=evil, through=(evil,), released=evil, link=evil, fixes=(evil,),
        dragged_by=(evil,),
    )  # fmt: skip
    return RunReport(
        command=evil, project=evil, path=evil, host=evil, run_id=evil, headline=evil, advice=evil, output=evil,
        log_file=evil, recovered=evil, noted=evil, release=evil, previous=evil, blame="update",
        started_at=STARTED, seconds=1.0, result="failed", exit_code=4, live_changed=True,
        changes=(change,),
        on_hold=(Block(name=evil, version=evil, reason=evil, since=STARTED.isoformat(), output=evil, tests=(evil,)),),
        answers=(HealthCheckResult(release=evil, good=False, text=evil, body=evil),),
        sections={type(one): one for one in (processes, security)},
        pulled=Pulled(old=evil, new=evil, count=1),
        commits=(Commit(id=evil, subject=evil, author=evil),),
        steps=failed(evil, detail=evil),
        problems=findings(evil, advice=evil),
    )  # fmt: skip


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


@pytest.mark.parametrize("evil", INJECTIONS)
def test_no_header_comes_in_with_a_report_or_a_recipient(evil: str) -> None:
    recipients = [Address(name=evil, address="ann@example.org"), ANN]
    fails_at = replace(BROKEN, result="failed", exit_code=4, steps=failed(evil))
    for report in (everything_is(evil), fails_at, replace(BROKEN, project=evil), replace(BROKEN, command=evil)):
        head = composed(report, recipients=recipients).split(b"\r\n\r\n")[0]
        names = {line.split(b":")[0].lower() for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))}
        assert names == {
            b"subject", b"from", b"to", b"date", b"message-id", b"auto-submitted", b"x-releaser-run",
            b"mime-version", b"content-type",
        }  # fmt: skip
        assert not {0, 0x1B} & {*head}
        received = arrived(report, recipients=recipients)
        # A reader that decodes the subject must not meet a line break either.
        assert len(str(received["Subject"]).splitlines()) == 1
        assert [one.addr_spec for one in received["To"].addresses] == ["ann@example.org", "ann@example.org"]


@pytest.mark.parametrize("evil", INJECTIONS[:5])
def test_a_package_name_stays_in_its_row(evil: str) -> None:
    text, shown = both(replace(UPDATED, changes=(Change(name=evil, old="1", new="2", bump="major"),)))
    assert re.search(r"^x.*X-Evil.* +1 +2 +major$", text, re.MULTILINE)
    assert not re.search(r"^X-Evil", text + shown, re.MULTILINE)


def test_markup_is_escaped_in_html_and_left_as_it_is_in_text_and_is_no_template() -> None:
    script = "<script>alert('x')</script>&amp;"
    text, html = text_of(everything_is(script)), html_of(everything_is(script))
    assert "<script" not in html
    assert without_tags(html).count(script) >= 20
    assert text.count(script) >= 20
    assert "&lt;" not in text
    for body in both(everything_is("{{ 7 * 7 }}{% raw %}")):
        assert "{{ 7 * 7 }}" in body
        assert "49" not in body


def test_no_dirt_gets_through_anywhere_and_enormous_facts_make_no_enormous_mail() -> None:
    message = arrived(everything_is("a\0b\x1b[31mred\x1b[0m\udcff\ud800a\u2028b\x85c\x1b]0;t\x07"))
    for kind in ("plain", "html"):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", content(message, kind))
    huge = replace(everything_is("x" * 100_000), path="/srv/mysite", changes=CHANGES)
    assert len(composed(replace(huge, problems=findings("m\n" * 100_000, advice="a" * 10**5)))) < 400_000


# --- for phones and for nights ---


def test_html_is_for_phones_and_nights_and_gets_nothing_from_elsewhere() -> None:
    html = html_of(everything_is("x"))
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert "text-transform" not in html
    assert not re.search(r"<(table|img|link|script|iframe)\b|url\(|@import|\bsrc=", html)
    assert_in_order(html, "<details>", "<h2>Steps", "About this run", "</details>\n</div>")


def test_the_text_has_no_line_that_is_too_long() -> None:
    words = "some words and then some more of them " * 9
    lines = text_of(replace(everything_is(words), path="/srv/" + "long-name/" * 12)).splitlines()
    too_long = [line for line in lines if len(line) > WIDEST and " " in line.strip()]
    assert [line for line in too_long if not line.startswith("  releaser rollback ")] == []


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
