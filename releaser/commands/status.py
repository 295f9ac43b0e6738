"""The command `status`, which monitoring asks: plain.py reads its plain options without click."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.commands.context import Beginning, CommandContext, refuse_both
from releaser.commands.plain import PlainCommand, PlainOption, flag
from releaser.errors import UsageError, os_reason, refuse
from releaser.system.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

_WARNING, _CRITICAL = "2d", "7d"


def _duration(option: str, value: str) -> float:
    from releaser.site.values import duration

    try:
        return duration(value)
    except ValueError as error:
        message = f"{option} {error} (it is {value!r})"
        raise UsageError(message, f"Correct {option}.") from error


def status(
    ctx: CommandContext,
    *,
    nagios: bool = False,
    prometheus: bool = False,
    textfile: Path | None = None,
    warning: str = _WARNING,
    critical: str = _CRITICAL,
) -> None:
    """Show the live release, the last run, and what needs attention."""
    from releaser.pipelines.status import status as ask
    from releaser.reporting import monitoring
    from releaser.reporting.text import status_text

    if not (nagios or prometheus or textfile):
        ctx.output.answer(ask(ctx.site()), status_text)
        return
    if nagios and (prometheus or textfile):
        refuse_both("--nagios", "--prometheus or --textfile")
    if nagios:
        ages = monitoring.Ages(warning=_duration("--warning", warning), critical=_duration("--critical", critical))
        state, line = monitoring.nagios(ask(ctx.site()), ages, now=datetime.now(UTC))
        ctx.output.print_lines([line])
        sys.exit(state)
    text = monitoring.prometheus(ask(ctx.site()))
    if prometheus:
        ctx.output.print_lines(text.splitlines())
    if textfile:
        try:
            replace_file(textfile, text.encode())
        except OSError as error:
            message = f"the metrics cannot be written: {os_reason(error)}"
            refuse("metrics-unwritable", message, "Correct the path after --textfile, or its permissions.")


def _age(name: str, default: str, about: str) -> PlainOption:
    look = {"default": default, "show_default": True, "metavar": "DURATION", "help": about}
    return PlainOption(names=(f"--{name}",), parameter=name, kind="text", look=look)


COMMAND = PlainCommand(
    beginning=Beginning(name="status"),
    function=status,
    options=(
        flag("--nagios", about="Print one line and exit, as a Nagios plugin does."),
        flag("--prometheus", about="Print metrics for Prometheus. Needs the extra `prometheus`."),
        PlainOption(
            names=("--textfile",),
            parameter="textfile",
            kind="file",
            look={"metavar": "FILE", "help": "Write the metrics for Prometheus to this file, atomically."},
        ),
        _age("warning", _WARNING, "For --nagios: warn if the last successful update is older than this."),
        _age("critical", _CRITICAL, "For --nagios: report critical if the last successful update is older than this."),
    ),
)
