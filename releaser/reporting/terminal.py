"""A run on a terminal: a spinner and the time of each step, tables, a last line."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TextIO

from rich import markup
from rich.console import Console

from releaser.listener import Gauge, Silence
from releaser.reporting.changes import Table as ChangesTable
from releaser.reporting.changes import changes_table
from releaser.reporting.style import wrap_line
from releaser.reporting.text import ADVICE, closing_lines, output_lines, step_line
from releaser.system.expression import expression
from releaser.system.words import fit, plural, size, strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.progress import Progress

    from releaser.report import Outcome, RunReport

_MARKS = {"ok": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[dim]–[/]", "warning": "[yellow]![/]"}
_BUMPS = {"major": "red", "minor": "yellow", "patch": "green"}
_LONGEST = 1 << 16  # bytes of an unfinished line, such as the dots of all tests
_DOTS = expression(r"(?:\S+\.py )?([.FEsxXu]+) *(?:\[ *\d+%\])?")  # of pytest and unittest, which Django's runner uses
_VERBOSE = expression(
    r"\S+::.*(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*|(?:\[gw\d+\] )?\[ *\d+%\] [A-Z]+ \S+::.*"
    r"|\w+ \(\S+\).* \.\.\. (?:ok|FAIL|ERROR|skipped .*|expected failure|unexpected success)"
)
_TOTAL = expression(r"(?:collected|Found) (\d+) (?:item|test)|.* \[(\d+) items?\]")
_DOWNLOAD = expression(r"Downloading \S+ \(([\d.]+)([KMG]?)iB\)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def escape(text: str) -> str:
    """Make text harmless for rich, and for the terminal."""
    return markup.escape(strip_control(text))


class Live:
    """Shows each step while it runs, and its progress. Rich omits colour for NO_COLOR."""

    shows_progress = True

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._progress: Progress | None = None
        self._gauge: Gauge | None = None
        self._count: Tests | Downloads = Downloads()

    def started(self, step: str) -> None:
        """Show the spinner with the name of the step."""
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # slow to import

        self._stop()
        self._gauge, self._count = None, Tests() if "test" in step.split() else Downloads()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("[dim]{task.fields[far]}[/]"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=self._console, transient=True, refresh_per_second=5
        )
        self._progress.add_task(escape(step), total=None, far=_Lazy(self._how_far))
        self._progress.start()

    def measured(self, gauge: Gauge) -> None:
        """Also show the progress of the step."""
        self._gauge = gauge

    def printed(self, chunk: bytes) -> None:
        """Take the output of a program."""
        self._count.feed(chunk)

    def _how_far(self) -> str:
        """Return the progress of the step; called at each redraw."""
        gauge, parts = self._gauge, [str(self._count)]
        with contextlib.suppress(OSError):  # measured files come and go
            parts += [share(gauge.read(), gauge.total, gauge.noun)] if gauge else []
        return ", ".join(filter(None, parts))

    def ended(self, outcome: Outcome) -> None:
        """Replace the spinner by a line that stays."""
        self._stop()
        begin = f"{outcome.step:<18} {outcome.seconds:6.1f} s"
        left = len(begin) + 4  # where the detail begins
        first, *more = wrap_line(" " * left + strip_control(outcome.detail), self._console.width, hanging=0)
        detail = f"  [dim]{escape(first[left:])}[/]" if outcome.detail else ""
        self._console.print(f"{_MARKS[outcome.status]} {escape(begin)}{detail}", soft_wrap=True)
        for line in more:
            self._console.print(escape(line), style="dim", soft_wrap=True)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _Lazy:
    """Words that are made when they are shown."""

    def __init__(self, words: Callable[[], str]) -> None:
        self._words = words

    def __str__(self) -> str:
        return self._words()


def track(paths: Sequence[str], release: str, stream: TextIO) -> Iterable[str]:
    """Yield the files of a release, with a progress bar that disappears at the end."""
    from rich.progress import track as show  # slow to import

    return show(paths, escape(release), console=Console(file=stream, highlight=False), transient=True)


class Lines(Silence):
    """Writes a plain line for each step: for `-v` without a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def ended(self, outcome: Outcome) -> None:
        """Write the line."""
        self._stream.write(strip_control(step_line(outcome)) + "\n")
        self._stream.flush()


def show_report(report: RunReport, stream: TextIO) -> None:
    """Show the result of a run; the last lines say what happened, and what to do."""
    console = Console(file=stream, highlight=False)
    show_changes(changes_table(report.changes, now=report.started_at), stream)
    for line in output_lines(report.output):
        console.print(escape(line), style="dim", soft_wrap=True)
    headline, *others = closing_lines(report)
    advice = others[:1] if others and others[0].startswith(ADVICE) else []
    style = "bold green" if report.exit_code == 0 else "bold red"
    for line in [*others[len(advice) :], headline, *advice]:
        for part in wrap_line(strip_control(line), console.width):
            console.print(escape(part), style=style if line == headline else "", soft_wrap=True)


def show_changes(table: ChangesTable, stream: TextIO) -> None:
    """Show package changes, bigger steps in warmer colours."""
    console = Console(file=stream, highlight=False)
    for line, row in table.align() if table else ():
        console.print(escape(line), style=_BUMPS.get(row.bump, "") if row else "bold", soft_wrap=True)
        for note in row.below if row else ():
            console.print(f"    {escape(note)}", style="dim", soft_wrap=True)


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO) -> None:
    """Show rows of plain words as a table that fits the terminal."""
    console = Console(file=stream, highlight=False)
    heading, *lines = fit([columns, *([*map(strip_control, row)] for row in rows)], console.width)
    console.print(escape(heading), style="bold", soft_wrap=True)
    for line in lines:
        console.print(escape(line), soft_wrap=True)


# The progress of a step, from the output of its programs, which stays as it is.


class Count:
    """Reads the output of a program line by line; an unfinished line counts, too."""

    def __init__(self) -> None:
        self._line = b""

    def feed(self, chunk: bytes) -> None:
        """Take output of a program."""
        *whole, rest = (self._line + chunk).split(b"\n")
        for line in whole:
            self.read(_words(line))
        self._line = rest[-_LONGEST:]

    def read(self, line: str) -> None:
        """Count a whole line."""


class Tests(Count):
    """Counts tests in the output of the runners of Django and pytest."""

    __test__ = False  # pytest would collect it

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._done = 0

    @property
    def done(self) -> int:
        """The number of tests that have run so far."""
        return self._done + _in_line(_words(self._line))

    def read(self, line: str) -> None:
        """Count the tests of a line."""
        if found := _TOTAL.match(line):
            self.total = int(found[1] or found[2])
        self._done += _in_line(line)

    def __str__(self) -> str:
        """Return how many tests have run; empty before the first."""
        return share(self.done, max(self.total, self.done) if self.total else 0, "test")


class Downloads(Count):
    """Counts the bytes that uv says it downloads: only files of more than a mebibyte."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def read(self, line: str) -> None:
        """Add the size of a download."""
        if found := _DOWNLOAD.match(line):
            self.bytes += int(float(found[1]) * _UNITS[found[2]])

    def __str__(self) -> str:
        """Return the total; empty for nothing."""
        return f"{size(self.bytes)} to download" if self.bytes else ""


def share(done: int, total: int, noun: str = "") -> str:
    """Return the progress: `3 of 12 tests`, or bytes without a noun; empty for nothing of an unknown total."""
    if not noun:
        return f"{size(done)} of {size(total)}" if total else ""
    if total:
        return f"{done} of {plural(total, noun)}"
    return plural(done, noun) if done else ""


def _words(line: bytes) -> str:
    return strip_control(line.decode("utf-8", errors="replace")).strip()


def _in_line(line: str) -> int:
    if found := _DOTS.fullmatch(line):
        return len(found[1])
    return 1 if _VERBOSE.fullmatch(line) else 0
