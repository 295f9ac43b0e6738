"""The reporters, one file each. To add one, see capabilities.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.capabilities import make

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from releaser.core.reporter import Receiver, Reporter
    from releaser.errors import Finding
    from releaser.site.site import Site

REPORTERS: Sequence[Reporter] = make("reporters")


def receivers(site: Site) -> tuple[Receiver, ...]:
    """Return all receivers of notices."""
    return tuple(receiver for reporter in REPORTERS for receiver in reporter.receivers(site))


def findings(site: Site) -> Iterator[Finding]:
    """Yield the problems that would keep notices from being sent."""
    for reporter in REPORTERS:
        yield from reporter.findings(site)
