"""Holding back what the tests fail with, or what cannot be built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError
from releaser.releases.holds import Hold, read_holds
from releaser.report.capping import cap
from releaser.report.outcome import HeldBack
from releaser.steps.resolve import lock_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.locking.lockfile import LockFile
    from releaser.releases.quarantine import CandidateKey
    from releaser.run import Run

_LONGEST_OUTPUT = 20_000  # characters of a test's output that a hold keeps


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How a part of the upgrades failed: in a few words, and all that was printed."""

    words: str
    output: str


def hold_back(run: Run, lock: LockFile, key: CandidateKey, faults: Mapping[str, Fault], *, release: str = "") -> None:
    """Hold packages at what is locked until there is a version newer than the one that failed."""
    holds = [
        Hold(
            name=name,
            by="tests",
            version=lock.versions[name],
            reason=fault.words,
            at=run.now_iso(),
            release=release,
            code_key=key.code_key,
            python=key.python,
            output=cap(fault.output, max_chars=_LONGEST_OUTPUT),
        )
        for name, fault in faults.items()
    ]
    run.change_holds(lambda known: known.adding(holds))


def standing_holds(run: Run) -> tuple[HeldBack, ...]:
    """Return what is held, by whom and since when, but for versions that something newer has replaced."""
    try:
        holds = read_holds(run.site.project.state_dir)
    except (UnreadableStateError, OSError):  # which is said elsewhere
        return ()
    live = lock_of(run.store.live()).versions
    return tuple(
        HeldBack(
            name=one.name, version=one.version or live.get(one.name, ""), reason=one.reason, by=one.by, since=one.at
        )
        for one in holds.without_older(live).entries
    )
