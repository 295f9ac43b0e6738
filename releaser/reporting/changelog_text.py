"""Finds the part of a changelog that is about the versions between two others."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from releaser.locks.versions import is_newer, normalize_name, parse_version
from releaser.system.expression import expression
from releaser.system.frozen import Frozen
from releaser.system.words import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from packaging.version import Version

_DIRECTORY = r"(?:docs?/(?:\w+/){0,2}|doc/build/changelog/)?"
_NAME = r"(?:changes|change[-_]?log|history|news|release[-_]?notes|whats[-_]?new)"
_CHANGELOG = expression(rf"(?i){_DIRECTORY}[\d-]*{_NAME}(?:[\w.-]*\.(?:rst|md|txt)|[\w-]*)")
_OF_VERSION = expression(
    r"(?i)(?:[\w.-]+/){0,3}(?:releases?|release[-_]?notes|changelogs?|changes|history|news|whats[-_]?new)/"
    r"(?:[a-z-]+-)?v?(\d+(?:\.\d+)*\w*)\.(?:rst|md|txt)"
)
_WORDS = r"version|release|released|changes?|changelog|news?|notes?|for|in|of|what'?s|the"
_VERSION = r"v?(?:(\d+(?:\.\d+)+[\w.!+-]*)|(\d+)(?=\s*(?:$|[(\[])))"
_UNDERLINE = expression(r"([=\-~^\"'*+#.:_`])\1{2,}\s*")
_NOISE = expression(
    r"\.\. _[^:]*:.*|\[[^\]]+\]:\s.*|<!--.*-->|:include_notes_from:.*|([=\-~^\"'*+#])\1{2,}"
    r"|\.\. (?:changelog|contents|currentmodule|towncrier).*"
)
_LONGEST_TEXT = 512 << 10  # characters: a description may have far more
_LONGEST = 200  # characters of a line
_MOST_HEADINGS = 5000
_LONGEST_PATH = 200  # characters
_LONGEST_REST = 60  # characters after the version in a heading without markup


def choose_files(old: str, new: str) -> Callable[[str], bool]:
    """Return a function that chooses files of a source release, by their paths below its top directory."""

    def is_chosen(path: str) -> bool:
        if len(path) > _LONGEST_PATH:  # the time of these patterns grows with its square
            return False
        version = _version_of_file(path)
        return (
            bool(_CHANGELOG.fullmatch(path))
            if version is None
            else is_newer(version, old) and not is_newer(version, new)
        )

    return is_chosen


def _version_of_file(path: str) -> str | None:
    """Return the version that a file is about; None for others."""
    match = _OF_VERSION.fullmatch(path)
    return match[1] if match and parse_version(match[1]) else None


class Found(Frozen):
    """The lines about some versions, with the file that has them."""

    lines: tuple[str, ...]
    source: str
    #: True if the file has the new version, and one that is not newer than the old one, so that none can be missing.
    has_new: bool
    is_whole: bool


def find_in_files(texts: Mapping[str, str], name: str, old: str, new: str) -> Found | None:
    """Return the part of the changelogs of a package that is about the versions after `old`, up to `new`.

    `texts` are the files that `choose_files` chooses, and others.
    """
    low, high = parse_version(old), parse_version(new)
    if low is None or high is None or high <= low:
        return None
    paths = sorted(texts, key=lambda path: (path.count("/"), len(path)))
    named = {path: version for path in paths if (version := parse_version(_version_of_file(path) or ""))}
    found = [one for path in paths if path not in named and (one := find_part(texts[path], path, name, low, high))]
    if named:
        newest_first = sorted(named, key=lambda path: named[path], reverse=True)
        lines = [line for path in newest_first for line in (*_tidy(texts[path].expandtabs().split("\n")), "")]
        has_new = named[newest_first[0]] == high
        found.append(Found(lines=tuple(lines[:-1]), source=newest_first[0], has_new=has_new, is_whole=has_new))
    return max(found, key=lambda one: (one.has_new, one.is_whole), default=None)


def find_part(text: str, source: str, name: str, low: Version, high: Version) -> Found | None:
    """Return the part of one text; None if it has no heading with one of these versions."""
    lines = [line.rstrip()[:_LONGEST] for line in strip_control(text[:_LONGEST_TEXT]).expandtabs().split("\n")]
    headings = [*islice(_find_headings(lines, name), _MOST_HEADINGS)]
    if not any(one.version for one in headings):
        headings = [*islice(_find_plain_headings(lines, name), _MOST_HEADINGS)]
    parts: list[str] = []
    for number, heading in enumerate(headings, start=1):
        if heading.version is not None and low < heading.version <= high:
            ends = (other.at for other in headings[number:] if other.ends(heading))
            body = _tidy(lines[heading.after : next(ends, len(lines))])
            parts += [heading.title, *body, ""] if body else []
    versions = [one.version for one in headings if one.version is not None]
    is_whole = any(one <= low for one in versions)
    return Found(lines=tuple(parts[:-1]), source=source, has_new=high in versions, is_whole=is_whole) if parts else None


class _Heading(Frozen):
    """A heading, its line, and the first line below it."""

    title: str
    at: int
    after: int
    #: Its markup: the number of `#`, or the character of the underline; empty without any.
    style: str
    version: Version | None

    def ends(self, other: _Heading) -> bool:
        """True if the part below another heading ends here."""
        is_higher = self.style.isdigit() and other.style.isdigit() and self.style <= other.style
        return self.version is not None or is_higher or self.style == other.style


def _find_headings(lines: Sequence[str], name: str) -> Iterator[_Heading]:
    """Yield the headings of Markdown and reStructuredText, and the versions of Sphinx's changelog directives."""
    pattern = _pattern_of(name)
    for at, (line, below) in enumerate(zip(lines, [*lines[1:], ""], strict=True)):
        if match := re.match(r"(#{1,6})\s+(.*?)[\s#]*$", line):
            title, style, after = match[2], str(len(match[1])), at + 1
        elif match := re.match(r"\s*:version:\s*(\S.*)", line):
            title, style, after = match[1], ":", at + 1
        elif line[:1].strip() and not _UNDERLINE.fullmatch(line) and (match := _UNDERLINE.fullmatch(below)):
            title, style, after = line, match[1], at + 2
        else:
            continue
        yield _Heading(title=title, at=at, after=after, style=style, version=_version_in(title, pattern))


def _find_plain_headings(lines: Sequence[str], name: str) -> Iterator[_Heading]:
    """Yield the lines that begin with a version, below an empty line, in a text without markup."""
    pattern = _pattern_of(name)
    for at, line in enumerate(lines):
        is_first = not at or not lines[at - 1] or bool(_UNDERLINE.fullmatch(lines[at - 1]))
        match = pattern.match(line) if is_first and line[:1].strip() else None
        if match and len(line) - match.end() <= _LONGEST_REST and (version := _version_in(line, pattern)):
            yield _Heading(title=line, at=at, after=at + 1, style="", version=version)


def _pattern_of(name: str) -> re.Pattern[str]:
    """Return the pattern of a heading with a version, perhaps after the name of the package."""
    parts = {name, name.rstrip("0123456789"), *normalize_name(name).split("-")} - {""}
    words = "|".join([_WORDS, *(re.escape(part).replace("\\-", "[-_. ]?") for part in sorted(parts))])
    # Possessive: `a-b` is one word or two, so that a hostile line could be read in 2^n ways.
    return re.compile(rf"(?i)[\W_]*(?:(?:{words})[\W_]+)*+{_VERSION}")


def _version_in(title: str, pattern: re.Pattern[str]) -> Version | None:
    match = pattern.match(title)
    return parse_version((match[1] or match[2]).rstrip(".,:;!-+")) if match else None


def _tidy(lines: Sequence[str]) -> list[str]:
    """Return lines without control characters and markup for machines, and with single empty lines."""
    kept: list[str] = []
    for line in (strip_control(one).rstrip()[:_LONGEST] for one in lines):
        if (line.strip() or kept[-1:] != [""]) and not _NOISE.fullmatch(line.strip()):
            kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    while kept and not kept[0].strip():
        kept.pop(0)
    return kept
