"""The versions, commits and candidates that updates skip, and the release that waits, in the status."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Literal

from releaser.core.status import Figure, Line, Look, Offer, Pending, Question, Shows, StatusSection
from releaser.locks.blocks import Block
from releaser.releases.blocks import Blocks, read_blocks
from releaser.releases.key import ReleaseKey
from releaser.site.django_settings import MigrationFacts
from releaser.system.frozen import Frozen
from releaser.system.words import first_few, plural


class OnHold(Frozen):
    """A version that updates skip, or, without a version, a package on hold by a person."""

    name: str
    version: str
    #: The release that introduced it.
    release: str
    reason: str
    #: Since when, as ISO 8601.
    at: str
    by: Literal["rollback", "tests", "person"] = "rollback"
    #: The tests that failed.
    tests: tuple[str, ...] = ()
    #: The versions that can only be installed together with it.
    together: tuple[str, ...] = ()

    @property
    def since(self) -> str:
        """`at`, under its name in a `Block`."""
        return self.at


class FailedCandidate(Frozen):
    """A failed candidate, which updates do not build again; `at` is an ISO time.

    With `sick`, the tests failed on the live release too, so that they say nothing about the candidate: an update tries
    it again once they pass there.
    """

    key: ReleaseKey
    release: str
    reason: str
    at: str
    sick: bool = False


class WaitingCandidate(FailedCandidate):
    """A release that is ready and waits to go live, for example until its `migrations` are applied."""

    migrations: tuple[str, ...] = ()
    #: Always false; no longer in use.
    unfinished: bool = False


class CommitOnHold(Frozen):
    """A commit on hold: it broke the tests or the site, or was rolled back. Updates do not deploy it again."""

    commit: str
    #: The digest of its code, without the files that releaser commits.
    code_key: str
    subject: str
    reason: str
    #: An ISO time.
    at: str
    #: True if package upgrades in the same release may be the cause; if they fail alone, updates deploy the commit.
    is_suspect: bool = False


def describe_block(one: FailedCandidate | CommitOnHold) -> str:
    """Return why something is blocked, and since when."""
    return f"{one.reason} (since {one.at[:10]})"


class HoldStatus(StatusSection):
    """The blocks that count, and the release that waits."""

    #: The release that is ready and waits to go live, and why; empty without one.
    waiting_reason: str = ""
    on_hold: tuple[OnHold, ...] = ()
    failed_candidates: tuple[FailedCandidate, ...] = ()
    commits_on_hold: tuple[CommitOnHold, ...] = ()
    #: The release that is ready and waits to go live, if any.
    waiting: tuple[WaitingCandidate, ...] = ()

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        from msgspec import convert  # slow to import

        blocks, waiting = _select_active(at), _list_waiting(at)
        return convert(
            {
                "waiting_reason": "; ".join(f"{one.release} is ready and waits: {one.reason}" for one in waiting),
                "on_hold": (*blocks.by("rollback"), *blocks.by("person", "tests")),
                "failed_candidates": blocks.candidates,
                "commits_on_hold": blocks.commits,
                "waiting": waiting,
            },
            cls,
            from_attributes=True,
        )

    def show(self) -> Shows:
        from msgspec import convert

        from releaser.reporting.text import on_hold_lines

        for line in on_hold_lines(convert(self.on_hold, tuple[Block, ...], from_attributes=True), commands=False):
            yield Line(f"on hold: {line}", 62)
        for one in self.failed_candidates:
            yield Line(f"failed: candidate {one.release}: {describe_block(one)}", 62)
        for commit in self.commits_on_hold:
            yield Line(f"on hold: commit {commit.commit:.12} ({commit.subject}): it {describe_block(commit)}", 62)
        for one in self.waiting:
            yield Line(f"waiting: candidate {one.release}: {describe_block(one)}", 64)
            command = f"approve {one.release}" if "releaser approve" in one.reason else "update --force"
            yield Offer("Ready, and waits", one.release, describe_block(one), command)
        if self.waiting:
            yield Pending("a release that is ready", 30)
        if self.on_hold:
            yield Pending(f"{plural(len(self.on_hold), 'package')} on hold", 35)
        yield Figure("on_hold", "Packages and versions that are on hold", len(self.on_hold), "held")
        yield from _ask(self)


def _ask(status: HoldStatus) -> Iterator[Question]:
    for by, reason in (("tests", "the tests fail"), ("rollback", "the site was rolled back")):
        held = [f"{one.name} {one.version}".strip() for one in status.on_hold if one.by == by]
        if held:
            text = f"updates skip {first_few(held)}: {reason} with {'it' if len(held) == 1 else 'them'}"
            yield Question(text=text, command="outdated", rank=10)
    if status.commits_on_hold:
        commits = first_few(one.subject or one.commit[:12] for one in status.commits_on_hold)
        text = f"{plural(len(status.commits_on_hold), 'commit')} on hold: {commits}"
        yield Question(text=text, command="status", rank=10)
    if status.waiting_reason:
        yield Question(text=status.waiting_reason, command="status", rank=20)


def _list_waiting(at: Look) -> list[WaitingCandidate]:
    """Return the release that is ready and waits."""
    snapshot = at.store.snapshot()
    ready = snapshot.find_waiting()
    if ready is None:
        return []
    known, names = snapshot.lifecycles[ready.id], MigrationFacts.of(ready.manifest).migrations
    return [WaitingCandidate(key=ready.key, release=ready.id, reason=known.waits, at=known.since, migrations=names)]


def _select_active(at: Look) -> Blocks:
    """Return the blocks that still count, without those that newer versions or newer code have replaced."""
    from releaser.releases.release import lock_of  # slow to import

    contents = attrgetter("manifest.lock_sha256", "manifest.code_key")
    # A rebuild makes another release with the same contents.
    same = [release for release in at.store.all() if at.live and contents(release) == contents(at.live)]
    # Within a second, the ids give the order.
    since = min(
        ((block.manifest.created_at.isoformat(timespec="seconds"), block.id) for block in same), default=("", "")
    )
    current = read_blocks(at.site.state_dir).without_older(lock_of(at.live).versions)
    return current.without(lambda block: block.what == "candidate" and (block.since, block.release) < since)
