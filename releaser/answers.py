"""What commands answer with `--json`, as types; `all_answers` says which command gives which of them, if not `RUN`.

Those that something else is made of as well stand where that is: `Row`, `Verified`, `Change`, `RunFacts`, `Plan`. Each
is printed field by field, so that a field here is one of the JSON, which docs/reference/json-schemas.md shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from releaser.capabilities import gather
from releaser.locks.blocks import Block
from releaser.locks.differences import LockDifference
from releaser.locks.lock import Change
from releaser.locks.origins import Deviation
from releaser.locks.vulnerabilities import Vulnerability
from releaser.releases.journal import RedTests
from releaser.releases.key import ReleaseKey
from releaser.releases.leases import LeftBehind
from releaser.releases.listing import DriftAnswer, Exported, InstalledPackage, Row, User
from releaser.releases.release import Manifest, State
from releaser.releases.retention import Action
from releaser.releases.verify import Verified
from releaser.report import Outcome, Plan, Result, RunFacts
from releaser.site.conventions import Convention
from releaser.site.run_lock import Holder
from releaser.system.frozen import Frozen
from releaser.system.process import Attempt


class RunAnswer(*reversed(gather("reported")), RunFacts):  # type: ignore[misc]  # the sections of capabilities
    """One run. The history leaves `output` out, which is in the log and, for tests, in the release."""

    #: A sentence each, with what to do.
    problems: tuple[str, ...] = ()  # type: ignore[assignment]
    #: The code of each of the `problems`.
    codes: tuple[str, ...] = ()


class Readiness(Frozen):
    """Whether an update can run, and what is in its way or damaged; one that cannot leaves `group` and `tests` out."""

    fit: bool
    problems: tuple[str, ...] = ()
    #: The code of each of the `problems`.
    codes: tuple[str, ...] = ()
    damage: tuple[str, ...]
    warnings: tuple[str, ...]
    chosen: tuple[Convention, ...]
    #: The sandbox of tests and builds, and what becomes of what they write; empty if there is none.
    sandbox: str
    #: The settings of a commit that count only once it is live; until then, those of the live release, of `.env` and of
    #: the environment do.
    counted_once_live: tuple[str, ...]
    #: With `--sandbox`, what code in it has tried, and whether it reached that.
    tried: tuple[Attempt, ...] = ()


class ReadySite(Readiness):
    """A site that can be updated: `group` would be installed, and `tests` is the command that would run the tests."""

    group: str | None
    tests: tuple[str, ...]


class TestNotice(Frozen):
    """What became of a test notice, or a ping: `to` names the kind and the host; `problem` is empty if it was sent."""

    __test__ = False  # pytest would collect it

    to: str
    sent: bool
    problem: str = ""


class TestMail(Frozen):
    """Where a test mail went: to whom, and `by` which server or program; `problem` is empty if it was sent.

    Without anybody who gets mails, and with notices, there is none.
    """

    __test__ = False  # pytest would collect it

    sent: bool
    to: tuple[str, ...]
    by: str
    problem: str = ""
    notices: tuple[TestNotice, ...] = ()


class SettingValue(Frozen):
    """A setting, and where it comes from."""

    name: str
    #: As pyproject.toml has it, `***` for a password; None if it is not set, or if only a run finds it out.
    value: Any
    origin: Literal["command line", "environment", ".env", "pyproject.toml", "file", "default", "found out"]
    #: The file and the key, or what says so.
    source: str


class ReleaseDetails(Manifest):
    """One release whole."""

    state: State
    live: bool
    pinned: bool
    in_use_by: tuple[int, ...]
    processes: tuple[User, ...]
    path: str
    #: Whether its interpreter is still there.
    works: bool
    broken: bool
    damage: str | None
    #: What the run that made it left out; empty, as `steps` is, if the history no longer has it.
    held_back: tuple[Block, ...]
    steps: tuple[Outcome, ...]
    test_output: str


class AuditAnswer(Frozen):
    """What is known to be wrong with the packages of a release."""

    release: str
    live: bool
    #: Whether there was a whole answer; if not, `reason` says why, and nothing is safe.
    known: bool
    reason: str
    vulnerabilities: tuple[Vulnerability, ...]


class Blocker(Frozen):
    """What keeps a version from coming in."""

    #: The kind, as of what is held back, or `python`, `constraint`; `refused`, `failed` or `unchanged` where the next
    #: update would bring it but is refused, is known to fail, or would change nothing that is installed.
    by: str
    reason: str


class OutdatedPackage(Frozen):
    """A package that is `locked` at an older version than the `latest` that there is, for whatever Python."""

    name: str
    locked: str
    latest: str
    #: The version that the next update installs, be it the latest or not; null if the package stays as it is.
    next: str | None = None
    #: Why the latest version stays out; empty if the next update installs it.
    kept_by: tuple[Blocker, ...] = ()


class RunBrief(Frozen):
    """One run in short."""

    command: str
    run_id: str
    started_at: str
    seconds: float
    result: Result
    exit_code: int
    headline: str
    #: The packages that an update was to bring alone; empty for all.
    only: tuple[str, ...] = ()
    #: The upgrades that it found to break the tests.
    culprits: tuple[str, ...] = ()


class HeldBack(Frozen):
    """A version that updates leave out, or, without one, a package that a person holds."""

    name: str
    version: str
    #: What had brought it in.
    release: str
    reason: str
    #: Since when, as ISO 8601.
    at: str
    by: Literal["activation", "tests", "person"] = "activation"
    #: Those that failed.
    tests: tuple[str, ...] = ()
    #: What comes only together with it.
    together: tuple[str, ...] = ()


class Quarantined(Frozen):
    """A candidate that is not to be built again; `at` is an ISO time.

    With `sick`, the tests failed on the live release too, so that nothing is known of the candidate: it gets another
    chance once they pass there.
    """

    key: ReleaseKey
    release: str
    reason: str
    at: str
    sick: bool = False


class WaitingCandidate(Quarantined):
    """A release that is ready and waits, such as until somebody has applied its `migrations`."""

    migrations: tuple[str, ...] = ()
    #: Always false; no longer in use.
    unfinished: bool = False


class RejectedCommit(Frozen):
    """A commit that does not come in again by itself: it broke the tests or the site, or was rolled back from."""

    commit: str
    #: What identifies its code: everything in it but the files that releaser commits.
    code_key: str
    subject: str
    reason: str
    #: An ISO time.
    at: str
    #: Whether packages came in with it that may be to blame instead; if they fail alone, the commit is let in again.
    is_suspect: bool = False


class Status(Frozen):
    """How a site stands; lengths of time are in seconds."""

    project: str
    path: str
    live: str | None
    live_age_seconds: float | None
    live_python: str | None
    #: The newest Python that is installed and that the project admits; None if the site runs on that.
    newer_python: str | None
    #: From when on `update` may begin, as ISO 8601; None where neither `every` nor `window` is set.
    due_at: str | None
    #: Why it may not begin before; empty if it may.
    waits: str
    #: Which release is ready and waits, and why; empty for none.
    left_out: str
    #: What the releases take together; what they share counts once.
    releases_bytes: int
    free_bytes: int
    #: None where the file system does not count them.
    free_inodes: int | None
    #: Where the symlink leads.
    link: str | None
    last_run: RunBrief | None
    #: The newest `update`, `rebuild`, `rollback` or `init`.
    last_deployment: RunBrief | None
    #: The newest run that changed what is live.
    last_change: RunBrief | None
    #: The newest update of all packages that ended well, also one that found nothing to do, but not one that waited.
    last_success: RunBrief | None
    #: How many packages of the live release had known vulnerabilities when a run last asked; None if none has.
    vulnerable: int | None
    running: Holder | None
    #: Whether a run was cut off, which the next one repairs.
    interrupted: bool
    push_pending: bool
    #: What `releaser propose` has pushed for review, or why it pushed nothing; empty for nothing.
    proposal: str
    mails_pending: int
    left_behind: tuple[LeftBehind, ...]
    #: None if nothing differs.
    drift: DriftAnswer | None
    #: What waits for `releaser accept`.
    asked: tuple[Deviation, ...]
    #: None if the tests of the live release pass, or nobody has looked.
    red_tests: RedTests | None
    #: Why updates cannot go live: the newest one failed, or what is newer has failed before; empty if they can.
    blocked: str
    #: Why updates restart nothing, and what to set; empty if they do, or if nothing is to be restarted.
    not_restarted: str
    #: Whether tests and builds run without a sandbox because none works on this host.
    not_isolated: bool
    problems: tuple[str, ...]
    held_back: tuple[HeldBack, ...]
    quarantined: tuple[Quarantined, ...]
    rejected_commits: tuple[RejectedCommit, ...]
    #: The release that is ready and waits, if there is one.
    waiting: tuple[WaitingCandidate, ...]
    #: The packages that are live in another version than the committed lock has, because of what is on hold here.
    lock_differences: tuple[LockDifference, ...] = ()


class Pruning(Frozen):
    """What is to happen to one release, or has happened."""

    release: str
    action: Action
    #: All `reasons`, and the `error`, in one line.
    reason: str
    reasons: tuple[str, ...]
    #: Why it could not be deleted.
    error: str | None


class Schedule(Frozen):
    """What starts the updates of a site, and whether that was `changed` now."""

    kind: Literal["cron", "systemd"]
    #: The line for a crontab; empty for systemd.
    line: str
    #: The text of each unit by the path of its file.
    units: Mapping[str, str]
    advice: tuple[str, ...]
    changed: bool = False


class SetUp(Frozen):
    """What `setup` has done; what failed of it is null."""

    #: The new lines, by the file that they were written into.
    written: Mapping[str, tuple[str, ...]]
    mail: TestMail | None
    schedule: Schedule | None
    #: What does the same without `setup`.
    by_hand: tuple[str, ...]


class WrittenStarter(Frozen):
    """What `bootstrap` has written."""

    path: str


RUN = (RunAnswer, Plan)  # what every other command prints, and with --dry-run
#: By command, what it may print; see `all_answers`.
ANSWERS: Mapping[str, tuple[Any, ...]] = {
    "list": (list[Row],),
    "show": (ReleaseDetails,),
    "diff": (list[Change],),
    "audit": (AuditAnswer,),
    "verify": (Verified, list[Verified]),
    "outdated": (list[OutdatedPackage],),
    "packages": (list[InstalledPackage],),
    "export": (Exported,),
    "status": (Status,),
    "history": (list[RunAnswer],),
    "prune": (list[Pruning],),
    "check": (ReadySite, Readiness),
    "config": (list[SettingValue], SettingValue),
    "test-mail": (TestMail,),
    "schedule": (Schedule, Plan),
    "setup": (SetUp, Plan),
    "bootstrap": (WrittenStarter, Plan),
}


def all_answers() -> Mapping[str, tuple[Any, ...]]:
    """Return what commands may print, those of capabilities included."""
    return {**ANSWERS, **{command: kinds for found in gather("answers") for command, kinds in found.items()}}
