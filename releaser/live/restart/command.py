"""A restart by any command: that of the setting."""

from __future__ import annotations

from pathlib import Path

from releaser.errors import Problem
from releaser.live.programs import find_missing_program, run_restart
from releaser.site.site import Site


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return a problem if the program does not exist."""
    return find_missing_program(site, setting, words[0])


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Run the command. Raises ChangeError."""
    run_restart(site, words, site.service_environment(site.paths.link))
    return f"ran {words[0]}"
