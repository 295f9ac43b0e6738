"""The mail about a run: whether it is news, to whom it goes, its subject and its letter."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from releaser.packages.holds import Pause
from releaser.releases.release import PackageChange
from releaser.releases.venv import About
from releaser.report.history import read_history
from releaser.report.letter import Colour, Letter, Section
from releaser.report.outcomes import Outcome, Payload, make_unchanged, name_culprits
from releaser.site.paths import Paths
from releaser.system.run import Command, Moment, Run, format_time_id, now
from releaser.system.state import read_state
from releaser.system.text import (
    LONGEST_SENTENCE,
    clip,
    count,
    escape,
    format_seconds,
    format_time,
    join_few,
    name_project,
    word,
)

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
    is_mail = outcome.news == "new" or (outcome.news == "once" and _trim(trouble) != _trim(before.trouble))
    return is_mail, MailNews(trouble, now() if is_mail else before.mailed_at)


def _trim(trouble: str) -> str:
    """Return a trouble without full stops at the ends of its lines, which not every version of releaser wrote."""
    return re.sub(r"\.+$", "", trouble, flags=re.MULTILINE)


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
    text = clip("\n".join([str(outcome.exit_code), *sorted(messages)]), LONGEST_SENTENCE)
    return re.sub(r"\b[0-9a-f]{7,}\b|\d+", "#", text)


def write_letter(name: str, directory: str, run: Run, outcome: Outcome, abouts: Mapping[str, About] = {}) -> Letter:
    """Return the letter about a run of the project `name`: what happened, what to do, what changed, where to look.

    `abouts` present the packages that changed, by their plain names.
    """
    host, (word, colour) = socket.gethostname(), _name_outcome(run.command, outcome)
    messages = (problem.message for problem in outcome.problems)
    payload = msgspec.structs.replace(outcome.payload, changes=_present(outcome.payload.changes, abouts))
    outcome = msgspec.structs.replace(outcome, payload=payload)
    urls = {about.name: about.changes_url for about in abouts.values()}
    headline = _write_headline(run.command, outcome)
    blame = _name_blame(outcome, "On hold by the tests: ") if outcome.is_updated else ""
    more = [outcome.headline if headline != outcome.headline and not outcome.is_updated else blame and f"{blame}."]
    return Letter(
        subject=write_subject(name, host, word, _name_reason(outcome)),
        word=word,
        colour=colour,
        where=f"{name} on {host}, {format_time_id(run.id)}",
        headline=name_project(headline, directory),
        paragraphs=tuple(
            name_project(text, directory) for text in [*more, _describe_live(outcome), *outcome.notes] if text
        ),
        problems=tuple(name_project(text, directory) for text in messages if text not in (outcome.headline + headline)),
        sections=_make_sections(directory, f"{name} on {host}", run, outcome, urls),
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


#: What stopped a release, by the gate that it failed.
_GATES = {
    "tests": "the tests failed",
    "migrations": "the database lacks its migrations",
    "audit": "it would bring a known vulnerability",
    "before_live": "`before_live` refused it",
}


def _present(changes: Iterable[PackageChange], abouts: Mapping[str, About]) -> tuple[PackageChange, ...]:
    """Return changes with the names that authors write: fixes of vulnerabilities first, then major versions.

    Removed packages come last.
    """
    ordered = sorted(changes, key=lambda each: (not each.fixes, each.bump != "major", each.bump == "removed"))
    names = {name: about.name for name, about in abouts.items()}
    return tuple(msgspec.structs.replace(each, name=names.get(each.name, each.name)) for each in ordered)


def _write_headline(command: Command, outcome: Outcome) -> str:
    """Return what happened, as a person would say it: the headline of the outcome where that is urgent."""
    payload = outcome.payload
    news = _name_news(payload)
    is_urgent = outcome.is_urgent or outcome.is_signalled or (payload.culprits and outcome.result == "failed")
    if outcome.result == "no-changes" and outcome.problems:
        return outcome.problems[0].message
    if not news or is_urgent:
        return outcome.headline
    number = len(payload.changes) + len(payload.new_commits) + bool(payload.python)
    verb = "is" if number == 1 else "are"
    fixes = sum(bool(change.fixes) for change in payload.changes)
    fixed = f"{count(fixes, 'security fix', 'security fixes')}: " if fixes else ""
    match outcome.result:
        case "updated" if command.done:
            return f"{command.done}: {news} {verb} live."
        case "updated":
            return f"{fixed}{news} {verb} live."
        case "updated-not-restarted":
            return f"{fixed}{news} {verb} live, but the site was not restarted."
        case "ready":
            return f"{fixed}{news} {verb} ready to go live."
        case "rolled-back":
            return f"{news} failed, and {'was' if verb == 'is' else 'were'} rolled back."
        case "failed" if payload.failed_gate in _GATES:
            return f"{news} {verb} not live: {_GATES[payload.failed_gate]}."
    return outcome.headline


def _name_news(payload: Payload) -> str:
    """Return what a release brings: its first package, how many more, and its commits; empty if that is nothing."""
    words, commits = [], count(len(payload.new_commits), "new commit")
    for change in payload.changes[:1]:
        versions = " → ".join(filter(None, [change.old, change.new]))
        is_removed, mark = change.bump == "removed", " (new)" if change.bump == "added" else ""
        words.append(f"{'The removal of ' if is_removed else ''}{change.name} {versions}{mark}")
    words += [f"{len(payload.changes) - 1} more"] if payload.changes[1:] else []
    words += [payload.python] if payload.python else []
    if len(payload.new_commits) == 1 and not words:
        commits = f"“{payload.new_commits[0].partition(' ')[2]}”"
    words += [commits] if payload.new_commits else []
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _name_reason(outcome: Outcome) -> str:
    payload = outcome.payload
    if outcome.is_updated or outcome.result == "ready":
        problems = f", {count(len(outcome.problems), 'problem')}" if outcome.problems else ""
        security = "security: " if any(change.fixes for change in payload.changes) else ""
        blame = _name_blame(outcome, ", without ")
        packages = count(len(payload.changes), "package") if blame and payload.changes[1:] else _name_changes(payload)
        return security + packages + blame + problems
    if payload.failed_gate == "tests" and (payload.culprits or payload.suspects):
        return _name_blame(outcome, "tests with ")
    if payload.failed_gate:
        packages = count(len(payload.changes), "package") if payload.changes[1:] else _name_changes(payload)
        return f"{payload.failed_gate} with {packages}"
    return outcome.problems[0].message if outcome.problems else outcome.headline


def _name_blame(outcome: Outcome, words: str) -> str:
    """Return what is to blame, or else what is suspect, after some words; empty if nothing is."""
    names = outcome.payload.culprits or (() if outcome.is_updated else outcome.payload.suspects)
    return words + join_few(names, 2) if names else ""


def _name_changes(payload: Payload) -> str:
    changes, commits, removed = payload.changes, payload.new_commits, payload.removed_commits
    if not changes and removed:
        return f"{count(len(removed), 'commit')} rolled back"
    if not changes:
        return count(len(commits), "new commit") if commits else payload.python or "the same packages"
    more = f" and {len(changes) - 1} more" if changes[1:] else ""
    return f"{changes[0].name} {changes[0].new or 'removed'}{more}"


def _make_sections(
    directory: str, site: str, run: Run, outcome: Outcome, urls: Mapping[str, str]
) -> tuple[Section, ...]:
    advice = dict.fromkeys(name_project(problem.advice, directory) for problem in outcome.problems if problem.advice)
    held = tuple(f"{hold.label}: {hold.reason}" for hold in outcome.on_hold if not isinstance(hold, Pause))
    steps = tuple((each.step, each.status, format_seconds(each.seconds), each.detail) for each in outcome.steps)
    payload = outcome.payload
    new, removed = payload.new_commits, payload.removed_commits
    if outcome.result == "rolled-back":
        new, removed = (), new
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
        Section("Packages", cells=tuple(_list_cells(change, urls) for change in payload.changes), kind="packages"),
        Section("Commits", new),
        Section("Commits rolled back", removed),
        Section("On hold", held),
        Section("Output", (payload.output,) if payload.output else (), kind="output"),
        Section("About this run", cells=facts, kind="small"),
        Section("Steps", cells=steps, kind="small"),
    )
    return tuple(section for section in sections if section.lines or section.cells)


def _describe_live(outcome: Outcome) -> str:
    if outcome.is_updated and outcome.release:
        before = f" Before it, {outcome.previous} was live." if outcome.previous else ""
        return f"Release {outcome.release} is live.{before}"
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


def _list_cells(change: PackageChange, urls: Mapping[str, str]) -> tuple[str, ...]:
    """Return a change as the row of a table, with the URL of the package's changes."""
    versions = " → ".join(filter(None, [change.old, change.new]))
    fixes = f"fixes {', '.join(change.fixes)}" if change.fixes else ""
    return change.name, versions, change.bump, fixes, urls.get(change.name, "")
