"""The state that a person could change during a run, compared right before the change."""

from __future__ import annotations

import msgspec

from releaser.checkout.repository import Repository, hash_text
from releaser.errors import Problem, require
from releaser.releases.link import Link, read_link
from releaser.site.site import Site


class Snapshot(msgspec.Struct, frozen=True):
    """HEAD, its branch, changed tracked files, uv.lock, the settings of this host and the link."""

    head: str
    ref: str
    changed: tuple[str, ...]
    lock: str
    dotenv: str
    link: Link


def take_snapshot(site: Site, repository: Repository) -> Snapshot:
    """Return the state of the site that a person could change. Raises ToolError and OSError."""
    files = (site.paths.lockfile, site.paths.dotenv)
    lock, dotenv = (hash_text(path.read_text(errors="surrogateescape")) if path.is_file() else "" for path in files)
    changed = tuple(repository.changed_tracked_files())
    return Snapshot(repository.head(), repository.head_ref(), changed, lock, dotenv, read_link(site.paths))


def require_unchanged(site: Site, repository: Repository, before: Snapshot) -> None:
    """Raise PreflightError with everything that a person changed since the snapshot."""
    after = take_snapshot(site, repository)
    top = site.paths.top
    sentences = {
        "ref": f"The checkout was switched to `{after.ref.removeprefix('refs/heads/') or 'a detached HEAD'}`",
        "head": f"HEAD of the checkout moved to {after.head[:12]}",
        "changed": f"Tracked files were changed: {', '.join(sorted({*after.changed} ^ {*before.changed}))}",
        "lock": f"`{site.paths.lockfile}` was changed",
        "dotenv": f"`{site.paths.dotenv}` was changed",
        "link": f"`{site.paths.link}` was changed",
    }
    advice = f"Look at `git -C {top} status`; run releaser again when the work is done."
    changed = [sentence for name, sentence in sentences.items() if getattr(after, name) != getattr(before, name)]
    end = "during this run. Nothing went live."
    require([Problem("changed-meanwhile", f"{sentence} {end}", advice) for sentence in changed])
