"""The state that a person could change during a run: read at its start, compared right before the flip."""

from __future__ import annotations

from pathlib import Path

import msgspec

from releaser.checkout.repository import CheckoutState, Repository, hash_text
from releaser.errors import Problem, require
from releaser.releases.link import Link, read_link
from releaser.site.site import Site
from releaser.system.files import LARGEST_STATE
from releaser.system.text import word


class Snapshot(msgspec.Struct, frozen=True):
    """HEAD, its branch and changed tracked files; hashes of uv.lock and of what this host sets; the link."""

    checkout: CheckoutState
    lock: str
    dotenv: str
    environment_file: str
    link: Link


def take_snapshot(site: Site, checkout: CheckoutState, link: Link) -> Snapshot:
    """Return the state of the site, with what git and the link have said of it. Raises OSError."""
    files = (site.paths.lockfile, site.paths.dotenv, site.environment_file)
    lock, dotenv, environment_file = (
        hash_text(path.read_text(errors="surrogateescape")) if _is_readable(path) else "" for path in files
    )
    return Snapshot(checkout, lock, dotenv, environment_file, link)


def _is_readable(path: Path) -> bool:
    """Return True for a file of a size that a file of settings has; another one is refused elsewhere."""
    return path.is_file() and path.stat().st_size <= LARGEST_STATE


def require_unchanged(site: Site, repository: Repository, before: Snapshot) -> None:
    """Raise PreflightError with everything that a person changed since the snapshot."""
    after = take_snapshot(site, repository.state(), read_link(site.paths))
    new, old, top = after.checkout, before.checkout, site.paths.top
    changes = {
        f"The checkout was switched to `{new.branch or 'a detached HEAD'}`": new.branch != old.branch,
        f"HEAD of the checkout moved to {new.head[:12]}": new.head != old.head,
        f"Tracked files were changed: {', '.join(sorted({*new.changed} ^ {*old.changed}))}": new.changed != old.changed,
        f"`{site.paths.lockfile}` was changed": after.lock != before.lock,
        f"`{site.environment_file}` was changed": after.environment_file != before.environment_file,
        f"`{site.paths.dotenv}` was changed": after.dotenv != before.dotenv,
        f"`{site.paths.link}` was changed": after.link != before.link,
    }
    advice = f"Look at `git -C {word(top)} status`; run releaser again when the work is done."
    end = "during this run. Nothing went live."
    changed = [sentence for sentence, is_changed in changes.items() if is_changed]
    require([Problem("changed-meanwhile", f"{sentence} {end}", advice) for sentence in changed])
