"""A restart by a file that is touched, as Passenger and uWSGI (`touch-reload`) look for one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from releaser.errors import ChangeError, Problem, explain_error
from releaser.site.settings import PREFIX
from releaser.site.site import Site
from releaser.system.text import word

_FILES = ("config/tmp/restart.txt", "tmp/restart.txt")


def find_restart_file(site: Site) -> Path | None:
    """Return the file that a restart touches: that of the setting, else the first whose directory exists."""
    if site.settings.live.restart_file:
        return site.paths.project / os.path.expanduser(site.settings.live.restart_file)
    return next((path for name in _FILES if os.path.isdir((path := site.paths.project / name).parent)), None)


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return a problem if the file cannot be found, or not be touched."""
    path = find_restart_file(site)
    if path is not None and os.path.isdir(path.parent) and not os.access(path.parent, os.X_OK):
        message = f"This user may not enter `{path.parent}`, where the file is that a restart touches."
        return [Problem("no-restart", message, f"Look at `ls -ld {word(path.parent)}`.")]
    is_file = path is not None and os.path.isfile(path) and not path.is_symlink() and os.access(path, os.W_OK)
    if path is not None and os.path.lexists(path) and not is_file:
        message = f"`{path}`, which a restart touches, is no file that this user may write."
        return [Problem("no-restart", message, f"Run `mv {word(path)} {word(path)}.old`.")]
    if path is not None and os.path.isdir(path.parent):
        return [_explain_way_out(site, path)] if _leads_out(site, path) else []
    if path is not None:
        message = f"The setting `restart_file` is `{path}`, but that directory does not exist."
        return [Problem("no-restart", message, f"Run `mkdir {word(path.parent)}`, or correct the setting.")]
    message = f"No way to restart the site: `{setting}` is `{words[0]}`, and neither config/tmp nor tmp exists."
    ways = "`systemd:UNIT`, `gunicorn:PIDFILE`, a command, or `none`"
    advice = f"Run `releaser setup --set {setting}=WAY` with {ways}. For Passenger: `mkdir tmp`, or set `restart_file`."
    return [Problem("no-restart", message, advice)]


def _leads_out(site: Site, path: Path) -> bool:
    """Return True if a file of the checkout is outside of it, or in `.git`, by a link, which a commit may bring."""
    top, place = Path(os.path.realpath(site.paths.top)), Path(os.path.realpath(path))
    is_inside = place.is_relative_to(top) and ".git" not in place.relative_to(top).parts
    return path.is_relative_to(site.paths.top) and not is_inside


def _explain_way_out(site: Site, path: Path) -> Problem:
    message = f"`{path}` leads out of the checkout, or into `.git`, by a link, so no restart touches it."
    line = f"{PREFIX}RESTART_FILE={word(os.path.realpath(path))}"
    return Problem("no-restart", message, f"If that is right, write `{line}` into {site.paths.dotenv}.")


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Touch the file, which may not exist yet. May be repeated. Raises ChangeError."""
    path = find_restart_file(site)
    if path is None:
        raise ChangeError("The restart file has no directory any more.", "Set `restart` or `restart_file`.")
    if _leads_out(site, path):
        problem = _explain_way_out(site, path)
        raise ChangeError(problem.message, problem.advice)
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
