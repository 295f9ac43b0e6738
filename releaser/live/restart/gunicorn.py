"""A restart of gunicorn (20.1 or newer) without a gap: a second master starts, and the first ends when that is well.

The pid files are `P` and `P.2`, renamed when the first has ended. If a kill has left both masters, the next restart
goes on with the second if that is on the release, or else ends it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from releaser.errors import ChangeError, HostError, Problem
from releaser.live.health import is_healthy_now
from releaser.live.programs import advise_on_limit, run_restart
from releaser.live.restart import systemd
from releaser.releases.lease import LEASE, list_users
from releaser.site.site import Site
from releaser.system import proc, signals
from releaser.system.text import word

_MONOTONIC = 1e9  # seconds: more than a time since boot, less than one since 1970
_ANSWERS, _WARM_UP = 8, 5.0  # by chance, the first master gives half of them; seconds in which some may be bad
_INIT = r"(\S*/)?(init|systemd)( (?!-- ).*)?"  # not the init of a container, `init -- COMMAND`
_SHELL = r"-?(\S*/)?(sh|bash|dash|zsh)( -.*)?"  # of a terminal or ssh
_CRON = r"(\S*/)?(cron|CRON|crond)( .*)?"
_LINE = """Write into gunicorn.conf.py, then stop and start gunicorn, once: `def on_starting(server): \
server.START_CTX[0], server.START_CTX["args"][:2] = "{0}/python", ["{0}/python", "{0}/gunicorn"]`"""


def _find_file(site: Site, words: tuple[str, ...]) -> str:
    return str(site.paths.project / os.path.expanduser(" ".join(words).partition(":")[2]))


def _read(site: Site, file: str, parent: int = 0) -> int:
    """Return the gunicorn that a pid file names; 0 if that is not of this user and site, or no child of a `parent`.

    A pid file may outlive its process, and others may write to its directory.
    """
    with contextlib.suppress(OSError, ValueError), open(os.open(file, os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
        os.kill(pid := int(opened.read(20)), 0)
        is_gunicorn = "gunicorn" in " ".join(proc.read_words(pid)) and parent in (0, proc.find_parent(pid))
        is_trusted = os.fstat(opened.fileno()).st_uid in (os.geteuid(), 0)
        is_of_site = Path(os.path.realpath(f"/proc/{pid}/cwd")).is_relative_to(os.path.realpath(site.paths.top))
        is_of_site = is_of_site or any(pid in list_users(release) for release in site.paths.releases.glob("*"))
        return pid if is_gunicorn and is_trusted and is_of_site else 0
    return 0


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return a problem if the master that runs cannot be replaced by a second one."""
    file = _find_file(site, words)
    master = _read(site, file) or _read(site, f"{file}.2")
    if not (instead := find_supervisor(site, master) if master else ""):
        return []
    message = f"gunicorn, process {master}, has a supervisor, or a container, which would lose a second master."
    return [Problem("supervised", message, f"Set `{setting}` to {instead}.")]


def find_hint(site: Site, words: tuple[str, ...]) -> str:
    """Return a hint if no master runs, or if the line by which it starts the next one cannot be seen."""
    file = _find_file(site, words)
    if not (master := _read(site, file) or _read(site, f"{file}.2")):
        return f"No gunicorn of this site runs with the pid file `{file}`. Start it with `--pid {word(file)}`."
    for name in (*proc.read_words(master), "gunicorn.conf.py"):
        path = Path(f"/proc/{master}/cwd", re.sub("^(-c|--config=)?(file:)?", "", name))
        with contextlib.suppress(OSError):
            if path.suffix == ".py" and path.is_file() and "START_CTX" in path.read_text(errors="replace"):
                return ""
    return f"A new gunicorn may have the Python of the old one. {_LINE.format(site.paths.link / 'bin')}"


def find_supervisor(site: Site, master: int) -> str:
    """Return the way of what would miss a process that ends; empty if nothing does: it is a daemon, or a person's."""
    unit, parent = proc.find_unit(master), proc.find_parent(master)
    if unit and systemd.ask(site, systemd.make_command(site, unit), unit, "MainPID") == str(master):
        return f"`systemd:{unit}`"
    words, session = proc.read_words(parent), proc.find_session(master)
    known = _INIT if parent == 1 else f"{_CRON}|{_SHELL}" if parent == session else _CRON
    is_known = re.fullmatch(known, " ".join(words), re.DOTALL)
    is_daemon = session not in (master, proc.find_session(parent))  # the parent that started it has ended
    return "the command of that supervisor" if master == 1 or (parent and not is_known and not is_daemon) else ""


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Start a second master, wait until it works and the site is well, and end the first one. Raises ChangeError."""
    file = _find_file(site, words)
    is_well, first = False, _read(site, file)
    if not first and _read(site, f"{file}.2"):  # it is about to rename its file, and ignores signals until then
        first = _wait(site, lambda: _read(site, file))
    if not first:
        cure = "If it needs this release to start, run `RELEASER_RESTART=none RELEASER_HEALTH_CHECK= releaser update`."
        message = f"No gunicorn of this site runs with the pid file `{file}`."
        raise HostError(message, f"Start it with that file. {cure}")
    second = _find_second(first)
    try:
        if not second or second not in list_users(release):
            _end(site, second)
            with contextlib.suppress(OSError):
                os.unlink(f"{file}.2")  # gunicorn does not start if it names a process of others
            is_well = is_healthy_now(site) is True
            # A Python that does not start must be found before the signal: the first master could be lost.
            trial = [*(str(site.paths.link / "bin" / name) for name in ("python", "gunicorn")), "--version"]
            run_restart(site, trial, site.service_environment(site.paths.link))
            os.kill(first, signal.SIGUSR2)
            second = _wait_for_second(site, f"{file}.2", first)
        if second and (release / LEASE).exists() and second not in list_users(release):
            raise HostError("The new gunicorn has the Python of the old one.", _LINE.format(site.paths.link / "bin"))
        _wait(site, lambda: _does_work(second) or not proc.is_running(second))
        if not _does_work(second):
            advice = advise_on_limit(site) if proc.is_running(second) else "See the log of gunicorn."
            raise ChangeError("The new gunicorn did not come to work.", advice)
        if is_well:
            _require_health(site)
    except ChangeError:
        _end(site, _find_second(first))
        raise
    _end(site, first)
    _wait(site, lambda: _read(site, file))
    return f"gunicorn {second} took over from {first}"


def _find_second(first: int) -> int:
    """Return the master that another one has started, by its environment: by `preload_app` its file comes late."""
    mark = f"GUNICORN_PID={first}"
    children = [pid for pid in proc.list_processes() if proc.find_parent(pid) == first]
    return next((pid for pid in children if mark in proc.read_environment(pid) and proc.is_running(pid)), 0)


def _wait_for_second(site: Site, file: str, first: int) -> int:
    """Return the second master once it writes its file; 0 if it has ended before, as by its settings or a preload."""
    second = 0

    def look() -> int:
        nonlocal second
        second = second or _find_second(first)
        return _read(site, file, first) or (-1 if second and not proc.is_running(second) else 0)

    return max(_wait(site, look), 0)


def _require_health(site: Site) -> None:
    """Ask while both masters run: bad answers come from the second. Raises ChangeError if they do not end soon."""
    left, deadline = _ANSWERS, time.monotonic() + min(_WARM_UP, site.settings.live.health_timeout)
    while left:
        if is_healthy_now(site):
            left -= 1
        elif time.monotonic() >= signals.limit(deadline):
            raise ChangeError("The site failed its health check under the new gunicorn.", "See its log.")
        else:
            left = 2 * _ANSWERS
            signals.wait(0.2)


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
    """End a master once its requests are answered, which is by SIGTERM; at last by SIGQUIT, or SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL) if master else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(master, number)
        if _wait(site, lambda: not proc.is_running(master)):
            return
