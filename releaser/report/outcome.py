"""What a run did: one `Outcome` a step, one `RunReport` a run; everything shown or sent is rendered from these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from releaser.locking.diff import Change
    from releaser.locking.vulnerabilities import Vulnerability
    from releaser.project.chosen import Chosen
    from releaser.tools.git import Commit

Status = Literal["ok", "failed", "skipped", "warning"]
Result = Literal["unchanged", "activated", "failed", "rolled_back", "refused"]
Audited = Literal["", "known", "unknown"]
Blame = Literal["", "update", "before", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one step ended; `detail` is one line for people, `seconds` the wall time."""

    step: str
    status: Status
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that went wrong, and what to do about it."""

    message: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """A version that was left out on purpose: `by` what, and `since` when, as ISO 8601, if that is known.

    `by` is `activation` (it was backed out), `tests` (they fail with it), `undecided` (a search ended before anybody
    knew), `person`, `ignore`, `policy` or `age`.
    """

    name: str
    version: str
    reason: str
    by: str = "activation"
    since: str = ""
    #: The release whose tests failed, which `show` describes; empty where there is none.
    release: str = ""
    #: The tests that failed.
    tests: tuple[str, ...] = ()
    #: What comes only together with it, such as `celery 5.6.0`.
    together: tuple[str, ...] = ()
    #: The end of what the tests printed with it.
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class LeftBehind:
    """A process that still runs on a release which is not live any more; `since` is when it began, as ISO 8601."""

    release: str
    pid: int
    user: str
    command: str
    since: str


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """Commits that the remote had, and that change the code: `count` of them, from commit `old` to commit `new`."""

    old: str
    new: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a health check ended: what the site said with one release, in a line, and the beginning of a bad page.

    Of a command, `body` is what it printed.
    """

    release: str
    good: bool
    text: str
    body: str = ""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The whole story of one run.

    `headline` is one sentence on what happened; `live_changed` tells whether `.venv` leads to another release than
    before; `blame` says whose fault failing tests are (`update`: this update broke it, `before`: it was failing
    already, `unknown`: could not be told); `output` is the capped end of what a failing program printed;
    `holds` are the packages that people or the tests hold, whether anything newer was left out for it or not;
    `left_behind` are the processes on other releases than the live one when it ended; `answers` are those of the site
    to health checks, in order; `recovered` tells what an interrupted run had left, `noted` what else is put right or
    otherwise than it was after the last run, `migrations` are those that the release brings and that are not applied,
    `culprits` the upgrades that this run found to break the tests. `audit` says whether the `vulnerabilities` of what
    is live after the run are known (empty: nobody asked), `audit_reason` why not, and `audit_told` that an earlier
    report has said so; `fixed` are those that the run has brought fixes for. `rebuilt` says why a lock was rebuilt as
    it was, None if none was. `mail` tells what became of the mail about this one. `chosen` is what an adoption found
    out to use.
    """

    command: str
    project: str
    path: str
    host: str
    run_id: str
    started_at: datetime
    seconds: float
    result: Result
    exit_code: int
    headline: str
    live_changed: bool = False
    release: str | None = None
    previous: str | None = None
    changes: tuple[Change, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    holds: tuple[HeldBack, ...] = ()
    left_behind: tuple[LeftBehind, ...] = ()
    pulled: Pulled | None = None
    #: The commits that came in, or were tried and did not, newest first, as far as there are not too many.
    commits: tuple[Commit, ...] = ()
    #: The commit that `release` was tested with, and the first line of its message.
    commit: str | None = None
    subject: str = ""
    steps: tuple[Outcome, ...] = ()
    problems: tuple[Problem, ...] = field(default=())
    answers: tuple[Answer, ...] = ()
    blame: Blame = ""
    output: str = ""
    advice: str = ""
    log_file: str = ""
    recovered: str = ""
    noted: str = ""
    migrations: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()
    audit: Audited = ""
    audit_reason: str = ""
    audit_told: bool = False
    vulnerabilities: tuple[Vulnerability, ...] = ()
    fixed: tuple[Vulnerability, ...] = ()
    rebuilt: str | None = None
    mail: str = ""
    chosen: tuple[Chosen, ...] = ()

    @property
    def bad_answers(self) -> tuple[Answer, ...]:
        """All answers if one of them was bad, none otherwise."""
        return self.answers if any(not answer.good for answer in self.answers) else ()

    @property
    def is_ill_as_before(self) -> bool:
        """Whether a release was taken back, and the one before fails its health check as well."""
        last = self.answers[-1] if self.answers else None
        return last is not None and not last.good and last.release == self.previous and not self.live_changed

    @property
    def noteworthy(self) -> bool:
        """Whether anybody needs to hear of this run: it changed something, or something is wrong."""
        return self.result != "unchanged" or self.exit_code != 0 or bool(self.problems) or self.tells_of_before

    @property
    def tells_of_before(self) -> bool:
        """Whether there is something to tell of what was before this run."""
        return bool(self.recovered or self.noted)
