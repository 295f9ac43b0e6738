"""The report of a run: an `Outcome` for each step, a `RunReport` for the run; all output is rendered from these."""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from releaser.errors import PROBLEMS_FOUND, ExitCode, Finding, ReleaserError
from releaser.locks.blocks import Block
from releaser.locks.changes import Change
from releaser.site.site import Pulled
from releaser.system.frozen import Frozen, field, replace
from releaser.system.sections import Section
from releaser.system.words import one_line
from releaser.tools.git_state import Commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from releaser.listener import Gauge, Listener

logger = logging.getLogger(__name__)

_DELETE = "Make the user who runs releaser the owner of its files, or delete it yourself. Every run tries again."

Status = Literal["ok", "failed", "skipped", "warning"]
Result = Literal["no-changes", "updated", "updated-not-restarted", "proposed", "failed", "rolled-back", "refused"]
#: The results of a run that did its work.
DONE: tuple[Result, ...] = ("updated", "updated-not-restarted")
Blame = Literal["", "update", "before", "unknown"]


class Outcome(Frozen):
    """The result of one step; `detail` is one line for people, `seconds` the wall time."""

    step: str
    status: Status
    detail: str = ""
    seconds: float = 0.0


class HealthCheckResult(Frozen):
    """The result of a health check: the answer of the site with one release, in a line.

    `body` is the beginning of a bad page, or the output of a command.
    """

    release: str
    good: bool
    text: str
    body: str = ""


class Ending(Frozen):
    """The identity of a run, and its result."""

    command: str
    project: str
    path: str
    host: str
    #: The name of the run and of its log.
    run_id: str
    started_at: datetime
    seconds: float
    result: Result
    exit_code: int
    #: The result in one sentence.
    headline: str


class Learned(Frozen):
    """Facts that a run learned, in addition to its steps."""

    #: True if `.venv` points to another release than before.
    live_changed: bool = False
    #: True if the live release or the checkout was changed by something other than this run.
    live_differs: bool = False
    #: The release that the run is about.
    release: str | None = None
    #: The release that was live before.
    previous: str | None = None
    changes: tuple[Change, ...] = ()
    #: The versions that the run skipped on purpose.
    on_hold: tuple[Block, ...] = ()
    pulled: Pulled | None = None
    #: The new commits that went live, or failed, newest first, unless there are too many.
    commits: tuple[Commit, ...] = ()
    #: The cause of failing tests: this update, or they failed `before`, or it is unknown.
    blame: Blame = ""
    #: The end of the output of a failed program.
    output: str = ""
    #: Why an unchanged lock was rebuilt; None if none was.
    rebuilt: str | None = None
    #: The packages of `update NAME...`; empty for an update of all packages.
    only: tuple[str, ...] = ()
    #: The packages of `update NAME... --if-locked` that the site does not have, if it has none of them.
    not_installed: tuple[str, ...] = ()
    #: The release that is ready and waits to go live, and why; empty without one.
    waits: str = ""
    #: Why an update installed nothing although newer versions exist: they failed before; empty if none did.
    blocked: str = ""


class RunFacts(Learned, Ending):
    """The facts about one run that do not depend on its capabilities."""

    #: The commit with which `release` was tested.
    commit: str | None = None
    #: The first line of its message.
    subject: str = ""
    steps: tuple[Outcome, ...] = ()
    problems: tuple[Finding, ...] = ()
    #: The site's answers to health checks, in order.
    answers: tuple[HealthCheckResult, ...] = ()
    #: The next step after a failure.
    advice: str = ""
    log_file: str = ""
    #: The leftovers of an interrupted run, and how this run handled them.
    recovered: str = ""
    #: Other repairs, and changes since the last run.
    noted: str = ""
    #: The commits of releaser that are not pushed yet, oldest first, one line each.
    unpushed: tuple[str, ...] = ()

    @property
    def problem_count(self) -> int:
        """The number of different problems."""
        return len({*self.problems})

    @property
    def request(self) -> str:
        """The command, with the packages that it names."""
        return " ".join([self.command, *self.only])

    @property
    def is_update(self) -> bool:
        """True if the run was an update, which a timer may have started without anyone watching."""
        return self.command == "update"

    @property
    def is_done(self) -> bool:
        """True if the run did its work, with or without a restart of the site."""
        return self.result in DONE or (self.result == "rolled-back" and not self.is_automatic_rollback)

    @property
    def is_slip(self) -> bool:
        """True if the command line named something that does not exist, and the run did nothing."""
        did_something = self.steps or self.live_changed or self.recovered or self.noted
        return self.exit_code in (ExitCode.USAGE, ExitCode.NO_RELEASE) and not did_something

    @property
    def is_automatic_rollback(self) -> bool:
        """True if a step after the flip failed, and releaser went back by itself."""
        return self.exit_code == ExitCode.ROLLED_BACK

    @property
    def failed_health_checks(self) -> tuple[HealthCheckResult, ...]:
        """All answers if one of them was bad, none otherwise."""
        return self.answers if any(not answer.good for answer in self.answers) else ()

    @property
    def earlier_release_fails_too(self) -> bool:
        """True if the previous release fails its health check too, after an automatic rollback."""
        last = self.answers[-1] if self.answers else None
        return last is not None and not last.good and last.release == self.previous and not self.live_changed

    @property
    def noteworthy(self) -> bool:
        """True if the run is worth a report: it changed something, or something is wrong."""
        return self.result != "no-changes" or self.exit_code != 0 or bool(self.problems) or self.has_news_from_before

    @property
    def is_rollback(self) -> bool:
        """True if the run made or tried to make an earlier release live, for a person or a channel."""
        is_older = bool(self.release and self.previous and self.release < self.previous)
        is_new = any(step.step == "seal" for step in self.steps)  # it was built after a clock was set back
        return self.command == "rollback" or (is_older and not is_new)

    @property
    def has_news_from_before(self) -> bool:
        """True if the report has something from before this run."""
        return bool(self.recovered or self.noted)


class RunReport(RunFacts):
    """The complete report of one run."""

    #: The facts from capabilities, see `Section`.
    sections: Mapping[type[Section], Section] = field(default_factory=dict)

    def with_problems(self, *new: Finding) -> Self:
        """Add problems. A headline that counts the problems counts all of them."""
        found = replace(self, problems=(*self.problems, *new))
        counts = found.headline.endswith(f" {PROBLEMS_FOUND}")
        return replace(found, headline=f"{found.problem_count} {PROBLEMS_FOUND}") if counts else found

    def with_section(self, section: Section) -> Self:
        """Add a section, or replace it."""
        return replace(self, sections={**self.sections, type(section): section})


class HasId(Protocol):
    """A release, as a report uses it."""

    @property
    def id(self) -> str: ...


class Step:
    """A running step, which records its result here unless it simply succeeds."""

    def __init__(self) -> None:
        self.status: Status = "ok"
        self.detail = ""

    def says(self, detail: str) -> None:
        """Record a detail, one line for people."""
        self.detail = detail

    def skip(self, detail: str) -> None:
        """Record that there was nothing to do."""
        self.status, self.detail = "skipped", detail

    def warns(self, detail: str) -> None:
        """Record a failure that does not stop the run."""
        self.status, self.detail = "warning", detail


class Plan(Frozen):
    """The planned changes of a run, with `--dry-run`."""

    dry_run: Literal[True] = True
    #: One sentence for each planned step.
    would: tuple[str, ...]
    changes: tuple[Change, ...] = ()


class RunLog:
    """The events of a run, for its report: steps, findings, answers, facts. Steps add to it."""

    def __init__(self, listener: Listener, *, command: str, run_id: str, started_at: datetime) -> None:
        self._listener = listener
        #: Makes one line of foreign text, without control characters and without the secrets of the site.
        self.clean: Callable[[str], str] = one_line
        self.command = command
        self.run_id = run_id
        self.started_at = started_at
        #: The start of the earlier run that this one is finishing or undoing; None without one.
        self.finishing: datetime | None = None
        #: True if releaser moved the checkout, and so changed the settings. Edits by others count from the next run.
        self.moved_checkout = False
        #: True if a staging tree was prepared for builds and tests, which must not change the live site.
        self.has_tried_code = False
        self.outcomes: list[Outcome] = []
        self.findings: list[Finding] = []
        #: The failures that did not end the run.
        self.failures: list[ReleaserError] = []
        self.answers: list[HealthCheckResult] = []
        self.learned = Learned()
        #: The facts from capabilities, see `Section`.
        self.sections: dict[type[Section], Section] = {}
        #: True if a step after the flip failed, and is due again.
        self.follow_up_failed = False
        #: True if nothing was restarted after the flip, although `restart` is auto.
        self.not_restarted = False
        #: The releases that cannot be deleted, by id. They cause no mail, but are in each report of anything else.
        self.undeleted: dict[str, Finding] = {}
        #: Sentences about earlier runs that this run has finished or undone.
        self.recovered: list[str] = []
        #: Sentences about other repairs, and about changes since the last run.
        self.sentences: list[str] = []
        #: True if only the report is due, whatever the journal says.
        self.closed = False
        #: Sentences that the next run reports if this one is cut off.
        self.unreported: list[str] = []

    def measure(self, gauge: Gauge) -> None:
        """Show the listener the progress of the step."""
        self._listener.measured(gauge)

    def note(self, *findings: Finding) -> None:
        """Add findings for people."""
        self.findings += findings

    def learn(self, **facts: Any) -> None:
        """Record facts, by the names of `Learned`; a later value replaces an earlier one. Others raise TypeError."""
        self.learned = replace(self.learned, **facts)

    def add(self, section: Section) -> None:
        """Record the facts of a capability, in place of earlier ones."""
        self.sections[type(section)] = section

    def say(self, sentence: str) -> None:
        """Add a sentence about a repair, or about a change since the last run."""
        self.sentences.append(sentence)

    def note_failure(self, error: ReleaserError, *, follow_up: bool = True) -> None:
        """Record a failure that does not end the run; as a `follow_up` it makes the run exit 7."""
        self.failures.append(error)
        self.note(error.finding)
        if follow_up:
            self.follow_up_failed = True
        if error.output and not self.learned.output:
            self.learn(output=error.output)

    def note_repair(self, message: str, advice: str) -> None:
        """Record the repair of damage by others, which this run reports, or the next one."""
        self.say(f"{message}.")
        self.unreported.append(f"{message}.")
        self.note(Finding("state-repaired", message, advice))

    def undeletable(self, release: str, reason: str) -> None:
        """Record a release that could not be deleted, for the report, if any; every run tries again."""
        message = f"release {release} could not be deleted: {reason}"
        self.undeleted[release] = Finding("release-undeletable", message=message, advice=_DELETE)

    def set_releases(self, release: HasId | None, previous: HasId | None) -> None:
        """Record the release that this run is about, and the one that was live before."""
        self.learn(release=release.id if release else None, previous=previous.id if previous else None)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time the block as a step; an error that leaves it makes the step fail."""
        step = Step()
        started = time.monotonic()
        logger.info("step %s", name)
        self._listener.started(name)
        try:
            yield step
        except BaseException as error:
            step.status = "failed"
            step.detail = error.message if isinstance(error, ReleaserError) else type(error).__name__
            raise
        finally:
            seconds = round(time.monotonic() - started, 3)
            outcome = Outcome(step=name, status=step.status, detail=self.clean(step.detail), seconds=seconds)
            self.outcomes.append(outcome)
            logger.info("step %s: %s %s", name, outcome.status, outcome.detail)
            self._listener.ended(outcome)
