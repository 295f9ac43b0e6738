"""A restart by Passenger's own program, which needs no visitor; else by a file, as `touch` does."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from releaser.errors import ToolError
from releaser.live.restart import touch
from releaser.site.site import Site
from releaser.system import process

find_problems = touch.find_problems


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Ask Passenger, or touch the file. Raises ChangeError."""
    env, limit = site.service_environment(site.paths.link), site.settings.live.restart_timeout
    if program := shutil.which("passenger-config", path=env["PATH"]):
        paths = {str(site.paths.project), os.path.realpath(site.paths.project)}

        def ask(*arguments: str) -> str:
            return process.run([program, *arguments], cwd=site.paths.project, env=env, timeout=limit).stdout

        with contextlib.suppress(ToolError, ValueError, LookupError):
            pool = msgspec.json.decode(ask("api-call", "get", "/pool.json"))
            # Not by its path, which `restart-app` takes for the beginning of others, too.
            if names := [name for name, group in pool.items() if group["app_root"][0]["value"] in paths]:
                for name in names:
                    ask("restart-app", "--name", name)
                return "asked passenger-config"
    how = touch.restart(site, words, release)
    return f"{how}, as passenger-config knows no such application: nobody has visited it, or its server is another"
