"""Reads the three files that earlier versions kept instead of the table of blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any

from releaser.locks.origins import Deviation
from releaser.releases.blocks import EARLIER, PAUSE, Blocks, StoredBlock
from releaser.system.exact import convert
from releaser.system.files import load_state
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    Row = Mapping[str, Any]


class _Earlier(Frozen, ABC):
    """A file of blocks."""

    def __post_init__(self) -> None:
        self.blocks()  # ValueError if the file cannot be read

    def blocks(self) -> tuple[StoredBlock, ...]:
        """Return the content of the file as blocks. Raises ValueError."""
        try:
            return tuple(convert({**row, "since": row["at"]}, StoredBlock) for row in self.rows())
        except (LookupError, TypeError) as error:
            message = f"a field is missing, or of another type ({error})"
            raise ValueError(message) from error

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Yield the fields of each block."""


class EarlierQuarantine(_Earlier):
    """Candidates that failed or waited, versions that were rolled back, and commits on hold."""

    candidates: tuple[dict[str, Any], ...] = ()
    versions: tuple[dict[str, Any], ...] = ()
    commits: tuple[dict[str, Any], ...] = ()

    def rows(self) -> Iterator[Row]:
        """Yield the fields of each block."""
        yield from map(_of_version, self.versions)
        for commit in self.commits:
            yield {**commit, "what": "commit", "name": commit["commit"][:12], "by": "activation"}
        for candidate in self.candidates:
            # An interrupted search begins again, and a candidate that waits for migrations is built again.
            if not candidate.get("unfinished") and not candidate.get("migrations"):
                yield {**candidate, "what": "candidate", "name": candidate["release"], "by": "tests"}


class EarlierHolds(_Earlier):
    """Packages that a person holds, and versions with which the tests failed."""

    entries: tuple[dict[str, Any], ...] = ()

    def rows(self) -> Iterator[Row]:
        """Yield the fields of each block."""
        return (_of_version(entry) for entry in self.entries if entry.get("by") != "undecided")


class EarlierAcceptance(Frozen):
    """The deviations that were asked about, and those that were accepted."""

    asked: tuple[Deviation, ...] = ()
    accepted: tuple[Deviation, ...] = ()


def _of_version(hold: Row) -> Row:
    tried = hold.get("tried_at")
    until = datetime.fromisoformat(tried) + PAUSE if tried else None
    return {**hold, "code_key": hold.get("code", ""), "until": until}


_FAILURES, _HOLDS, _ACCEPTANCE = EARLIER
#: The first file needs no words for its loss: it is rebuilt from the releases.
EARLIER_FILES = (
    StateFile(name=_FAILURES, type=EarlierQuarantine),
    StateFile(
        name=_HOLDS,
        type=EarlierHolds,
        loss="the packages that you held are no longer on hold",
        advice="Hold packages again with `releaser hold`.",
    ),
    StateFile(
        name=_ACCEPTANCE,
        type=EarlierAcceptance,
        loss="the deviations that you accepted are no longer accepted",
        advice="The next run asks again what to accept.",
    ),
)


def read_earlier(state_dir: Path) -> Blocks:
    """Return the blocks in the three files; an unreadable file counts as empty."""
    failed, holds, acceptance = (state_dir / file for file in EARLIER_FILES)
    return Blocks(
        entries=(*load_state(failed, EarlierQuarantine()).blocks(), *load_state(holds, EarlierHolds()).blocks()),
        **vars(load_state(acceptance, EarlierAcceptance())),
    )
