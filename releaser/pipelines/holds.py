"""`hold`, `unhold` and `accept`: put packages on hold, lift holds, and accept deviations that a run was refused for."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from releaser.core.request import RequestKind, Wanted
from releaser.errors import UsageError, refuse
from releaser.locks.lock import InvalidLockError, LockFile, find_locked
from releaser.locks.versions import normalize_name
from releaser.pipelines.maintenance import Change, make_change
from releaser.releases.blocks import StoredBlock, change_blocks, read_blocks
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from releaser.answers import Status
    from releaser.pipelines.session import Request
    from releaser.report import RunReport
    from releaser.site.site import Site

_SHORTEST_HASH = 7  # characters of a hash that identify a commit


def decide_hold(site: Site, name: str, reason: str, *, since: str = "") -> Change:
    """Put a package on hold at its version. Raises UsageError if it is not locked, or part of the checkout.

    The time of the first hold stays; a new reason replaces the old one.
    """
    try:
        lock = LockFile.read(site.project.lock)
    except (OSError, InvalidLockError) as error:
        refuse("lock-unreadable", f"{site.project.lock} cannot be read: {error}", "Run `uv lock`, and commit uv.lock.")
    name, blocks = find_locked(lock, name), read_blocks(site.state_dir)
    live = lock_of(store_of(site).live())
    state = f"is on hold at {live.versions.get(name, lock.versions[name])}"
    before = next((hold for hold in blocks.held if hold.name == name), None)
    if before is not None and reason in ("", before.reason):
        return Change(name=name, state=state, apply=None)
    new = StoredBlock(name=name, by="person", reason=reason, since=before.since if before else since or timestamp())
    return Change(name=name, state=state, apply=lambda: change_blocks(site.state_dir, lambda _: blocks.with_new(new)))


def decide_unhold(site: Site, name: str, *, asked_at: datetime | None = None) -> Change:
    """Lift the hold on a package, commit or candidate, by the name that `status` shows.

    Raises UsageError if nothing of that name is on hold, or if a person has put it on hold since `asked_at`.
    """
    blocks, package = read_blocks(site.state_dir), normalize_name(name)

    def is_named(block: StoredBlock) -> bool:
        if block.what == "package":
            return package in {
                block.name,
                *(normalize_name(package_name.partition(" ")[0]) for package_name in block.together),
            }
        return block.name == name or (len(name) >= _SHORTEST_HASH and block.commit.startswith(name))

    named = [entry for entry in blocks.entries if is_named(entry)]
    if not named:
        ready = store_of(site).snapshot().find_waiting()
        if ready is not None and name == ready.id:
            message = f"{name} is not on hold: it is ready and waits"
            raise UsageError(
                message, "`releaser status` shows the reason; `releaser update` makes it live once that is settled."
            )
        known = ", ".join(blocks.names)
        message = f"{name.strip() or 'a package without a name'} is not on hold"
        raise UsageError(message, f"On hold: {known}." if known else "Nothing is on hold.")
    asked = asked_at.isoformat(timespec="seconds") if asked_at is not None else ""
    if asked and any(block.by == "person" and block.since > asked for block in named):
        message = f"{name} was put on hold after this was requested"
        raise UsageError(message, f"To lift the hold anyway, run `releaser unhold {name}`.")
    # Otherwise the candidate that failed would stay blocked, without a message.
    releases = {hold.release for hold in named if hold.release}
    codes = {hold.code_key for hold in named if hold.what == "commit"}

    def is_lifted(block: StoredBlock) -> bool:
        is_of_these = block.key is not None and (block.release in releases or block.key.code_key in codes)
        return is_of_these or block in named

    shown = package if named[0].what == "package" else named[0].name
    apply = partial(change_blocks, site.state_dir, lambda blocks: blocks.without(is_lifted))
    return Change(name=shown, state="is not on hold", apply=apply)


def decide_accept(site: Site, name: str) -> Change:
    """Accept the deviations that a run was refused for, of a package or of all packages that match a pattern.

    Raises UsageError if no run was refused for such a package.
    """
    blocks, pattern = read_blocks(site.state_dir), normalize_name(name)
    found = tuple(deviation for deviation in blocks.asked if fnmatchcase(deviation.name, pattern))
    if not found:
        if any(fnmatchcase(deviation.name, pattern) for deviation in blocks.accepted):
            return Change(name=pattern, state="is accepted", apply=None)
        asked = ", ".join(dict.fromkeys(deviation.name for deviation in blocks.asked))
        message = f"no update was refused because of {name.strip() or 'a package without a name'}"
        advice = "No package waits to be accepted. Run `releaser update` first: a dry run records nothing."
        raise UsageError(message, f"Waiting for `releaser accept`: {asked}." if asked else advice)
    names = ", ".join(dict.fromkeys(hold.name for hold in found))
    apply = partial(change_blocks, site.state_dir, lambda blocks: blocks.accept(found))
    return Change(name=names, state="is accepted", apply=apply)


# The requests of the page


def _hold(request: Request, wanted: Wanted, at: datetime) -> RunReport:
    decide = partial(decide_hold, since=at.isoformat(timespec="seconds"))
    return make_change(request, decide, wanted.name, wanted.why)


def _unhold(request: Request, wanted: Wanted, at: datetime) -> RunReport:
    return make_change(request, partial(decide_unhold, asked_at=at), wanted.name)


def _names_on_hold(status: Status) -> Sequence[str]:
    return tuple(dict.fromkeys(block.name for block in status.on_hold))


HOLD = RequestKind(
    action="hold",
    label="Hold",
    effect="Updates skip newer versions of the package.",
    takes_package=True,
    takes_reason=True,
    perform=_hold,
)
UNHOLD = RequestKind(
    action="unhold",
    label="Take off hold",
    choices=_names_on_hold,
    applies=lambda status: bool(status.on_hold),
    perform=_unhold,
)
