"""What others have damaged, told without changing anything; `mend` puts it right when the next run begins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, read_json
from releaser.project import mutex
from releaser.releases.holds import read_holds
from releaser.releases.journal import Journal
from releaser.releases.ledger import read_ledger
from releaser.releases.quarantine import read_quarantine
from releaser.releases.release import read_manifest
from releaser.releases.soundness import damage, is_own_doing, live_damage
from releaser.releases.store import DOOMED
from releaser.releases.whereabouts import is_missing_or_dangling, moved_by_hand
from releaser.report.outcome import Problem
from releaser.steps.follow_ups import PENDING, unsettled
from releaser.steps.litter import LITTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.releases.soundness import Damage
    from releaser.releases.store import ReleaseStore

LAST_MAIL = "mail.json"
REPAIRS = "The next `releaser update` repairs it."


def diagnose(store: ReleaseStore) -> Iterator[Problem]:
    """Yield what is not as releaser left it, each with what to do."""
    yield from _link_problems(store)
    yield from _release_problems(store)
    for error in unreadable(store.state_dir):
        yield Problem(message=f"{error.path} cannot be read: {error.reason}", advice=REPAIRS)


def unreadable(state_dir: Path) -> Iterator[UnreadableStateError]:
    """Yield the state files that cannot be read, but for the manifests."""
    readers: list[Callable[[], object]] = [
        lambda: read_ledger(state_dir),
        lambda: read_quarantine(state_dir),
        lambda: read_holds(state_dir),
        lambda: Journal(state_dir=state_dir).read(),
        *(lambda name=name: read_json(state_dir / name) for name in (PENDING, LITTER, LAST_MAIL)),
    ]
    for read in readers:
        try:
            read()
        except UnreadableStateError as error:
            yield error
        except OSError:
            continue  # of whoever may not read it; a run says so


def _link_problems(store: ReleaseStore) -> Iterator[Problem]:
    live = store.live()
    if store.live_by_record() is None:
        return
    if moved := moved_by_hand(store):
        yield Problem(message=moved.message, advice=moved.advice)
        return
    if is_missing_or_dangling(store.link):
        yield Problem(message=f"{store.link} is {missing_or_dangling(store.link)}", advice=REPAIRS)
        return
    if live is None:
        message = f"the manifest of the live release {store.live_id()} is gone, or cannot be read"
        yield Problem(message=message, advice="The next `releaser update` rebuilds it.")
        return
    if failed := unsettled(store.state_dir, live):
        message = (
            f"after {live.id} went live these steps failed, and there was no earlier release to return to:"
            f" {', '.join(sorted(failed))}"
        )
        yield Problem(message=message, advice="The next `releaser update` does it again.")
    found = live_damage(live)
    renewed = _flaw(store, live, found)
    if renewed or found:
        advice = "The next `releaser update` rebuilds it."
        if not renewed:
            advice = "The release before was changed in the same way, so this seems to be the site's own doing."
        yield Problem(message=f"the live release {live.id} is not what was sealed: {renewed or found}", advice=advice)


def missing_or_dangling(link: Path) -> str:
    """Say which of the two a link is, and where a dangling one leads."""
    return f"dangling ({os.readlink(link)})" if link.is_symlink() else "missing"


def flaw(store: ReleaseStore, live: Release) -> str:
    """Say why a live release has to be rebuilt, even if no package is newer; empty when it has not."""
    return _flaw(store, live, live_damage(live))


def _flaw(store: ReleaseStore, live: Release, found: Damage | None) -> str:
    manifest = live.manifest
    if manifest.origin == "adopted" and manifest.previous == live.id:
        return "it had lost its manifest, and no tests have passed on it"
    before = store.get(manifest.previous) if found is not None else None
    if found is None or is_own_doing(found, damage(before) if before is not None else None):
        return ""
    return str(found)


def lost_python(release: Release, found: Damage | None) -> bool:
    """Whether all that is wrong is the interpreter: nobody has done anything to the release itself."""
    if found is None or found.kind not in ("gone", "interpreter"):
        return False
    return os.path.islink(release.venv / "bin" / "python")


def _release_problems(store: ReleaseStore) -> Iterator[Problem]:
    gone = lost(store)
    if gone:
        yield Problem(message=f"{named(gone)} gone from {store.directory}", advice=REPAIRS)
    half = store.half_removed() if mutex.running(store.state_dir) is None else ()
    for name in half:
        message = f"release {name} is only partly deleted"
        yield Problem(message=message, advice="The next run tries again; `releaser prune` says why it could not.")
    for name in sorted(store.ledger().named - set(gone) - {store.live_id() or ""}):
        if not _has_manifest(store.path(name)):
            yield Problem(message=f"the manifest of release {name} is gone, or cannot be read", advice=REPAIRS)
    for release in store.rollback_order():
        found = damage(release)
        if found is None:
            return  # a rollback goes there
        message = f"release {release.id} is not what was sealed: {found}"
        yield Problem(message=message, advice="No rollback goes there; the next good one is taken.")


def _has_manifest(directory: Path) -> bool:
    try:
        return read_manifest(directory) is not None
    except (UnreadableStateError, OSError):
        return False


def lost(store: ReleaseStore) -> list[str]:
    """Return the releases that are in the ledger, but on the disk no more."""
    there = set(os.listdir(store.directory)) if store.directory.is_dir() else set()
    return sorted(name for name in store.ledger().named if name not in there and DOOMED + name not in there)


def named(names: list[str]) -> str:
    """Name releases, with the verb that goes with their number."""
    return f"release {names[0]} is" if len(names) == 1 else f"releases {', '.join(names)} are"
