"""The decision of an update: `update` acts on it, `update --dry-run` prints it, `status` shows the last one."""

from __future__ import annotations

import contextlib
from typing import ClassVar, TypeAlias

import msgspec

from releaser.candidate.trial import Attempt
from releaser.checkout.repository import Repository
from releaser.checkout.snapshot import Snapshot
from releaser.checkout.target import Target
from releaser.errors import Problem
from releaser.packages.changes import describe_changes, find_older
from releaser.packages.holds import Pause
from releaser.packages.lock import parse_lock
from releaser.packages.rules import Skipped
from releaser.releases.release import PackageChange, Release
from releaser.site.paths import Paths
from releaser.system.files import write_json
from releaser.system.run import Moment, now
from releaser.system.text import count, end_sentence, join_few, redact


class Prospect(msgspec.Struct, frozen=True):
    """The facts behind a decision: the live release, the commit, the packages, and problems.

    `snapshot` is the state that a person could change before the flip; `edits` are a person's in the live venv already.
    `problems` do not stop the update.
    """

    repository: Repository
    snapshot: Snapshot
    live: Release
    attempt: Attempt
    new_commits: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    edits: tuple[str, ...] = ()
    #: Why the Python is another one; empty if it is that of the live release.
    python: str = ""

    @property
    def target(self) -> Target:
        """The commit to go live."""
        return self.attempt.target

    @property
    def changes(self) -> tuple[PackageChange, ...]:
        """The packages that would change; empty if the live venv cannot be compared."""
        return self.attempt.plan.changes or ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know if it goes live: another Python, packages from elsewhere than before, and those that stay."""
        stays = (f"{each.sentence}." for each in self.skipped if each.is_live)
        return (*filter(None, [self.python]), *self.attempt.plan.notes, *stays)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The newer versions that holds keep back."""
        return self.attempt.plan.skipped


class Refused(msgspec.Struct, frozen=True):
    """The site is not fit for an update."""

    kind: ClassVar[str] = "refused"
    problems: tuple[Problem, ...]


class Paused(msgspec.Struct, frozen=True):
    """A person wants no updates for a time."""

    kind: ClassVar[str] = "paused"
    pause: Pause


class Adopt(msgspec.Struct, frozen=True):
    """The venv of a person becomes the first release, then it is decided again."""

    kind: ClassVar[str] = "adopt"
    venv: str


class First(msgspec.Struct, frozen=True):
    """Without any venv, the first release is built from the committed lock."""

    kind: ClassVar[str] = "first"


class Nothing(msgspec.Struct, frozen=True):
    """Nothing is newer, but for what is on hold."""

    kind: ClassVar[str] = "nothing"
    prospect: Prospect


class LockNews(msgspec.Struct, frozen=True):
    """The same packages and code; but the checkout moves, a lock is due to be committed, or a commit to be pushed."""

    kind: ClassVar[str] = "lock-news"
    prospect: Prospect
    moves: bool = False
    commits: bool = False
    pushes: bool = False
    #: True if uv.lock in the checkout is that of the live release, and the committed one is put back.
    restores: bool = False


class StillFailing(msgspec.Struct, frozen=True):
    """The same candidate failed before."""

    kind: ClassVar[str] = "still-failing"
    prospect: Prospect
    failed: Release


class Ready(msgspec.Struct, frozen=True):
    """A release was tested already, and waits; or it is live, and the checkout has other code."""

    kind: ClassVar[str] = "ready"
    prospect: Prospect
    release: Release


class Build(msgspec.Struct, frozen=True):
    """Something is new, and is tried. `damage` says why the live release is built again.

    `failed` is the release that failed as this candidate, and is tried again.
    """

    kind: ClassVar[str] = "build"
    prospect: Prospect
    damage: tuple[str, ...] = ()
    failed: Release | None = None


Decision: TypeAlias = Refused | Paused | Adopt | First | Nothing | LockNews | StillFailing | Ready | Build


def describe_decision(decision: Decision) -> str:
    """Return what an update will do, in words that follow `would`; empty if it does nothing."""
    match decision:
        case Adopt():
            return f"adopt `{decision.venv}` as the first release, then update it"
        case First():
            return "build, test and take live a first release from uv.lock"
        case LockNews():
            words = [f"move the checkout to commit {decision.prospect.target.commit[:12]}"] if decision.moves else []
            words += ["commit uv.lock"] if decision.commits else []
            words += ["push the commit of uv.lock"] if decision.pushes else []
            return " and ".join(words) or "put back the committed uv.lock"
        case Ready():
            state = "live" if decision.release.id == decision.prospect.live.id else "good already"
            state = "prepared" if decision.release.state.state == "ready" else state
            words = [_name_news(decision.prospect), f"{decision.release.id} is {state}, and not built again"]
            return "; ".join(filter(None, words))
        case Build():
            damage = f"the live release is damaged: {join_few(decision.damage, 2)}" if decision.damage else ""
            python = decision.prospect.python.rstrip(".")
            return "; ".join(filter(None, [_name_news(decision.prospect), damage, python])) or "the same packages"
        case Refused() | Paused() | Nothing() | StillFailing():
            return ""


def _name_news(prospect: Prospect) -> str:
    has_code = prospect.target.moves_code or prospect.target.code_key != prospect.live.manifest.key.code_key
    newest = prospect.new_commits[0].partition(" ")[2] if prospect.new_commits else ""
    words = [f"commit {prospect.target.commit[:12]}" + (f" ({newest})" if newest else "")] if has_code else []
    words += [describe_changes(prospect.changes)] if prospect.changes else []
    if libraries := prospect.attempt.key.find_changed_libraries(prospect.live.manifest.key):
        words.append(f"next to the checkout: {join_few(libraries)}")
    if renewed := sorted(prospect.attempt.plan.renewed):
        words.append(f"{join_few(renewed)} from another source, or with other files")
    return "; ".join(words)


def explain_nothing(decision: Nothing | LockNews) -> str:
    """Return why nothing changes, in a sentence."""
    skipped = [each.sentence for each in decision.prospect.skipped]
    skipped = [*filter(None, [decision.prospect.target.held]), *skipped]
    if not skipped:
        return "Everything is up to date."
    rest = f"; {count(len(skipped) - 3, 'more is', 'more are')} skipped" if len(skipped) > 3 else ""
    return f"Everything is up to date, but for this: {'; '.join(skipped[:3])}{rest}."


class LastDecision(msgspec.Struct, frozen=True):
    """The last decision of an update, as `status` shows it: its kind, a sentence, and what was skipped."""

    kind: str
    at: Moment
    sentence: str
    skipped: tuple[Skipped, ...] = ()
    #: Why the lock that is live differs from the committed one, if it does for longer than this run.
    unpublished: str = ""


def keep_decision(paths: Paths, decision: Decision) -> None:
    """Write down a decision for `status`; a disk that does not take it does not end the run."""
    prospect = None if isinstance(decision, Refused | Paused | Adopt | First) else decision.prospect
    kept = LastDecision(
        decision.kind,
        now(),
        redact(summarize(decision)),
        prospect.skipped if prospect else (),
        _explain_unpublished(paths, prospect) if prospect else "",
    )
    with contextlib.suppress(OSError):
        write_json(paths.decision, kept)


def _explain_unpublished(paths: Paths, prospect: Prospect) -> str:
    """Return why the lock of a candidate will not be committed; empty if it is, or is the committed one."""
    target, lock = prospect.target, prospect.attempt.plan.lock
    text = prospect.repository.file_at(target.commit, paths.lockfile_in_tree)
    committed = parse_lock(text) if text else None
    if committed is None or committed.identities == lock.identities:
        return ""
    if older := find_older(committed, lock):
        return f"commit {target.commit[:12]} has a newer version of {join_few(older)}: it is not lowered there"
    return target.reason


def summarize(decision: Decision) -> str:
    """Return a decision in a sentence."""
    match decision:
        case Refused():
            return decision.problems[0].message
        case Paused():
            return decision.pause.sentence
        case Nothing():
            return explain_nothing(decision)
        case StillFailing():
            failure = decision.failed.manifest.failure
            return end_sentence(f"Nothing newer than release {decision.failed.id}, which failed: {failure}")
        case Ready() | Build():
            return f"{describe_decision(decision)}."  # a name of a package stays as it is
        case Adopt() | First() | LockNews():
            words = describe_decision(decision)
            return f"{words[0].upper()}{words[1:]}."
