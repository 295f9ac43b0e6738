"""The mail about a run: whether it is news, to whom it goes, its subject and its text."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path

import msgspec

from releaser.releases.release import Change
from releaser.report.outcome import Outcome
from releaser.site.settings import MailSettings
from releaser.system.files import BrokenFileError, read_json, write_json
from releaser.system.run import Run, format_time_id, now
from releaser.system.text import clean_terminal, count, format_seconds

LONGEST = 60  # characters of a subject
_WIDTH = 78
_WORDS = {
    "updated": "Updated", "updated-not-restarted": "Not restarted", "no-changes": "Problem", "ready": "Ready",
    "refused": "Refused", "failed": "Failed", "rolled-back": "Rolled back",
}  # fmt: skip
_MAILED = ("update", "rollback")  # of other commands the person at the terminal hears


class _News(msgspec.Struct, frozen=True):
    """The trouble that was mailed last; empty once a run has gone well."""

    trouble: str = ""


def is_news(news: Path, command: str, outcome: Outcome) -> bool:
    """Return True if people have to hear of an outcome: each trouble is one mail, until a run has gone well.

    `news` is the file that says what was mailed last. Raises OSError if that cannot be recorded.
    """
    if command not in _MAILED or outcome.exit_code in (2, 8, 9):
        return False
    if command == "rollback" and not outcome.result.startswith("updated") and outcome.exit_code not in (6, 7):
        return False
    trouble = _name_trouble(outcome) if outcome.exit_code else ""
    try:
        before = read_json(news, _News) or _News()
    except BrokenFileError:
        before = _News()
    if trouble != before.trouble:
        write_json(news, _News(trouble))
    if outcome.is_quiet:
        return False
    is_done = outcome.exit_code == 0 or outcome.result.startswith("updated")
    return is_done or trouble != before.trouble or bool(outcome.failed_gate)  # of another candidate than before


def _name_trouble(outcome: Outcome) -> str:
    """Return what makes two troubles the same: without numbers, ids and hashes, which differ each night."""
    messages = {f"{problem.code} {problem.message}" for problem in outcome.problems} or {outcome.headline}
    return re.sub(r"\b[0-9a-f]{7,}\b|\d+", "#", "\n".join([str(outcome.exit_code), *sorted(messages)]))


def write_mail(name: str, directory: str, run: Run, outcome: Outcome, settings: MailSettings) -> EmailMessage:
    """Return the mail about a run of the project `name` in a directory."""
    host = socket.gethostname()
    message = EmailMessage(policy=SMTP)
    message["Subject"] = write_subject(name, host, run.command, outcome)
    message["From"] = settings.mail_from or f"releaser@{host}"
    message["To"] = ", ".join(settings.admins or settings.updater_admins)
    message["Date"] = format_datetime(now())
    message["Message-ID"] = make_msgid(run.id, domain=host)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer of a vacation, please
    message.set_content(write_text(name, directory, host, run, outcome), cte="quoted-printable")
    return message


def write_subject(name: str, host: str, command: str, outcome: Outcome) -> str:
    """Return a subject: the outcome first, then site, reason and host, shortened from the end."""
    words = ", ".join(filter(None, [name, _name_reason(outcome)]))
    text = " ".join(clean_terminal(f"{_name_outcome(command, outcome)}: {words}").split())
    end = f" [{host[:20]}]"
    room = LONGEST - len(end)
    return (text if len(text) <= room else text[: room - 1] + "…") + end


def _name_outcome(command: str, outcome: Outcome) -> str:
    if outcome.exit_code > 128:
        return "Interrupted"
    if outcome.result == "no-changes" and outcome.exit_code == 0:
        return "Note"
    if command == "rollback" and outcome.result == "updated":
        return "Rollback done"
    return _WORDS[outcome.result]


def _name_reason(outcome: Outcome) -> str:
    if outcome.result.startswith("updated") or outcome.result == "ready":
        problems = f", {count(len(outcome.problems), 'problem')}" if outcome.problems else ""
        return _name_changes(outcome) + problems
    if outcome.failed_gate:
        return f"{outcome.failed_gate} with {_name_changes(outcome)}"
    return outcome.problems[0].message if outcome.problems else outcome.headline


def _name_changes(outcome: Outcome) -> str:
    changes = outcome.changes
    if not changes:
        return count(len(outcome.new_commits), "new commit") if outcome.new_commits else "the same packages"
    if len(changes) > 1:
        return count(len(changes), "package")
    return f"{changes[0].name} {changes[0].new or 'removed'}"


def write_text(name: str, directory: str, host: str, run: Run, outcome: Outcome) -> str:
    """Return the text of a mail: what happened, what to do, what changed, and where to look."""
    paragraphs = [outcome.headline, _describe_live(outcome), *outcome.notes]
    paragraphs += [f"- {problem.message}" for problem in outcome.problems if problem.message not in outcome.headline]
    parts = ["\n\n".join(filter(None, paragraphs)) + "\n"]
    advice = dict.fromkeys(problem.advice for problem in outcome.problems if problem.advice)
    parts += _list("What to do", advice)
    parts += _list("Commands", _name_commands(directory, outcome))
    parts += _list("Packages", map(_describe_change, outcome.changes))
    parts += _list("Commits", outcome.new_commits)
    parts += _list("On hold", (f"{hold.label}: {hold.reason}" for hold in outcome.on_hold))
    parts += _list("Output", [outcome.output] if outcome.output else [])
    steps = (f"{step.step:13}{step.status:7}{format_seconds(step.seconds):>9}  {step.detail}" for step in outcome.steps)
    parts += _list("Steps", steps)
    about = {"Site": f"{name} on {host}", "Directory": directory, "Run": f"{run.command}, {format_time_id(run.id)}",
             "Commit": ", ".join(outcome.commits), "Release": outcome.release, "Previous": outcome.previous,
             "Exit code": str(outcome.exit_code)}  # fmt: skip
    parts += _list("About this run", (f"{word:11}{text}" for word, text in about.items() if text))
    return clean_terminal("\n".join(parts))


def _list(title: str, lines: Iterable[object]) -> list[str]:
    text = "\n".join(str(line) for line in lines)
    return [f"{title}\n{'-' * len(title)}\n{text}\n"] if text else []


def _describe_live(outcome: Outcome) -> str:
    if outcome.result.startswith("updated") and outcome.release:
        before = f" Before it, {outcome.previous} was live." if outcome.previous else ""
        return f"The live release is {outcome.release}.{before}"
    if outcome.exit_code and "unchanged" not in outcome.headline and not outcome.has_flipped:
        return "The live release is unchanged."
    return ""


def _name_commands(directory: str, outcome: Outcome) -> list[str]:
    """Return the commands that a person may want to paste next."""
    project = f"--project {shlex.quote(directory)}"
    if outcome.result.startswith("updated"):
        back = [f"releaser rollback {project}"] if outcome.previous else []
        return [*back, f"releaser status {project}"]
    if outcome.result == "ready":
        return [f"releaser show {outcome.release} {project}", f"releaser update {project}"]
    if outcome.failed_gate and outcome.failed_release:
        return [f"releaser show {outcome.failed_release} {project}", f"releaser update --force {project}"]
    return [f"releaser status {project}"]


def _describe_change(change: Change) -> str:
    if change.new is None:
        return f"{change.name} {change.old} leaves the venv"
    return f"{change.name} {change.old or 'new'} -> {change.new}" + (f"  ({change.bump})" if change.old else "")
