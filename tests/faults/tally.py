"""A pytest plugin: counts the points at which a fault was tried, and prints how many held."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

_POINTS = "points of a fault"
CAUGHT = "mutation, and what failed with it"
_SHOWN = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that lets tests try every point."""
    parser.addoption("--every-point", action="store_true", help="try every fault at every point")


@pytest.fixture(scope="session")
def every_point(request: pytest.FixtureRequest) -> bool:
    """True if every point has to be tried."""
    return bool(request.config.getoption("--every-point", False))


def turn() -> int:
    """Return the number that chooses this commit's share of the points: RELEASER_TURN, else from the commit's hash."""
    if "RELEASER_TURN" in os.environ:
        return int(os.environ["RELEASER_TURN"])
    git = ["git", "rev-parse", "--short=8", "HEAD"]
    head = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, check=False).stdout.strip()
    return int(head or b"0", 16)


class Tally:
    """The points of a fault that a test has tried, and what was broken afterwards."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.tried: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self._broken: list[str] = []

    def add(self, scene: str, point: str, broken: Sequence[str]) -> None:
        """Count a point; `broken` has a sentence for each invariant that did not hold."""
        self.tried[scene] += 1
        self.held[scene] += not broken
        if broken:
            self._broken.append("\n    ".join([f"{self.fault}, {scene}, {point}:", *broken]))

    def check(self) -> None:
        """Fail the test if anything was broken anywhere, or if no point was tried."""
        if not self.tried:
            pytest.fail(f"{self.fault}: no point was tried")
        if self._broken:
            more = len(self._broken) - _SHOWN
            text = "\n".join(self._broken[:_SHOWN]) + (f"\nand {more} more points" if more > 0 else "")
            pytest.fail(f"{len(self._broken)} of {self.tried.total()} points did not hold\n{text}", pytrace=False)


Tallies = Callable[[str], Tally]


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tallies]:
    """Make tallies; what they hold at the end of the test goes into the table."""
    made: list[Tally] = []

    def make(fault: str) -> Tally:
        made.append(Tally(fault))
        return made[-1]

    yield make
    rows = [(tally.fault, scene, count, tally.held[scene]) for tally in made for scene, count in tally.tried.items()]
    request.node.user_properties.append((_POINTS, json.dumps(rows)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of points, and a line for each mutation."""
    tried: Counter[tuple[str, str]] = Counter()
    held: Counter[tuple[str, str]] = Counter()
    reports = [report for key in ("", "error") for report in terminalreporter.stats.get(key, [])]
    teardowns = [report for report in reports if getattr(report, "when", "") == "teardown"]
    properties = [(name, str(value)) for report in teardowns for name, value in report.user_properties]
    for text in [text for name, text in properties if name == _POINTS]:
        for fault, scene, points, good in json.loads(text):
            tried[fault, scene] += points
            held[fault, scene] += good
    write = terminalreporter.write_line
    if tried:
        is_all = terminalreporter.config.getoption("--every-point", False)
        terminalreporter.write_sep("=", "faults" if is_all else f"faults, a share of them: RELEASER_TURN={turn()}")
        write(f"{'fault':<40} {'scene':<28} {'tried':>7} {'held':>7}")
        for key in sorted(tried):
            write(f"{key[0]:<40} {key[1]:<28} {tried[key]:>7} {held[key]:>7}", red=held[key] < tried[key])
        write(f"{'all':<40} {'':<28} {tried.total():>7} {held.total():>7}")
    if caught := sorted({text for name, text in properties if name == CAUGHT}):
        terminalreporter.write_sep("=", CAUGHT)
        for line in caught:
            write(line)
