"""The style of texts: the colours of mails by day and by night, their links, and lines that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.system.expression import expression
from releaser.system.words import web_link

if TYPE_CHECKING:
    from collections.abc import Collection

    from markupsafe import Markup

WIDEST = 78  # characters of a line of text
_OPENING = 2  # the line number of the second sentence of a mail
#: The colours by name, in `#rrggbb`. `text`, `muted` and `link` are on `page` and `box`; the words of a badge are in
#: `on-badge`, on the colour of the badge.
DAY = {
    "page": "#ffffff", "box": "#f3f4f6", "line": "#d5d9e0", "text": "#1b1f24", "muted": "#565e6a", "link": "#0b57d0",
    "on-badge": "#ffffff", "green": "#1a7f37", "amber": "#8a5300", "red": "#c1121f", "blue": "#0a58ca",
}  # fmt: skip
NIGHT = {
    "page": "#15181c", "box": "#20252b", "line": "#3b424c", "text": "#e8eaed", "muted": "#a9b1bc", "link": "#8ab4f8",
    "on-badge": "#0c0e11", "green": "#57c878", "amber": "#e8b04b", "red": "#ff8a80", "blue": "#8ab4f8",
}  # fmt: skip
#: The colour of each size of a step from one version to another.
BUMPS = {"major": "red", "minor": "amber", "patch": "green", "added": "blue", "removed": "muted"}
_WORD = expression(r"\s*\S+")  # and the blanks before it
_PART = expression(r"\s*(?:`[^`]*`|[^\s`]|`)+")  # the same, or words in backticks
_ID = r"\b(?:\d{8}T\d{6}Z(?:-\d+)?|[0-9a-f]{12})\b"  # of a release, or of a commit
_LINK_OR_CODE = expression(r"https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]]|`[^`\n]+`|" + _ID)


def add_links(text: str) -> Markup:
    """Return a text as HTML: web addresses become links, words in backticks code, ids of releases and commits small."""
    from markupsafe import Markup, escape

    found, start = Markup(), 0
    for match in _LINK_OR_CODE.finditer(text):
        if match[0].startswith("`"):
            part = Markup("<code>{}</code>").format(match[0].strip("`"))
        elif not match[0].startswith("http"):
            part = Markup('<span class="id">{}</span>').format(match[0])
        elif (link := web_link(match[0])) is not None:
            part = Markup('<a href="{}">{}</a>').format(link, link)
        else:
            continue
        found += escape(text[start : match.start()]) + part
        start = match.end()
    return found + escape(text[start:])


def fold(text: str, *, whole: Collection[str] = ()) -> str:
    """Wrap the lines of a text that are too long; neither words nor the lines in `whole` are cut.

    Continuation lines are indented by two more columns, except those of the first two sentences of a mail.
    """
    folded: list[str] = []
    for number, line in enumerate(text.split("\n")):
        is_whole = line.strip() in whole
        folded += [line] if is_whole else wrap_line(line, WIDEST, hanging=2 if number > _OPENING else 0)
    return "\n".join(folded)


def wrap_line(line: str, width: int, *, hanging: int = 2) -> list[str]:
    """Break a line at blanks into lines of at most `width`; all but the first are indented by `hanging` more columns.

    No word is cut, nor, if a line has room for it, `a command`, which a person may copy.
    """
    if len(line) <= width:
        return [line]
    left = len(line) - len(line.lstrip()) + hanging
    lines = [""]
    for part in _PART.findall(line):
        for piece in [part] if left + len(part.strip()) <= width else _WORD.findall(part):
            if lines[-1].strip() and len(lines[-1] + piece) > width:
                lines.append(" " * left + piece.lstrip())
            else:
                lines[-1] += piece
    return lines
