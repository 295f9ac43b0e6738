"""The mail about a run: whether it is news, to whom it goes, its subject and its letter."""

from __future__ import annotations

import re
import socket
from datetime import datetime
from pathlib import Path

import msgspec

from releaser.packages.holds import Pause
from releaser.releases.release import PackageChange
from releaser.report.history import read_history
from releaser.report.letter import Colour, Letter, Section
from releaser.report.outcomes import Outcome, make_unchanged, name_culprits
from releaser.site.paths import Paths
from releaser.system.run import Command, Moment, Run, format_time_id, now
from releaser.system.state import read_state
from releaser.system.text import clip, count, escape, format_seconds, format_time, join_few, name_project, word

LONGEST = 60  # characters of a subject
_NIGHTLY = 0.95  # of `heartbeat`: nights are not all of the same length
_WORDS: dict[str, tuple[str, Colour]] = {
    "updated": ("Updated", "green"),
    "updated-not-restarted": ("Not restarted", "amber"),
    "no-changes": ("Problem", "amber"),
    "ready": ("Ready", "green"),
    "refused": ("Refused", "amber"),
    "failed": ("Failed", "red"),
    "rolled-back": ("Rolled back", "red"),
    "done": ("Done", "green"),
}


class MailNews(msgspec.Struct, frozen=True):
    """The trouble that was mailed last, empty once a run has gone well; and when the last mail was written."""

    trouble: str = ""
    mailed_at: Moment | None = None


def judge_news(before: MailNews, command: Command, outcome: Outcome) -> tuple[bool, MailNews]:
    """Return True if people have to hear of an outcome: each trouble is one mail, until a run has gone well.

    `before` is what `news.json` says; the second value is what it has to say once the mail is safe.
    """
    if command.mailed == "never" or (command.mailed == "changed" and not outcome.is_change):
        return False, before
    if outcome.news in ("heard", "nothing"):
        return False, before
    has_trouble = bool(outcome.exit_code or outcome.problems)
    trouble = _name_trouble(outcome) if has_trouble else ""
    is_mail = outcome.news == "new" or (outcome.news == "once" and trouble != before.trouble)
    return is_mail, MailNews(trouble, now() if is_mail else before.mailed_at)


def find_silence(paths: Paths, news: MailNews, heartbeat: float) -> datetime | None:
    """Return the time of the last mail, or of the first run, if that is `heartbeat` seconds ago; else None."""
    if not heartbeat:
        return None
    since = news.mailed_at or min((record.ended_at for record in read_history(paths)), default=now())
    return None if 0 <= (now() - since).total_seconds() < heartbeat * _NIGHTLY else since


def read_news(path: Path) -> MailNews:
    """Return what was mailed last."""
    return read_state(path, MailNews) or MailNews()


def _name_trouble(outcome: Outcome) -> str:
    """Return what makes two troubles the same: without numbers, ids and hashes, which differ each night."""
    messages = {f"{problem.name} {problem.message}" for problem in outcome.problems} or {outcome.headline}
    return re.sub(r"\b[0-9a-f]{7,}\b|\d+", "#", "\n".join([str(outcome.exit_code), *sorted(messages)]))


def write_letter(name: str, directory: str, run: Run, outcome: Outcome) -> Letter:
    """Return the letter about a run of the project `name`: what happened, what to do, what changed, where to look."""
    host, (word, colour) = socket.gethostname(), _name_outcome(run.command, outcome)
    messages = (problem.message for problem in outcome.problems)
    return Letter(
        subject=write_subject(name, host, word, _name_reason(outcome)),
        word=word,
        colour=colour,
        where=f"{name} on {host}, {format_time_id(run.id)}",
        headline=name_project(outcome.headline, directory),
        paragraphs=tuple(name_project(text, directory) for text in [_describe_live(outcome), *outcome.notes] if text),
        problems=tuple(name_project(text, directory) for text in messages if text not in outcome.headline),
        sections=_make_sections(directory, f"{name} on {host}", run, outcome),
    )


def write_heartbeat(name: str, directory: str, run: Run, outcome: Outcome, since: datetime) -> Letter:
    """Return the letter after a long silence; the problems of `outcome` are those that still need attention."""
    notes = (
        f"The live release is {outcome.release}.",
        f"There was no other mail since {format_time(since)}; `heartbeat` asks for this one.",
    )
    is_well = not outcome.problems and outcome.exit_code == 0
    word, colour = ("All is well", "green") if is_well else ("Needs attention", "amber")
    headline = "The site needs attention." if outcome.problems else f"{word}. {outcome.headline}"
    letter = write_letter(name, directory, run, msgspec.structs.replace(outcome, headline=headline, notes=notes))
    reason = f"no news since {since:%Y-%m-%d}" if is_well else _name_reason(outcome)
    subject = write_subject(name, socket.gethostname(), word, reason)
    return msgspec.structs.replace(letter, subject=subject, word=word, colour=colour)


def write_test(name: str, directory: str, run: Run) -> Letter:
    """Return the letter of `releaser check --mail`."""
    headline = "This is a test: mail about this site reaches you."
    letter = write_letter(name, directory, run, make_unchanged(headline))
    subject = write_subject(name, socket.gethostname(), "Test", "mail reaches you")
    return msgspec.structs.replace(letter, subject=subject, word="Test")


def write_subject(name: str, host: str, word: str, reason: str) -> str:
    """Return a subject: the outcome first, then site, reason and host, shortened from the end."""
    text = " ".join(escape(f"{word}: {', '.join(filter(None, [name, reason]))}").split())
    end = f" [{host[:20]}]"
    room = LONGEST - len(end)
    return clip(text, room) + end


def _name_outcome(command: Command, outcome: Outcome) -> tuple[str, Colour]:
    """Return the word for an outcome, and its colour."""
    if outcome.is_signalled:
        return "Interrupted", "amber"
    if outcome.result == "no-changes" and outcome.exit_code == 0:
        return "Note", "blue"
    word, colour = _WORDS.get(outcome.result, (outcome.result.capitalize(), "amber"))
    if outcome.result == "updated":
        word = command.done or word
    return word, "amber" if outcome.result == "updated" and outcome.exit_code else colour


def _name_reason(outcome: Outcome) -> str:
    if outcome.is_updated or outcome.result == "ready":
        problems = f", {count(len(outcome.problems), 'problem')}" if outcome.problems else ""
        return _name_changes(outcome) + _name_blame(outcome, ", without ") + problems
    if outcome.payload.failed_gate == "tests" and (outcome.payload.culprits or outcome.payload.suspects):
        return _name_blame(outcome, "tests with ")
    if outcome.payload.failed_gate:
        return f"{outcome.payload.failed_gate} with {_name_changes(outcome)}"
    return outcome.problems[0].message if outcome.problems else outcome.headline


def _name_blame(outcome: Outcome, words: str) -> str:
    """Return what is to blame, or else what is suspect, after some words; empty if nothing is."""
    names = outcome.payload.culprits or (() if outcome.is_updated else outcome.payload.suspects)
    return words + join_few(names, 2) if names else ""


def _name_changes(outcome: Outcome) -> str:
    changes, commits = outcome.payload.changes, outcome.payload.new_commits
    if not changes:
        return count(len(commits), "new commit") if commits else outcome.payload.python or "the same packages"
    if len(changes) > 1:
        return count(len(changes), "package")
    return f"{changes[0].name} {changes[0].new or 'removed'}"


def _make_sections(directory: str, site: str, run: Run, outcome: Outcome) -> tuple[Section, ...]:
    advice = dict.fromkeys(name_project(problem.advice, directory) for problem in outcome.problems if problem.advice)
    held = tuple(f"{hold.label}: {hold.reason}" for hold in outcome.on_hold if not isinstance(hold, Pause))
    steps = tuple((each.step, each.status, format_seconds(each.seconds), each.detail) for each in outcome.steps)
    step_lines = tuple(f"{step:13}{status:7}{time:>9}  {detail}" for step, status, time, detail in steps)
    changes, output = outcome.payload.changes, outcome.payload.output
    about = {
        "Site": site,
        "Directory": directory,
        "Run": f"{run.command.name}, {format_time_id(run.id)}",
        "Commit": ", ".join(outcome.commits),
        "Release": outcome.release,
        "Previous": outcome.previous,
        "Exit code": str(outcome.exit_code),
    }
    facts = tuple((word, text) for word, text in about.items() if text)
    sections = (
        Section("What to do", tuple(advice), kind="advice"),
        Section("Commands", tuple(_name_commands(directory, outcome)), kind="commands"),
        Section("Packages", tuple(map(_describe_change, changes)), tuple(map(_list_cells, changes))),
        Section("Commits", outcome.payload.new_commits),
        Section("On hold", held),
        Section("Output", (output,) if output else (), kind="output"),
        Section("Steps", step_lines, steps),
        Section("About this run", tuple(f"{word:11}{text}" for word, text in facts), facts),
    )
    return tuple(section for section in sections if section.lines)


def _describe_live(outcome: Outcome) -> str:
    if outcome.is_updated and outcome.release:
        before = f" Before it, {outcome.previous} was live." if outcome.previous else ""
        return f"The live release is {outcome.release}.{before}"
    if outcome.is_failure_on_unchanged_site:
        return "The live release is unchanged."
    return ""


def _name_commands(directory: str, outcome: Outcome) -> list[str]:
    """Return the commands that a person may want to paste next."""
    project = f"--project {word(directory)}"
    if outcome.is_updated:
        back = [f"releaser rollback {project}"] if outcome.previous else []
        return [*back, f"releaser status {project}"]
    if outcome.result == "ready":
        return [f"releaser show {outcome.release} {project}", f"releaser update {project}"]
    if outcome.payload.failed_gate:
        culprits = outcome.payload.culprits if outcome.payload.failed_gate == "tests" else ()
        again = f"unhold {name_culprits(culprits)}" if culprits else "update --force"
        return [f"releaser show {outcome.payload.failed_release} {project}", f"releaser {again} {project}"]
    return [f"releaser status {project}"]


def _describe_change(change: PackageChange) -> str:
    if change.new is None:
        return f"{change.name} {change.old} leaves the venv"
    return f"{change.name} {change.old or 'new'} -> {change.new}" + (f"  ({change.bump})" if change.old else "")


def _list_cells(change: PackageChange) -> tuple[str, ...]:
    """Return a change as the row of a table."""
    return change.name, " → ".join(filter(None, [change.old, change.new])), change.bump
