"""What the wheel has beside the package, in `share/`: a man page, and completions for bash, zsh and fish, by click."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from releaser import __version__
from releaser.commands import cli
from releaser.commands.command import sections
from releaser.commands.shells import script_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXIT_CODES = Path(__file__).resolve().parents[1] / "docs" / "reference" / "exit-codes-and-json.md"
COMPLETIONS = {
    "bash": "bash-completion/completions/releaser",
    "zsh": "zsh/site-functions/_releaser",
    "fish": "fish/vendor_completions.d/releaser.fish",
}


def shared_files() -> Iterator[tuple[str, str]]:
    """Yield each file, by its path below `share/`, with its text."""
    codes = re.findall(r"(?m)^\| (\d+) \| (.+?) \|", EXIT_CODES.read_text(encoding="utf-8"))
    yield "man/man1/releaser.1", "\n".join(man_page(codes)) + "\n"
    for shell, name in COMPLETIONS.items():
        yield name, script_of(shell)


def man_page(codes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of the man page, for `man` and `man -l`; `codes` are the exit codes with their meanings."""
    context = click.Context(cli, info_name="releaser", **cli.context_settings)
    first, *others = (cli.help or "").split("\n\n")
    yield f'.TH RELEASER 1 "" "releaser {__version__}" "User Commands"'
    yield from (".SH NAME", roff(f"releaser - {first[:1].lower()}{first[1:].rstrip('.')}"))
    yield from (".SH SYNOPSIS", r"\fBreleaser\fR \fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]")
    yield from (".SH DESCRIPTION", *(line for text in others for line in (".PP", roff(text))))
    yield ".SH OPTIONS"
    yield from _options(cli, context)
    common: set[str] = set.intersection(*({one.name or "" for one in command.params} for command in _commands()))
    yield ".SH OPTIONS OF EVERY COMMAND"
    yield from _options(_commands()[0], context, names=common)
    for section, commands in sections().items():
        yield f".SH COMMANDS: {section.upper()}"
        for command in commands:
            inside = click.Context(command, info_name=command.full_name, parent=context)
            usage = " ".join(command.collect_usage_pieces(inside))
            yield from (f".SS {command.full_name} {roff(usage)}", roff(command.help or ""))
            yield from _options(command, inside, names={one.name or "" for one in command.params} - common)
            yield from (".PP", roff(command.epilog or ""))
    yield ".SH EXIT STATUS"
    for code, meaning in codes:
        yield from (".TP", rf"\fB{code}\fR", roff(meaning.replace("`", "")))
    yield from (".SH ENVIRONMENT", r"\fBRELEASER_PROJECT\fR is the project if \fB\-\-project\fR names none.")
    yield roff("Each setting can stand there, too: `releaser config` lists all with their values and origins.")
    yield from (".SH SEE ALSO", roff("uv(1), git(1), crontab(5), systemd.timer(5)"))


def _commands() -> list[click.Command]:
    return [command for commands in sections().values() for command in commands]


def _options(command: click.Command, context: click.Context, *, names: set[str] | None = None) -> Iterator[str]:
    for one in command.get_params(context):
        is_wanted = isinstance(one, click.Option) and (names is None or one.name in names)
        if record := one.get_help_record(context) if is_wanted else None:
            yield from (".TP", rf"\fB{roff(record[0])}\fR", roff(record[1]))


def roff(text: str) -> str:
    """Make text fit for a man page, on one line that is no request."""
    text = " ".join(text.replace("\b", "").split()).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text
