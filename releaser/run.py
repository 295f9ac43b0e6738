"""One run of a command that changes something: what it works on, and what it has found out so far."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from releaser.durable import UnreadableStateError
from releaser.errors import gist
from releaser.locking.vulnerabilities import fixed_by
from releaser.project.settings import this_host
from releaser.releases.holds import Holds, read_holds, write_holds
from releaser.releases.journal import Entry, Journal, Phase
from releaser.releases.quarantine import Quarantine, read_quarantine, write_quarantine
from releaser.releases.store import ReleaseStore
from releaser.report.capping import one_line
from releaser.report.outcome import Answer, Blame, HeldBack, Problem, Pulled, Result, RunReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from releaser.errors import ReleaserError
    from releaser.locking.diff import Change
    from releaser.locking.vulnerabilities import Audit, Vulnerability
    from releaser.project.chosen import Chosen
    from releaser.project.site import Site
    from releaser.redaction import Redactor
    from releaser.releases.release import Release, Staged
    from releaser.report.recorder import Recorder
    from releaser.tools.git import Commit

log = logging.getLogger(__name__)

_RUN_TIME = "%Y%m%dT%H%M%SZ"
_DELETE = "Give its files to the user who runs releaser, or delete it by hand. Every run tries again."
LONGEST_REASON = 600  # characters
LONGEST = 2000  # characters of one line of a report; it may quote names of files, and programs


@dataclass(kw_only=True)
class Draft:
    """The report in the making; steps add to it what they find out.

    `sick_before` says that a step that failed behind the flip fails on the earlier release too, so that what was
    backed out is not to blame. `recovered` tells what was left half-way and is in order now, `noted` what else is put
    right, or otherwise than it was after the last run; `untold` is what the next run is to tell, should this one not
    come to it. `cut_off_since` is when the run began that this one is finishing or undoing, None if there is none.
    `undeleted` tells of releases that cannot be deleted, by their ids: no reason to bother anybody, but told along with
    whatever is. `migrations` are those that the release brings and that are not applied, `culprits` the upgrades that
    were found to break the tests. `audit_before` and `audit_after` are what is known to be wrong with the release that
    was live, and with the one that is to be; None if nobody asked. `closed` says that telling is all that is left,
    whatever the journal says. `rebuilt` says why a lock was rebuilt, None if none was. `chosen` is what an adoption
    found out to use.
    """

    release: str | None = None
    previous: str | None = None
    live_changed: bool = False
    changes: tuple[Change, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    pulled: Pulled | None = None
    commits: tuple[Commit, ...] = ()
    #: The ids of the commits that this run itself has made.
    made_commits: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    blame: Blame = ""
    output: str = ""
    undeleted: dict[str, Problem] = field(default_factory=dict)
    recovered: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    closed: bool = False
    rebuilt: str | None = None
    follow_up_failed: bool = False
    sick_before: bool = False
    cut_off_since: datetime | None = None
    migrations: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()
    audit_before: Audit | None = None
    audit_after: Audit | None = None
    chosen: tuple[Chosen, ...] = ()

    @property
    def audit(self) -> Audit | None:
        """What is known to be wrong with what is live."""
        return self.audit_after if self.live_changed else self.audit_before

    @property
    def fixed(self) -> tuple[Vulnerability, ...]:
        """The vulnerabilities that are gone."""
        if not self.live_changed or self.audit_before is None or self.audit_after is None:
            return ()
        return fixed_by(self.audit_before, self.audit_after)


@dataclass(kw_only=True)
class Run:
    """A run in progress. `site` is replaced when a pull brings other settings.

    `untracked_before` are the untracked files that there were when it began, None if it has not looked. `killed_since`
    is when the run before this one began, in seconds since 1970, if that was killed and git's locks have not been
    looked for yet; None otherwise.
    """

    site: Site
    command: str
    run_id: str
    started_at: datetime
    recorder: Recorder
    log_file: str = ""
    draft: Draft = field(default_factory=Draft)
    untracked_before: frozenset[str] | None = None
    killed_since: float | None = None
    #: The staging tree that `site` is in, and the run outside of it; None in the checkout itself.
    staged: Staged | None = None
    unstaged: Run | None = None

    @property
    def outside(self) -> Run:
        """The run as it is in the checkout that visitors see."""
        return self.unstaged or self

    @property
    def store(self) -> ReleaseStore:
        """The releases of the site."""
        return ReleaseStore(state_dir=self.site.project.state_dir, link=self.site.project.venv)

    @property
    def journal(self) -> Journal:
        """The journal of the site."""
        return Journal(state_dir=self.site.project.state_dir)

    def entry(self, phase: Phase, **fields: Any) -> Entry:
        """Make the journal's entry of a change that this run begins; it carries what nobody has been told yet."""
        untold = tuple(self.draft.untold)
        self.draft.closed = False
        return Entry(command=self.command, run_id=self.run_id, phase=phase, untold=untold, **fields)

    def close(self, done: str = "") -> None:
        """Note in the journal that nothing is in progress any more; `done` (a verb and what follows) is to be told.

        The journal goes when the mail is in the outbox: if the run is killed before that, the next one tells.
        """
        if done:
            self.draft.untold.append(cleaned(self.site.redactor, f"{named(self.command, self.run_id)} {done}."))
        if not self.draft.untold:
            self.journal.drop()
            return
        try:
            self.journal.insist(self.entry("telling"))
        except OSError as error:  # a full disk; if this run cannot tell either, the next one goes over it again
            log.warning("what is to be told cannot be noted: %s", error)
        self.draft.closed = True

    def quarantine(self) -> Quarantine:
        """Return what is quarantined; a damaged file reads as empty, which is said in the report."""
        try:
            return read_quarantine(self.site.project.state_dir)
        except UnreadableStateError as error:
            self._note_unreadable(error, "Remove the file; what was quarantined may be tried again.")
            return Quarantine()

    def change_quarantine(self, change: Callable[[Quarantine], Quarantine]) -> None:
        """Replace the quarantine, durably."""
        write_quarantine(self.site.project.state_dir, change(self.quarantine()))

    def holds(self) -> Holds:
        """Return what is held back; a damaged file reads as empty, which is said in the report."""
        try:
            return read_holds(self.site.project.state_dir)
        except UnreadableStateError as error:
            self._note_unreadable(error, "Remove the file, and hold again what is to be held: `releaser hold NAME`.")
            return Holds()

    def change_holds(self, change: Callable[[Holds], Holds]) -> None:
        """Replace the holds, durably, if that changes them."""
        before = self.holds()
        after = change(before)
        if after != before:
            write_holds(self.site.project.state_dir, after)

    def _note_unreadable(self, error: UnreadableStateError, advice: str) -> None:
        problem = Problem(message=str(error), advice=advice)
        if problem not in self.draft.problems:
            self.draft.problems.append(problem)

    def note_problem(self, error: ReleaserError, *, follow_up: bool = True) -> None:
        """Report a failure that does not end the run; as a `follow_up` it makes the exit code 7."""
        self.draft.problems.append(problem_of(error))
        self.draft.follow_up_failed |= follow_up
        if error.output and not self.draft.output:
            self.draft.output = error.output

    def note_undeleted(self, release: str, reason: str) -> None:
        """Note what could not be deleted, for the report to tell if there is one; every run tries it again."""
        message = f"release {release} could not be deleted: {reason}"
        self.draft.undeleted[release] = Problem(message=message, advice=_DELETE)

    def about(self, release: Release | None, previous: Release | None) -> None:
        """Note which release this run is about, and which one was live before."""
        self.draft.release = release.id if release else None
        self.draft.previous = previous.id if previous else None

    def now_iso(self) -> str:
        """Return the time, as state files hold it."""
        return datetime.now(UTC).isoformat(timespec="seconds")

    def report(self, *, result: Result, exit_code: int, headline: str, advice: str = "") -> RunReport:
        """Make the report of this run as it stands."""
        draft, project, audit = self.draft, self.site.project, self.draft.audit
        problems = draft.problems
        if result != "unchanged" or exit_code or problems or draft.recovered or draft.noted:
            problems = [*problems, *draft.undeleted.values()]

        release = self.store.get(draft.release)

        def clean(text: str) -> str:
            return cleaned(self.site.redactor, text)

        return RunReport(
            command=self.command,
            project=project.name,
            path=str(project.checkout),
            host=this_host(),
            run_id=self.run_id,
            started_at=self.started_at,
            seconds=round((datetime.now(UTC) - self.started_at).total_seconds(), 3),
            result=result,
            exit_code=exit_code,
            headline=clean(headline),
            live_changed=draft.live_changed,
            release=draft.release,
            previous=draft.previous,
            changes=draft.changes,
            held_back=tuple(
                one if self.store.get(one.release) else replace(one, release="") for one in draft.held_back
            ),
            pulled=draft.pulled,
            commits=tuple(replace(one, subject=clean(one.subject), author=clean(one.author)) for one in draft.commits),
            commit=release.manifest.commit if release else None,
            subject=clean(release.manifest.subject) if release else "",
            steps=tuple(replace(one, detail=clean(one.detail)) for one in self.recorder.outcomes),
            problems=cleaned_problems(self.site.redactor, problems),
            answers=tuple(_cleaned_answer(self.site.redactor, one) for one in draft.answers),
            blame=draft.blame,
            output=self.site.redactor.clean(draft.output),
            advice=clean(advice),
            log_file=self.log_file,
            recovered=clean(" ".join(draft.recovered)),
            noted=clean(" ".join(draft.noted)),
            migrations=draft.migrations,
            culprits=draft.culprits,
            audit="" if audit is None else "known" if audit.known else "unknown",
            audit_reason=clean(audit.reason) if audit else "",
            vulnerabilities=audit.vulnerabilities if audit else (),
            fixed=draft.fixed,
            rebuilt=clean(draft.rebuilt) if draft.rebuilt else None,
            chosen=tuple(replace(one, value=clean(one.value) if one.value else None) for one in draft.chosen),
        )

    def _with_what_there_is(self, held: HeldBack) -> HeldBack:
        """Let what is held back name the release whose tests failed only while that can be shown."""
        return held if self.store.get(held.release) else replace(held, release="")


def _cleaned_answer(redactor: Redactor, answer: Answer) -> Answer:
    return replace(answer, text=cleaned(redactor, answer.text), body=redactor.clean(answer.body))


def begun_at(run_id: str) -> datetime | None:
    """Return when a run began, by its id; None if that is no id of a run."""
    try:
        return datetime.strptime(run_id.partition("-")[0], _RUN_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def new_run_id(now: datetime) -> str:
    """Name a run by the UTC time it begins at, and its process."""
    return f"{now.astimezone(UTC):{_RUN_TIME}}-{os.getpid()}"


def named(command: str, run_id: str) -> str:
    """Name a run as a later one does."""
    return f"An earlier `releaser {command}` ({run_id})"


def problem_of(error: ReleaserError) -> Problem:
    """Turn an error into what a report shows of it; the last line a program printed often is the reason."""
    reason = gist(error.output)
    if len(reason) > LONGEST_REASON:  # what is decisive mostly stands at the end
        reason = f"{reason[: LONGEST_REASON // 2]} ... {reason[-LONGEST_REASON // 2 :]}"
    message = error.message if not reason or reason in error.message else f"{error.message}: {reason}"
    return Problem(message=message, advice=error.advice)


def cleaned(redactor: Redactor, text: str) -> str:
    """Make words fit for a report: without secrets, and on one line that no name of a file can break or colour."""
    return one_line(redactor.clean(text), limit=LONGEST)


def cleaned_problems(redactor: Redactor, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Make problems fit for a report."""
    return tuple(
        Problem(message=cleaned(redactor, one.message), advice=cleaned(redactor, one.advice)) for one in problems
    )
