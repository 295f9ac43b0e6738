"""Commits that could not be pushed, and the remote head that was followed last."""

from __future__ import annotations

import msgspec

from releaser.site.paths import Paths
from releaser.system.files import write_json
from releaser.system.run import Run
from releaser.system.state import read_state


class Pending(msgspec.Struct, frozen=True):
    """`commits` are those of releaser that no push has accepted, oldest first; `reason` is why."""

    commits: tuple[str, ...] = ()
    reason: str = ""
    #: The head of the upstream when the checkout was last on it.
    remote_head: str = ""
    #: Earlier heads of the upstream that it lost by a rewrite which a person followed: commits that nobody misses.
    left_heads: tuple[str, ...] = ()


def read_pending(paths: Paths, run: Run | None = None) -> Pending:
    """Return what is pending; a file that cannot be read is set aside if `run` may report it."""
    consequence = "see `git status` for commits of releaser that are not pushed"
    return read_state(paths.pending, Pending, run, consequence) or Pending()


def write_pending(paths: Paths, before: Pending, **changes: object) -> Pending:
    """Change what is pending, durably. Raises OSError."""
    after = msgspec.structs.replace(before, **changes)
    if after != before:
        write_json(paths.pending, after)
    return after
