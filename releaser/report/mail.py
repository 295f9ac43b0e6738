"""The mail that tells administrators of a run."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from datetime import timedelta
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from releaser.address import Address, parse_address
from releaser.project.settings import this_host
from releaser.report.capping import cap, one_line, strip_control
from releaser.report.changes import ChangesTable, changes_table
from releaser.report.security import security_lists
from releaser.report.subject import header_text, subject
from releaser.report.text import essence, held_back_passages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from releaser.report.outcome import HeldBack, RunReport

_POLICY = SMTP.clone(refold_source="none")
_COMMITS = 20  # that a mail lists
_HEADINGS = ("Package", "Old", "New", "Size", "Age", "Asked for by")
_TAKEN_BACK = 6


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells to be aligned in text and to be a table in HTML; no cell has a line break."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def lines(self) -> tuple[str, ...]:
        """The header and the rows, each padded to the widths of the columns."""
        cells = (self.header, *self.rows)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return tuple(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        )


def compose(report: RunReport, *, sender: str, recipients: Sequence[Address]) -> EmailMessage:
    """Make the mail of a run: the same report makes the same mail, the same run the same Message-ID.

    `sender` is `address` or `Name <address>`; ValueError if it is neither. Without recipients there is no To.
    """
    ended = report.started_at + timedelta(seconds=report.seconds)
    message = _addressed(subject(report), sender=sender, recipients=recipients, at=ended)
    message["Message-ID"] = message_id(report)
    message.set_raw("X-Releaser-Run", _encoded(header_text(report.run_id)))
    text, html = render_bodies(report)
    # Quoted-printable goes through every server and stays readable in a Maildir.
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{_digest(report)}")  # "=_" cannot be in quoted-printable (RFC 2045, 6.7)
    return message


def compose_plain(title: str, text: str, *, sender: str, recipients: Sequence[Address], at: datetime) -> EmailMessage:
    """Make a mail of a subject and a text."""
    message = _addressed(header_text(title), sender=sender, recipients=recipients, at=at)
    message["Message-ID"] = make_msgid("releaser", domain=this_host() or "localhost")
    message.set_content(text, cte="quoted-printable")
    return message


def _addressed(title: str, *, sender: str, recipients: Sequence[Address], at: datetime) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    # Raw, since Python 3.11.7 folds lists of non-ASCII names so that addresses get lost, and subjects so that
    # spaces do.
    message.set_raw("Subject", _encoded(title))
    message.set_raw("From", _mailbox(parse_address(sender)))
    if recipients:
        message.set_raw("To", ",\r\n ".join(map(_mailbox, recipients)))
    message["Date"] = at
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notices, please
    return message


def message_id(report: RunReport) -> str:
    """Name the mail of a run; host, run and path of the project decide, and nothing else."""
    run = re.sub(r"[^A-Za-z0-9]+", "-", report.run_id).strip("-")[:60]
    host = re.sub(r"[^A-Za-z0-9-]+", ".", report.host)[:100].strip(".-")
    return f"<{run or 'run'}.{_digest(report)}@{host or 'localhost'}>"


def _digest(report: RunReport) -> str:
    facts = "\0".join((report.host, report.run_id, report.path))
    return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def render_bodies(report: RunReport) -> tuple[str, str]:
    """Render the text and the HTML of the mail."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    context = _context(report)
    text, html = (environment.get_template(name).render(context) for name in ("run.txt.j2", "run.html.j2"))
    return text, html


def _context(report: RunReport) -> dict[str, Any]:
    told = essence(report)
    return {
        "subject": subject(report),
        "headline": one_line(told.headline, limit=1000),
        "live": _live(report),
        "recovered": _passage(report.recovered),
        "noted": _passage(report.noted),
        "advice": _passage(told.advice),
        "problems": [(_passage(problem.message), _passage(problem.advice)) for problem in told.others],
        "answers": _answers(report),
        "output": "" if any(one.body == report.output for one in report.bad_answers) else cap(report.output),
        "way_back": _way_back(report),
        "security": security_lists(report),
        "security_first": not report.exit_code,  # of a failure, what to do about it is first
        "commits_title": _commits_title(report),
        "commits": _commits(report),
        "changes": _changes(report),
        "changes_title": _changes_title(report),
        "held_back": [
            (one_line(line, limit=1000), output)
            for line, output in held_back_passages(_held(report), since=report.started_at)
        ],
        "left_behind": _left_behind(report),
        "steps": _steps(report),
        "facts": _facts(report),
    }


def _live(report: RunReport) -> str:
    if report.exit_code == _TAKEN_BACK:
        return one_line(_live_after_failure(report))
    if not report.live_changed:
        name = f": {report.previous}" if report.previous else ""
        return one_line(f"The live release is the same as before{name}.")
    if not report.release:
        return "The live release changed."
    change = f" from {report.previous}" if report.previous else ""
    return one_line(f"The live release changed{change} to {report.release}.")


def _live_after_failure(report: RunReport) -> str:
    ill = " IT FAILS ITS HEALTH CHECK AS WELL: see to the site." if report.is_ill_as_before else ""
    return _where_it_ended(report) + ill


def _where_it_ended(report: RunReport) -> str:
    release = f"Release {report.release}" if report.release else "A release"
    if report.live_changed:
        return f"STILL LIVE: {release} went live, failed and could not be taken back; the site runs on it now."
    if report.command == "rollback" and report.release and report.previous:
        return f"The site was flipped to {report.release} and taken back to {report.previous}, which is live again."
    live = f"{report.previous} is live again" if report.previous else "what was live before is live again"
    return f"{release} went live and was taken back; {live}."


def _way_back(report: RunReport) -> str:
    """The command that undoes what the run did to the live release.

    After a rollback, another one without a name would go back further.
    """
    if not report.live_changed or not report.previous or report.exit_code == _TAKEN_BACK:
        return ""
    name = f" {shlex.quote(report.previous)}" if report.command == "rollback" else ""
    return f"releaser rollback{name} --project {shlex.quote(report.path)}"


def _answers(report: RunReport) -> list[tuple[str, str, str]]:
    """What the site answered with which release, when one answer was bad: a heading, the answer, the page."""
    found = []
    for answer in report.bad_answers:
        role = "which is live again" if answer.release == report.previous else "which was to be live"
        heading = f"Release {answer.release}, {role}: {'good' if answer.good else 'bad'}"
        found.append((heading, one_line(answer.text, limit=1000), cap(answer.body)))
    return found


def _commits_title(report: RunReport) -> str:
    """Say what became of the commits; where live changed though the run failed, nobody can tell from the report."""
    if report.pulled is None and not report.commits:
        return ""
    what = "New commits"
    if report.live_changed and report.result in ("activated", "rolled_back"):
        what = "Commits that came in"
    elif not report.live_changed and report.result in ("failed", "refused", "rolled_back"):
        what = "Commits that were tried and did not come in"
    if report.pulled is None:
        return f"{what}:"
    return one_line(f"{what} ({report.pulled.count}): {report.pulled.old[:12]}..{report.pulled.new[:12]}")


def _commits(report: RunReport) -> list[str]:
    lines = [one_line(f"{one.id[:12]} {one.subject} ({one.author})") for one in report.commits[:_COMMITS]]
    count = max(len(report.commits), report.pulled.count if report.pulled else 0)
    return [*lines, f"and {count - len(lines)} more"] if lines and count > len(lines) else lines


def _changes(report: RunReport) -> ChangesTable:
    return changes_table(report.changes, now=report.started_at, headings=_HEADINGS)


def _changes_title(report: RunReport) -> str:
    live = report.live_changed or report.result == "activated"
    return "Package changes" if live else "Package changes that are not live"


def _steps(report: RunReport) -> Table:
    told = {report.headline, *(problem.message for problem in report.problems)}
    return Table(
        title="Steps",
        header=("Step", "Status", "Time", "Detail"),
        rows=_cells(
            (step.step, step.status, _duration(step.seconds), "see above" if step.detail in told else step.detail)
            for step in report.steps
        ),
    )


def _held(report: RunReport) -> tuple[HeldBack, ...]:
    """What was left out, and what else is held, though nothing newer has come yet."""
    named = {one.name for one in report.held_back}
    return (*report.held_back, *(one for one in report.holds if one.name not in named))


def _left_behind(report: RunReport) -> Table:
    return Table(
        title="Processes that still run on another release",
        header=("Release", "Process", "User", "Since", "Command"),
        rows=_cells((one.release, str(one.pid), one.user, one.since, one.command) for one in report.left_behind),
    )


def _facts(report: RunReport) -> Table:
    facts = (
        ("Host", report.host),
        ("Project", report.project),
        ("Path", report.path),
        ("Command", report.command),
        ("Run", report.run_id),
        ("Started", report.started_at.isoformat(sep=" ", timespec="seconds")),
        ("Took", _duration(report.seconds)),
        ("Release (not live)" if _stays_behind(report) else "Release", report.release or ""),
        ("Commit", f"{report.commit[:12]} {report.subject}" if report.commit else ""),
        ("Release before", report.previous or ""),
        ("Exit code", str(report.exit_code)),
        ("Log file", report.log_file),
    )
    return Table(title="About this run", header=("", ""), rows=_cells(fact for fact in facts if fact[1]))


def _stays_behind(report: RunReport) -> bool:
    """Whether the run was about another release than the one that is live after it."""
    return bool(report.previous) and report.release != report.previous and not report.live_changed


def _cells(rows: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(one_line(cell) for cell in row) for row in rows)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _passage(text: str) -> str:
    return cap(text, head_lines=20, tail_lines=20, max_chars=4000)


def _printable(value: object) -> object:
    """Clean whatever a template prints; markup comes from the templates themselves."""
    return strip_control(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _mailbox(address: Address) -> str:
    name = header_text(address.name, limit=100)
    return formataddr((name, address.address)) if name.isascii() else f"{_encoded(name)} <{address.address}>"


def _encoded(text: str) -> str:
    """Write one line as RFC 2047 wants it; what is not ASCII is folded."""
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")
