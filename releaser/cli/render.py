"""Prints answers: data on standard output, everything else on standard error."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from releaser.bundles.bundle import Bundle
from releaser.errors import Problem
from releaser.fleet.every import Answer, name_sites, summarize
from releaser.packages.audit import Audit
from releaser.packages.changes import describe_changes
from releaser.pipelines.check import Check
from releaser.pipelines.verify import Verification
from releaser.releases.lease import list_sentences
from releaser.releases.release import PackageChange
from releaser.report.history import Record
from releaser.report.listing import Details, Outdated, ReleaseRow
from releaser.report.outcomes import Outcome, describe_outcome
from releaser.report.status import Status
from releaser.site.settings import SettingRow, format_duration
from releaser.system.text import (
    clip,
    escape,
    escape_lines,
    format_bytes,
    format_seconds,
    format_time,
    join_few,
    redact,
    redact_all,
    wrap,
)


def open_closed_streams() -> None:
    """Open each standard stream that was closed, to nowhere: else a file of ours gets its number, and is written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def drop_output() -> None:
    """Send to nowhere what standard output does not take."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: Any) -> None:
    """Print a value as JSON; what could control a terminal is escaped as JSON does it."""
    data = msgspec.json.encode(redact_all(msgspec.to_builtins(value)))
    click.echo(escape_lines(msgspec.json.format(data, indent=2).decode()))


def print_outcome(outcome: Outcome, *, as_json: bool, verbose: bool, quiet: bool, may_change: bool = True) -> None:
    """Print how a run ended. Without a terminal a quiet outcome prints nothing, unless `verbose`.

    What never changes the live release (`may_change` is false) does not say that it is unchanged.
    """
    if as_json:
        print_json(describe_outcome(outcome))
    is_failure, is_silent = outcome.exit_code != 0, outcome.news in ("quiet", "nothing")
    if not verbose and ((quiet and not is_failure) or (is_silent and not sys.stderr.isatty())):
        return
    for note in outcome.notes:
        _say(note)
    _say(outcome.headline)
    output = outcome.payload.output
    if output and output not in outcome.headline:
        for line in output.splitlines():
            click.echo(f"  | {escape(redact(line))}", err=True)
    for problem in outcome.problems:
        if problem.message == outcome.headline:
            _hint(problem)
    print_problems([problem for problem in outcome.problems if problem.message != outcome.headline])
    if outcome.is_failure_on_unchanged_site and may_change:
        _say("The live release is unchanged.")


def print_answer(answer: msgspec.Struct, **fields: Any) -> None:
    """Print an object as JSON, with a headline, notes and problems, as every object has them."""
    print_facts(**{"headline": getattr(answer, "headline", ""), **fields, **msgspec.structs.asdict(answer)})


def print_facts(headline: str, **fields: Any) -> None:
    """Print facts as an object of JSON."""
    print_json({"headline": headline, "notes": (), "problems": (), **fields})


def print_problems(problems: Sequence[Problem]) -> None:
    """Print problems with their advice."""
    for problem in problems:
        _say(f"- {problem.message}", 2)
        _hint(problem)


def _hint(problem: Problem) -> None:
    if problem.advice:
        _say(f"  hint: {problem.advice}", 8)


def _say(text: str, indent: int = 0) -> None:
    """Print a sentence on standard error; on a terminal its further lines are indented."""
    line = escape(redact(text))
    click.echo(wrap(line, _find_width(), indent=indent) if sys.stderr.isatty() else line, err=True)


def _find_width() -> int:
    """Return the columns of the terminal, 80 without one; of a very wide one, as many as are easy to read."""
    return min(shutil.get_terminal_size().columns, 120)


def print_list(rows: Sequence[ReleaseRow]) -> None:
    """Print the releases as a table that fits the terminal, else 80 columns."""
    if not rows:
        click.echo("No releases yet. Run `releaser init`.", err=True)
        return
    table = [("release", "state", "python", "size", "changes")]
    for row in rows:
        table.append((row.id, _describe_state(row), row.python, format_bytes(row.own_bytes), _name_news(row)))
    _print_table(table, right=3)


def _name_news(entry: Record | ReleaseRow) -> str:
    """Return the packages that changed, or else the subject of the newest commit."""
    return describe_changes(entry.changes, 3) or "".join(entry.new_commits[:1]).partition(" ")[2]


def _print_table(table: Sequence[Sequence[str]], right: int = -1) -> None:
    """Print rows of columns, cut to the terminal, else to 80 columns; the column `right` is aligned to the right."""
    cells = [[escape(redact(cell)) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    for row in cells:
        padded = (f"{cell:{'>' if place == right else '<'}{widths[place]}}" for place, cell in enumerate(row))
        line = "  ".join(padded).rstrip()
        click.echo(line if len(line) <= columns else f"{line[: columns - 1]}…")


def _describe_state(row: ReleaseRow) -> str:
    user = "" if row.in_use_by else " by another user"
    used = f", in use{user}" if row.in_use and not row.live else ""
    return row.state + (", pinned" if row.pinned else "") + used


def print_details(details: Details) -> None:
    """Print a release: facts, changes, steps and the end of its tests' output."""
    _say_row("release", f"{details.id}, {details.state}")
    _say_row("made", f"{format_time(details.created_at)}, with Python {details.python}, at {details.commit[:12]}")
    if details.live_at:
        _say_row("live", ", ".join(map(format_time, details.live_at[-3:])))
    if details.failure:
        _say_row("failed", details.failure)
    _say_row("venv", details.path)
    for change in details.changes:
        click.echo(escape(f"  {describe_changes([change])}"))
    for step in details.steps:
        click.echo(escape(f"  {step.step:13}{step.status:7}{format_seconds(step.seconds):>9}  {step.detail}"))
    for line in details.tests_output.splitlines():
        click.echo(escape(f"  | {line}"))


def print_diff(changes: Sequence[PackageChange], commits: Sequence[str]) -> None:
    """Print the packages and commits that differ between two releases."""
    rows = [(change.name, change.old or "-", change.new or "-", change.bump) for change in changes]
    _print_table([("package", "old", "new", "bump"), *rows] if rows else [("The packages are the same.",)])
    _print_table([(commit,) for commit in commits])


def print_history(records: Sequence[Record]) -> None:
    """Print the runs as a table."""
    table = [("run", "command", "result", "release", "seconds", "changes")]
    for record in records:
        release, seconds = record.release or "-", f"{record.seconds:.1f}"
        table.append((record.run, record.command, record.result, release, seconds, _name_news(record)))
    _print_table(table, right=4)


def print_outdated(outdated: Outdated) -> None:
    """Print what is newer as a table, and below it what blocks each version, with the way to allow it."""
    rows = [(row.name, row.live, row.tonight or "-", row.newest) for row in outdated.packages]
    if rows:
        _print_table([("package", "live", "next update", "newest"), *rows])
    for row in outdated.packages:
        for reason, alike in itertools.groupby(row.blocked, lambda blocked: f"{blocked.reason}. {blocked.allow}"):
            _say_row("-", f"{row.name} {', '.join(blocked.version for blocked in alike)}: {reason}", 2)
    _say(outdated.headline)


def print_check(check: Check, *, quiet: bool) -> None:
    """Print whether a site is fit for updates, and what to know of its tests and its mail."""
    print_problems(check.problems)
    if quiet:
        return
    if not check.problems:
        _say(check.headline)
        _say(f"Tests run {check.shadow}")
    if check.mail is not None:
        _say(f"A test mail went to {', '.join(check.mail.to)} by {check.mail.server}.")
    for hint in check.hints:
        _say(hint)


def print_sentences(*sentences: str) -> None:
    """Print sentences on standard error."""
    for sentence in sentences:
        _say(sentence)


def print_audit(audit: Audit) -> None:
    """Print the known vulnerabilities of a release."""
    _say_row("audit", audit.headline)
    _print_attention(audit.problems)


def print_answers(answers: Sequence[Answer]) -> None:
    """Print what a command says of many sites as a table; what needs a person comes first."""
    table, names = [("site", "result", "exit", "")], name_sites(answers)
    most = shutil.get_terminal_size().columns * 3 // 10  # so that what the other sites say has room, too
    for answer in sorted(answers, key=lambda answer: (answer.need, answer.site)):
        summary = summarize(answer)
        words = summary.problems[0].message if summary.problems else summary.headline
        name, result = (clip(text, most) for text in (names[answer.site], summary.result))
        table.append((name, result, str(answer.exit_code), words))
    _print_table(table, right=2)


def print_verification(verification: Verification) -> None:
    """Print whether a release is as it was built, with each fault and its remedy."""
    _say_row("release", verification.headline)
    if verification.unknown:
        _say_row("unknown", verification.unknown)
    _print_attention(verification.faults)


def print_created(bundle: Bundle, *, quiet: bool) -> None:
    """Print which bundle was made, with the wheels that no index has any more."""
    if packed := bundle.manifest.packed:
        _say(f"No index has them any more, so they were packed as they are installed: {join_few(packed)}.")
    if not quiet:
        _say(bundle.headline)


def print_bundle(bundle: Bundle) -> None:
    """Print the facts about a bundle, and its packages."""
    manifest = bundle.manifest
    _say_row("bundle", bundle.headline)
    _say_row("signed", f"by {bundle.signer}" if bundle.signer else "not asked for")
    _say_row("code", f"{manifest.project}, commit {manifest.commit[:12]} of {manifest.branch}")
    _say_row("for", f"Python {manifest.python}, {', '.join(manifest.tags)}")
    _say_row("chosen", manifest.selection or "the dependencies alone")
    for name, values in {"override": manifest.override, "packed": manifest.packed}.items():
        if values:
            _say_row(name, join_few(values))
    if manifest.base:
        _say_row("needs", f"the bundle whose manifest has the SHA-256 {manifest.base}")
    for package in manifest.packages:
        click.echo(escape(redact(f"  {package.name} {package.version}")))


def print_settings(rows: Sequence[SettingRow]) -> None:
    """Print the settings as a table, by subject."""
    table, subject = [("setting", "value", "source")], ""
    for row in rows:
        if row.subject != subject:
            table.append((f"[{row.subject}]", "", ""))
        subject, value = row.subject, _format_value(row.value) or "-"
        table.append((row.name, value if len(value) <= 30 else f"{value[:29]}…", row.source))
    _print_table(table)


def print_setting(row: SettingRow) -> None:
    """Print a setting in full."""
    for name, value in msgspec.structs.asdict(row).items():
        _say_row(name, _format_value(value) or "-", 13)


def _format_value(value: object) -> str:
    """Return a value as people write it: `30m`, `tea, cake`."""
    if isinstance(value, float):
        return format_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def print_status(status: Status) -> None:
    """Print the state of a site on one screen of 80 columns."""
    ready, last, decision = status.ready, status.last_run, status.decision
    rows = {
        "running": status.running.sentence if status.running else "",
        "live": status.live or "none",
        "previous": status.previous or "none",
        "ready": f"{ready}: the next `releaser update` makes it live if nothing differs then" if ready else "",
        "paused": status.pause.sentence if status.pause else "",
        "updated": format_time(status.last_updated) if status.last_updated else "",
        "last run": f"{last.command}, {format_time(last.ended_at)}: {last.result}. {last.headline}" if last else "",
    }
    if decision:
        if last is None or decision.sentence != last.headline:
            rows["decided"] = f"{decision.kind}, {format_time(decision.at)}. {decision.sentence}"
        rows["skipped"] = "; ".join(skipped.sentence for skipped in decision.skipped)
        unpublished = decision.unpublished.rstrip(".")
        rows["uv.lock"] = f"is not committed: {unpublished}" if unpublished else ""
    rows["audit"] = f"{format_time(status.audit.at)}. {status.audit.headline}" if status.audit else ""
    for name, text in rows.items():
        if text:
            _say_row(name, text)
    shown = [hold for hold in status.on_hold if hold.kind != "everything"]
    for reason, by in dict.fromkeys((hold.reason, hold.by) for hold in shown):
        holds = [hold for hold in shown if (hold.reason, hold.by) == (reason, by)]
        undo = f". Undo: `releaser unhold {holds[0].word if len(holds) == 1 else 'NAME…'}`"
        undo = "" if by in ("setting", "index") else undo
        _say_row("on hold", f"{', '.join(hold.label for hold in holds)}: {reason.rstrip('.')}{undo}")
    for commit, changes in status.pending_changes.items():
        _say_row("pending", f"commit {commit[:12]} is not pushed: {changes or 'uv.lock'}")
    for note in status.notes:
        _say_row("uv.lock", note)
    for release, processes in itertools.groupby(status.old_processes, lambda process: process.release):
        for sentence in list_sentences([*processes]):
            _say_row("old", f"on release {release}: {sentence}")
    word = "well, and at work" if status.running else "well"
    click.echo(word if status.well else "needs attention:")
    _print_attention(status.attention)


def _print_attention(problems: Sequence[Problem]) -> None:
    for problem in problems:
        _say_row("-", problem.message, 2)
        if problem.advice:
            _say_row("  hint:", problem.advice, 8)


def _say_row(name: str, text: str, indent: int = 11) -> None:
    """Print a name and a text, wrapped; commands and paths stay whole."""
    width = _find_width() if sys.stdout.isatty() else 80
    click.echo(f"{name:{indent - 1}} {wrap(escape(redact(text)), width, indent=indent)}")
