"""How far a step has got, by what its programs print: tests that have run, what uv downloads. It changes neither."""

from __future__ import annotations

import re

from releaser.system.words import plural, size, strip_control

_LONGEST = 1 << 16  # bytes of a line that is not at its end yet, such as the dots of all tests
_DOTS = re.compile(r"(?:\S+\.py )?([.FEsxXu]+) *(?:\[ *\d+%\])?")  # of pytest and unittest, which Django's runner uses
_VERBOSE = re.compile(
    r"\S+::.*(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*|(?:\[gw\d+\] )?\[ *\d+%\] [A-Z]+ \S+::.*"
    r"|\w+ \(\S+\).* \.\.\. (?:ok|FAIL|ERROR|skipped .*|expected failure|unexpected success)"
)
_TOTAL = re.compile(r"(?:collected|Found) (\d+) (?:item|test)|.* \[(\d+) items?\]")
_DOWNLOAD = re.compile(r"Downloading \S+ \(([\d.]+)([KMG]?)iB\)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Count:
    """Reads the lines of a program as they come; what stands at their end so far counts, too."""

    def __init__(self) -> None:
        self._line = b""

    def feed(self, chunk: bytes) -> None:
        """Take what a program has printed."""
        *whole, rest = (self._line + chunk).split(b"\n")
        for line in whole:
            self.read(_words(line))
        self._line = rest[-_LONGEST:]

    def read(self, line: str) -> None:
        """Count a whole line."""


class Tests(Count):
    """Counts tests as the runners of Django and pytest show them."""

    __test__ = False  # pytest would collect it

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._done = 0

    @property
    def done(self) -> int:
        """How many tests have run so far."""
        return self._done + _in_line(_words(self._line))

    def read(self, line: str) -> None:
        """Count the tests of a line."""
        if found := _TOTAL.match(line):
            self.total = int(found[1] or found[2])
        self._done += _in_line(line)

    def __str__(self) -> str:
        """Say how many tests have run; empty while none is known of."""
        return share(self.done, max(self.total, self.done) if self.total else 0, "test")


class Downloads(Count):
    """Counts what uv says that it downloads: files of more than a mebibyte."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def read(self, line: str) -> None:
        """Add up what is downloaded."""
        if found := _DOWNLOAD.match(line):
            self.bytes += int(float(found[1]) * _UNITS[found[2]])

    def __str__(self) -> str:
        """Say how much; empty as long as it is nothing."""
        return f"{size(self.bytes)} to download" if self.bytes else ""


def share(done: int, total: int, noun: str = "") -> str:
    """Say how much of all is done: `3 of 12 tests`, of bytes without a noun; empty if nothing is and all is unknown."""
    if not noun:
        return f"{size(done)} of {size(total)}" if total else ""
    if total:
        return f"{done} of {plural(total, noun)}"
    return plural(done, noun) if done else ""


def _words(line: bytes) -> str:
    return strip_control(line.decode("utf-8", errors="replace")).strip()


def _in_line(line: str) -> int:
    if found := _DOTS.fullmatch(line):
        return len(found[1])
    return 1 if _VERBOSE.fullmatch(line) else 0
