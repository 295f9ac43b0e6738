"""The history: one line of JSON for each run, the newest last."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime

import msgspec

from releaser.errors import Problem
from releaser.releases.release import PackageChange, Release
from releaser.report.outcomes import Outcome, Result
from releaser.site.paths import Paths
from releaser.system.files import BrokenFileError, private_mode, read_regular_file, replace_file
from releaser.system.run import Moment, Run, Step

_LARGEST, _KEPT = 4 << 20, 2000  # bytes; lines that stay when it is larger


class Record(msgspec.Struct, frozen=True):
    """A run in the history, with the release that it made or that was live; `seconds` is the time of its steps."""

    run: str
    command: str
    ended_at: Moment
    result: Result
    exit_code: int
    headline: str
    release: str | None = None
    problems: tuple[Problem, ...] = ()
    steps: tuple[Step, ...] = ()
    changes: tuple[PackageChange, ...] = ()
    seconds: float = 0

    @property
    def is_trouble(self) -> bool:
        """True if the site needs attention after the run: not for wrong usage, a held lock or a wrong name.

        A release that is ready ends a run with 0, also if the run has problems.
        """
        return self.exit_code not in (0, 2, 8, 9) or (self.result == "ready" and bool(self.problems))

    @property
    def is_updated(self) -> bool:
        """True if the run made another release live."""
        return self.result in ("updated", "updated-not-restarted")

    @property
    def is_change(self) -> bool:
        """True if the run made another release live, for a moment at least."""
        return self.is_updated or self.result == "rolled-back"


def append_record(paths: Paths, run: Run, outcome: Outcome, ended_at: datetime) -> None:
    """Add a run to the history, durably. Raises OSError."""
    record = Record(
        run=run.id,
        command=run.command.name,
        ended_at=ended_at,
        result=outcome.result,
        exit_code=outcome.exit_code,
        headline=outcome.headline,
        release=outcome.kept.release or outcome.release,
        problems=outcome.problems,
        steps=outcome.steps,
        changes=outcome.payload.changes,
        seconds=round(sum(step.seconds for step in outcome.steps), 3),
    )
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(paths.history, flags, private_mode(paths.state))
    try:
        size = os.fstat(descriptor).st_size
        cut_off = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if cut_off else b"") + msgspec.json.encode(record) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if size > _LARGEST:
        lines = paths.history.read_bytes().splitlines()[-_KEPT:]
        replace_file(paths.history, b"\n".join([*lines, b""]))


def read_history(paths: Paths) -> list[Record]:
    """Return the readable runs, newest first."""
    try:
        data = read_regular_file(paths.history) or b""
    except BrokenFileError:
        return []
    records = []
    for line in data.splitlines():
        with contextlib.suppress(msgspec.MsgspecError):
            records.append(msgspec.json.decode(line, type=Record))
    return records[::-1]


def has_heard(paths: Paths, release: Release, result: Result) -> bool:
    """Return True if people have heard of this result of a release."""
    return any(record.release == release.id and record.result == result for record in read_history(paths))
