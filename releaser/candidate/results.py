"""Records outcomes: releases marked good or bad, versions put on hold, failed tests of the live release."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime
from typing import TYPE_CHECKING

from releaser.candidate.output import failing_tests
from releaser.errors import TestsFailedError, ToolError
from releaser.locks.changes import changes_between, list_introduced
from releaser.releases.blocks import (
    PAUSE,
    Blocks,
    HoldsSection,
    StoredBlock,
    block_candidate,
    change_blocks,
    read_blocks,
)
from releaser.releases.integrity import usable
from releaser.releases.journal import LIVE_TESTS, FailingLiveTests
from releaser.releases.release import lock_of, read_versions
from releaser.releases.store import store_of
from releaser.resolution.rules import code_digest, describe_holds
from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.frozen import Frozen, replace
from releaser.system.words import one_line, timestamp, truncate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.candidate.trials import TrialResult
    from releaser.core.run import Workspace
    from releaser.locks.lock import LockFile
    from releaser.releases.release import Release
    from releaser.report import RunReport
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

_LONGEST_REASON = 200  # characters
_LONGEST_OUTPUT = 20_000  # characters of a test's output that a hold keeps


def mark_good(site: Site, release: Release) -> None:
    """Record that a release is live and good; lift the blocks of its candidate, versions and commits.

    Holds by a person stay.
    """
    store_of(site).record_live(release)
    key, commit, versions = release.key, release.manifest.commit, lock_of(release).versions

    def is_lifted(block: StoredBlock) -> bool:
        if block.what != "commit":
            return block.key == key or block.is_in(versions)
        with contextlib.suppress(ToolError):  # the good release may contain the blocked commit
            return block.code_key == key.code_key or bool(commit and site.git.is_ancestor(block.commit, commit))
        return False

    change_blocks(site.state_dir, lambda blocks: blocks.without(is_lifted))


def mark_bad(
    site: Site, release: Release, reason: str, *, versions: Mapping[str, str] | None, commit: StoredBlock | None
) -> None:
    """Record that a release was rolled back, and block its candidate, the given versions, and a commit.

    If `versions` is None, the release is not the cause, and nothing is blocked.
    """
    store_of(site).record_withdrawn(release)

    def add(blocks: Blocks) -> Blocks:
        if versions is None:
            return blocks
        failed = block_candidate(release.key, release.id, reason, by="rollback")
        changed = blocks.with_versions(versions, release=release.id, reason=reason, since=failed.since)
        return changed.with_new(failed, *([commit] if commit is not None else ()))

    change_blocks(site.state_dir, add)


def make_commit_block(site: Site, commit: str, code_key: str, reason: str) -> StoredBlock:
    """Return the block with which updates skip a commit."""
    subject = ""
    with contextlib.suppress(ToolError):
        subject = site.git.subject(commit)
    return StoredBlock(
        what="commit", name=commit[:12], commit=commit, code_key=code_key, subject=subject, reason=reason,
        since=timestamp(),
    )  # fmt: skip


def list_introduced_by(release: Release, since: Release | None = None) -> dict[str, str]:
    """Return the versions that a release introduced, or that are new since the release `since`, without local packages.

    The version of a local package follows the code.
    """
    lock = lock_of(release)
    changes = (
        release.manifest.changes if since is None else changes_between(read_versions(since), read_versions(release))
    )
    return {name: versions for name, versions in list_introduced(changes).items() if name not in lock.local}


# Versions that failed


class Fault(Frozen):
    """The failure of a part of the upgrades."""

    #: In a few words.
    words: str
    #: The whole output.
    output: str
    #: The upgrades that are impossible without the culprit, such as `celery 5.6.0`.
    together: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: TrialResult) -> Fault:
        """Return the fault that a failed trial shows."""
        return cls(words=result.fault, output=result.output)


def put_on_hold(work: Workspace, lock: LockFile, faults: Mapping[str, Fault], *, release: str = "") -> None:
    """Put the versions that a lock has of faulty packages on hold; `release` is the one whose tests failed."""
    site, now = work.site, timestamp()
    known, code = (
        {(hold.name, hold.version): hold for hold in read_blocks(site.state_dir).by("tests")},
        code_digest(site),
    )
    holds = []
    for name, fault in faults.items():
        version = lock.versions[name]
        before = known.get((name, version))
        holds.append(
            StoredBlock(
                name=name,
                by="tests",
                version=version,
                reason=fault.words,
                since=before.since if before else now,
                release=release,
                python=work.facts.choice.version,
                output=truncate(fault.output, max_chars=_LONGEST_OUTPUT),
                tests=failing_tests(fault.output),
                together=fault.together,
                code_key=code,
                until=datetime.fromisoformat(now) + PAUSE if before else None,
            )
        )
    change_blocks(site.state_dir, lambda blocks: blocks.with_new(*holds))


def add_holds(site: Site, report: RunReport) -> RunReport:
    """Add the holds, except those on versions that are not newer than the live one, and the commits on hold.

    The holds by a rollback are those on the versions of the release that this run left.
    """
    try:
        blocks = read_blocks(site.state_dir)
    except OSError:  # another check reports it
        return report
    live, shown = lock_of(store_of(site).live()).versions, site.redactor.clean
    left = report.release if report.is_automatic_rollback else report.previous if report.is_rollback else None
    rolled_back = (block for block in blocks.by("rollback") if left and block.release == left)
    entries = Blocks(entries=(*blocks.by("person", "tests"), *rolled_back)).without_older(live).entries
    holds = describe_holds(entries, live)
    lines = (
        f"commit {commit.commit[:12]} ({commit.subject}) {commit.reason} (since {commit.at[:10]})"
        for commit in blocks.commits
    )
    held = tuple(replace(hold, reason=shown(hold.reason)) for hold in holds)
    return report.with_section(HoldsSection(holds=held, commits_on_hold=tuple(map(site.redactor.line, lines))))


# With `test_live = "always"`: the tests of the live release, on nights without a newer one


def failing_live_tests(state_dir: Path, live: Release | None) -> FailingLiveTests | None:
    """Return the recorded test failure of the live release; None if its tests passed, or were not run."""
    try:
        found = read_state(state_dir / LIVE_TESTS, FailingLiveTests)
    except (UnreadableStateError, OSError):
        return None
    return found if found is not None and live is not None and found.release == live.id else None


def try_live_release(work: Workspace) -> FailingLiveTests | None:
    """Run the tests of the live release, if `test_live` is "always"; return a failure that was reported before.

    Raises TestsFailedError for a failure that is new or different. Reports once that the tests pass again.
    """
    site, path = work.site, work.site.state_dir / LIVE_TESTS
    if site.settings.test_live != "always":
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    if (live := usable(work.live)) is None:
        return None
    from releaser.candidate.testing import failure_of_live, stage_live_code  # slow to import
    from releaser.candidate.trials import list_trials

    with stage_live_code(work) as tree:
        before = failing_live_tests(site.state_dir, live)
        failed = failure_of_live(tree, work.log, live, *list_trials(tree, work.before))
    if failed is None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        if before is not None:
            work.log.say(f"The tests of {live.id} pass again; they had failed since {before.since[:10]}.")
        return None
    # The names of the failed tests; without any, the reason of the failure.
    failing = failing_tests(failed.output) or (one_line(failed.reason, limit=_LONGEST_REASON),)
    if before is not None and before.failing == failing:
        return before
    since = before.since if before is not None else timestamp()
    try:
        write_state(
            path, FailingLiveTests(release=live.id, since=since, reason=one_line(failed.reason), failing=failing)
        )
    except OSError as error:  # a full disk: the next run reports the failure again
        logger.warning("cannot record that the tests of the live release fail: %s", error)
    work.log.set_releases(live, None)
    message = f"{failed.failure} on the live release {live.id}, although nothing has changed"
    advice = "Fix the site or its tests. You get the next mail about this when something else fails, or when they pass."
    raise TestsFailedError(message, blame="before", advice=advice, output=failed.output, fault=failed.fault)
