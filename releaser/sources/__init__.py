"""The sources, one file each; the first that applies is taken. To add one, see capabilities.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.capabilities import make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.core.run import Workspace
    from releaser.core.source import Source

SOURCES: Sequence[Source] = make("sources")


def choose_source(work: Workspace, *, rebuilds: bool) -> Source:
    """Return the source of a run whose command asks for none; `rebuilds` if the live release has to be rebuilt."""
    return next(source for source in SOURCES if source.applies(work, rebuilds=rebuilds))
