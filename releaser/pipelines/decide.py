"""Whether a release is built, from which lock, and what becomes of commits if none is; `--dry-run` asks here too."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from releaser.candidate.audit import audit_live
from releaser.candidate.migrations import still_wait
from releaser.errors import ResolutionError, ToolError, refuse
from releaser.locks.failed_elsewhere import keep_out, read_failures, say_what_waits, why_all_waits
from releaser.locks.installed import find_unbuildable, versions_for
from releaser.locks.lock import InvalidLockError, LockFile, changes_between
from releaser.releases.integrity import cannot_run
from releaser.releases.quarantine import Constraints, read_quarantine
from releaser.releases.release import lock_of
from releaser.resolution.resolve import ResolveAgain, candidate_key, is_as_live, resolve, resolve_as_locked
from releaser.site.conventions import default_groups
from releaser.site.settings import FAILURES_VARIABLE
from releaser.system.frozen import Frozen
from releaser.system.words import first_few
from releaser.tools.uv import NoSolution
from releaser.tools.uv_arguments import LOCK_CHECK

if TYPE_CHECKING:
    from releaser.checkout.pull import Target
    from releaser.errors import Finding
    from releaser.locks.failed_elsewhere import SiteFailure
    from releaser.locks.lock import Change
    from releaser.locks.vulnerabilities import Audit
    from releaser.pipelines.rebuild import RebuildReason
    from releaser.releases.quarantine import FailedCandidate, Quarantine
    from releaser.resolution.resolve import Resolution
    from releaser.resolution.rules import FailedVersions
    from releaser.run import Workspace
    from releaser.site.site import Site

    Outcome = Literal["nothing", "failed", "unsure", "waits", "build"]
    Following = Literal["stays", "moves", "restores"]


class Goal(Frozen):
    """What an update builds, and why; or why it builds nothing."""

    work: Workspace
    #: Why what is live has to be rebuilt, if it has.
    due: RebuildReason | None
    #: Whether what failed before is tried again, and the site need not be well.
    force: bool
    outcome: Outcome
    resolution: Resolution
    #: What waits here for sites that go first, and for which ones; empty for nothing.
    waits: str
    #: How this very candidate failed before, if it did.
    failed: FailedCandidate | None
    #: Resolves once more, with what is held by then; None where the lock was given.
    again: ResolveAgain | None
    #: Asks, once in a run, what is known to be wrong with what is live.
    audit: Callable[[], Audit | None]
    #: Which packages cannot stay as they are on another Python.
    moved: tuple[Finding, ...] = ()

    @property
    def is_repair(self) -> bool:
        """Whether somebody has damaged what is live, so that it may be what makes the site sick."""
        return self.due is not None and self.due.is_damaged


def decide(work: Workspace, due: RebuildReason | None, *, force: bool) -> Goal:
    """Resolve in the staging tree, and decide whether a release is built from that.

    Raises ResolutionError; and PreflightError if what is to wait cannot be read.
    """
    site, elsewhere = work.site, _read_elsewhere(work.site)

    @functools.cache
    def audit() -> Audit | None:
        return audit_live(work)

    def fixes() -> dict[str, str]:
        found = audit() if site.settings.security_fixes == "early" else None
        every = found.fixes() if found else {}
        return {name: fix for name, fix in every.items() if name in (work.only or every)}

    def again(failed: FailedVersions, out: tuple[SiteFailure, ...] = elsewhere) -> Resolution:
        return resolve(work, force=force, fixes=fixes, failed=failed, adjust=partial(keep_out, out))

    follows = site.settings.follows
    as_locked = follows or (due is not None and _stays_as_locked(work))
    if as_locked:
        resolution = resolve_as_locked(work, committed_lock(work) if follows else work.facts.lock)
    else:
        resolution = _resolve(again, elsewhere, "in" if force else "rest")
    is_new = due is not None or is_another(work, resolution)
    quarantine = read_quarantine(site.state_dir)
    failed = None
    if is_new or quarantine.waiting:
        failed = quarantine.candidate(candidate_key(site, work.facts, resolution.lock))
    outcome: Outcome = "build"
    if not is_new and (failed is None or not failed.migrations):
        outcome = "nothing"
    elif failed is not None and not force:
        outcome = _outcome_again(work, failed)
    waits = why_all_waits(elsewhere, changes_of(work, resolution)) if outcome in ("build", "unsure") else ""
    if waits:
        outcome, failed = "waits", None
    _refuse_unfit(work, resolution, outcome, force=force)
    return Goal(
        work=work,
        due=due,
        force=force,
        outcome=outcome,
        resolution=resolution,
        waits=waits or say_what_waits(elsewhere, resolution.held_back),
        failed=failed,
        again=None if as_locked else again,
        audit=audit,
    )


def _refuse_unfit(work: Workspace, resolution: Resolution, outcome: Outcome, *, force: bool) -> None:
    if work.site.settings.follows and outcome in ("build", "unsure"):
        refuse_unfit_lock(work, resolution.lock, force=force)


def _read_elsewhere(site: Site) -> tuple[SiteFailure, ...]:
    try:
        return read_failures(site.runner.environ.get(FAILURES_VARIABLE, ""))
    except ValueError as error:
        return refuse(f"{FAILURES_VARIABLE} cannot be read: {error}", "Unset it: only `update --all` sets it.")


def changes_of(work: Workspace, resolution: Resolution) -> tuple[Change, ...]:
    """Return what a lock changes; where nothing is live, in uv.lock."""
    if work.live:
        return resolution.diff
    python = work.facts.choice.version
    return changes_between(versions_for(work.facts.lock, python), versions_for(resolution.lock, python))


def _stays_as_locked(work: Workspace) -> bool:
    """Whether a release that has to be rebuilt is rebuilt from its lock, and newer packages wait for the next run.

    They could fail, and what is live would stay damaged. It is the other way round where the lock as it is has failed
    before, holds what was backed out, is not for the code that is there now, or has no build for the Python.
    """
    site, live, lock = work.site, work.live, work.facts.lock
    quarantine, key = read_quarantine(site.state_dir), candidate_key(site, work.facts, lock)
    return (
        live is not None
        and site.pulled is None
        and live.manifest.dependencies_key == site.pyproject.dependencies_key()
        and bool(lock.data)
        and not any(entry.is_in(lock.versions) for entry in quarantine.versions)
        and quarantine.candidate(key) is None
        and not find_unbuildable(lock, group=key.group, default_groups=default_groups(site), python=key.python)
    )


def _resolve(
    again: Callable[[FailedVersions, tuple[SiteFailure, ...]], Resolution],
    elsewhere: tuple[SiteFailure, ...],
    failed: FailedVersions,
) -> Resolution:
    """Resolve; where nothing does without versions that failed `elsewhere`, with them, as all waits then."""
    try:
        return again(failed, elsewhere)
    except ResolutionError:
        if not any(one.versions for one in elsewhere):
            raise
        return again(failed, ())


def is_another(work: Workspace, resolution: Resolution) -> bool:
    """Tell whether a release would be another one than what is live: in packages, code, group, or what is beside it."""
    bundle, origin = work.site.bundle, work.live.manifest.bundle if work.live else None
    return (
        (bundle is not None and bundle.manifest.included_sha256 != (origin.included_sha256 if origin else ""))
        or work.live is None
        or work.site.pulled is not None
        or work.live.manifest.group != work.facts.group
        or not is_as_live(work.site, resolution.lock, work.live)
    )


def _outcome_again(work: Workspace, failed: FailedCandidate) -> Outcome:
    """Decide whether a candidate is tried once more that failed because the site was sick, or waits for something.

    While nothing can run on what is live, nobody can tell, and the site is down: the candidate is tried each time.
    """
    if failed.migrations:
        return "failed" if still_wait(work, failed) else "build"
    if work.live is not None and cannot_run(work.live):
        return "build"
    return "unsure" if failed.sick else "failed"


def why_not_again(failed: FailedCandidate) -> str:
    """Say why a candidate that failed before is not built once more."""
    if failed.migrations:
        return f"{failed.release} waits until migrations are applied: {first_few(failed.migrations)}"
    return f"nothing newer than {failed.release}, which failed before"


def say_what_blocks(failed: FailedCandidate) -> str:
    """Say which candidate cannot go live, why, and since when."""
    if failed.migrations:
        return f"{why_not_again(failed)} (since {failed.at[:10]})"
    return f"{failed.release} failed on {failed.at[:10]}: {failed.reason}"


def choose_following(site: Site, goal: Goal, target: Target) -> Following:
    """Decide what becomes of the checkout where no release is built.

    Commits that bring neither code nor packages come in quietly: a lock of the same packages in another text, the
    export, an empty commit, or one and its revert. Visitors get the files that they got before. Where the commit has
    another lock, from which the packages come out that are live, a release of these would be the one before once more:
    the checkout gets the lock of the live release back.
    """
    live = goal.work.live
    if goal.outcome == "build" or live is None or target.brings_code or not site.project.has_git:
        return "stays"  # without git, nothing but the checkout has its lock
    git, (lock, *_) = site.git, site.own_files()
    data = git.data(target.commit, lock, likely=lock_of(live).data)
    try:
        if data is None or is_as_live(site, LockFile.parse(data), live):
            return "moves" if data is not None and target.moves else "stays"
    except InvalidLockError:  # which a lock that is no good for a release is as well
        return "stays"
    return "restores" if goal.outcome == "nothing" else "stays"


def committed_lock(work: Workspace) -> LockFile:
    """Return the lock of the commit that is staged, whatever lies in the checkout after a rollback.

    Raises PreflightError and ToolError.
    """
    site = work.site
    if site.bundle is not None:
        return LockFile.parse(site.bundle.lock)
    if not site.project.has_git:
        return work.facts.lock
    commit = site.staged.commit if site.staged is not None else "HEAD"
    path = os.path.relpath(site.project.lock, site.git.layout.top)
    try:
        return LockFile.parse(site.git.data(commit, path) or b"")
    except InvalidLockError as error:
        refuse(
            f"{path} of commit {commit[:12]} is not a lock: {error}",
            "Run `uv lock` where you develop, and commit that.",
        )


def refuse_unfit_lock(work: Workspace, lock: LockFile, *, force: bool) -> None:
    """See that a lock, which lies in the staging tree, may go live as it is. Raises ResolutionError.

    It has to fit pyproject.toml, and may change no package that a person holds; nor be one that was backed out, unless
    `force` takes that again. Another lock may have some of those versions: somebody chose them.
    """
    site, constraints, before = work.site, Constraints.read(work.site.state_dir), lock_of(work.live).versions
    if not force:
        _refuse_backed_out(work, lock, constraints.quarantine)
    for one in constraints.holds.entries:
        wanted, live = lock.versions.get(one.name), before.get(one.name)
        if one.by == "person" and wanted != live and live is not None:
            has = f"{one.name} {wanted}" if wanted else f"no {one.name}"
            message = f"uv.lock has {has}, but a person holds {live}"
            advice = f"`releaser unhold {one.name}` lets it in; or lock {live} where you develop."
            raise ResolutionError(f"{message} ({one.reason})" if one.reason else message, advice=advice)
    if site.bundle is not None:  # where it was made, and tested
        return
    try:
        done = work.facts.uv.lock(site.project.root, LOCK_CHECK, python=work.facts.python)
    except ToolError as error:
        message = f"could not find out whether uv.lock fits pyproject.toml: {error.message}"
        raise ResolutionError(message, advice=error.advice or "Check the network.", output=error.output) from error
    if isinstance(done, NoSolution):
        key = 'upgrade = "none"' if site.settings.upgrade == "none" else 'publish = "branch"'
        message = f"uv.lock does not fit pyproject.toml, and with `{key}` releaser does not change it"
        raise ResolutionError(message, advice="Run `uv lock` where you develop, and push that.", output=done.output)


def _refuse_backed_out(work: Workspace, lock: LockFile, quarantine: Quarantine) -> None:
    key, out = (
        candidate_key(work.site, work.facts, lock),
        [one for one in quarantine.versions if one.is_in(lock.versions)],
    )
    for one in quarantine.candidates if out else ():
        if one.key.lock_sha256 == key.lock_sha256:
            names = first_few([f"{it.name} {it.version}" for it in out])
            were = "was" if len(out) == 1 else "were"
            message = f"{names} {were} backed out ({one.reason}), and uv.lock is still that of {one.release}"
            advice = "Lock other versions where you develop, and push that; or accept it: `releaser update --force`."
            raise ResolutionError(message, advice=advice)
