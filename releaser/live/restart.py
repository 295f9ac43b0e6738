"""Restarts the site: one function for each way."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

from releaser.errors import ChangeError, Problem, ToolError, explain_error
from releaser.site.site import Site
from releaser.system import process
from releaser.system.text import word

_FILES = ("config/tmp/restart.txt", "tmp/restart.txt")


def find_restart_file(site: Site) -> Path | None:
    """Return the file that a restart touches: that of the setting, else the first whose directory exists."""
    if site.settings.live.restart_file:
        return site.paths.project / os.path.expanduser(site.settings.live.restart_file)
    return next((path for name in _FILES if os.path.isdir((path := site.paths.project / name).parent)), None)


def find_problems(site: Site) -> list[Problem]:
    """Return a problem if no way to restart the site is set or found."""
    command = site.settings.live.restart
    if not may_restart(site):
        return []
    if command != ("auto",):
        return find_missing_program(site, "restart", command[0])
    path = find_restart_file(site)
    if path is not None and os.path.isdir(path.parent) and not os.access(path.parent, os.X_OK):
        message = f"This user may not enter `{path.parent}`, where the file is that a restart touches."
        return [Problem("no-restart", message, f"Look at `ls -ld {word(path.parent)}`.")]
    is_file = path is not None and os.path.isfile(path) and not path.is_symlink() and os.access(path, os.W_OK)
    if path is not None and os.path.lexists(path) and not is_file:
        message = f"`{path}`, which a restart touches, is no file that this user may write."
        return [Problem("no-restart", message, f"Run `mv {word(path)} {word(path)}.old`.")]
    if path is not None and os.path.isdir(path.parent):
        return []
    if path is not None:
        message = f"The setting `restart_file` is `{path}`, but that directory does not exist."
        return [Problem("no-restart", message, f"Run `mkdir {word(path.parent)}`, or correct the setting.")]
    message = "No way to restart the site: `restart` is `auto`, and neither config/tmp nor tmp exists."
    advice = "Set `restart` to a command or `none`, `restart_file` to a file to touch, or run `mkdir tmp`."
    return [Problem("no-restart", message, advice)]


def find_missing_program(site: Site, name: str, program: str) -> list[Problem]:
    """Return a problem if the program that the setting `name` calls does not exist."""
    path = site.tool_environment(site.paths.link)["PATH"]
    if shutil.which(site.paths.project / program if "/" in program else program, path=path):
        return []
    message = f"The setting `{name}` calls the program `{program}`, which does not exist."
    return [Problem("no-program", message, f"Install it, or correct `{name}`.")]


def may_restart(site: Site) -> bool:
    """Return True unless a person has set that nothing is restarted."""
    return site.settings.live.restart not in ((), ("none",))


def restart(site: Site) -> str:
    """Restart the site and return how, in words. May be repeated. Raises ChangeError."""
    command = site.settings.live.restart
    return _touch(site) if command == ("auto",) else _run_command(site, command)


def _touch(site: Site) -> str:
    path = find_restart_file(site)
    if path is None:
        raise ChangeError("The restart file has no directory any more.", "Set `restart` or `restart_file`.")
    top, place = Path(os.path.realpath(site.paths.top)), Path(os.path.realpath(path))
    is_inside = place.is_relative_to(top) and ".git" not in place.relative_to(top).parts
    if path.is_relative_to(site.paths.top) and not is_inside:
        message = f"`{path}` leads out of the checkout, or into `.git`, by a link, and was not touched."
        raise ChangeError(message, f"Look at `ls -l {word(path)}`.")
    try:  # other users may write that directory, and could put a pipe or a link there
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o664)
        with open(descriptor, "wb"):
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Not a regular file", str(path))
            os.utime(descriptor)
    except OSError as error:
        message = f"The restart file could not be touched: {explain_error(error)}"
        raise ChangeError(
            message, f"Look at `ls -l {word(path)}`; if it is no file, run `mv {word(path)} {word(path)}.old`."
        ) from error
    return f"touched {path.name}"


def _run_command(site: Site, command: tuple[str, ...]) -> str:
    env, timeout = site.service_environment(site.paths.link), site.settings.live.restart_timeout
    try:
        process.run(command, cwd=site.paths.project, env=env, timeout=timeout, may_leave_service=True)
    except ToolError as error:
        raise ChangeError(f"The restart failed: {error.message}", error.advice, output=error.output) from error
    return f"ran {command[0]}"
