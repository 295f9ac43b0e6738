"""A letter: what a mail says, written down once and rendered as text and as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from releaser.system.text import escape, escape_lines, name_project

Colour = Literal["green", "amber", "red", "blue"]


class Section(msgspec.Struct, frozen=True):
    """A part of a letter under a title. `cells` are its lines as the rows of a table, `kind` is how HTML shows it."""

    title: str
    lines: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...] = ()
    kind: Literal["list", "advice", "commands", "output"] = "list"


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
    paragraphs = [letter.headline, *letter.paragraphs, *(f"- {problem}" for problem in letter.problems)]
    parts = ["\n\n".join(map(escape, paragraphs)) + "\n"]
    for section in letter.sections:
        parts.append("\n".join([section.title, "-" * len(section.title), *map(escape_lines, section.lines), ""]))
    return "\n".join(parts)


def render_html(letter: Letter) -> str:
    """Return a letter as HTML, with all text escaped."""
    return fill_template("mail.html.j2", {"letter": letter})


def fill_template(name: str, values: Mapping[str, object]) -> str:
    """Return a template of HTML with values, whose text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # takes 100 ms

    environment = Environment(
        loader=PackageLoader("releaser.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["named"] = name_project  # so that commands can be pasted anywhere
    return escape_lines(environment.get_template(name).render(values))
