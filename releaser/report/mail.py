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
from email.utils import formataddr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from releaser.address import Address, parse_address
from releaser.report.capping import cap, one_line, strip_control
from releaser.report.changes import ChangesTable, changes_table
from releaser.report.security import fixes_phrase, security_lists
from releaser.report.text import essence, held_back_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from releaser.report.outcome import Blame, HeldBack, RunReport

_POLICY = SMTP.clone(refold_source="none")
_HEADINGS = ("Package", "Old", "New", "Size", "Age", "Asked for by")
_SUBJECT_LIMIT = 200
_REASON_LIMIT = 80
_TESTS_FAILED = 5
_TAKEN_BACK = 6
_SIGNALLED = 128  # and above: the exit code of what a signal ended
_BLAME: dict[Blame, str] = {
    "": "",
    "update": " (this update broke it)",
    "before": " (it was failing before)",
    "unknown": "",
}
_FALLBACK_REASONS = {
    1: "a bug in releaser",
    3: "preflight",
    4: "build",
    6: "activation",
    7: "follow-up",
    8: "locked",
    9: "no such release",
}


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
    message = EmailMessage(policy=_POLICY)
    # Raw, since Python 3.11.7 folds lists of non-ASCII names so that addresses get lost, and subjects so that
    # spaces do.
    message.set_raw("Subject", _encoded(subject(report)))
    message.set_raw("From", _mailbox(parse_address(sender)))
    if recipients:
        message.set_raw("To", ",\r\n ".join(map(_mailbox, recipients)))
    message["Date"] = report.started_at + timedelta(seconds=report.seconds)
    message["Message-ID"] = message_id(report)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notices, please
    message.set_raw("X-Releaser-Run", _encoded(_header_text(report.run_id)))
    text, html = render_bodies(report)
    # Quoted-printable goes through every server and stays readable in a Maildir.
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{_digest(report)}")  # "=_" cannot be in quoted-printable (RFC 2045, 6.7)
    return message


def subject(report: RunReport) -> str:
    """Say in one line where it happened and how it ended."""
    host, project = _header_text(report.host, limit=60), _header_text(report.project or report.path, limit=80)
    return _header_text(f"[{host}] {project}: {_verdict(report)}", limit=_SUBJECT_LIMIT)


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
        "advice": _passage(told.advice),
        "problems": [(_passage(problem.message), _passage(problem.advice)) for problem in told.others],
        "answers": _answers(report),
        "output": "" if any(one.body == report.output for one in report.bad_answers) else cap(report.output),
        "way_back": _way_back(report),
        "security": security_lists(report),
        "security_first": not report.exit_code,  # of a failure, what to do about it is first
        "pulled": _pulled(report),
        "changes": _changes(report),
        "changes_title": _changes_title(report),
        "held_back": [one_line(line, limit=1000) for line in held_back_lines(_held(report))],
        "left_behind": _left_behind(report),
        "steps": _steps(report),
        "facts": _facts(report),
    }


def _verdict(report: RunReport) -> str:
    if report.exit_code > _SIGNALLED:
        return f"{report.command} interrupted"
    match report.result:
        case "unchanged":
            return _idle(report)
        case "activated":
            return _activated(report)
        case "rolled_back":
            return _taken_back(report)
        case "failed":
            return f"{report.command} failed" + _because(report)
        case "refused":
            return f"{report.command} refused: {_refusal(report)}"


def _refusal(report: RunReport) -> str:
    """The one reason, if the headline tells it, or how many there are."""
    if len(report.problems) > 1 and not essence(report).is_about_a_problem:
        return _problem_count(report)
    return _short(report, report.headline)


def _idle(report: RunReport) -> str:
    if report.exit_code or report.problems:
        return _only_problem(report)
    return "recovered from an interrupted run" if report.recovered else "all clear"


def _activated(report: RunReport) -> str:
    if report.command == "rollback":
        return _went(report)
    if report.command == "update" and not report.live_changed:
        return _only_problem(report) if report.exit_code else "adopted"
    parts = ["updated" if report.command == "update" else f"{report.command} done"]
    if report.changes:
        parts.append(_counted(len(report.changes), "package"))
    if fixes := fixes_phrase(report):
        parts.append(fixes)
    if report.culprits:
        parts.append(f"{len(report.culprits)} held back")
    if report.problems or report.exit_code:
        parts.append(_problem_count(report))
    return ", ".join(parts)


def _went(report: RunReport) -> str:
    """How a rollback ended that worked; to a named release it may have gone forward."""
    forward = report.release and report.previous and report.release > report.previous
    where = f" to {report.release}" if report.release else ""
    problems = f", {_problem_count(report)}" if report.problems or report.exit_code else ""
    return ("went" if forward else "rolled back") + where + problems


def _taken_back(report: RunReport) -> str:
    if report.live_changed:
        return f"{report.command} failed{_because(report)}, STILL LIVE"
    ill = ", THE RELEASE BEFORE FAILS TOO" if report.is_ill_as_before else ""
    return f"{report.command} {'failed' if report.command == 'rollback' else 'rolled back'}" + _because(report) + ill


def _because(report: RunReport) -> str:
    if report.exit_code == _TESTS_FAILED:
        return f": {_failed_trial(report)}{_BLAME[report.blame]}"
    # Going back is what a failure led to, and never its reason.
    failed = [one.step for one in report.steps if one.status == "failed" and one.step != "flip back"]
    reason = failed[-1] if failed else _FALLBACK_REASONS.get(report.exit_code, "")
    return f": {reason}" if reason else ""


def _failed_trial(report: RunReport) -> str:
    """Name what the candidate did not pass; what was tried on the live release comes after it."""
    failed = next((one.step for one in report.steps if one.status == "failed"), "test")
    return {"test": "tests", "migrations": "migrations not applied"}.get(failed, failed)


def _problem_count(report: RunReport) -> str:
    return _counted(len(report.problems), "problem") if len(report.problems) > 1 else "problem"


def _only_problem(report: RunReport) -> str:
    if len(report.problems) == 1:
        return f"problem: {_short(report, report.problems[0].message)}"
    return _problem_count(report)


def _short(report: RunReport, reason: str) -> str:
    """Cut a reason for the subject, which names the project already."""
    for known in (f"{report.path}: ", f"{report.path}/"):
        reason = reason.replace(known, "") if report.path else reason
    return one_line(reason, limit=_REASON_LIMIT).removesuffix(".")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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


def _pulled(report: RunReport) -> str:
    if report.pulled is None:
        return ""
    old, new = report.pulled.old[:12], report.pulled.new[:12]
    return one_line(f"Pulled {_counted(report.pulled.count, 'commit')}: {old}..{new}")


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


def _header_text(text: str, *, limit: int = _SUBJECT_LIMIT) -> str:
    """Make text harmless in a header.

    The email package decodes `=?...?=` in what it is given, and a line break may hide in that.
    """
    return one_line(text.replace("=?", "= ?"), limit=limit)


def _mailbox(address: Address) -> str:
    name = _header_text(address.name, limit=100)
    return formataddr((name, address.address)) if name.isascii() else f"{_encoded(name)} <{address.address}>"


def _encoded(text: str) -> str:
    """Write one line as RFC 2047 wants it; what is not ASCII is folded."""
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")
