"""What `make bench` finds out: programs that take turns, what each took, and how that stands to an aim."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from bench_aims import AIMS, amount
from stage import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench_aims import Aim

    Words = Sequence[str | Path]

LONGEST_REASON = 300  # characters
T = TypeVar("T")


class BenchError(Exception):
    """Something cannot be measured; the other parts can."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run took: seconds of wall time, and of CPU with all that it started."""

    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Program:
    """Something to measure, and where."""

    name: str
    #: What is run; a function gets the number of the turn.
    words: Words | Callable[[int], Words]
    cwd: Path
    env: Mapping[str, str]
    #: What has to be in place before each run, and does not count.
    before: Callable[[int], object] | None = None
    #: A slow one takes part in the first turns alone.
    turns: int | None = None

    def run(self, turn: int = 0) -> Cost:
        """Run it once; it must end well."""
        if self.before is not None:
            self.before(turn)
        words = self.words(turn) if callable(self.words) else self.words
        began = time.perf_counter()
        with subprocess.Popen(
            words, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            message = f"{self.name} ended with status {process.returncode}"
            raise BenchError(message)
        return Cost(wall=wall, cpu=used.ru_utime + used.ru_stime)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The costs of one program, turn by turn."""

    name: str
    costs: tuple[Cost, ...]

    def of(self, which: str = "wall") -> list[float]:
        """Return `wall` or `cpu` of each turn."""
        return [float(getattr(cost, which)) for cost in self.costs]

    def median(self, which: str = "wall") -> float:
        """Return the median of `wall` or `cpu`."""
        return statistics.median(self.of(which))

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the wall time."""
        walls = sorted(self.of())
        if len(walls) < 3:
            return walls[0], walls[-1]
        low, _, high = statistics.quantiles(walls, n=4, method="inclusive")
        return low, high

    def times(self, other: Figure, which: str = "wall") -> float:
        """Return the median of the ratios to another one, each within one turn."""
        pairs = zip(self.of(which), other.of(which), strict=False)
        return statistics.median(one / max(two, 1e-6) for one, two in pairs)

    def more(self, other: Figure, which: str = "wall") -> float:
        """Return the median of the differences to another one, each within one turn."""
        pairs = zip(self.of(which), other.of(which), strict=False)
        return statistics.median(one - two for one, two in pairs)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Programs that took turns; ratios are to the first of them."""

    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of the bench found out."""

    title: str
    #: When it was measured, in UTC, and at which commit.
    measured: str = ""
    commit: str = ""
    tables: tuple[Table, ...] = ()
    #: What was found of the aims, by their names, and why nothing was of others.
    found: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    #: What else is to be known.
    notes: tuple[str, ...] = ()
    #: The versions of the programs that took part.
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no aim."""
        if unknown := {*self.found, *self.missing}.difference(aim.what for aim in AIMS):
            message = f"no aim of scripts/bench_aims.py: {', '.join(sorted(unknown))}"
            raise ValueError(message)


def attempt(act: Callable[[], T], note: Callable[[str], object]) -> T | None:
    """Return what `act` does; None if it fails in whatever way: `note` gets the reason, and all else is measured."""
    try:
        return act()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - `pytest.fail` and `sys.exit` raise what is no Exception
        known = isinstance(error, BenchError | DemoError)
        words = " ".join(str(error).split())[:LONGEST_REASON]
        note(words if known else f"{type(error).__name__}: {words}")
        return None


def measure(programs: Sequence[Program], turns: int, *, warm: bool = True) -> tuple[Figure, ...]:
    """Run the programs in turns; a first turn fills the caches of the disk, and does not count."""
    if warm:
        for program in programs:
            program.run(0)
    found: list[list[Cost]] = [[] for _ in programs]
    for turn in range(1, turns + 1):
        for program, costs in zip(programs, found, strict=True):
            if program.turns is None or turn <= program.turns:
                costs.append(program.run(turn))
    return tuple(Figure(name=program.name, costs=tuple(costs)) for program, costs in zip(programs, found, strict=True))


def version_of(*words: str | Path) -> str:
    """Return the first number with dots that a program prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = (word.strip("(),") for word in (done.stdout + done.stderr).split())
    return next((word for word in found if word[:1].isdigit() and "." in word), "?")


def duration(seconds: float) -> str:
    """Write a duration: in ms below one second."""
    return amount(seconds * 1000, "ms") if seconds < 1 else amount(seconds, "s")


def say(text: str = "") -> None:
    """Print at once."""
    print(text, flush=True, file=sys.stdout)


def as_text(part: Part, aims: Sequence[Aim]) -> str:
    """Return what a part found out, as a terminal shows it."""
    lines = [f"== {part.title}"]
    for table in part.tables:
        lines += ["", f"{table.title:<46}{'median':>10}{'quartiles':>22}{'CPU':>10}{'times':>8}{'CPU':>8}"]
        lines += [_row(figure, table.figures[0]) for figure in table.figures]
    lines += ["", *map(aim_line, aims)] if aims else []
    lines += ["", *part.notes] if part.notes else []
    return "\n".join([*lines, ""])


def _row(figure: Figure, first: Figure) -> str:
    low, high = map(duration, figure.spread)
    times = f"{duration(figure.median()):>10}{f'{low} to {high}':>22}{duration(figure.median('cpu')):>10}"
    return f"  {figure.name:<44}{times}{figure.times(first):>8.2f}{figure.times(first, 'cpu'):>8.2f}"


def aim_line(aim: Aim) -> str:
    """Return how an aim stands, on a line."""
    verdict = aim.verdict.upper() if aim.verdict == "missed" else aim.verdict
    return f"  {verdict:<12} {aim.what}: {aim.said} ({aim.bound})"
