"""What there is to tell of each package change, beside the versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.locks.changes import LockDiff
from releaser.locks.lock import Graph
from releaser.locks.versions import uploads_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.candidate.build import Candidate
    from releaser.locks.changes import Change
    from releaser.locks.lock import LockFile
    from releaser.report import RunLog

    Times = Mapping[tuple[str, str], datetime | None]


_MOST_ASKERS = 5


def with_particulars(log: RunLog, candidate: Candidate) -> Candidate:
    """Find out, once a candidate is built, what its manifest and the report are to tell of its changes."""
    resolution = candidate.resolution
    changes = described(resolution.diff.changes, resolution.lock, candidate.venv)
    log.learn(changes=changes)
    return replace(candidate, resolution=replace(resolution, diff=LockDiff(changes=changes)))


def described(changes: tuple[Change, ...], lock: LockFile, venv: Path) -> tuple[Change, ...]:
    """Add to changes what `lock`, which they lead to, and the metadata in `venv`, which was built from it, tell.

    What cannot be read is left open: no update fails over words.
    """
    from releaser.releases.metadata import link_of  # which a night without anything new need not import

    graph = Graph.of(lock)
    times = uploads_in(lock, datetime.now(UTC)).times
    return tuple(
        _described(change, graph, times, link_of(venv, change.name)) if change.new else change for change in changes
    )


def _described(change: Change, graph: Graph, times: Times, link: str | None) -> Change:
    return replace(
        change,
        direct=change.name in graph.direct,
        through=graph.askers.get(change.name, ())[:_MOST_ASKERS],
        released=_released(change, times),
        link=link,
    )


def _released(change: Change, times: Times) -> str | None:
    """Return when the youngest of the new versions was uploaded."""
    known = [time for version in change.brought.split(", ") if (time := times.get((change.name, version))) is not None]
    return max(known).astimezone(UTC).isoformat(timespec="seconds") if known else None
