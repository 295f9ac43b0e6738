"""The types of the answers with `--json`; `all_answers` maps commands to these types, `RUN` is the default.

Types with another use are in their own modules: `Row`, `Verified`, `Change`, `RunFacts`, `Plan`. Each field here is a
field of the JSON, as the files in share/releaser/schemas show it.
"""

from collections.abc import Mapping
from typing import Any, Literal

from releaser.capabilities import gather
from releaser.locks.blocks import Block
from releaser.locks.changes import Change
from releaser.locks.differences import LockDifference
from releaser.locks.origins import Deviation
from releaser.locks.vulnerabilities import Vulnerability
from releaser.releases.journal import FailingLiveTests
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
    """One run. The history omits `output`: the log of the run has it, and the release has that of its tests."""

    #: One sentence for each problem, with the next step.
    problems: tuple[str, ...] = ()  # type: ignore[assignment]
    #: The code of each of the `problems`.
    codes: tuple[str, ...] = ()


class Readiness(Frozen):
    """The problems and damage that `check` finds. `group` and `tests` are present only if an update can run."""

    fit: bool
    problems: tuple[str, ...] = ()
    #: The code of each of the `problems`.
    codes: tuple[str, ...] = ()
    damage: tuple[str, ...]
    warnings: tuple[str, ...]
    chosen: tuple[Convention, ...]
    #: The sandbox of tests and builds, and what happens to the files that they write; empty without a sandbox.
    sandbox: str
    #: The settings that a commit changes only once it is live. Until then, those of the live release, `.env` and the
    #: environment apply.
    counted_once_live: tuple[str, ...]
    #: With `--sandbox`, the accesses that a program in the sandbox tried, and whether each succeeded.
    tried: tuple[Attempt, ...] = ()


class ReadySite(Readiness):
    """A site that can be updated: the dependency `group` to install, and the command of the `tests`."""

    group: str | None
    tests: tuple[str, ...]


class TestNotice(Frozen):
    """The result of a test notice or ping: `to` names the kind and the host; `problem` is empty if it was sent."""

    __test__ = False  # pytest would collect it

    to: str
    sent: bool
    problem: str = ""


class TestMail(Frozen):
    """The result of a test mail: its recipients, and `by` the server or program. `problem` is empty if it was sent.

    A site that has no recipients, only notices, gets no test mail.
    """

    __test__ = False  # pytest would collect it

    sent: bool
    to: tuple[str, ...]
    by: str
    problem: str = ""
    notices: tuple[TestNotice, ...] = ()


class SettingValue(Frozen):
    """A setting and its source."""

    name: str
    #: Spelled as in pyproject.toml, `***` for a password; None if it is not set, or if only a run can detect it.
    value: Any
    origin: Literal["command line", "environment", ".env", "pyproject.toml", "file", "default", "detected"]
    #: The file and the key, or the rule.
    source: str


class ReleaseDetails(*reversed(gather("sealed")), Manifest):  # type: ignore[misc]  # the facts of capabilities
    """One release with all details."""

    state: State
    live: bool
    pinned: bool
    in_use_by: tuple[int, ...]
    processes: tuple[User, ...]
    path: str
    #: True if its interpreter exists.
    works: bool
    #: Other facts, such as that it was approved, each in a few words.
    remarks: tuple[str, ...] = ()
    broken: bool
    damage: str | None
    #: The versions that its run skipped; empty, like `steps`, if the history no longer has the run.
    on_hold: tuple[Block, ...]
    steps: tuple[Outcome, ...]
    test_output: str


class AuditAnswer(Frozen):
    """The known vulnerabilities in the packages of a release."""

    release: str
    live: bool
    #: True if the answer is complete; if not, `reason` says why, and more vulnerabilities may exist.
    known: bool
    reason: str
    vulnerabilities: tuple[Vulnerability, ...]


class Blocker(Frozen):
    """The reason why a newer version is not installed."""

    #: The kind: as in `Block`, or `python` or `constraint`; `refused`, `failed` or `no-changes` if the next update
    #: would lock it, but is refused, is known to fail, or would install nothing.
    by: str
    reason: str
    #: Since when, as ISO 8601; empty if that is not known.
    since: str = ""
    #: The way to let the version in; empty if only time helps.
    remedy: str = ""


class OutdatedPackage(Frozen):
    """A package that is `locked` at an older version than the `latest` for any Python."""

    name: str
    locked: str
    latest: str
    #: The version that the next update installs, the latest or an earlier one; null if it installs none.
    next: str | None = None
    #: Why the latest version is not installed; empty if the next update installs it.
    blocked_by: tuple[Blocker, ...] = ()


class NewerVersion(Frozen):
    """A version that is newer than the live one."""

    version: str
    #: When its first file was uploaded, as ISO 8601; null if the index does not say.
    uploaded: str | None = None
    #: Why it is not installed; empty if the next update installs it.
    blocked_by: tuple[Blocker, ...] = ()


class PackageAnswer(Frozen):
    """One package, and why each newer version is not installed."""

    name: str
    #: The version in the live release or, without one, in uv.lock.
    version: str
    #: The live release; null without one.
    release: str | None
    #: The newest version for any Python; null if no index has the package.
    latest: str | None
    #: The version that the next update installs; null if it stays.
    next: str | None
    #: The requirements of the project and of installed packages, in words.
    required_by: tuple[str, ...]
    #: Newest first, down to the version that the next update installs or, without one, to the live one.
    newer: tuple[NewerVersion, ...]
    #: True if there are more versions below these.
    more: bool = False


class RunBrief(Frozen):
    """A summary of one run."""

    command: str
    run_id: str
    started_at: str
    seconds: float
    result: Result
    exit_code: int
    headline: str
    #: The packages of `update NAME...`; empty for an update of all packages.
    only: tuple[str, ...] = ()
    #: The upgrades that break the tests, as this run found.
    culprits: tuple[str, ...] = ()


class SiteFacts(Frozen):
    """The facts about a site that do not depend on its capabilities; lengths of time are in seconds."""

    project: str
    path: str
    live: str | None
    live_age_seconds: float | None
    live_python: str | None
    #: The newest installed Python that the project allows; None if the site runs on it.
    newer_python: str | None
    #: The space of all releases; shared blocks count once.
    releases_bytes: int
    free_bytes: int
    #: None if the file system does not count them.
    free_inodes: int | None
    #: The target of the symlink.
    link: str | None
    last_run: RunBrief | None
    #: The newest `update`, `rebuild`, `rollback` or `init`.
    last_deployment: RunBrief | None
    #: The newest run that changed the live release.
    last_change: RunBrief | None
    #: The newest successful update of all packages, also one that found nothing to do, but not one that waited.
    last_success: RunBrief | None
    running: Holder | None
    #: True if the last run was cut off; the next run repairs it.
    interrupted: bool
    push_pending: bool
    #: None if nothing differs.
    drift: DriftAnswer | None
    #: The changes that need `releaser accept`.
    asked: tuple[Deviation, ...]
    #: None if the tests of the live release pass, or were not run.
    failing_live_tests: FailingLiveTests | None
    #: Why updates cannot go live: the last one failed, or all newer versions failed before; empty if they can.
    blocked: str
    problems: tuple[str, ...]
    #: The packages whose live version differs from the committed lock, because versions are on hold here.
    lock_differences: tuple[LockDifference, ...] = ()


class Status(*reversed(gather("statuses")), SiteFacts):  # type: ignore[misc]  # the sections of capabilities
    """The state of a site; lengths of time are in seconds."""


class Pruning(Frozen):
    """The decision about one release, or its result."""

    release: str
    action: Action
    #: All `reasons`, and the `error`, in one line.
    reason: str
    reasons: tuple[str, ...]
    #: Why the release could not be deleted.
    error: str | None


class Schedule(Frozen):
    """The scheduler of a site's updates, and whether this command `changed` it."""

    kind: Literal["cron", "systemd"]
    #: The line for a crontab; empty for systemd.
    line: str
    #: The text of each unit by the path of its file.
    units: Mapping[str, str]
    advice: tuple[str, ...]
    changed: bool = False


class SetUp(Frozen):
    """The results of `setup`; null for a part that failed."""

    #: The new lines, by file.
    written: Mapping[str, tuple[str, ...]]
    mail: TestMail | None
    schedule: Schedule | None
    #: The commands that do the same without `setup`.
    by_hand: tuple[str, ...]


class WrittenStarter(Frozen):
    """The file that `bootstrap` wrote."""

    path: str


RUN = (RunAnswer, Plan)  # what every other command prints, and with --dry-run
#: The types of answers by command; see `all_answers`.
ANSWERS: Mapping[str, tuple[Any, ...]] = {
    "list": (list[Row],),
    "show": (ReleaseDetails,),
    "diff": (list[Change],),
    "audit": (AuditAnswer,),
    "verify": (Verified, list[Verified]),
    "outdated": (list[OutdatedPackage],),
    "why": (PackageAnswer,),
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
