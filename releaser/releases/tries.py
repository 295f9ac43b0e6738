"""Remarks about releases that try packages of `update --override` on a test host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.site.supply import SupplyFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from releaser.releases.release import Release


def list_tries(_: Path, releases: Iterable[Release]) -> Mapping[str, str]:
    """Return the remark about each release that came as a bundle for test hosts."""
    facts = {release.id: SupplyFacts.of(release.manifest) for release in releases}
    return {
        name: f"tries {', '.join(one.overrides)}, for tests only"
        for name, one in facts.items()
        if one.overrides and one.bundle is not None
    }
