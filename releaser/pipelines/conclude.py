"""Records how a change ended: marks releases, puts on hold what was removed, publishes the lock, prunes."""

from __future__ import annotations

from functools import partial

from releaser.checkout.publish import Published, publish, remember_remote
from releaser.checkout.repository import NETWORK, ROLLBACK_PUSH, Repository
from releaser.errors import ReleaserError, explain_os_error
from releaser.live.change import ChangeResult
from releaser.packages.changes import compare_versions, name_bump
from releaser.packages.holds import CODE, EVERY, Hold, holds_for, read_holds, write_holds
from releaser.packages.lock import read_lock
from releaser.packages.publishing import prepare_commit
from releaser.pipelines.prune import prune_releases
from releaser.releases.journal import Entry, drop_entry
from releaser.releases.link import read_link
from releaser.releases.release import Change, Release
from releaser.releases.reserve import fill_reserve
from releaser.releases.store import Store, mark_good, mark_left, write_state
from releaser.releases.verify import list_installed
from releaser.site.site import Site
from releaser.system.run import Run, now
from releaser.system.text import join_few


def conclude(site: Site, run: Run, repository: Repository, result: ChangeResult) -> Published:
    """Record the result of a change and do what follows it; then the change is over.

    Problems are reported, not raised: a good release stays. May be repeated by recovery. Raises OSError if the result
    cannot be recorded; the journal then stays for the next run.
    """
    entry = result.entry
    if result.problem is not None:
        run.report(result.problem.code, result.problem.message, result.problem.advice)
    if result.rolled_back:
        if read_link(site.paths).release != entry.origin:
            return Published()  # the journal stays: the next run goes on
        _record_rolled_back(site, run, entry)
        published = Published()
    else:
        _record_live(site, run, entry)
        published = _follow_up(site, run, repository, entry)
    drop_entry(site.paths)
    return published


def _record_live(site: Site, run: Run, entry: Entry) -> None:
    store = Store(site.paths)
    release, left = store.get(entry.target), store.get(entry.origin)
    if release is None:
        return
    mark_good(site.paths, release, now())
    if left is not None and release.age_key < left.age_key and entry.command == "rollback":
        mark_left(left, "rollback")
        holds = _holds_on(left, release, f"rolled back to {release.id}")
        _add_holds(site, run, [hold for hold in holds if not hold.code or entry.head != entry.commit])
    else:
        _drop_overtaken_holds(site, entry, release)


def _add_holds(site: Site, run: Run, holds: list[Hold]) -> None:
    write_holds(site.paths, [*read_holds(site.paths).holds, *holds])
    if holds:
        words = join_few([hold.label for hold in holds])
        names = " ".join(dict.fromkeys(hold.name for hold in holds))
        run.note(f"Updates will skip: {words}. Undo: `releaser unhold {names}`.")


def _drop_overtaken_holds(site: Site, entry: Entry, release: Release) -> None:
    """Drop the holds on versions that are not newer than the live ones, and on commits that the checkout has."""
    installed = list_installed(release.venv)
    holds = read_holds(site.paths).holds
    kept = [
        hold
        for hold in holds
        if hold.version == EVERY
        or (hold.code and entry.head == entry.commit)
        or (not hold.code and name_bump(hold.version, installed.get(hold.name, "0")) == "other"
            and hold.version != installed.get(hold.name))
    ]  # fmt: skip
    if len(kept) < len(holds):
        write_holds(site.paths, kept)


def _record_rolled_back(site: Site, run: Run, entry: Entry) -> None:
    """Hold what an automatic rollback removed: the commit if it was new, else the versions.

    A release that was good before stays good.
    """
    store = Store(site.paths)
    release, left = store.get(entry.origin), store.get(entry.target)
    if release is None or left is None or entry.command == "rollback" or left.state.state == "good":
        return
    mark_left(left, "automatic")
    _add_holds(site, run, _holds_on(left, release, entry.reason))


def _holds_on(left: Release, release: Release, reason: str) -> list[Hold]:
    """Return holds on what one release has and another has not: versions, and the commit if its code differs."""
    holds = holds_for(compare_releases(release, left), reason)
    if left.manifest.key.code != release.manifest.key.code:
        holds.append(Hold(CODE, left.manifest.commit[:12], reason, "rollback", left.manifest.key.code, now()))
    return holds


def compare_releases(before: Release | None, after: Release) -> tuple[Change, ...]:
    """Return the packages that differ between two releases, by what is installed."""
    local = read_lock(after.lock).local
    return compare_versions(list_installed(before.venv) if before else {}, list_installed(after.venv), local)


def _follow_up(site: Site, run: Run, repository: Repository, entry: Entry) -> Published:
    with run.step("publish") as detail:
        timeout = ROLLBACK_PUSH if entry.command == "rollback" else NETWORK
        lock = site.paths.releases / str(entry.target) / "uv.lock"
        write = partial(prepare_commit, site, repository, lock, entry.command, mark=run.id)
        published = publish(site, run, repository, write, timeout=timeout)
        detail.append(published.commit[:12] or "nothing to commit")
        if published.problem is not None:
            detail.has_failed = True
            run.report(published.problem.code, published.problem.message, published.problem.advice)
    try:
        remember_remote(site, repository)
        if (live := Store(site.paths).live) is not None:
            write_state(live, commit=repository.head())
        with run.step("prune") as detail:
            detail.append(prune_releases(site, run))
    except (OSError, ReleaserError) as error:
        reason = explain_os_error(error) if isinstance(error, OSError) else error.message
        run.report("prune", f"Old releases could not be deleted: {reason}.", "Run `releaser prune`.")
    if not fill_reserve(site.paths.reserve):
        message = "The disk has no room for the 4 MiB that a rollback on a full disk needs."
        run.report("no-reserve", message, "Free space: `releaser prune`.")
    return published
