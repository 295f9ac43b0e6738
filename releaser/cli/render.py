"""Prints answers: data on standard output, everything else on standard error."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from releaser.errors import Problem
from releaser.packages.changes import describe_changes
from releaser.report.details import Details
from releaser.report.outcome import Outcome
from releaser.report.status import ReleaseRow, Status
from releaser.system.text import clean_terminal, format_bytes, format_seconds, format_time, redact


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(redact(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def print_outcome(outcome: Outcome, *, as_json: bool, verbose: bool, quiet: bool) -> None:
    """Print how a run ended. Without a terminal a quiet outcome prints nothing, unless `verbose`."""
    if as_json:
        fields = msgspec.to_builtins(outcome)
        for name in ("headline", "notes", "is_quiet", "is_paused"):
            del fields[name]
        print_json(fields)
    is_failure = outcome.exit_code != 0
    if not verbose and ((quiet and not is_failure) or (outcome.is_quiet and not sys.stderr.isatty())):
        return
    for note in outcome.notes:
        _say(note)
    _say(outcome.headline)
    if outcome.output and outcome.output not in outcome.headline:
        _say("\n".join(f"  | {line}" for line in outcome.output.splitlines()))
    for problem in outcome.problems:
        if problem.message == outcome.headline:
            _hint(problem)
    print_problems([problem for problem in outcome.problems if problem.message != outcome.headline])
    if outcome.exit_code in (3, 4, 5, 8, 9) and "unchanged" not in outcome.headline and not outcome.has_flipped:
        _say("The live release is unchanged.")


def print_problems(problems: Sequence[Problem]) -> None:
    """Print problems with their advice."""
    for problem in problems:
        _say(f"- {problem.message}")
        _hint(problem)


def _hint(problem: Problem) -> None:
    if problem.advice:
        _say(f"  hint: {problem.advice}")


def _say(text: str) -> None:
    click.echo(clean_terminal(redact(text)), err=True)


def print_list(rows: Sequence[ReleaseRow]) -> None:
    """Print the releases as a table that fits the terminal, else 80 columns."""
    if not rows:
        click.echo("No releases yet. Run `releaser init`.", err=True)
        return
    table = [("release", "state", "python", "size", "changes")]
    for row in rows:
        changes = clean_terminal(describe_changes(row.changes, 3))
        table.append((row.id, _describe_state(row), row.python, format_bytes(row.own_bytes), changes))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
    for release, state, python, size, changes in table:
        line = f"{release:{widths[0]}}  {state:{widths[1]}}  {python:{widths[2]}}  {size:>{widths[3]}}  {changes}"
        click.echo(line.rstrip() if len(line) <= columns else f"{line[: columns - 1]}…")


def _describe_state(row: ReleaseRow) -> str:
    used = ", in use" if row.in_use and not row.live else ""
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
        click.echo(f"  {describe_changes([change])}")
    for step in details.steps:
        click.echo(clean_terminal(f"  {step.step:13}{step.status:7}{format_seconds(step.seconds):>9}  {step.detail}"))
    if details.tests_output:
        click.echo(clean_terminal(details.tests_output))


def print_status(status: Status) -> None:
    """Print the state of a site on one screen of 80 columns."""
    _say_row("live", status.live or "none")
    _say_row("previous", status.previous or "none")
    if status.ready:
        _say_row("ready", f"{status.ready}: the next `releaser update` makes it live if nothing differs then")
    if status.pause:
        _say_row("paused", status.pause.sentence)
    if status.last_updated:
        _say_row("updated", format_time(status.last_updated))
    if status.last_run:
        _say_row("last run", f"{status.last_run.command}: {status.last_run.result}. {status.last_run.headline}")
    for hold in status.on_hold:
        undo = f". Undo: `releaser unhold {hold.name}`" if hold.by != "setting" else ""
        _say_row("on hold", f"{hold.label}: {hold.reason}{undo}")
    for commit in status.pending:
        _say_row("pending", f"commit {commit[:12]} is not pushed")
    click.echo("well" if status.well else "needs attention:")
    for problem in status.attention:
        _say_row("-", problem.message, 2)
        if problem.advice:
            _say_row("  hint:", problem.advice, 8)


def _say_row(name: str, text: str, indent: int = 11) -> None:
    """Print a name and a text, wrapped; commands and paths stay whole."""
    whole = re.sub(r"`[^`]+`", lambda command: command[0].replace(" ", "\xa0"), clean_terminal(redact(text)))
    lines = textwrap.wrap(whole, 80 - indent, break_long_words=False, break_on_hyphens=False)
    click.echo(f"{name:{indent - 1}} " + f"\n{'':{indent}}".join(lines).replace("\xa0", " "))
