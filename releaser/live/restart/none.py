"""No restart: a person or another program does it."""

from __future__ import annotations

from pathlib import Path

from releaser.errors import Problem
from releaser.site.site import Site


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return no problem."""
    return []


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Do nothing."""
    return ""
