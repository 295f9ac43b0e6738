"""The restart methods, one file each. To add one, see capabilities.py."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.capabilities import make
from releaser.core.restart import Restart
from releaser.errors import Finding, how_to_set
from releaser.serving.health_settings import HealthSettings, guess_url
from releaser.site.restart_settings import RestartSettings
from releaser.site.settings import HOOKS
from releaser.system.venv_environment import inside
from releaser.system.words import did_you_mean, is_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from releaser.site.site import Site

#: The methods that a word selects. Any other value of `restart` is a command.
RESTARTS: Sequence[Restart] = make("restarts")
_OF_PAIR = {"stop": "stopped before the flip", "start": "started after the flip"}


def restart_of(site: Site) -> Restart:
    """Return the restart method that the settings select."""
    for method in RESTARTS:
        if found := method.selected_by(RestartSettings.of(site).restart):
            return found
    from releaser.serving.restarts.command import Command

    return Command()


def restart_words() -> tuple[str, ...]:
    """Return the values of `restart` that select a method other than a command."""
    return tuple(restart.word for restart in RESTARTS)


def restart_findings(site: Site) -> Iterator[Finding]:
    """Yield the problems that would make the restart fail."""
    settings = RestartSettings.of(site)
    if (settings.stop is None) != (settings.start is None):
        given, missing = ("stop", "start") if settings.stop else ("start", "stop")
        message = f"`{given}` is set without `{missing}`, so the service would not be {_OF_PAIR[missing]}"
        yield Finding("restart-half", message, f"Set `{missing}` too, or remove `{given}`.")
    yield from restart_of(site).findings(site)


def live_program_findings(site: Site) -> Iterator[Finding]:
    """Yield the programs of configured commands that the live release lacks; a candidate may bring them."""
    if site.project.venv.exists():
        yield from program_findings(site, site.project.venv)


def program_findings(site: Site, venv: Path) -> Iterator[Finding]:
    """Yield the programs of configured commands that are neither on PATH nor in the venv."""
    commands = {"restart": program} if (program := restart_of(site).program(site)) else {}
    health_check = HealthSettings.of(site).health_check
    if health_check and not is_url(health_check):
        commands["health_check"] = shlex.split(health_check)[0]
    commands |= {name: words[0] for name in HOOKS if (words := getattr(site.settings, name, None))}
    yield from missing_programs(site, venv, commands)


def missing_programs(site: Site, venv: Path, commands: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the programs that are neither on PATH nor in the venv; `commands` has them by their settings."""
    root = site.project.root
    path = inside(venv, site.runner.site_environ)["PATH"]
    link = root / os.path.relpath(site.project.venv, site.project.checkout)  # a staging tree may have no link
    for key, word in commands.items():
        place = Path(os.path.normpath(root / word))
        place = venv / place.relative_to(link) if place.is_relative_to(link) else place
        if shutil.which(place if "/" in word else word, path=path) is None:
            meant = did_you_mean(word, restart_words()) if key == "restart" else ""
            meant = guess_url(word) if key == "health_check" else meant
            advice = f"{meant} Install the program, or {how_to_set(key)}.".lstrip()
            yield Finding("program-missing", f"{key}: the program {word!r} does not exist", advice)
