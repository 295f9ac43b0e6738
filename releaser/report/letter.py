"""A letter: what a mail says, written down once and rendered as text and as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from releaser.system.text import escape, escape_lines, name_project, wrap

Colour = Literal["green", "amber", "red", "blue"]
WIDTH = 100  # characters of a line of the text; commands, paths and URLs stay whole


class Section(msgspec.Struct, frozen=True):
    """A part of a letter under a title: lines, or the rows of a table. `kind` is how they are shown.

    The last cell of `packages` is a URL, or empty.
    """

    title: str
    lines: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    kind: Literal["list", "advice", "commands", "output", "packages", "small"] = "list"


class Letter(msgspec.Struct, frozen=True):
    """The content of a mail: the outcome in a `word`, its headline and problems, and everything else by section."""

    subject: str
    word: str
    colour: Colour
    where: str
    headline: str
    paragraphs: tuple[str, ...]
    problems: tuple[str, ...]
    sections: tuple[Section, ...]


def render_text(letter: Letter) -> str:
    """Return a letter as text."""
    paragraphs = [wrap(escape(text), WIDTH) for text in (letter.headline, *letter.paragraphs)]
    paragraphs += [f"- {wrap(escape(problem), WIDTH, indent=2)}" for problem in letter.problems]
    parts = ["\n\n".join(paragraphs) + "\n"]
    for section in letter.sections:
        parts.append("\n".join([section.title, "-" * len(section.title), *_list_lines(section), ""]))
    return "\n".join(parts)


def _list_lines(section: Section) -> list[str]:
    """Return the lines of a section: a command in its own, whole; a row of a table in columns, its URL below it."""
    if section.kind == "commands":
        return [escape(line) for line in section.lines]
    lines = [line for text in section.lines for line in text.split("\n")]
    if not section.cells:
        return [wrap(escape(line), WIDTH, indent=2) for line in lines]
    has_url = section.kind == "packages"
    rows = [[escape(cell) for cell in (row[:-1] if has_url else row)] for row in section.cells]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)][:-1]
    for row, cells in zip(rows, section.cells, strict=True):
        begin = "".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False))
        lines.append((begin + wrap(row[-1], WIDTH, indent=len(begin))).rstrip())
        lines += [f"  {cells[-1]}"] if has_url and cells[-1] else []
    return lines


def render_html(letter: Letter) -> str:
    """Return a letter as HTML, with all text escaped."""
    return fill_template("mail.html.j2", {"letter": letter})


def fill_template(name: str, values: Mapping[str, object]) -> str:
    """Return a template of HTML with values, whose text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # takes 100 ms

    loader = PackageLoader("releaser.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["named"] = name_project  # so that commands can be pasted anywhere
    return escape_lines(environment.get_template(name).render(values))
