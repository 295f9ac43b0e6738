"""Decides how a command speaks: data on standard output, words on standard error, plain or with colour."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from releaser.errors import PreflightError, ReleaserError
from releaser.redaction import Redactor
from releaser.report.recorder import Listener, Silence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from releaser.locking.diff import Change
    from releaser.report.outcome import RunReport
    from releaser.report.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How to speak: `json` for programs; `verbose` and `quiet` as on the command line."""

    json: bool = False
    verbose: bool = False
    quiet: bool = False

    def listener(self) -> Listener:
        """Return what shows the steps of a run while it runs."""
        if self.quiet or (self.json and not self.verbose):
            return Silence()
        if sys.stderr.isatty():
            from releaser.report.terminal import Live

            return Live(sys.stderr)
        if self.verbose:
            from releaser.report.terminal import Lines

            return Lines(sys.stderr)
        return Silence()

    def say_report(self, report: RunReport, *, answers: bool = False) -> None:
        """Print how a run ended. Without a terminal, a run about which there is nothing to say prints nothing.

        One that `answers` a question has something to say.
        """
        if self.json:
            from releaser.report.history import report_as_json

            self.data(report_as_json(report))
            if report.exit_code:
                _words(_stderr_summary(report))
            return
        if self.quiet and not report.exit_code:
            return
        if sys.stderr.isatty():
            from releaser.report.terminal import show_report

            show_report(report, sys.stderr)
        elif self.verbose or answers or report.noteworthy:
            from releaser.report.text import summary

            _words(summary(report))

    def progress(self) -> contextlib.AbstractContextManager[Progress]:
        """Return what shows how far a look at many files is; that is for a terminal alone."""
        from releaser.report.progress import Hidden

        if self.quiet or not sys.stderr.isatty():
            return Hidden()
        from releaser.report.terminal import Bar

        return Bar(sys.stderr)

    def data(self, content: Any) -> None:
        """Print JSON: in ASCII, which every locale can print, and any path and output can be written in."""
        sys.stdout.write(json.dumps(content, indent=2) + "\n")

    def lines(self, lines: Iterable[str]) -> None:
        """Print an answer for people."""
        for line in lines:
            sys.stdout.write(line + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table: drawn by rich on a terminal, plain columns elsewhere."""
        if sys.stdout.isatty():
            from releaser.report.terminal import show_rows

            show_rows(columns, rows, sys.stdout)
        else:
            from releaser.report.text import aligned

            self.lines(aligned([list(columns), *rows]))

    def changes(self, changes: Sequence[Change]) -> None:
        """Print package changes, with the ages that versions have today."""
        from datetime import UTC, datetime

        from releaser.report.changes import changes_table

        table = changes_table(changes, now=datetime.now(UTC))
        if sys.stdout.isatty():
            from releaser.report.terminal import show_changes

            show_changes(table, sys.stdout)
        else:
            self.lines(table.lines)

    def note(self, line: str) -> None:
        """Print words for people, which are not data."""
        if not self.quiet:
            _words([line])


def _words(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stderr.write(line + "\n")


def _stderr_summary(report: RunReport) -> list[str]:
    from releaser.report.text import last_words

    return last_words(report)


def say_error(error: ReleaserError) -> None:
    """Print what failed, the end of what a program said about it, that live is unchanged, and what to do next."""
    from releaser.report.text import end_of
    from releaser.run import cleaned

    redactor = Redactor()

    def clean(text: str) -> str:
        return cleaned(redactor, text)

    problems = error.problems if isinstance(error, PreflightError) else (error,)
    if len(problems) > 1:
        _words([f"releaser: {clean(error.message)}"])
    for problem in problems:
        _words([f"{'problem' if len(problems) > 1 else 'releaser'}: {clean(problem.message)}"])
        if problem.advice:
            _words([f"  what to do: {clean(problem.advice)}"])
    _words([*end_of(redactor.clean(error.output)), "live: unchanged"])
