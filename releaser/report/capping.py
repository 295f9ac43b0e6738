"""Foreign text made fit for a mail: no control characters, and no more of it than somebody will read."""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC, DCS and the like: titles, links
    r"|\x1b[ -/]*[0-~]?"  # all the others
)
_LINE_END = re.compile(r"\r+\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MARKER_ROOM = 80


def strip_control(text: str) -> str:
    """Take out terminal escapes and control characters; line feeds and tabs stay.

    Every other line end becomes a line feed. Undecodable bytes from the file system or a program (lone
    surrogates, which no encoding can write) become the replacement character.
    """
    text = _LINE_END.sub("\n", _ESCAPE.sub("", text))
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))


def one_line(text: str, *, limit: int = 300) -> str:
    """Put text on one line of at most `limit` characters; control characters and blanks become one space."""
    text = _SURROGATE.sub("\ufffd", _CONTROL.sub(" ", _ESCAPE.sub("", text)))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def cap(text: str, *, head_lines: int = 40, tail_lines: int = 160, max_chars: int = 60_000) -> str:
    """Keep the beginning and the end of a long text, with a line between them that says how much was cut.

    At most a quarter of `max_chars` is taken by the beginning, unless the end leaves room; `max_chars` should
    not be below 200. Control characters are taken out first. Capping twice changes nothing the second time.
    """
    text = strip_control(text).strip("\n")
    # One line above the sum stays: the marker would take its place.
    if len(text) <= max_chars and text.count("\n") <= head_lines + tail_lines:
        return text
    head, tail = _first_lines(text, head_lines), _last_lines(text, tail_lines)
    if head + tail + _MARKER_ROOM > max_chars:
        head, tail = _shares(head, tail, max(max_chars - _MARKER_ROOM, 0))
    return _joined(text, head, len(text) - tail)


def _first_lines(text: str, count: int) -> int:
    """Give the length of the first `count` lines, with their line feeds."""
    end = 0
    for _ in range(count):
        end = text.find("\n", end) + 1
        if end == 0:
            return len(text)
    return end


def _last_lines(text: str, count: int) -> int:
    """Give the length of the last `count` lines."""
    if count <= 0:
        return 0
    start = len(text)
    for _ in range(count):
        start = text.rfind("\n", 0, start)
        if start < 0:
            return len(text)
    return len(text) - start - 1


def _shares(head: int, tail: int, room: int) -> tuple[int, int]:
    head = min(head, max(room // 4, room - tail))
    return head, min(tail, room - head)


def _joined(text: str, start: int, end: int) -> str:
    """Put the marker in the place of `text[start:end]`."""
    first = text[:start]
    if first and not first.endswith("\n"):
        first += "\n"
    return f"{first}{_marker(text, start, end)}\n{text[end:]}".rstrip("\n")


def _marker(text: str, start: int, end: int) -> str:
    lines = text.count("\n", start, end)
    if lines and start > 0 and text[start - 1] != "\n":
        lines -= 1  # the end of a line whose beginning was kept
    characters = f"{end - start:,} characters"
    if not lines:
        return f"[... {characters} cut ...]"
    return f"[... {lines:,} {'line' if lines == 1 else 'lines'} ({characters}) cut ...]"
