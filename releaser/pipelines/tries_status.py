"""Releases that try packages of `update --override` on a test host: in the status, and as remarks."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from releaser.core.status import Look, Remark, Shows, StatusSection
from releaser.site.supply import SupplyFacts
from releaser.system.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TriesStatus(StatusSection):
    """The packages that the live release tries."""

    #: The packages of `update --override` in the live release, which came as a bundle for test hosts.
    tries: tuple[str, ...] = ()

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        return cls(tries=SupplyFacts.of(at.live.manifest).overrides if at.live is not None else ())

    def show(self) -> Shows:
        if self.tries:
            yield Remark(f"tries: {', '.join(self.tries)}, for tests only; `releaser rollback` goes back", 30)


def list_tries(state_dir: Path) -> Mapping[str, str]:
    """Return the remark about each release that came as a bundle for test hosts."""
    found = {}
    for place in (state_dir / "releases").glob("*/manifest.json"):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # damaged ones are reported elsewhere
            manifest = json.loads(read_file(place))
            if manifest.get("overrides") and manifest.get("bundle"):
                found[place.parent.name] = f"tries {', '.join(manifest['overrides'])}, for tests only"
    return found
