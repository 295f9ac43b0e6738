"""Reads the Markdown of the documentation: headings, sections, fenced blocks, tables, links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)$")
_HEADING = re.compile(r"^(?P<marks>#{1,6}) (?P<text>.+)$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language (empty without one) and its lines, with the indentation of the fence taken off.

    `line` is the number of the fence, from 1, in what was read: a page or a section.
    """

    language: str
    line: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole block."""
        return "".join(f"{line}\n" for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, and what stands below it as far as the next heading of the same or a higher level."""

    level: int
    title: str
    prose: str
    blocks: tuple[Block, ...]

    def table(self, *header: str) -> list[list[str]]:
        """Return the rows of the first table with this header; AssertionError when there is none."""
        return self.tables(*header)[0]

    def tables(self, *header: str) -> list[list[list[str]]]:
        """Return the rows of every table with this header; AssertionError when there is none."""
        found: list[list[list[str]]] = []
        current: list[list[str]] | None = None
        for line in self.prose.splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
            if cells == list(header):
                current = []
                found.append(current)
            elif not cells:
                current = None
            elif current is not None and not set(cells[0]) <= set("-:"):
                current.append(cells)
        assert found, f"section {self.title!r} has no table with the columns {header}"
        return found


@dataclass(frozen=True, kw_only=True)
class Page:
    """One file of the documentation."""

    path: Path

    @property
    def lines(self) -> list[str]:
        """The lines of the file."""
        return self.path.read_text(encoding="utf-8").splitlines()

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _split(self.lines)[0]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The fenced blocks."""
        return _split(self.lines)[1]

    @property
    def links(self) -> list[str]:
        """What the links lead to, as written."""
        return [found["target"] for found in _LINK.finditer(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as forges make them."""
        found = filter(None, map(_HEADING.match, self.prose.splitlines()))
        return {_anchor(heading["text"]) for heading in found}

    def sections(self, level: int) -> dict[str, Section]:
        """Return the sections whose headings are of this level, by title without code marks."""
        return {section.title: section for section in self._sections() if section.level == level}

    def _sections(self) -> list[Section]:
        lines = self.lines
        found = [(number, _HEADING.match(line)) for number, line in _prose(lines)]
        headings = [(number, len(one["marks"]), one["text"].strip("`")) for number, one in found if one]
        sections = []
        for place, (number, level, title) in enumerate(headings):
            end = next((other for other, upto, _ in headings[place + 1 :] if upto <= level), len(lines))
            prose, blocks = _split(lines[number + 1 : end])
            sections.append(Section(level=level, title=title, prose=prose, blocks=blocks))
        return sections


def code_words(text: str) -> list[str]:
    """Return what stands in code marks."""
    return _CODE.findall(text)


def _split(lines: list[str]) -> tuple[str, tuple[Block, ...]]:
    prose: list[str] = []
    blocks: list[Block] = []
    start, language, indent, body = 0, "", "", None
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if body is None and fence:
            start, language, indent, body = number, fence["language"], fence["indent"], list[str]()
        elif body is None:
            prose.append(line)
        elif line == f"{indent}```":
            blocks.append(Block(language=language, line=start, lines=tuple(body)))
            body = None
        else:
            body.append(line.removeprefix(indent))
    assert body is None, "a fenced block is not closed"
    return "".join(f"{line}\n" for line in prose), tuple(blocks)


def _prose(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Return the lines outside of fenced blocks, with their numbers from 0."""
    inside = False
    for number, line in enumerate(lines):
        is_fence = line.lstrip().startswith("```")
        if not (inside or is_fence):
            yield number, line
        inside ^= is_fence


def _anchor(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.lower())
    return words.replace(" ", "-")
