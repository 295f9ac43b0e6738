"""A pytest plugin: counts the points at which a fault was tried, and prints how many held."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

_PROPERTY = "points of a fault"
_SHOWN = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that lets tests try every point instead of a spread."""
    parser.addoption("--all-points", action="store_true", help="try every point, not a spread of them")
    parser.addoption(
        "--since",
        default="",
        metavar="FILE",
        help="try kills and power cuts from the first point on that is about FILE",
    )


@pytest.fixture(scope="session")
def all_points(request: pytest.FixtureRequest) -> bool:
    """Whether every point is to be tried."""
    return bool(request.config.getoption("--all-points"))


@pytest.fixture(scope="session")
def since(request: pytest.FixtureRequest) -> str:
    """Return the file with which the points begin that are to be tried; empty for all of them."""
    return str(request.config.getoption("--since"))


class Tally:
    """The points of one fault that a test has tried, and what was broken afterwards."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.tried: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self._broken: list[str] = []

    def add(self, command: str, point: str, broken: Sequence[str]) -> None:
        """Count a point; `broken` names the invariants that did not hold, in sentences."""
        self.tried[command] += 1
        self.held[command] += not broken
        if broken:
            self._broken.append("\n    ".join([f"{self.fault}, {command}, {point}:", *broken]))

    def check(self) -> None:
        """Fail the test if anything was broken anywhere, or if no point was tried at all."""
        if not self.tried:
            pytest.fail(f"{self.fault}: no point was tried")
        if self._broken:
            more = len(self._broken) - _SHOWN
            listed = "\n".join(self._broken[:_SHOWN]) + (f"\nand {more} more points" if more > 0 else "")
            pytest.fail(f"{len(self._broken)} of {self.tried.total()} points did not hold\n{listed}", pytrace=False)


Tallies = Callable[[str], Tally]


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tallies]:
    """Make tallies; what they hold at the end of the test goes into the table."""
    made: list[Tally] = []

    def make(fault: str) -> Tally:
        made.append(Tally(fault))
        return made[-1]

    yield make
    rows = [(one.fault, command, tried, one.held[command]) for one in made for command, tried in one.tried.items()]
    request.node.user_properties.append((_PROPERTY, json.dumps(rows)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    tried: Counter[tuple[str, str]] = Counter()
    held: Counter[tuple[str, str]] = Counter()
    for name, text in _properties(terminalreporter):
        if name != _PROPERTY:
            continue
        for fault, command, points, good in json.loads(text):
            tried[fault, command] += points
            held[fault, command] += good
    if not tried:
        return
    write = terminalreporter.write_line
    terminalreporter.write_sep("=", "faults")
    write(f"{'fault':<44} {'command':<12} {'points tried':>12} {'held':>8}")
    for key in sorted(tried):
        write(f"{key[0]:<44} {key[1]:<12} {tried[key]:>12} {held[key]:>8}", red=held[key] < tried[key])
    write(f"{'all':<44} {'':<12} {tried.total():>12} {held.total():>8}")


def _properties(reporter: pytest.TerminalReporter) -> list[tuple[str, str]]:
    # A teardown that went well is kept under no name.
    reports = [report for key in ("", "error") for report in reporter.stats.get(key, [])]
    return [
        (name, str(value)) for report in reports if report.when == "teardown" for name, value in report.user_properties
    ]
