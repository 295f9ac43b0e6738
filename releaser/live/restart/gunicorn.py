"""A restart of gunicorn (20.1 or newer) without a gap: a second master starts, and the first ends when that is well.

The pid files are `P` and `P.2`, renamed when the first has ended. If a kill has left both masters, the next restart
goes on with the second if that is on the release, or else ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from releaser.errors import ChangeError, HostError, Problem
from releaser.live.health import check_health
from releaser.live.programs import run_restart
from releaser.live.restart.advice import find_pin, find_supervisor
from releaser.releases.lease import LEASE, list_users
from releaser.site.site import Site
from releaser.system import proc, signals

_MONOTONIC = 1e9  # seconds: more than a time since boot, less than one since 1970
_ANSWERS = 4  # by chance, the first master gives half of them


def _find_file(site: Site, words: tuple[str, ...]) -> str:
    return str(site.paths.project / os.path.expanduser(words[0].partition(":")[2]))


def _read(file: str) -> int:
    """Return the process that a pid file names; 0 if it has ended, or this user may not signal it."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(pid := int(Path(file).read_text(encoding="utf-8")), 0)
        return pid if proc.is_running(pid) else 0
    return 0


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return why the master that runs cannot be replaced by a second one, on the release that is live then."""
    file = _find_file(site, words)
    if not (master := _read(file) or _read(f"{file}.2")):
        message = f"`{setting}` names `{file}`, but no gunicorn of this user runs with that pid file."
        return [Problem("no-gunicorn", message, f"Start it with `--pid {file}`, or correct `{setting}`.")]
    if instead := find_supervisor(site, master):
        message = f"gunicorn, process {master}, has a supervisor, which would lose a second master."
        return [Problem("supervised", message, f"Set `{setting}` to {instead}.")]
    return find_pin(site, master)


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Start a second master, wait until it works and the site is well, and end the first one. Raises ChangeError."""
    file = _find_file(site, words)
    first, second = _read(file), _read(f"{file}.2")
    if second and not first:  # it is about to rename its file, and ignores signals until then
        first, second = _wait(site, lambda: _read(file)), 0
    if not first:
        raise HostError(f"The restart failed: no gunicorn runs with the pid file `{file}`.", "Start it with that.")
    try:
        if not second or second not in list_users(release):
            _end(site, second)
            # What does not start must be known before the signal: the first master could be lost.
            python = [str(site.paths.link / "bin/python"), "-c", "import gunicorn.app.wsgiapp"]
            run_restart(site, python, site.service_environment(site.paths.link))
            os.kill(first, signal.SIGUSR2)
        second = _wait(site, lambda: _read(f"{file}.2"))
        if second and (release / LEASE).exists() and second not in list_users(release):
            (pin,) = find_pin(site, 0)
            raise HostError(f"The restart failed: {pin.message}", pin.advice)
        _wait(site, lambda: _does_work(second) or not proc.is_running(second))
        if not _does_work(second):
            raise ChangeError("The restart failed: the new gunicorn did not come to work.", "See the log of gunicorn.")
        for _ in range(_ANSWERS):
            check_health(site)
    except ChangeError:
        _end(site, _read(f"{file}.2"))
        raise
    _end(site, first)
    _wait(site, lambda: _read(file))
    return f"gunicorn {second} took over from {first}"


def _does_work(master: int) -> bool:
    """Return True if the workers of a master work: then gunicorn sets their files to the time since boot."""
    with contextlib.suppress(OSError):
        files = [entry.path for entry in os.scandir(f"/proc/{master}/fd") if "wgunicorn-" in os.readlink(entry)]
        return max((os.stat(file).st_mtime for file in files), default=_MONOTONIC) < _MONOTONIC
    return False


def _wait(site: Site, look: Callable[[], int]) -> int:
    """Return what a look finds, or 0 after the time limit of a restart."""
    deadline = time.monotonic() + site.settings.live.restart_timeout
    while not (found := look()) and time.monotonic() < signals.limit(deadline):
        signals.wait(0.1)
    return found


def _end(site: Site, master: int) -> None:
    """End a master once its requests are answered, which is by SIGTERM; at last by SIGQUIT."""
    for number in (signal.SIGTERM, signal.SIGQUIT) if master else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(master, number)
        if _wait(site, lambda: not proc.is_running(master)):
            return
