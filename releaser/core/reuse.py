"""The interface of reuse: a candidate takes packages from the live release, and shares equal files with it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from releaser.capabilities import make
from releaser.system.frozen import Frozen, field

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.site.site import Site, SiteFacts


class Taken(Frozen):
    """The files that a venv took from the live release, by their paths in it."""

    #: Size, inode, mtime and ctime of each file of the live release when it was read: its contents were those of the
    #: seal.
    looks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: The hashes of byte code.
    byte_code: Mapping[str, str] = field(default_factory=dict)
    #: The modules whose byte code was taken, too.
    compiled: frozenset[str] = frozenset()


NOTHING = Taken()


class Reuse:
    """This one takes nothing: uv installs all packages of a candidate. Subclasses override its methods."""

    def take(self, site: Site, facts: SiteFacts, live: Release, venv: Path) -> Taken:
        """Make `venv`, with the unchanged packages of the live release, before uv installs the others.

        Return `NOTHING` if no venv was made. The site is in its staging tree. Raises ToolError and OSError.
        """
        return NOTHING

    def protect(self, site: Site, venv: Path) -> None:
        """Make the files that releases will share read-only, so that tests find them as in the live release.

        Raises OSError.
        """

    def share(self, site: Site, live: Release | None, directory: Path, taken: Taken) -> None:
        """Let the candidate in `directory` share files with the live release; its code no longer runs.

        Raises OSError.
        """


@functools.cache
def reuse() -> Reuse:
    """Return the reuse of all sites."""
    return next(iter(make("reuses")), Reuse())
