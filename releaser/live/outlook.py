"""The site as a decision finds it: as it is, or, for a dry run, as it will be once an interrupted run is finished."""

from __future__ import annotations

import msgspec

from releaser.checkout.repository import CheckoutState, open_repository
from releaser.errors import LockedError, ToolError
from releaser.packages.holds import Hold, list_holds, make_release_holds
from releaser.releases.journal import Entry, read_entry
from releaser.releases.link import Link, make_link_text
from releaser.releases.release import Release
from releaser.releases.store import Store
from releaser.releases.venv import find_python
from releaser.site.run_lock import find_running
from releaser.site.site import Site


class Outlook(msgspec.Struct, frozen=True):
    """The releases and what is on hold. `checkout` is where the checkout will be, None if it stays where it is.

    `recovery` says what recovery does first, empty if nothing; `committed_lock` is the release whose lock an
    interrupted run will commit.
    """

    store: Store
    holds: tuple[Hold, ...]
    checkout: CheckoutState | None = None
    recovery: str = ""
    committed_lock: str = ""


def foresee(site: Site, store: Store) -> Outlook:
    """Return the site as it will be after recovery. Writes nothing. Raises LockedError while a run works on it."""
    if (running := find_running(site.paths.run_lock)) is not None:
        raise LockedError(f"{running.sentence} What it will leave is not known yet.", "Run this again later.")
    holds, entry = list_holds(site), read_entry(site.paths)
    if entry is None and (good := find_repair(site, store)) is not None:
        repaired = store.linked(Link("release", make_link_text(site.paths, good.id), good.id))
        return Outlook(repaired, holds, recovery=f"`{site.paths.link}` leads to {good.id} again")
    if entry is None or entry.phase == "telling":
        return Outlook(store, holds)
    recovery = f"an interrupted run is finished or undone ({entry.title})"
    if entry.phase == "building":
        return Outlook(store, holds, recovery=recovery)
    is_flipped = entry.has_flipped(store.link)
    goes_back = entry.phase == "going-back" or (entry.phase == "changing" and not is_flipped)
    head = entry.head if goes_back else entry.commit
    if entry.phase == "going-back":
        store, holds = _go_back(site, store, holds, entry)
    elif not goes_back:
        store = _go_forward(store, entry)
    committed = str(entry.release) if entry.commits_lock and not goes_back else ""
    return Outlook(store, holds, _foresee_checkout(site, entry, head), recovery, committed)


def find_repair(site: Site, store: Store) -> Release | None:
    """Return the newest good release, to which recovery points a link that is missing or leads to no release."""
    link = store.link
    if link.kind == "foreign" or find_python(site.paths.link).exists() or not site.paths.link.parent.is_dir():
        return None
    if link.kind == "release" and (site.paths.releases / str(link.release) / "venv").is_dir():
        return None  # only its Python is gone: the next update builds on another one
    return store.newest_good


def _go_forward(store: Store, entry: Entry) -> Store:
    """Return the store in which the new release is good."""
    overtaken = [release for release in store.releases if release.state.state == "ready"]
    store = store.having(*(_with_state(release, "outdated") for release in overtaken))
    release = store.get(entry.release)
    return store.having(_with_state(release, "good", store.next_order)) if release is not None else store


def _go_back(site: Site, store: Store, holds: tuple[Hold, ...], entry: Entry) -> tuple[Store, tuple[Hold, ...]]:
    """Return the store in which the earlier release is live again, and what is on hold then."""
    release, left = store.get(entry.earlier), store.get(entry.release)
    if release is None:
        return store, holds
    if left is not None and entry.may_hold and left.state.state != "good":
        holds = (*holds, *make_release_holds(left, release, entry.reason))
        store = store.having(_with_state(left, "rolled-back"))
    return store.linked(Link("release", make_link_text(site.paths, release.id), release.id)), holds


def _with_state(release: Release, state: str, order: int | None = None) -> Release:
    order = release.state.order if order is None else order
    return msgspec.structs.replace(release, state=msgspec.structs.replace(release.state, state=state, order=order))


def _foresee_checkout(site: Site, entry: Entry, head: str) -> CheckoutState | None:
    """Return the checkout at a head, without the changed files that an interrupted move has left."""
    repository = open_repository(site)
    try:
        moved = {*repository.changed_paths(entry.head, entry.commit), *site.committed_paths}
        state = repository.state()
    except ToolError:
        return None  # a problem of preflight
    changed = tuple(path for path in state.changed if path not in moved)
    return CheckoutState(head, state.ref, changed)
