"""What `make bench` finds out: programs that take turns, what each took, and how that stands to an aim."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    Words = Sequence[str | Path]


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
class Aim:
    """What was aimed at, and what was found."""

    what: str
    limit: float
    found: float
    unit: str = "times"
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    @property
    def share(self) -> float:
        """How much of what the aim allows is used: at most 1 where it is met; 100 stands for all above."""
        used = self.limit / max(self.found, 1e-9) if self.at_least else self.found / max(self.limit, 1e-9)
        return min(used, 100.0)

    @property
    def bound(self) -> str:
        """The aim in words."""
        return f"at {'least' if self.at_least else 'most'} {amount(self.limit, self.unit)}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Programs that took turns; ratios are to the first of them."""

    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of the bench found out."""

    title: str
    #: When it was measured, in UTC.
    measured: str = ""
    tables: tuple[Table, ...] = ()
    aims: tuple[Aim, ...] = ()
    #: What could not be measured, and what else is to be known.
    notes: tuple[str, ...] = ()
    #: The versions of the programs that took part.
    versions: dict[str, str] = field(default_factory=dict)


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


def amount(value: float, unit: str) -> str:
    """Write a figure with as many digits as it deserves."""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{value:.{digits}f} {unit}".strip()


def duration(seconds: float) -> str:
    """Write a duration: in ms below one second."""
    return amount(seconds * 1000, "ms") if seconds < 1 else amount(seconds, "s")


def say(text: str = "") -> None:
    """Print at once."""
    print(text, flush=True, file=sys.stdout)


def as_text(part: Part) -> str:
    """Return what a part found out, as a terminal shows it."""
    lines = [f"== {part.title}"]
    for table in part.tables:
        lines += ["", f"{table.title:<46}{'median':>10}{'quartiles':>22}{'CPU':>10}{'times':>8}{'CPU':>8}"]
        lines += [_row(figure, table.figures[0]) for figure in table.figures]
    lines += ["", *(_aim(aim) for aim in part.aims)] if part.aims else []
    lines += ["", *part.notes] if part.notes else []
    return "\n".join([*lines, ""])


def _row(figure: Figure, first: Figure) -> str:
    low, high = map(duration, figure.spread)
    times = f"{duration(figure.median()):>10}{f'{low} to {high}':>22}{duration(figure.median('cpu')):>10}"
    return f"  {figure.name:<44}{times}{figure.times(first):>8.2f}{figure.times(first, 'cpu'):>8.2f}"


def _aim(aim: Aim) -> str:
    return f"  {'met   ' if aim.is_met else 'MISSED'} {aim.what}: {amount(aim.found, aim.unit)} ({aim.bound})"
