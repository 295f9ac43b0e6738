"""The mail about a run: its subject, its headers, its text and its HTML."""

from __future__ import annotations

import os
import shlex
from datetime import datetime, timedelta
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr, make_msgid
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, select_autoescape

from releaser.errors import ExitCode
from releaser.locks.vulnerabilities import SecuritySection
from releaser.releases.blocks import HoldsSection
from releaser.releases.journal import MailSection
from releaser.releases.leases import ProcessesSection
from releaser.reporting.changes import NAME, Table, age_of, changes_table, first_commits, required_by, security_lists
from releaser.reporting.style import BUMPS, DAY, NIGHT, WIDEST, add_links, fold
from releaser.reporting.subject import SOLVED, choose_badge, header_text, subject
from releaser.reporting.text import on_hold_passages, outage_sentence, summarize
from releaser.reporting.threads import digest_of, message_id
from releaser.site.addresses import Address, parse_address
from releaser.site.restart_settings import OutageSection
from releaser.site.settings import this_host
from releaser.system.frozen import Frozen
from releaser.system.own_code import text_of
from releaser.system.words import elapsed, one_line, one_lines, strip_control, truncate, web_link

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from releaser.errors import Finding
    from releaser.report import RunReport

_POLICY = SMTP.clone(refold_source="none")
_TAIL, _FEW = 15, 25  # lines of output below the folded part, and lines that are not folded at all
_HEADINGS = ("Package", "Old", "New", "Size", "Age", "Required by")


def compose(  # noqa: PLR0913 - the parts of a mail
    report: RunReport,
    *,
    sender: str,
    recipients: Sequence[Address],
    references: Sequence[str] = (),
    lock_diff: str = "",
    introduction: str = "",
) -> EmailMessage:
    """Make the mail of a run: the same report makes the same mail, the same run the same Message-ID.

    `sender` is `address` or `Name <address>`; ValueError if it is neither. Without recipients there is no To.
    `references` are the Message-IDs of the earlier mails in the thread, `lock_diff` is attached, and `introduction` is
    the text of the first mail only.
    """
    ended = report.started_at + timedelta(seconds=report.seconds)
    message = _begin_message(subject(report), sender=sender, recipients=recipients, at=ended)
    message["Message-ID"] = message_id(report)
    if references:
        message.set_raw("References", "\r\n ".join(references))
        message.set_raw("In-Reply-To", references[-1])
    message.set_raw("X-Releaser-Run", _encode(header_text(report.run_id)))
    text, html = render_bodies(report, introduction)
    # Quoted-printable goes through every server and stays readable in a Maildir.
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{digest_of(report)}")  # "=_" cannot be in quoted-printable (RFC 2045, 6.7)
    if lock_diff:
        message.add_attachment(strip_control(lock_diff), subtype="x-diff", filename=NAME, cte="quoted-printable")
        message.set_boundary(f"=_{digest_of(report)}_")
    return message


def compose_plain(title: str, text: str, *, sender: str, recipients: Sequence[Address], at: datetime) -> EmailMessage:
    """Make a mail from a subject, as `make_subject` makes it, and a text."""
    message = _begin_message(title, sender=sender, recipients=recipients, at=at)
    message["Message-ID"] = make_msgid("releaser", domain=this_host() or "localhost")
    message.set_content(text, cte="quoted-printable")
    return message


def _begin_message(title: str, *, sender: str, recipients: Sequence[Address], at: datetime) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    # Raw, since Python 3.11.7 loses addresses when it folds lists of non-ASCII names, and spaces when it folds
    # subjects.
    message.set_raw("Subject", _encode(title))
    message.set_raw("From", _mailbox(parse_address(sender)))
    if recipients:
        message.set_raw("To", ",\r\n ".join(map(_mailbox, recipients)))
    message["Date"] = at
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notices, please
    return message


def render_bodies(report: RunReport, introduction: str = "") -> tuple[str, str]:
    """Render the text and the HTML of the mail; `_context` removes control characters from all values."""
    context = _context(report) | {"introduction": one_line(introduction, limit=1000)}
    text, html = (template.render(context) for template in templates())
    return fold(text, whole=context["way_back"]), html


@cache
def templates() -> tuple[Template, Template]:
    """Return the templates of the text and the HTML."""
    environment = Environment(
        loader=FunctionLoader(lambda name: text_of(os.path.join(os.path.dirname(__file__), "templates", name))),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["linked"] = add_links
    return environment.get_template("run.txt.j2"), environment.get_template("run.html.j2")


def _context(report: RunReport) -> dict[str, Any]:
    told = summarize(report)
    said = {report.headline, *(problem.message for problem in report.problems)}
    came_in = report.live_changed or report.is_done
    held, holds = {one.name for one in report.on_hold}, HoldsSection.of(report)
    left = ProcessesSection.of(report).left_behind
    output = "" if any(one.body == report.output for one in report.failed_health_checks) else truncate(report.output)
    lines = output.splitlines(keepends=True)
    folded = len(lines) - _TAIL if len(lines) > _FEW else 0
    security = [(title, [Item(text=line) for line in found]) for title, found in security_lists(report)]
    passages = on_hold_passages(
        # Skipped versions, and other holds without anything newer.
        (*report.on_hold, *(one for one in holds.holds if one.name not in held)),
        since=report.started_at,
    )
    kept_out = [(line, "") for line in holds.commits_on_hold] + passages
    above = [
        ("Problems", list(map(_problem, told.others))),
        *(security if report.exit_code else ()),  # after a failure, the advice comes first
        ("What the site answered", list(_answers(report))),
    ]
    below = [
        (_commits_title(report), [Item(text=one) for one in first_commits(report) or _way_of_code(report)]),
        ("On hold", [Item(text=one_line(line, limit=1000), passage=truncate(end)) for line, end in kept_out]),
        ("Commits of uv.lock that are not pushed", [Item(text=one_line(one)) for one in report.unpushed]),
    ]
    return {
        "day": DAY,
        "night": NIGHT,
        "badge": choose_badge(report),
        "where": one_line(f"{report.project or report.path} on {report.host}"),
        "subject": subject(report),
        "headline": one_line(told.headline, limit=1000),
        "live": one_line(" ".join(filter(None, (_live(report), outage_sentence(report), _not_restarted(report))))),
        "recovered": _passage(report.recovered),
        "noted": _passage(report.noted),
        "solved": [SOLVED[one] for one in MailSection.of(report).solved],
        "advice": _passage(told.advice),
        "above": [one for one in above if one[1]],
        "output": output,
        "output_before": "".join(lines[:folded]),
        "output_end": "".join(lines[folded:]),
        "way_back": _way_back(report),
        "security_first": [] if report.exit_code else security,
        "packages": list(_packages(report)),
        "changes": changes_table(
            report.changes,
            now=report.started_at,
            title="Package changes" if came_in else "Package changes that are not live",
            headings=_HEADINGS,
            widest=WIDEST,
        ),
        "below": [one for one in below if one[1]],
        "processes": Table.of(
            "Processes that still run on another release",
            ("Release", "Process", "User", "Since", "Command"),
            ((one.release, str(one.pid), one.user, one.since, one.command) for one in left),
        ),
        "steps": Table.of(
            "Steps",
            ("Step", "Status", "Time", "Detail"),
            (
                (one.step, one.status, elapsed(one.seconds), "see above" if one.detail in said else one.detail)
                for one in report.steps
            ),
        ),
        "facts": _facts(report),
    }


def _packages(report: RunReport) -> Iterator[dict[str, Any]]:
    """Yield the values of each package change, those that fix a vulnerability first."""
    links = {name: web_link(one.link) for one in SecuritySection.of(report).fixed for name in one.ids}
    for one in sorted(report.changes, key=lambda change: not change.fixes):
        age, by, with_ = age_of(one, report.started_at), required_by(one), ", ".join(one.dragged_by)
        about = (age and f"{age} old", by and f"required by {by}", with_ and f"changed because of {with_}")
        name, old, new, bump = one_lines((one.name, one.old or "-", one.new or "-", one.bump))
        yield {
            "name": name,
            "old": old,
            "new": new,
            "bump": bump,
            "colour": BUMPS.get(bump, "muted"),
            "link": web_link(one.link or ""),
            "fixes": [(one_line(fix), links.get(fix.lower())) for fix in one.fixes],
            "about": one_line(" · ".join(filter(None, about))),
        }


def _live(report: RunReport) -> str:
    release, previous = report.release, report.previous
    name = f"Release {release}" if release else "A release"
    if report.exit_code != ExitCode.ROLLED_BACK:
        if not report.live_changed:
            return "The live release is the same as before" + (f": {previous}." if previous else ".")
        if not release:
            return "The live release changed."
        return f"The live release changed{f' from {previous}' if previous else ''} to {release}."
    also = " IT FAILS ITS HEALTH CHECK AS WELL: look at the site." if report.earlier_release_fails_too else ""
    if report.live_changed:
        return (
            f"STILL LIVE: {name} went live and failed, and the automatic rollback failed too; the site runs "
            f"on it now.{also}"
        )
    if report.is_rollback and release and previous:
        return f"The site was switched to {release} and back to {previous}, which is live again.{also}"
    return f"{name} went live and was rolled back; {previous or 'the previous release'} is live again.{also}"


def _not_restarted(report: RunReport) -> str:
    """Say that nothing restarts the site after a flip; empty if something does, or nothing has to."""
    why = [one.detail for one in report.steps if one.step == "restart" and one.status == "skipped"]
    if not why or not report.live_changed or OutageSection.of(report).outage_seconds is not None:
        return ""
    return f"Nothing was restarted ({why[-1]}): processes that already run stay on the earlier release."


def _way_back(report: RunReport) -> str:
    """The command that undoes the flip of the run.

    After a rollback it names a release, as it would go back further without one.
    """
    if not report.live_changed or not report.previous or report.exit_code == ExitCode.ROLLED_BACK:
        return ""
    name = f" {shlex.quote(report.previous)}" if report.is_rollback else ""
    return strip_control(f"releaser rollback{name} --project {shlex.quote(report.path)}")


class Item(Frozen):
    """An item of a list in the mail: a text, a note below it, and a passage of a program's output."""

    text: str
    note: str = ""
    passage: str = ""


def _problem(found: Finding) -> Item:
    note = f"What to do: {_passage(found.advice)}" if found.advice else ""
    return Item(text=_passage(found.message), note=note)


def _answers(report: RunReport) -> Iterator[Item]:
    """Yield the answers of the site with each release, if one answer was bad."""
    for answer in report.failed_health_checks:
        role = "which is live again" if answer.release == report.previous else "the candidate"
        text = one_line(f"Release {answer.release}, {role}: {'good' if answer.good else 'bad'}")
        yield Item(text=text, note=one_line(answer.text, limit=1000), passage=truncate(answer.body))


def _way_of_code(report: RunReport) -> list[str]:
    """Return a line for a target without new commits: the branch was moved back."""
    return ["none: an earlier commit of the branch"] if report.pulled is not None else []


def _commits_title(report: RunReport) -> str:
    """Return the title for the commits. If a failed run has changed the live release, their fate is unknown."""
    what = "New commits"
    if report.live_changed and (report.is_done or report.result == "rolled-back"):
        what = "Commits that went live"
    elif not report.live_changed and report.result in ("failed", "refused", "rolled-back"):
        what = "Commits that failed and are not live"
    if report.pulled is None:
        return what
    return one_line(f"{what} ({report.pulled.count}): {report.pulled.old[:12]}..{report.pulled.new[:12]}")


def _facts(report: RunReport) -> Table:
    # True if the release of the run is not live after it.
    not_live = report.previous and report.release != report.previous and not report.live_changed
    facts = (
        ("Host", report.host),
        ("Project", report.project),
        ("Path", report.path),
        ("Command", report.request),
        ("Run", report.run_id),
        ("Started", report.started_at.isoformat(sep=" ", timespec="seconds")),
        ("Took", elapsed(report.seconds)),
        ("Release (not live)" if not_live else "Release", report.release or ""),
        ("Commit", f"{report.commit[:12]} {report.subject}" if report.commit else ""),
        ("Release before", report.previous or ""),
        ("Exit code", str(int(report.exit_code))),
        ("Log file", report.log_file),
    )
    return Table.of("About this run", ("", ""), (fact for fact in facts if fact[1]))


def _passage(text: str) -> str:
    return truncate(text, head_lines=20, tail_lines=20, max_chars=4000)


def _mailbox(address: Address) -> str:
    name = header_text(address.name, limit=100)
    return formataddr((name, address.address)) if name.isascii() else f"{_encode(name)} <{address.address}>"


def _encode(text: str) -> str:
    """Encode one line as RFC 2047 requires; text that is not ASCII is folded."""
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")
