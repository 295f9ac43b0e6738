"""The history: one line of JSON for each run, the newest last; and the logs of runs."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from pathlib import Path

import msgspec

from releaser.errors import NoSuchReleaseError, Problem
from releaser.releases.release import PackageChange, Release
from releaser.report.outcomes import Outcome, Result
from releaser.site.paths import Paths
from releaser.system.files import BrokenFileError, private_mode, read_regular_file, replace_file
from releaser.system.run import Moment, Run, Step

_LARGEST, _KEPT = 4 << 20, 2 << 20  # bytes, and those that stay of a larger one


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
    notes: tuple[str, ...] = ()
    new_commits: tuple[str, ...] = ()

    @property
    def is_trouble(self) -> bool:
        """True if the site needs attention after the run: not for wrong usage, a held lock or a wrong name.

        A release that is ready ends a run with 0, also if the run has problems.
        """
        return self.exit_code not in (0, 2, 8, 9) or (self.result == "ready" and bool(self.problems))

    @property
    def is_asked_anew(self) -> bool:
        """True if the run was refused before its first step, for reasons that `check` and `status` ask about again."""
        return self.exit_code == 3 and not [step for step in self.steps if step.step != "wait"]

    @property
    def is_updated(self) -> bool:
        """True if the run made another release live."""
        return self.result in ("updated", "updated-not-restarted")

    @property
    def is_change(self) -> bool:
        """True if the run made another release live, for a moment at least."""
        return self.is_updated or self.result == "rolled-back"


def make_record(run: Run, outcome: Outcome, ended_at: datetime) -> Record:
    """Return the record of a run that ended."""
    return Record(
        run=run.id,
        command=run.command.name,
        ended_at=ended_at,
        result=outcome.result,
        exit_code=outcome.exit_code,
        headline=outcome.headline,
        release=outcome.payload.failed_release or outcome.release,
        problems=outcome.problems,
        steps=outcome.steps,
        changes=outcome.payload.changes,
        notes=outcome.notes,
        new_commits=outcome.payload.new_commits,
        seconds=round(sum(step.seconds for step in outcome.steps), 3),
    )


def append_record(paths: Paths, record: Record) -> None:
    """Add a run to the history, durably. Raises OSError."""
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
        data = (read_regular_file(paths.history, is_log=True) or b"")[-_KEPT:]
        replace_file(paths.history, data[data.find(b"\n") + 1 :])


def read_history(paths: Paths) -> list[Record]:
    """Return the readable runs, newest first, each once: what was told after a kill may stand there twice."""
    try:
        data = read_regular_file(paths.history, is_log=True) or b""
    except BrokenFileError:
        return []
    records: dict[tuple[object, ...], Record] = {}
    for line in data.splitlines():
        with contextlib.suppress(msgspec.MsgspecError):
            record = msgspec.json.decode(line, type=Record)
            records[record.run, record.command, record.ended_at, record.headline] = record
    return [*records.values()][::-1]


def has_told(paths: Paths, run: str) -> bool:
    """Return True if a run has told of its change, such as one that a signal ended before the change was whole."""
    return any(record.run == run and record.is_change for record in read_history(paths))


def has_heard(paths: Paths, release: Release, result: Result) -> bool:
    """Return True if people have heard of this result of a release."""
    return any(record.release == release.id and record.result == result for record in read_history(paths))


def find_log(paths: Paths, run: str | None) -> Path:
    """Return the log of a run, named by its id or a beginning of it; of the newest without a name.

    Raises NoSuchReleaseError.
    """
    logs = sorted(paths.logs.glob("*.log"))
    matches = [path for path in logs if path.stem == run] or [path for path in logs if path.stem.startswith(run or "")]
    if len(matches) == 1 or (matches and not run):
        return matches[-1]
    message = f"No log of {f'a run `{run}`' if run else 'any run'} exists."
    message = f"`{run}` could be {len(matches)} runs." if matches else message
    raise NoSuchReleaseError(message, "Run `releaser history`.")
