"""Prints for people and programs, without secrets and control characters, and writes the files that people name."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from releaser.errors import ReleaserError, UsageError, os_reason, refuse
from releaser.listener import Listener, Silence
from releaser.system.files import plain, replace_file
from releaser.system.frozen import Frozen, field
from releaser.system.later import Later
from releaser.system.words import Redactor, table

if TYPE_CHECKING:
    import json
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from releaser.locks.changes import Change
    from releaser.report import RunReport
else:
    json = Later("json")

T = TypeVar("T")


class Output(Frozen):
    """Prints in the form that the command line asks for: `json` for programs, `verbose`, `quiet`."""

    json: bool = False
    verbose: bool = False
    quiet: bool = False
    #: True if the command can change the live release; then errors say that it is unchanged.
    changes: bool = False
    #: True if errors and exit codes are those of a Nagios plugin.
    plugin: bool = False
    #: Contains the secrets of the site after its settings are read.
    redactor: Redactor = field(default_factory=Redactor)

    def listener(self) -> Listener:
        """Return the listener that shows the steps of a run."""
        if not self.quiet and (self.verbose or (sys.stderr.isatty() and not self.json)):
            from releaser.reporting.terminal import Lines, Live

            return (Live if sys.stderr.isatty() and not self.json else Lines)(sys.stderr)
        return Silence()

    def print_report(self, report: RunReport, *, answers: bool = False) -> None:
        """Print the report of a run. Without a terminal, reports without news and mailed reports are not printed.

        With `answers`, the report is always printed.
        """
        if self.json:
            from releaser.releases.journal import report_as_json
            from releaser.reporting.text import closing_lines

            self.print_json(report_as_json(report))
            if report.exit_code:
                self._write(closing_lines(report))
        elif self.quiet and not report.exit_code:
            return
        elif sys.stderr.isatty():
            from releaser.reporting.terminal import show_report

            show_report(report, sys.stderr)
        elif self.verbose or answers or (report.noteworthy and not self._is_for_cron(report)):
            from releaser.reporting.text import report_text

            self._write(report_text(report))

    def _is_for_cron(self, report: RunReport) -> bool:
        """True if cron would mail a report again that was already mailed: no person is at a terminal."""
        person = sys.stdin is not None and sys.stdin.isatty()
        from releaser.releases.journal import MailSection

        return report.is_update and MailSection.of(report).mailed and not person

    def track(self, paths: Sequence[str], release: str) -> Iterable[str]:
        """Return an iterable of the files of a release that shows its progress on a terminal."""
        if self.quiet or self.json or not sys.stderr.isatty():
            return paths
        from releaser.reporting.terminal import track

        return track(paths, release, sys.stderr)

    def print_json(self, content: Any) -> None:
        """Print JSON in ASCII, which every locale can print and which can have any path and output."""
        sys.stdout.write(self._encode(content))

    def _encode(self, content: Any) -> str:
        if self.redactor.secrets:
            content = self.redactor.clean_all(json.loads(json.dumps(content, default=plain)))
        return json.dumps(content, indent=2, default=plain).replace("\x7f", "\\u007f") + "\n"

    def require_target(self, *, html: Path | None, publish: Path | None) -> None:
        """Raise UsageError for a report that would go nowhere."""
        if not (html or publish or self.json):
            message = "report needs --html or --publish"
            raise UsageError(message, "Add `--html FILE` for a page, `--publish FILE` for the page of another server.")

    def publish(self, file: Path | None, content: Any) -> None:
        """Print content with --json, and write it as JSON to a file, if any, atomically. Raises PreflightError."""
        if self.json:
            self.print_json(content)
        if file:
            self._write_named("--publish", file, self._encode(content).encode())

    def answer(self, found: T, text: Callable[[T], Iterable[str]], *, empty: str = "") -> None:
        """Print an answer as JSON or, for people, as `text` returns it; print `empty` if nothing was found."""
        if self.json:
            self.print_json(found)
        elif found:
            self._write(text(found), sys.stdout, wrap=True)
        else:
            self.note(empty)

    def print_lines(self, lines: Iterable[str]) -> None:
        """Print an answer for people."""
        self._write(lines, sys.stdout)

    def print_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table: on a terminal in its width, elsewhere in plain columns."""
        cells = iter(self.redactor.lines([cell for row in rows for cell in row]))
        rows = [[next(cells) for _ in row] for row in rows]
        if sys.stdout.isatty():
            from releaser.reporting.terminal import show_rows

            show_rows(columns, rows, sys.stdout)
        else:
            self.print_lines(table([columns, *rows]))

    def print_changes(self, changes: Sequence[Change]) -> None:
        """Print package changes, with today's ages of the versions."""
        from datetime import UTC, datetime

        from releaser.reporting.changes import changes_table

        found = changes_table(changes, now=datetime.now(UTC))
        if sys.stdout.isatty():
            from releaser.reporting.terminal import show_changes

            show_changes(found, sys.stdout)
        else:
            self.print_lines(found.lines)

    def write_page(self, file: Path, text: str) -> None:
        """Write a page to a file, atomically. Raises PreflightError."""
        self._write_named("--html", file, self.redactor.clean(text).encode(errors="replace"))

    def _write_named(self, option: str, file: Path, data: bytes) -> None:
        try:
            write_named(file, data)
        except OSError as error:
            message = f"{file} cannot be written: {os_reason(error)}"
            refuse("page-unwritable", message, f"Correct the path after {option}, or its permissions.")
        self.note(f"wrote {file}")

    def note(self, line: str) -> None:
        """Print a remark for people to stderr."""
        if not self.quiet:
            self._write([line])

    def _write(self, lines: Iterable[str], stream: TextIO | None = None, *, wrap: bool = False) -> None:
        """Write lines; on a terminal, wrap those on stderr and, with `wrap`, others."""
        stream = stream or sys.stderr
        shown: Iterable[str] = map(self.redactor.shown, lines)
        if (wrap or stream is sys.stderr) and stream.isatty():
            from shutil import get_terminal_size

            from releaser.reporting.style import wrap_line

            width = get_terminal_size().columns
            shown = (part for text in shown for line in text.split("\n") for part in wrap_line(line, width))
        stream.write("".join(f"{line}\n" for line in shown))

    def print_error(self, error: ReleaserError) -> int:
        """Print an error with its advice and the end of a program's output; return the exit code.

        Unless the command line was wrong, also print that the live release is unchanged.
        """
        if self.plugin:
            from releaser.core.status import Service, nagios_line

            self.print_lines([nagios_line(Service.UNKNOWN, error.message)])
            return Service.UNKNOWN
        from releaser.reporting.text import output_lines

        findings = error.findings
        several = len(findings) > 1
        lines = [f"releaser: {self.redactor.line(error.message)}"] if several else []
        for finding in findings:
            lines.append(f"{'problem' if several else 'releaser'}: {self.redactor.line(finding.message)}")
            if finding.advice:
                lines.append(f"  what to do: {self.redactor.line(finding.advice)}")
        unchanged = ["live: unchanged"] if self.changes and not isinstance(error, UsageError) else []
        self._write([*lines, *output_lines(self.redactor.clean(error.output)), *unchanged])
        return error.exit_code


def write_named(file: Path, data: bytes, *, private: bool = False) -> None:
    """Replace a file atomically, with its mode or that of a new file; write to a device or a pipe directly.

    A `private` file is only for its owner. A file that root writes is not writable by all users. Raises OSError, also
    if root would write into a directory that all users can write.
    """
    place, is_root = os.path.realpath(file.parent), os.geteuid() == 0
    if is_root and os.stat(place).st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EACCES, "root does not write to a directory that all users can write to", str(file))
    try:
        mode = os.lstat(file).st_mode
    except FileNotFoundError:
        mode = stat.S_IFLNK
    is_special = place == "/dev" or f"{place}/".startswith("/proc/")  # /dev/stdout is a symlink
    if is_special or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        follows = 0 if is_special else os.O_NOFOLLOW
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | follows), "wb") as stream:
            stream.write(data)
        return
    if stat.S_ISLNK(mode):
        os.umask(umask := os.umask(0o077))
        mode = 0o666 & ~umask
    replace_file(file, data, mode=0o600 if private else mode & (0o775 if is_root else 0o777))
