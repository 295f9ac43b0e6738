"""One run of a command that changes a site: the objects that it works on, its report, its log file and its journal."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from releaser.errors import Finding
from releaser.listener import Listener, Silence
from releaser.releases.journal import journal_of, make_entry
from releaser.releases.store import ReleaseStore, store_of
from releaser.report import Result, RunLog, RunReport
from releaser.site.project import LOGS
from releaser.site.settings import this_host
from releaser.system.files import state_mode
from releaser.system.frozen import Frozen, Mutable, replace
from releaser.system.state_files import StateFile, remove_if_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import TextIOWrapper
    from pathlib import Path

    from releaser.locks.lock import LockFile
    from releaser.releases.blocks import Blocks
    from releaser.releases.release import Release
    from releaser.site.site import Site, SiteFacts
    from releaser.site.supply import FailureWords
    from releaser.system.words import Redactor

logger = logging.getLogger(__name__)

_RUN_TIME = "%Y%m%dT%H%M%SZ"


class Run(Mutable):
    """A run in progress: its site, and the log of its steps."""

    site: Site
    log: RunLog
    log_file: str = ""
    #: The start of the previous run, in seconds since 1970, if it was killed and its git locks may still exist;
    #: otherwise None.
    killed_since: float | None = None
    #: Compares the checkout with the snapshot from before the build. None until a build starts.
    find_changes: Callable[[], tuple[Finding, ...]] | None = None

    @functools.cached_property
    def store(self) -> ReleaseStore:
        """The releases of the site."""
        return store_of(self.site)

    def report(self, *, result: Result, exit_code: int, headline: str, advice: str = "") -> RunReport:
        """Return the report of this run so far."""
        log, learned, project, redactor = self.log, self.log.learned, self.site.project, self.site.redactor
        advice_for_left = (
            "Let the command end it. If it is a service that must keep running, start it in the restart command."
        )
        problems = [
            *log.findings,
            *(Finding("process-left", ended, advice_for_left) for ended in self.site.runner.ended),
        ]
        if result != "no-changes" or exit_code or problems or log.recovered or log.sentences:
            problems = [*problems, *log.undeleted.values()]
        release, clean = self.store.get(learned.release), redactor.line
        sections = [section.at_end(live_changed=learned.live_changed, clean=clean) for section in log.sections.values()]
        shown = replace(
            learned,
            on_hold=tuple(
                hold if self.store.get(hold.release) else replace(hold, release="") for hold in learned.on_hold
            ),
            output=redactor.clean(learned.output),
            rebuilt=clean(learned.rebuilt) if learned.rebuilt else None,
            waits=clean(learned.waits),
            blocked=clean(learned.blocked),
        )
        return RunReport(
            **vars(shown),
            command=log.command,
            project=project.name,
            path=str(project.checkout),
            host=this_host(),
            run_id=log.run_id,
            started_at=log.started_at,
            seconds=round((datetime.now(UTC) - log.started_at).total_seconds(), 3),
            result=result,
            exit_code=exit_code,
            headline=clean(headline),
            commit=release.manifest.commit if release else None,
            subject=release.manifest.subject if release else "",
            steps=tuple(log.outcomes),
            problems=clean_problems(redactor, problems),
            answers=tuple(
                replace(answer, text=clean(answer.text), body=redactor.shown(answer.body)) for answer in log.answers
            ),
            advice=clean(advice),
            log_file=self.log_file,
            recovered=clean(" ".join(log.recovered)),
            noted=clean(" ".join(log.sentences)),
            sections={type(section): section for section in sections},
        ).with_problems()


class Workspace(Frozen):
    """The inputs for resolving, building and testing the candidates of one run."""

    #: The site in its staging tree.
    site: Site
    log: RunLog
    #: The facts about the code of the release, from preflight.
    facts: SiteFacts
    #: The same facts about the live code, for tests of the live release.
    before: SiteFacts
    #: The live release.
    live: Release | None
    #: True to build everything again: a person asked for that, or the live release is damaged.
    fresh: bool = False
    #: The packages to upgrade, together with their requirements; empty for all.
    only: frozenset[str] = frozenset()
    #: The untracked configuration files that the tests use, by name; None if they were not read.
    configuration: Mapping[str, bytes | None] | None = None
    #: The blocks, corrected for versions that the new commits lower or lock again; None for those on disk.
    blocks: Blocks | None = None
    #: The words for failed tests of a release that is only tried, so that no update skips it; None for any other.
    trial: FailureWords | None = None
    #: Asks the gates about a lock before a candidate is built from it; returns facts for its manifest.
    examine_lock: Callable[[Workspace, LockFile], Mapping[str, Any]]

    @property
    def reusable(self) -> Release | None:
        """The live release, if a candidate may take packages from it."""
        return None if self.fresh else self.live

    def starting_from(self, lock: LockFile) -> Workspace:
        """Return a copy that starts from this lock instead of the lock of the checkout or commit."""
        return replace(self, facts=replace(self.facts, lock=lock))


def close_journal(site: Site, log: RunLog, done: str = "") -> None:
    """Record in the journal that no change is in progress. The report mentions `done`, a verb with its object.

    The journal is deleted once the mail is in the outbox: if the run is killed before, the next run reports `done`.
    """
    if done:
        log.unreported.append(site.redactor.line(f"{name_run(log.command, log.run_id)} {done}."))
    if not log.unreported:
        journal_of(site).drop()
        return
    try:
        journal_of(site).write_on_full_disk(make_entry(log, "reporting"))
    except OSError as error:  # a full disk; if this run cannot report it either, the next one recovers once more
        logger.warning("cannot record the report for the next run: %s", error)
    log.closed = True


def begun_at(run_id: str) -> datetime | None:
    """Return the start of a run, from its id; None if the text is not the id of a run."""
    time = run_id.partition("-")[0]
    try:
        found = datetime.fromisoformat(time)  # strptime would need an import
    except ValueError:
        return None
    return found if f"{found:{_RUN_TIME}}" == time else None


def _delete_logs(directory: Path) -> None:
    for log in directory.glob("*.log"):
        if begun_at(log.stem) is not None:
            log.unlink()
    remove_if_empty(directory)


LOGS_FILE = StateFile(name=LOGS, delete=_delete_logs)


def new_log(command: str, listener: Listener | None = None) -> RunLog:
    """Return the log of a run that begins now; without a listener, for single steps outside of a run."""
    now = datetime.now(UTC)
    return RunLog(listener or Silence(), command=command, run_id=run_id_of(now, os.getpid()), started_at=now)


def run_id_of(began: datetime, pid: int) -> str:
    """Return the id of a run, from its start in UTC and its process."""
    return f"{began:{_RUN_TIME}}-{pid}"


def name_run(command: str, run_id: str) -> str:
    """Return the name of a run for the report of a later run."""
    return f"An earlier `releaser {command}` ({run_id})"


def clean_problems(redactor: Redactor, problems: Iterable[Finding]) -> tuple[Finding, ...]:
    """Redact findings and add the underlying error."""
    return tuple(
        replace(explained, message=redactor.line(explained.message), advice=redactor.line(explained.advice))
        for explained in (problem.explain() for problem in problems)
    )


class _LogFile(logging.FileHandler):
    """A log file that ignores write errors, such as a full disk: the run goes on without it."""

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        os.fchmod(stream.fileno(), state_mode(os.path.dirname(self.baseFilename)))  # whatever the umask is
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging gives it
        """Say nothing."""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def run_log(directory: Path, run_id: str, redactor: Redactor) -> Iterator[Path]:
    """Log the run to `<directory>/<run_id>.log`, for the time of the context."""
    path = directory / f"{run_id}.log"
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, encoding="utf-8", errors="replace", delay=True)
    handler.setFormatter(redactor.formatter())
    logger = logging.getLogger("releaser")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
