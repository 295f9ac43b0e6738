"""Looking after the releases: pruning, pinning; and holding packages back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from releaser.errors import FollowUpError, PreflightError, UsageError, refuse
from releaser.locks.lock import InvalidLockError, LockFile, find_locked
from releaser.locks.versions import normalize_name
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.blocks import StoredBlock, change_blocks, read_blocks
from releaser.releases.release import lock_of, refuse_moved
from releaser.releases.retention import decide_retention, failures, prune_by_settings, removals
from releaser.releases.store import store_of
from releaser.report import Plan
from releaser.system.frozen import Frozen
from releaser.system.reserve import make_room
from releaser.system.words import plural, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.releases.release import Release
    from releaser.releases.retention import RetentionDecision
    from releaser.report import RunReport
    from releaser.run import Run
    from releaser.site.site import Site


def prune_releases(request: Request) -> tuple[RunReport, tuple[RetentionDecision, ...]]:
    """Delete what the policy no longer keeps; return how every release fared as well."""
    decided: list[RetentionDecision] = []

    def pipeline(run: Run) -> PipelineResult:
        _refuse_unclear(run.site)
        is_full = make_room(run.site.state_dir)
        with run.log.step("prune") as step:
            try:
                decided.extend(prune_by_settings(run.site, run.log, is_full=is_full))
            except OSError as error:
                message = f"the deletion could not be recorded: {error}"
                raise FollowUpError(message, advice="Check free space and permissions.") from error
            removed, failed = removals(decided), failures(decided)
            if failed:
                message = f"{plural(len(failed), 'release')} could not be deleted, {len(removed)} removed"
                raise FollowUpError(message, advice="See why; the next run tries again.")
            step.says(f"{len(removed)} removed")
        if not removed:
            return PipelineResult(result="unchanged", headline="there is nothing to prune")
        return PipelineResult(result="activated", headline=f"{plural(len(removed), 'release')} removed")

    return run_session(request, pipeline), tuple(decided)


def plan_prune(site: Site) -> tuple[RetentionDecision, ...]:
    """Return the verdict on every release. Raises PreflightError."""
    _refuse_unclear(site)
    return decide_retention(site.settings, store_of(site), now=datetime.now(UTC))


def _refuse_unclear(site: Site) -> None:
    """See that nothing is deleted by a default in the place of a setting that is wrong. Raises PreflightError."""
    if site.findings:
        raise PreflightError(*site.findings)
    refuse_moved(store_of(site))


# Pins and holds


_SHORTEST_HASH = 7  # characters of a commit that tell which one is meant


class Change(Frozen):
    """What a command changes in the records, and what to say of it then."""

    #: What it is about, and what that is then, such as `is on hold at 1.0`.
    name: str
    state: str
    #: Writes it down; None if it is so already.
    apply: Callable[[], None] | None
    #: The release that it is about, if it is about one.
    release: Release | None = None


def make_change(request: Request, decide: Callable[..., Change], *words: str) -> RunReport:
    """Do what one of the functions below decides, given the site and the words of the command line."""

    def pipeline(run: Run) -> PipelineResult:
        change = decide(run.site, *words)
        if change.release is not None:
            run.log.about(change.release, None)
        if change.apply is None:
            return PipelineResult(result="unchanged", headline=f"{change.name} {change.state} already")
        change.apply()
        return PipelineResult(result="activated", headline=f"{change.name} {change.state} now")

    return run_session(request, pipeline)


def plan_change(site: Site, decide: Callable[..., Change], *words: str) -> Plan:
    """Say what would be done."""
    change = decide(site, *words)
    if change.apply is None:
        return Plan(would=(f"{change.name} {change.state} already",))
    would = re.sub(r"^is (not )?", lambda found: f"would {found[1] or ''}be ", change.state)
    return Plan(would=(f"{change.name} {would}",))


def decide_pin(site: Site, release: str, *, on: bool) -> Change:
    """Keep a release from being pruned, or let it be again. Raises NoSuchReleaseError."""
    store = store_of(site)
    found = store.find(release)

    def apply() -> None:
        store.pin(found, on=on)

    state = "is pinned" if on else "is not pinned"
    return Change(name=found.id, state=state, apply=None if found.pinned == on else apply, release=found)


def decide_hold(site: Site, name: str, reason: str) -> Change:
    """Keep a package at the version that it has. Raises UsageError when it is not there, or part of the checkout.

    It is held since the first time; another reason takes the place of the one before.
    """
    try:
        lock = LockFile.read(site.project.lock)
    except (OSError, InvalidLockError) as error:
        refuse(
            "lock-unreadable", f"{site.project.lock} cannot be read: {error}", "Make it with `uv lock`, and commit it."
        )
    name, blocks = find_locked(lock, name), read_blocks(site.state_dir)
    live = lock_of(store_of(site).live())
    state = f"is on hold at {live.versions.get(name, lock.versions[name])}"
    before = next((one for one in blocks.held if one.name == name), None)
    if before is not None and reason in ("", before.reason):
        return Change(name=name, state=state, apply=None)
    new = StoredBlock(name=name, by="person", reason=reason, since=before.since if before else timestamp())
    return Change(name=name, state=state, apply=lambda: change_blocks(site.state_dir, lambda _: blocks.with_new(new)))


def decide_unhold(site: Site, name: str) -> Change:
    """Let in again what is on hold: a package, a commit or a candidate, by the name that `status` shows.

    Raises UsageError when nothing of that name is on hold.
    """
    blocks, package = read_blocks(site.state_dir), normalize_name(name)

    def is_named(block: StoredBlock) -> bool:
        if block.what == "package":
            return package in {block.name, *(normalize_name(one.partition(" ")[0]) for one in block.together)}
        return block.name == name or (len(name) >= _SHORTEST_HASH and block.commit.startswith(name))

    named = [one for one in blocks.entries if is_named(one)]
    if not named:
        ready = store_of(site).snapshot().find_waiting()
        if ready is not None and name == ready.id:
            message = f"{name} is not on hold: it is ready, and waits"
            raise UsageError(message, advice="`releaser status` shows for what; `releaser update` takes it up then.")
        known = ", ".join(blocks.names)
        message = f"{name.strip() or 'a package without a name'} is not on hold"
        raise UsageError(message, advice=f"On hold: {known}." if known else "Nothing is on hold.")
    # Else the very candidate that failed would not be tried again, and nobody be told.
    releases = {one.release for one in named if one.release}
    codes = {one.code_key for one in named if one.what == "commit"}

    def is_lifted(block: StoredBlock) -> bool:
        is_of_these = block.key is not None and (block.release in releases or block.key.code_key in codes)
        return is_of_these or block in named

    shown = package if named[0].what == "package" else named[0].name
    apply = partial(change_blocks, site.state_dir, lambda blocks: blocks.without(is_lifted))
    return Change(name=shown, state="is not on hold", apply=apply)


def decide_accept(site: Site, name: str) -> Change:
    """Take what a run was refused for: another index, or another file, of a package or of all that fit a pattern.

    Raises UsageError when no run was refused for that.
    """
    blocks, pattern = read_blocks(site.state_dir), normalize_name(name)
    found = tuple(one for one in blocks.asked if fnmatchcase(one.name, pattern))
    if not found:
        if any(fnmatchcase(one.name, pattern) for one in blocks.accepted):
            return Change(name=pattern, state="is accepted as it was found", apply=None)
        asked = ", ".join(dict.fromkeys(one.name for one in blocks.asked))
        message = f"no update was refused because of {name.strip() or 'a package without a name'}"
        advice = "There is nothing to accept. A dry run records nothing: run `releaser update` first."
        raise UsageError(message, advice=f"To be accepted: {asked}." if asked else advice)
    names = ", ".join(dict.fromkeys(one.name for one in found))
    apply = partial(change_blocks, site.state_dir, lambda blocks: blocks.accept(found))
    return Change(name=names, state="is accepted as it was found", apply=apply)
