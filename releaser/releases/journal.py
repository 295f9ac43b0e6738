"""The records of runs: the journal of the change in progress, notes of what mails have said, and the history.

With the journal, another run can finish or undo the change. If notes are lost, mails repeat themselves.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from releaser.capabilities import gather
from releaser.errors import ExitCode
from releaser.locks.differences import LockDifference
from releaser.system.files import (
    IrregularFileError,
    UnreadableStateError,
    load_state,
    plain,
    read_end,
    read_state,
    replace_file,
    state_mode,
    sync_directory,
    write_state,
)
from releaser.system.frozen import Frozen, field, fields, replace
from releaser.system.reserve import free_reserve
from releaser.system.sections import Section
from releaser.system.state_files import StateFile, require_file
from releaser.system.uptime import boot_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from releaser.report import RunLog, RunReport
    from releaser.site.site import Site
    from releaser.system.words import Redactor

T = TypeVar("T")
logger = logging.getLogger(__name__)

Phase = Literal["pulling", "building", "adopting", "committing", "reverting", "repairing", "reporting"]


#: The data that an action needs to undo its change, recorded before that change: JSON values by name.
Record = Mapping[str, Any]


class Flip(Frozen):
    """The flip of a change: from which release, when, and why an automatic rollback reverts it."""

    #: The release that was live before; None if none was.
    previous: str | None = None
    #: The text of the symlink before; None if there was none.
    previous_link: str | None = None
    #: When the change began, in seconds since the system started; `boot` names that start.
    at: float | None = None
    boot: str = ""
    #: True for a rollback; with `holds_left`, updates then skip the versions of the withdrawn release.
    goes_back: bool = False
    holds_left: bool = True
    #: True if the release stays live even if an action after the flip fails, as a person has decided.
    stays: bool = False
    #: Why an automatic rollback reverts the flip; empty without one.
    reason: str = ""
    #: True if the release is not to blame for that reason.
    not_the_release: bool = False

    def moment(self, at: float | None) -> float:
        """Return `at`, in seconds since the system started; 0.0 if unknown, or if it has restarted since the change."""
        return at if at is not None and self.boot == boot_id() else 0.0


class Entry(Frozen):
    """One change in progress."""

    command: str
    run_id: str
    #: In `reporting`, only the sentences in `unreported` remain to be sent.
    phase: Phase
    #: The record of each action, by its name.
    actions: Mapping[str, Record]
    #: The candidate, or the release that goes live.
    release: str | None = None
    #: None while the change has no flip.
    flip: Flip | None = None
    #: The actions that are finished after the flip, by their names.
    done: tuple[str, ...] = ()
    #: Sentences of this run that are in no mail yet.
    unreported: tuple[str, ...] = ()

    def moved(self, phase: Phase, **changes: Any) -> Entry:
        """Return the entry of a later phase of the same change."""
        return replace(self, phase=phase, **changes)


class Journal(Frozen):
    """The journal of one project, in its state directory."""

    state_dir: Path

    @property
    def path(self) -> Path:
        """The file that exists while a change is in progress."""
        return self.state_dir / JOURNAL

    def read(self) -> Entry | None:
        """Return the change in progress; None without one. Raises UnreadableStateError."""
        try:
            return read_state(self.path, Entry)
        except UnreadableStateError:
            from releaser.releases.earlier_journal import read_earlier  # after an upgrade of releaser alone

            earlier = read_earlier(self.path)
            if earlier is None:
                raise
            return earlier

    def write(self, entry: Entry) -> Entry:
        """Record the change, durably, and return it."""
        write_state(self.path, entry)
        return entry

    def write_on_full_disk(self, entry: Entry) -> Entry:
        """Record the change even on a full disk, by freeing the reserved space. Raises OSError."""
        try:
            return self.write(entry)
        except OSError as error:
            logger.warning("the journal cannot be replaced before room is made: %s", error)
            free_reserve(self.state_dir)
            return self.write(entry)

    def drop(self) -> None:
        """Record, durably, that nothing is in progress."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
            sync_directory(self.state_dir)


def journal_of(site: Site) -> Journal:
    """Return the journal of a site."""
    return Journal(state_dir=site.state_dir)


def make_entry(log: RunLog, phase: Phase, **fields: Any) -> Entry:
    """Return the entry of a change that this run begins, with the sentences of the run that are in no mail yet."""
    log.closed = False
    fields.setdefault("actions", {})
    return Entry(command=log.command, run_id=log.run_id, phase=phase, unreported=tuple(log.unreported), **fields)


JOURNAL = StateFile(name="journal.json", type=Entry, read=lambda path, _: Journal(state_dir=path.parent).read())


# Notes


class Thread(Frozen):
    """A problem that a mail has reported, and no mail has reported as solved yet."""

    problem: str
    #: The Message-ID of the first mail about it.
    message_id: str
    since: datetime

    def __post_init__(self) -> None:
        if self.problem == "activation":  # as earlier versions wrote it
            object.__setattr__(self, "problem", "rollback")


class MailSection(Section):
    """The mail about a run."""

    #: The problems of earlier mails that are solved: `bug`, `preflight`, `build`, `tests`, `live tests`, `rollback` or
    #: `follow-up`.
    solved: tuple[str, ...] = ()
    #: Whom mails about the site are from.
    mail_from: str = ""
    #: The fate of the mail about this run, in words.
    mail: str = ""
    #: True if a mail has all of this, and a server has accepted the mail.
    mailed: bool = False


class FailingLiveTests(Frozen):
    """Failing tests of a live release, although nothing has changed: the `failing` tests, and the time `since` when."""

    release: str
    since: str
    reason: str
    failing: tuple[str, ...]


class Notes(Frozen):
    """The reports of earlier mails, so that later mails do not repeat them."""

    #: When the last mail was sent; None before the first.
    last_mail: datetime | None = None
    threads: tuple[Thread, ...] = ()
    #: True if a mail has explained what releaser does that people may not expect.
    introduced: bool = False
    #: Files that the project's own work left in the work tree, relative to its top. They do not make it unclean.
    untracked: frozenset[str] = frozenset()
    #: Processes that were not restarted.
    left_behind: frozenset[str] = frozenset()
    #: Known vulnerabilities whose fixes are on hold.
    vulnerabilities: frozenset[str] = frozenset()
    #: True if vulnerabilities are unknown, as the service does not answer.
    audit_unknown: bool = False
    #: True if tests and builds had no sandbox.
    no_sandbox: bool = False
    #: The directories outside the staging tree that tests write to, relative to it; a sandbox discards those files.
    thrown_away: frozenset[str] = frozenset()
    #: Of a site without git: digests of the requirements file as releaser wrote it, or was about to.
    exported: tuple[str, ...] = ()
    #: The settings that brought the last mail to people, as variables have them.
    route: Mapping[str, str] = field(default_factory=dict)
    #: The problem for which a run could not open the site, as reported while the thread `preflight` is open.
    unopened: str = ""
    #: The differences between the live release and the committed lock, because of holds on this host.
    lock_differences: tuple[LockDifference, ...] = ()


LIVE_TESTS = StateFile(name="live-tests.json", type=FailingLiveTests)
NOTES = StateFile(
    name="notes.json",
    type=Notes,
    loss="mails may repeat earlier ones",
    advice="If files left by tests make the work tree unclean, delete them or add them to .gitignore.",
)


def read_notes(state_dir: Path) -> Notes:
    """Return the notes; empty if they cannot be read."""
    with contextlib.suppress(OSError):
        return load_state(state_dir / NOTES, Notes())
    return Notes()


def note(state_dir: Path, **changes: Any) -> None:
    """Change the notes; if they cannot be written, log a warning and go on."""
    before = read_notes(state_dir)
    after = replace(before, **changes)
    if after != before:
        try:
            write_state(state_dir / NOTES, after)
        except OSError as error:
            logger.warning("%s cannot be written: %s", state_dir / NOTES, error)


# The history: one JSON object a line, one line a run, oldest first

_LARGEST_HISTORY = 8 << 20  # bytes, from its end: some ten years of nights
_KEPT_HISTORY = 6 << 20  # bytes that are kept when a history becomes larger than that
_LONGEST_RUN = 1 << 20  # bytes; the report of an update of 1,000 packages has some 0.2 MiB
# The kind of a run, by which questions look for the newest: values of fields, and fields that may be empty.
_VALUES_OF_KIND = ("command", "result", "exit_code", "audit")
_FACTS_OF_KIND = ("only", "blocked", "waits", "live_changed")
_MAKING = ("update", "init", "rebuild", "update --override", "bundle install")
_NOT_IN_HISTORY = ("output",)  # it is in the log and, for tests, in the release

# Results and fields in the history of earlier versions.
_RENAMED = {
    "activated": "updated",
    "unchanged": "no-changes",
    "rolled_back": "rolled-back",
    "held_back": "on_hold",
    "rejected_commits": "commits_on_hold",
}
HISTORY = StateFile(name="history.jsonl", type=str, read=require_file)


def report_as_json(report: RunReport) -> dict[str, Any]:
    """Return a report as `--json` prints it."""
    facts, problems = plain(report), report.problems
    del facts["sections"]
    for kind in gather("reported"):
        facts |= vars(report.sections.get(kind) or kind())
    return {**facts, "problems": list(map(str, problems)), "codes": [problem.code for problem in problems]}


def report_json(report: RunReport, redactor: Redactor) -> bytes:
    """Return the JSON of a report for other programs, without secrets."""
    content = json.loads(json.dumps(report_as_json(report), default=plain))
    return json.dumps(redactor.clean_all(content)).encode()


def add_to_history(state_dir: Path, report: RunReport) -> None:
    """Add a run, durably, unless its command line was wrong. A line that a crash cut off is closed. Raises OSError."""
    if report.is_slip:
        return
    line = {key: value for key, value in report_as_json(report).items() if key not in _NOT_IN_HISTORY}
    is_new = not (state_dir / HISTORY).exists()
    descriptor = os.open(state_dir / HISTORY, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        with contextlib.suppress(PermissionError):  # another user owns it, and has opened it to the group
            os.fchmod(descriptor, state_mode(state_dir))
        size = os.fstat(descriptor).st_size
        cut_off = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        # Bytes of a path that are not UTF-8 become escapes that JSON knows.
        data = json.dumps(line, ensure_ascii=False, default=plain).encode(errors="backslashreplace")
        os.write(descriptor, (b"\n" if cut_off else b"") + data + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(state_dir)
    if size > _LARGEST_HISTORY:
        try:
            _shorten_history(state_dir)
        except OSError as error:  # the next run tries again
            logger.warning("the history cannot be shortened: %s", error)


def _shorten_history(state_dir: Path) -> None:
    """Replace the history by its newest runs, and the older runs that questions look for. Raises OSError.

    These are the newest run of each kind, and the oldest run of each command about each release that is kept.
    """
    runs = list(_runs_in(read_end(state_dir / HISTORY, _LARGEST_HISTORY + _LONGEST_RUN)))
    kinds, makers = dict[str, int](), dict[str, int]()
    for number, (_, run) in enumerate(runs):
        values, facts = map(run.get, _VALUES_OF_KIND), (bool(run.get(name)) for name in _FACTS_OF_KIND)
        kinds.setdefault(str((*values, *facts, sorted(list_limits(run)))), number)
        if run.get("steps") and os.path.isdir(state_dir / "releases" / str(run.get("release"))):
            makers[f"{run.get('release')} {run.get('command')}"] = number
    wanted = dict.fromkeys((*kinds.values(), *makers.values(), *range(len(runs))))
    sizes = itertools.accumulate(len(runs[number][0]) + 1 for number in wanted)
    chosen = [number for number, size in zip(wanted, sizes, strict=True) if size <= _KEPT_HISTORY]
    lines = [runs[number][0] for number in sorted(chosen, reverse=True)]
    replace_file(state_dir / HISTORY, b"\n".join([*lines, b""]), private=True)


def read_history(state_dir: Path) -> list[dict[str, Any]]:
    """Return every readable run, newest first. Skips damaged and overlong lines, and the oldest of a large history.

    A missing file, or a directory or pipe in its place, counts as empty; the next run moves the latter aside.
    """
    try:
        data = read_end(state_dir / HISTORY, _LARGEST_HISTORY)
    except (FileNotFoundError, IsADirectoryError, IrregularFileError):
        return []
    return [_in_words_of_now(run) for _, run in _runs_in(data)]


def list_limits(facts: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of the facts that limited a run, see `Section`."""
    sections = (section for section in gather("reported") if section.limits_update)
    return frozenset(key.name for section in sections for key in fields(section) if facts.get(key.name))


def making_runs(runs: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the run that made each release, by the id of the release, from runs that are newest first."""
    return {str(run.get("release")): run for run in runs if run.get("command") in _MAKING and run.get("steps")}


def _runs_in(data: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield each readable run and its line, newest first."""
    for line in reversed(data.split(b"\n")):  # splitlines() would also split at other characters of Unicode
        if len(line) > _LONGEST_RUN:
            continue
        try:
            content = json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            yield line, content


def read_entry(kind: type[T], entry: Mapping[str, Any]) -> T | None:
    """Return the facts of an entry that a class names; None if releaser cannot have written it."""
    from msgspec import ValidationError, convert  # slow to import

    try:
        return convert(entry, kind)
    except ValidationError:
        return None


def _in_words_of_now(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run with the names that this version gives to results and fields."""
    result = run.get("result")
    if (result, run.get("exit_code")) == ("failed", ExitCode.TESTS):
        run, result = {**run, "result": "refused"}, "refused"
    if (result, run.get("command")) == ("activated", "rollback"):
        result = "rolled_back"
    if _RENAMED.keys().isdisjoint({*run, result if isinstance(result, str) else ""}):
        return run
    run = {_RENAMED.get(name, name): value for name, value in run.items()}
    return {**run, "result": _RENAMED.get(result, result)} if isinstance(result, str) else run
