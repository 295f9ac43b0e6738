"""Takes a release live and records how that ended: marks, holds, the lock, old releases, known vulnerabilities."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from releaser.checkout.move import find_missing_room_for_move, require_free_way
from releaser.checkout.own_files import find_hidden_changes
from releaser.checkout.publish import Published, publish, remember_remote
from releaser.checkout.repository import Repository
from releaser.checkout.snapshot import Snapshot, require_unchanged
from releaser.errors import AuditError, BuildError, ReleaserError, ToolError, explain_error, require
from releaser.live.change import ChangeResult, make_live
from releaser.packages.audit import audit_venv, read_audit
from releaser.packages.hand_made import find_new_work
from releaser.packages.holds import (
    CommitHold,
    Hold,
    describe_skipped,
    find_overtaken,
    make_release_holds,
    read_holds,
    write_holds,
)
from releaser.pipelines.prune import prune_releases
from releaser.releases.journal import Entry, write_entry
from releaser.releases.link import read_link
from releaser.releases.release import Release
from releaser.releases.reserve import fill_reserve
from releaser.releases.store import SiteRun, mark_good, mark_left, write_state
from releaser.releases.venv import list_installed
from releaser.releases.verify import find_product_faults
from releaser.report.history import read_history
from releaser.site.site import Site
from releaser.system.files import write_json
from releaser.system.run import Run, now
from releaser.system.text import join_few


def go_live(
    site: Site, run: SiteRun, repository: Repository, snapshot: Snapshot, entry: Entry, edits: Sequence[str] = ()
) -> tuple[ChangeResult, Published]:
    """Make a release live and record the result, unless a person has worked in the checkout or the venv meanwhile.

    `edits` are what is known of that venv. Raises PreflightError, BuildError, ToolError and OSError before the flip.
    """
    require_unchanged(site, repository, snapshot)
    require(find_hidden_changes(site, repository.find_hidden_changes()))
    if run.store.live is not None:
        require(find_new_work(run.store.live, edits))
    require_free_way(site, repository, entry)
    if missing := find_missing_room_for_move(repository, entry.head, entry.commit):
        raise BuildError(missing, "Free that much, then run it again.")
    result = make_live(site, run, repository, entry)
    return result, conclude(site, run, repository, result)


def conclude(site: Site, run: SiteRun, repository: Repository, result: ChangeResult) -> Published:
    """Record the result of a change and do what follows it; then it is only left to tell of it.

    Problems are reported, not raised: a good release stays. May be repeated by recovery. Raises OSError if the result
    cannot be recorded; the journal then stays for the next run.
    """
    entry = result.entry
    run.add(result.problem)
    run.store = run.store.linked(read_link(site.paths))
    if result.rolled_back:
        if run.store.link.release == entry.earlier:  # else a person has moved the link meanwhile
            _record_rolled_back(site, run, repository, result)
        published = Published()
    else:
        _record_live(site, run, repository, entry)
        published = _follow_up(site, run, repository, entry)
    write_entry(site.paths, msgspec.structs.replace(entry, phase="telling"))
    return published


def _record_live(site: Site, run: SiteRun, repository: Repository, entry: Entry) -> None:
    release, left = run.store.get(entry.release), run.store.get(entry.earlier)
    if release is None:
        return
    if left is release:  # it was live already: by a person's hand, or with other code in the checkout
        left = run.store.recorded
    moves_code = entry.head != entry.commit
    if left is not None and release.age_key <= left.age_key and entry.is_way_back:
        reason = f"rolled back to {release.id}"
        holds = make_release_holds(left, release, reason)
        if not moves_code and not _has_other_code(site, repository, entry, left):
            holds = [hold for hold in holds if not isinstance(hold, CommitHold)]
        add_holds(site, run, _hold_code(site, repository, entry.head, entry.commit, holds, reason))
        if left.id != release.id:
            run.store = run.store.having(mark_left(left, "rollback"))
    else:
        holds_before = read_holds(site.paths)
        before = list_installed(left.venv) if left is not None else {}
        overtaken = find_overtaken(holds_before, before, list_installed(release.venv), has_commit=moves_code)
        if overtaken:
            write_holds(site.paths, [hold for hold in holds_before if hold not in overtaken])
    run.store = mark_good(run.store, release, now())  # at last: it decides which release was left


def _has_other_code(site: Site, repository: Repository, entry: Entry, left: Release) -> bool:
    """Return True if the checkout has not the code of the release that was left: a person has moved it before."""
    with contextlib.suppress(ToolError):
        return repository.code_key(entry.commit, *site.committed_paths) != left.manifest.key.code_key
    return False


def add_holds(site: Site, run: SiteRun, holds: Sequence[Hold]) -> None:
    """Put versions and commits on hold, and say so."""
    if holds:
        write_holds(site.paths, [*read_holds(site.paths), *holds])
        run.note(describe_skipped(holds))


def _record_rolled_back(site: Site, run: SiteRun, repository: Repository, result: ChangeResult) -> None:
    """Hold what an automatic rollback removed: the commit if it was new, else the versions.

    A release that was good before stays good; its code is not to blame if the way back fails, too.
    """
    entry = result.entry
    release, left = run.store.get(entry.earlier), run.store.get(entry.release)
    if release is None or left is None or not entry.may_hold:
        return
    holds: list[Hold] = []
    if left.state.state != "good":
        run.store = run.store.having(mark_left(left, "automatic"))
        holds = make_release_holds(left, release, entry.reason)
    elif result.problem is not None:
        return
    add_holds(site, run, _hold_code(site, repository, entry.commit, entry.head, holds, entry.reason))


def _hold_code(
    site: Site, repository: Repository, left: str, commit: str, holds: list[Hold], reason: str
) -> list[Hold]:
    """Return holds, with one on the code that the checkout left for that of `commit`, if no release has told it."""
    if left == commit:
        return holds
    try:
        key, other = (repository.code_key(name, *site.committed_paths) for name in (left, commit))
    except ToolError:  # the result of a change is recorded all the same
        return holds
    if key == other or any(isinstance(hold, CommitHold) and hold.code_key == key for hold in holds):
        return holds
    return [*holds, CommitHold(commit=left[:12], code_key=key, by="rollback", reason=reason, since=now())]


def _follow_up(site: Site, run: SiteRun, repository: Repository, entry: Entry) -> Published:
    published, release = Published(), run.store.get(entry.release)
    if release is not None:
        with run.step("publish") as detail:
            published = publish(site, run, repository, release, entry)
            detail.append(published.commit[:12] or "nothing to commit")
            detail.has_failed = published.problem is not None
            run.add(published.problem)
    try:
        head = published.commit or repository.head()
        remember_remote(site, repository, head)
        if (live := run.store.live) is not None:
            keys = {repository.code_key(commit, *site.committed_paths) for commit in (head, entry.commit)}
            commit = head if len(keys) == 1 else entry.commit  # a person may have pulled or committed meanwhile
            run.store = run.store.having(write_state(live, commit=commit))
            if not entry.is_way_back:  # a product that a person has edited stays as it is
                for problem in find_product_faults(site, live):
                    run.note(problem.message)
        prune_releases(site, run)
    except (OSError, ReleaserError) as error:
        run.add_problem("prune", f"Old releases could not be deleted: {explain_error(error)}", "Run `releaser prune`.")
    if release is not None:
        follow_up(site, run, release)
    return published


def follow_up(site: Site, run: SiteRun, live: Release) -> None:
    """Do what follows a release that is live, when it went live and again each night.

    A step asks first whether it is due; its failure is a problem of the run, and the next night tries it again.
    """
    if run.command.is_nightly:  # a rollback waits for no server
        audit_live(site, run, live)
    if not fill_reserve(site.paths.reserve):
        message = "The disk has no room for the 4 MiB that a rollback on a full disk needs."
        run.add_problem("no-reserve", message, "Free space: `releaser prune`.")


def require_audit(site: Site, run: Run, release: Release, live: Release) -> None:
    """Ask for what a release would bring, where `audit` is `refuse`.

    Raises AuditError if it would bring a known vulnerability, and BuildError if the service does not answer.
    """
    if site.settings.versions.audit != "refuse" or release.id == live.id:
        return
    with run.step("audit") as detail:
        audit = audit_venv(site, release.venv, mark=run.id)
        known = audit_venv(site, live.venv, mark=run.id) if audit.advisories else audit
        keys, unknown = {each.key for each in known.advisories}, audit if audit.unknown else known
        new = [] if known.unknown else [each for each in audit.advisories if each.key not in keys]
        detail.append(audit.headline)
        detail.has_failed = bool(new or unknown.unknown)
    if new:
        names, ids = " ".join(sorted({each.name for each in new})), join_few([each.id for each in new])
        message = f"Release {release.id} does not go live: {' '.join(each.sentence for each in new)}"
        raise AuditError(message, f"Run `releaser hold {names}`, or accept it: add {ids} to `audit_ignore`.")
    if unknown.unknown:
        advice = "The next run tries again. To update without an answer: `RELEASER_AUDIT=report releaser update`."
        raise BuildError(f"Release {release.id} does not go live: {unknown.headline}", advice)


def audit_live(site: Site, run: Run, live: Release) -> None:
    """Ask for the known vulnerabilities of the live release, and say which are new."""
    if site.settings.versions.audit == "off":
        return
    with run.step("audit") as detail:
        audit = audit_venv(site, live.venv, mark=run.id)
        detail.append(audit.headline)
    if audit.unknown and (before := read_audit(site, live.venv)):  # what was known stays so
        known = {advisory.key: advisory for advisory in (*before.advisories, *audit.advisories)}
        audit = msgspec.structs.replace(audit, advisories=tuple(known.values()))
    # By the history, people hear again of what a run was killed with.
    heard = [note for record in read_history(site.paths) for note in record.notes]
    for advisory in audit.advisories:
        if not any(note.startswith(advisory.claim) for note in heard):
            run.note(advisory.sentence)
    with contextlib.suppress(OSError):
        write_json(site.paths.audit, audit)
