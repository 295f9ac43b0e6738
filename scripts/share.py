"""The files in `share/`, which the wheel has outside of the package: man pages, and completions of shells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from findings import list_findings

from releaser import __version__
from releaser.commands.command import cli, option_groups, sections
from releaser.commands.shells import script_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.commands.command import Command

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
COMPLETIONS = {
    "bash": "bash-completion/completions/releaser",
    "zsh": "zsh/site-functions/_releaser",
    "fish": "fish/vendor_completions.d/releaser.fish",
}
_SECTION = "User Commands"
_SETTINGS = "releaser-settings"


def shared_files() -> Iterator[tuple[str, str]]:
    """Yield each file, by its path below `share/`, with its text."""
    page = (REFERENCE / "exit-codes-and-json.md").read_text(encoding="utf-8")
    codes = re.findall(r"(?m)^\| (\d+) \| (.+?) \|", page)
    details = _read_details((REFERENCE / "commands.md").read_text(encoding="utf-8"))
    yield "man/man1/releaser.1", _text(_main_page(codes))
    for commands in sections().values():
        for command in commands:
            yield f"man/man1/{_page(command)}.1", _text(_command_page(command, details[command.full_name], codes))
    yield f"man/man5/{_SETTINGS}.5", _text(_settings_page())
    yield "man/man7/releaser-findings.7", _text(_findings_page())
    for shell, name in COMPLETIONS.items():
        yield name, script_of(shell)


def _text(lines: Iterable[str]) -> str:
    return re.sub(r"(?m)^(\.S[HS] .*\n)\.PP\n", r"\1", "\n".join(lines) + "\n")


def _page(command: Command) -> str:
    return f"releaser-{command.full_name.replace(' ', '-')}"


def _read_details(page: str) -> Mapping[str, str]:
    """Return the text of docs/reference/commands.md below the part of each command that is made."""
    part = r"(?ms)^<!-- end of ([^\n]+) -->\n(.*?)(?=^<!-- |\Z)"
    return dict(re.findall(part, page))


def _head(name: str, number: int, section: str, purpose: str) -> Iterator[str]:
    yield f'.TH {name.upper()} {number} "" "releaser {__version__}" "{section}"'
    yield from (".SH NAME", rf"{name} \- {roff(purpose[:1].lower() + purpose[1:].rstrip('.'))}")


def _main_page(codes: Iterable[tuple[str, str]]) -> Iterator[str]:
    first, *others = (cli.help or "").split("\n\n")
    yield from _head("releaser", 1, _SECTION, first)
    yield from (".SH SYNOPSIS", r"\fBreleaser\fR \fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]", ".SH DESCRIPTION")
    yield from (line for text in others for line in (".PP", roff(text)))
    for section, commands in sections().items():
        yield f".SH {section.upper()}"
        for command in commands:
            yield from (".TP", rf"\fB{roff(_page(command))}\fR(1)", roff(command.get_short_help_str(limit=10_000)))
    yield ".SH OPTIONS"
    context = click.Context(cli, info_name="releaser", **cli.context_settings)
    yield from _options([one for one in cli.get_params(context) if isinstance(one, click.Option)], context)
    yield from _ends(codes)


def _command_page(command: Command, details: str, codes: Iterable[tuple[str, str]]) -> Iterator[str]:
    parent = click.Context(cli, info_name="releaser", **cli.context_settings)
    context = click.Context(command, info_name=command.full_name, parent=parent)
    yield from _head(_page(command), 1, _SECTION, command.get_short_help_str(limit=10_000))
    yield from (".SH SYNOPSIS", rf"\fBreleaser {command.full_name}\fR")
    yield roff(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    yield from (line for text in (command.help or "").split("\n\n") for line in (".PP", roff(text)))
    yield from from_markdown(details)
    for title, options in option_groups(command, context).items():
        yield f".SH {title.upper()}"
        yield from _options(options, context)
    yield from (".SH EXAMPLE", ".nf", roff((command.epilog or "").removeprefix("Example: ")), ".fi")
    yield from _ends(codes)


def _settings_page() -> Iterator[str]:
    text = (REFERENCE / "settings.md").read_text(encoding="utf-8").partition("\n")[2]
    yield from _head(_SETTINGS, 5, "File Formats", "settings of releaser")
    yield ".SH DESCRIPTION"
    yield from from_markdown(text)
    yield from (".SH SEE ALSO", r"\fBreleaser\fR(1), \fBreleaser\-config\fR(1)")


def _findings_page() -> Iterator[str]:
    explained, others = list_findings()
    yield from _head("releaser-findings", 7, "Miscellaneous", "codes of the problems that releaser reports")
    yield from (".SH DESCRIPTION", "Codes stay the same in all versions. Each message says what to do.")
    for code, meaning in sorted({**explained, **others}.items()):
        yield from (".TP", rf"\fB{roff(code)}\fR", _inline(meaning or code.replace("-", " ")))
    yield from (".SH SEE ALSO", r"\fBreleaser\fR(1), \fBreleaser\-check\fR(1)")


def _ends(codes: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, meaning in codes:
        yield from (".TP", rf"\fB{code}\fR", _inline(meaning))
    yield from (".SH ENVIRONMENT", r"\fBRELEASER_PROJECT\fR is the project if \fB\-\-project\fR is not given.")
    yield rf"Each setting can be a variable, too: see \fB{roff(_SETTINGS)}\fR(5)."
    yield from (".SH SEE ALSO", rf"\fBreleaser\fR(1), \fB{roff(_SETTINGS)}\fR(5), \fBuv\fR(1), \fBgit\fR(1)")


def _options(options: Iterable[click.Option], context: click.Context) -> Iterator[str]:
    for names, meaning in option_records(options, context):
        yield from (".TP", rf"\fB{roff(names)}\fR", roff(meaning))


def option_records(options: Iterable[click.Option], context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the names and the meaning of each option, without the range of a number, which the text says in words."""
    for one in options:
        if record := one.get_help_record(context):
            meaning = re.sub(r" *\[[\d<>=x]+\]|; [\d<>=x]+(?=\])", "", record[1])
            yield record[0], re.sub(r"default: \((.+?)\)", r"default: \1", meaning.replace("  [", " ["))


def from_markdown(text: str) -> Iterator[str]:
    """Yield the lines of a man page for headings, paragraphs, lists, tables and blocks of code."""
    text = re.sub(r"(?m)^ *<!-- .*? -->\n", "", text)
    for block in re.findall(r"(?ms)^ *```\w*\n.*?^ *```$|(?:^ *(?!```)\S.*?$\n?)+", text):
        lines = [line.strip() for line in block.strip().splitlines()]
        if lines[0].startswith("```"):
            yield from (".PP", ".RS 4", ".nf", *map(_verbatim, block.strip().splitlines()[1:-1]), ".fi", ".RE")
        elif found := re.match(r"(#+) (.+)", lines[0]):
            yield f".SH {_inline(found[2]).upper()}" if len(found[1]) == 2 else f".SS {_inline(found[2])}"
        elif lines[0].startswith("|"):
            for row in lines[2:]:
                first, *others = (cell.strip() for cell in row.replace("\\|", "\0").strip("|").split("|"))
                yield from (".TP", _inline(first or " "), _inline(": ".join(filter(None, others))).replace("\0", "|"))
        else:
            for item in re.split(r"\n(?=- |\d+\. )", "\n".join(lines)):
                mark = re.match(r"- |\d+\. ", item)
                yield (r".IP \(bu 2" if item.startswith("-") else f".IP {mark[0].strip()} 3") if mark else ".PP"
                yield _inline(item[mark.end() :] if mark else item)


def _verbatim(line: str) -> str:
    return r"\&" + line.strip().replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")


def _inline(text: str) -> str:
    """Make a line of Markdown fit for a man page: links become their texts, code and strong words bold."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text.split()))
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text)
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", roff(text))


def roff(text: str) -> str:
    """Make text fit for a man page, on one line that is no request."""
    text = " ".join(text.replace("\b", "").split()).replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{text}" if text.startswith(".") else text
