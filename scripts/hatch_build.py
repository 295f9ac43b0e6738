"""Puts into the wheel what scripts/share.py has written to `share/`: without that, as in a checkout, nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Share(BuildHookInterface):  # type: ignore[type-arg]
    """The hook that hatchling calls before it makes a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling names them
        """Add the files, which pip installs below `share` of the prefix."""
        if Path(self.root, "share").is_dir():
            build_data["shared_data"]["share"] = "share"
