"""A restart by Passenger's own program, which needs no visitor; else by a file, as `touch` does."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from releaser.errors import ToolError
from releaser.live.restart import touch
from releaser.site.site import Site
from releaser.system import process

find_problems = touch.find_problems


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Ask Passenger, or touch the file. Raises ChangeError."""
    env, limit = site.service_environment(site.paths.link), site.settings.live.restart_timeout
    if program := shutil.which("passenger-config", path=env["PATH"]):
        path = os.path.realpath(site.paths.project)
        for name in (f"{path} (production)", path):  # its own name for an application; or a path that a person gave it
            with contextlib.suppress(ToolError):  # nobody has visited it
                arguments = [program, "restart-app", "--name", name]
                process.run(arguments, cwd=site.paths.project, env=env, timeout=limit)
                return "asked passenger-config"
    return touch.restart(site, words, release)
