"""A restart of gunicorn without a gap: a second master starts on the release, and the first ends when that is well.

Their pid files are `P` and `P.2`; when the first master has ended, the second one renames its file. A run that was
killed may leave both: the next restart goes on with the second if that is on the release, or else ends it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from releaser.errors import ChangeError, Problem, ToolError
from releaser.live.health import check_health
from releaser.live.restart import systemd
from releaser.releases.lease import LEASE, list_users
from releaser.site.site import Site
from releaser.system import proc, process, signals

_TICK, _SLOW = 0.1, 10.0  # seconds between two looks; for workers that do not show that they work
_MONOTONIC = 1e9  # seconds: a time since boot is less, one since 1970 is more
_ANSWERS = 4  # by chance, the first master gives half of them
_SUPERVISORS = ("supervisord", "runsv", "s6-supervise", "circusd", "honcho")
LINES = """def on_starting(server):
    server.START_CTX[0], server.START_CTX["args"][:2] = "{0}/python", ["{0}/python", "{0}/gunicorn"]"""


def _find_file(site: Site, words: tuple[str, ...]) -> Path:
    return site.paths.project / os.path.expanduser(words[0].partition(":")[2])


def _read_master(path: Path | str) -> int:
    """Return the process that a pid file names; 0 if that has ended."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(Path(path).read_text(encoding="utf-8"))
        return pid if proc.is_running(pid) else 0
    return 0


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return why the master that runs cannot be replaced by a second one, on the release that is live then."""
    path = _find_file(site, words)
    if not (master := _read_master(path) or _read_master(f"{path}.2")):
        message = f"The setting `{setting}` names `{path}`, but no gunicorn runs with that pid file."
        return [Problem("no-gunicorn", message, f"Start it with `--pid {path}`, or correct `{setting}`.")]
    try:
        os.kill(master, 0)
    except PermissionError:
        return [Problem("no-gunicorn", f"This user may not signal gunicorn, process {master}.", "Set a command.")]
    if instead := _find_supervisor(site, master):
        message = f"gunicorn, process {master}, is watched by a supervisor, which a second master would escape."
        return [Problem("supervised", message, f"Set `{setting}` to {instead}.")]
    return [] if _has_lines(master) else [Problem("pinned", *_explain_pin(site, "A new gunicorn would run"))]


def _find_supervisor(site: Site, master: int) -> str:
    """Return what to set instead if something watches the process id of a master; empty if nothing does."""
    with contextlib.suppress(ToolError):
        unit = proc.find_unit(master)
        if unit and systemd.ask(site, systemd.make_command(site, unit), unit, "MainPID") == str(master):
            return f"`systemd:{unit}`"
    words = " ".join(proc.read_words(proc.find_parent(master)))
    return "the supervisor's own command to restart it" if any(name in words for name in _SUPERVISORS) else ""


def _explain_pin(site: Site, words: str) -> tuple[str, str]:
    lines = LINES.format(site.paths.link / "bin")
    advice = f"Write this into gunicorn.conf.py, then stop gunicorn and start it again, once:\n{lines}"
    return f"{words} the Python of the old one, not that of the live release: it is pinned to its release.", advice


def _has_lines(master: int) -> bool:
    """Return False if a master's configuration says nothing about START_CTX, as far as its command line names it."""
    words = proc.read_words(master)
    named = [word for before, word in itertools.pairwise(words) if before in ("-c", "--config")]
    named += [word.partition("=")[2] for word in words if word.startswith("--config=")] or ["gunicorn.conf.py"]
    path = os.path.join(f"/proc/{master}/cwd", named[0].removeprefix("file:"))
    if len(words) < 2 or named[0].startswith("python:"):  # its title was changed
        return True
    with contextlib.suppress(OSError):
        return "START_CTX" in Path(path).read_text(encoding="utf-8", errors="replace")
    return False


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Start a second master, wait until it works and the site is well, and end the first one. Raises ChangeError."""
    path = _find_file(site, words)
    first, second = _read_master(path), _read_master(f"{path}.2")
    if second and not first:  # it is about to rename its file, and ignores a signal until then
        first, second = _wait(site, lambda: _read_master(path)), 0
    if not first:
        raise _of_host(f"The restart failed: no gunicorn runs with the pid file `{path}`.", "Start it with that.")
    if second and second not in list_users(release):
        _end(site, second)
        second = 0
    try:
        if not second:
            _require_start(site)
            os.kill(first, signal.SIGUSR2)
        second = _wait(site, lambda: _read_master(f"{path}.2"))
        _require_work(site, second, release)
    except ChangeError:
        _end(site, _read_master(f"{path}.2"))
        raise
    _end(site, first)
    _wait(site, lambda: _read_master(path))
    return f"gunicorn {second} took over from {first}"


def _of_host(message: str, advice: str) -> ChangeError:
    error = ChangeError(message, advice)
    error.is_of_host = True
    return error


def _wait(site: Site, look: Callable[[], int]) -> int:
    """Return what a look finds, or 0 after the time limit of a restart."""
    deadline = time.monotonic() + site.settings.live.restart_timeout
    while not (found := look()) and time.monotonic() < signals.limit(deadline):
        signals.wait(_TICK)
    return found


def _require_start(site: Site) -> None:
    """Raise ChangeError, before any signal, if gunicorn does not start: a master that cannot would be lost."""
    env, words = site.service_environment(site.paths.link), ["-c", "import gunicorn.app.wsgiapp"]
    try:
        process.run([site.paths.link / "bin" / "python", *words], cwd=site.paths.project, env=env, timeout=60)
    except ToolError as error:
        raise ChangeError(f"The restart failed: no signal was sent. {error.message}", output=error.output) from error


def _require_work(site: Site, master: int, release: Path) -> None:
    """Wait until each worker of a new master works and the site is well. Raises ChangeError if that does not come."""
    if master and (release / LEASE).exists() and master not in list_users(release):
        raise _of_host(*_explain_pin(site, "The restart failed: the new gunicorn ran"))
    began = time.monotonic()
    is_over = _wait(site, lambda: not proc.is_running(master) or _do_work(master, time.monotonic() - began))
    if not is_over or not proc.is_running(master):
        message = "The restart failed: the new gunicorn did not come to work. The earlier one went on."
        raise ChangeError(message, "See the log of gunicorn.")
    for _ in range(_ANSWERS):
        check_health(site)


def _do_work(master: int, seconds: float) -> bool:
    """Return True if the workers of a master work: then gunicorn sets their files to the time since boot."""
    with contextlib.suppress(OSError):
        files = [entry.path for entry in os.scandir(f"/proc/{master}/fd") if "wgunicorn-" in os.readlink(entry)]
        times = [os.stat(file).st_mtime for file in files]
        return bool(times) and (max(times) < _MONOTONIC or seconds > _SLOW)
    return False


def _end(site: Site, master: int) -> None:
    """End a master when its requests are answered: SIGTERM, which is the graceful one; at last with SIGQUIT."""
    for number in (signal.SIGTERM, signal.SIGQUIT) if master else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(master, number)
        if _wait(site, lambda: not proc.is_running(master)):
            return
