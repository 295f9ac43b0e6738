"""A restart by Passenger's own program: at once, not at the next visitor. Without that program, by its file.

Passenger looks at the file when a request comes, and at most once in ten seconds.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from releaser.errors import Problem, ToolError
from releaser.live.restart import touch
from releaser.site.site import Site
from releaser.system import process

_PROGRAM = "passenger-config"


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return why the file could not be touched."""
    return touch.find_problems(site, setting, words)


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Ask Passenger; touch the file if it does not know the site: one that nobody has visited is not running.

    Raises ChangeError.
    """
    env, name = site.service_environment(site.paths.link), os.path.realpath(site.paths.project)
    if program := shutil.which(_PROGRAM, path=env["PATH"]):
        arguments = [program, "restart-app", "--name", name]
        try:
            process.run(arguments, cwd=site.paths.project, env=env, timeout=site.settings.live.restart_timeout)
        except ToolError:  # the file does it, later
            pass
        else:
            return f"asked {_PROGRAM}"
    return touch.restart(site, words, release)
