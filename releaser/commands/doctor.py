"""`doctor`: writes one file with the facts for a bug report."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import click

from releaser.commands.command import FILE, cli, command
from releaser.commands.context import CommandContext
from releaser.commands.output import write_named
from releaser.errors import ExitCode, ReleaserError, ToolError, os_reason, refuse
from releaser.pipelines.doctor import diagnostic_parts, open_incomplete_site, redactor_of
from releaser.system.frozen import Frozen

# Each knows a part of the facts, and reports what keeps it from the rest.
_COMMANDS = ("config", "check --sandbox --json", "status --json", "list", "history --number 5 --json")
_INTRODUCTION = """\
Facts for a bug report about releaser, {at}.
Secrets that releaser knows are replaced by ***. Read this file before you send it: it names hosts, users, paths,
packages and settings, and has the output of your tests and other programs.
"""


class Diagnosis(Frozen):
    """The file with the facts."""

    path: str
    #: The parts that end with an error.
    failed: tuple[str, ...]


#: The types of the answers with `--json`, see answers.py.
ANSWERS = {"doctor": (Diagnosis,)}


@command(section="Look closer", example="releaser doctor --output ~/doctor.txt")
@click.option(
    "-o", "--output", "file", type=FILE, metavar="FILE", help="Write to this file. Default: a file in `TMPDIR`."
)
def doctor(ctx: CommandContext, file: Path | None) -> None:
    """Collect data for a bug report in one file, without secrets. Sends nothing.

    It also works on a broken site: errors become part of the file.
    """
    site = open_incomplete_site(ctx.project, os.environ)
    redactor = redactor_of(site, os.environ)
    ctx.output.redactor.learn(redactor.secrets)
    parts = dict(diagnostic_parts(site, os.environ))
    parts |= {one: lambda one=one: _ask(one, ctx.project) for one in _COMMANDS}  # type: ignore[misc]
    text, failed = _INTRODUCTION.format(at=datetime.now(UTC).isoformat(timespec="seconds")), []
    for title, find in parts.items():
        lines, is_whole = _try(find)
        text += "\n".join([f"\n== {title} ==", *lines, ""])
        failed += [] if is_whole else [title]
    path = _write(file, redactor.shown(text).encode(errors="replace"))
    ctx.output.answer(Diagnosis(path=path, failed=tuple(failed)), lambda found: [found.path])
    if not ctx.output.json:
        ctx.output.note("Nothing was sent. Read the file before you attach it to a bug report.")


def _try(find: Callable[[], Iterable[str]]) -> tuple[list[str], bool]:
    """Return the lines of a part, up to its error if it has one, and whether it has none."""
    lines = list[str]()
    try:
        lines.extend(find())
    except Exception as error:  # noqa: BLE001 - a broken site must not keep the other parts out of the report
        kind = "" if isinstance(error, ReleaserError) else f"{type(error).__name__}: "
        return [*lines, f"error: {kind}{error}"], False
    return lines, True


def _ask(words: str, project: Path) -> Iterable[str]:
    """Yield what a command of releaser prints, and its exit code; raises ToolError if that is not 0."""
    answer, complaints, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(answer), contextlib.redirect_stderr(complaints):
        try:
            cli.main([*words.split(), "--project", str(project)], "releaser", standalone_mode=False)
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:  # noqa: BLE001 - a bug is what the report is about
            code = ExitCode.BUG
            complaints.write(traceback.format_exc())
    yield from (answer.getvalue() + complaints.getvalue()).splitlines()
    if code >= ExitCode.SIGNALLED:
        sys.exit(code)
    if code:
        message = f"exit code {int(code)}"
        raise ToolError(message)


def _write(file: Path | None, data: bytes) -> str:
    """Write the file, which only its owner can read, and return its path. Raises PreflightError and OSError."""
    if file is None:
        descriptor, part = tempfile.mkstemp(prefix="releaser-doctor-", suffix=".part")
        try:
            with open(descriptor, "wb") as stream:
                stream.write(data)
            path = f"{part.removesuffix('.part')}.txt"
            os.link(part, path)  # never over another file
        finally:
            os.unlink(part)
        return path
    try:
        write_named(file, data, private=True)
    except OSError as error:
        message = f"{file} cannot be written: {os_reason(error)}"
        refuse("doctor-unwritable", message, "Correct the path after --output, or its permissions.")
    return str(file)
