"""The table of what a move of real projects has shown: one row a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stage import say

if TYPE_CHECKING:
    from unrest import Tally


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one step of a project."""

    step: str
    code: int
    seconds: float
    changes: int
    tally: Tally
    problems: list[str]


def cells(row: Row) -> tuple[object, ...]:
    """Return the figures of a step, as the table has them."""
    tally = row.tally
    kills = (tally.signals["SIGTERM"], tally.signals["SIGKILL"])
    return (
        row.step,
        row.code,
        f"{row.seconds:.0f}",
        row.changes,
        tally.requests,
        len(tally.failures),
        *kills,
        tally.cut,
    )


def show(name: str, rows: list[Row]) -> None:
    """Print the table of one project."""
    layout = "{:28}{:>5}{:>9}{:>9}{:>10}{:>8}{:>6}{:>6}{:>5}"
    say("\n" + layout.format(name, "code", "seconds", "packages", "requests", "failed", "TERM", "KILL", "cut"))
    for row in rows:
        say(layout.format(*cells(row)) + ("  " + row.problems[0] if row.problems else ""))
    requests, failed = sum(row.tally.requests for row in rows), sum(len(row.tally.failures) for row in rows)
    say(f"{failed} of {requests:,} requests failed")
