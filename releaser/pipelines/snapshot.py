"""What a person could change during a run, compared right before the change."""

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
    paths = site.paths
    return Snapshot(
        head=repository.head(),
        ref=repository.head_ref(),
        changed=tuple(repository.changed_tracked_files()),
        lock=hash_text(paths.lockfile.read_text(errors="surrogateescape")) if paths.lockfile.exists() else "",
        dotenv=hash_text(paths.dotenv.read_text(errors="surrogateescape")) if paths.dotenv.exists() else "",
        link=read_link(paths),
    )


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
    require(
        [
            Problem("changed-meanwhile", f"{sentence} during this run. Nothing went live.", advice)
            for field, sentence in sentences.items()
            if getattr(after, field) != getattr(before, field)
        ]
    )
