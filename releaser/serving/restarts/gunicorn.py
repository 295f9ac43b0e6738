"""`restart = "gunicorn"`: a second gunicorn on the same sockets takes over once its workers have booted.

SIGUSR2 makes gunicorn execute a second one, which gets its sockets. The start-up module of its release makes that the
gunicorn of the live release. The first one ends once all workers of the second have booted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.restart import Restart, ServerCommand
from releaser.errors import Finding, ToolError
from releaser.releases.leases import parent_of, release_of
from releaser.releases.startup import HOOK, MODULES
from releaser.releases.store import store_of
from releaser.serving.restarts.command import ask_program
from releaser.site.restart_settings import RestartSettings
from releaser.system.expression import expression
from releaser.system.files import read_text
from releaser.system.signals import is_alive, is_own
from releaser.system.words import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.report import Step
    from releaser.serving.servers import Server
    from releaser.site.site import Site

_POLL = 0.05  # seconds
_AGAIN = 2.0  # seconds until SIGUSR2 is repeated: gunicorn ignores it until its own predecessor is gone for a moment
_SETTLED = 1.0  # seconds without another worker after which all have been started; a master is pinned or gone by then
_HEARTBEAT = "/wgunicorn-"  # the file of each worker, which the master has open, too
_NEVER_BEAT = 1e9  # a heartbeat sets the time of the file to that since the start of the system, far below this
# How the names of supervisors begin: the kernel cuts them off after 15 bytes.
_SUPERVISORS = (
    "supervisord", "circusd", "runsv", "s6-supervise", "PM2", "tini", "docker-init", "dumb-init", "honcho", "foreman",
    "overmind", "hivemind", "goreman",
)  # fmt: skip
_TITLE = "gunicorn: master"  # of the first process, if the package `setproctitle` is installed
_NOTIFIED = ("main", "exec", "all")  # the values of NotifyAccess with which systemd hears of another main process
_BY_HAND = "Restart gunicorn once yourself, or set `restart` to a command that restarts it."
# Options that a second instance on a socket must not have, and how many words each takes.
_OPTIONS = {"-b": 2, "--bind": 2, "-w": 2, "--workers": 2, "-p": 2, "--pid": 2, "-D": 1, "--daemon": 1}
_ON_SOCKET = ("--bind", "unix:{socket}", "--workers", "1", "--pid", "{socket}.pid")
_IN_FOREGROUND = {"GUNICORN_FD": ""}  # gunicorn becomes no daemon then, and reads it only with GUNICORN_PID
_CONFIG = "gunicorn.conf.py"  # is read without --config, too
_MOVES = expression(r"\bchdir\b|\bpreload")  # the application may change the directory as well
_STDIO = ("0", "1", "2")
_END = 35.0  # seconds for the last requests of a gunicorn that ends; its own limit is 30 by default


class Gunicorn(Restart):
    """Exchanges the running gunicorn for one on the live release; requests are served all the time."""

    word = "gunicorn"

    def findings(self, site: Site) -> Iterator[Finding]:
        """Check that each gunicorn of the site can be exchanged."""
        if store_of(site).live_id() is not None:  # until `init`, no process can be on a release
            for master in find_settled_masters(site):
                yield from _master_findings(site, master)

    def command_on_socket(self, site: Site) -> ServerCommand | None:
        """Return the command of the running gunicorn, with one worker on the socket; None if it is unknown."""
        for master in find_masters(site):
            # Others may name any code.
            if is_own(master.pid) and (words := on_socket(site, master.command)):
                return ServerCommand(words=words, directory=start_directory(site, master), variables=_IN_FOREGROUND)
        return None

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Exchange each gunicorn of the site. Raises ToolError: then the earlier ones still serve it."""
        masters = find_settled_masters(site)
        if not masters:
            step.skip("no gunicorn of this site runs")
            return
        if unpinned := [master for master in masters if release_of(master.pid) is None]:
            step.skip(f"{unpinned[0]} is not pinned to a release: restart it once yourself, with `pin_processes` on")
            return
        for problem in (one for master in masters for one in _master_findings(site, master)):
            raise ToolError(problem.message, problem.advice)
        limit, place = RestartSettings.of(site).restart_timeout, os.path.realpath(venv)
        try:
            step.says("; ".join(exchange(master.pid, place, limit) for master in masters))
        except ToolError:
            if all(release_of(master.pid) for master in masters):
                raise
            step.says(_after_end(find_settled_masters(site), place, limit))


def _after_end(masters: tuple[Server, ...], venv: str, limit: float) -> str:
    """Go on after a gunicorn was ended during its exchange, as by a person who restarts it. Raises ToolError."""
    answers = [
        f"{master} was started during the restart"
        if release_of(master.pid) == venv
        else exchange(master.pid, venv, limit)
        for master in masters
    ]
    return "; ".join(answers) or "gunicorn was stopped during the restart"


def find_masters(site: Site) -> tuple[Server, ...]:
    """Return each gunicorn of the site that no other one has started; those of other users only if this user has none.

    Any user may start one that seems to be of the site.
    """
    from releaser.serving.servers import find_servers  # it imports the restart methods

    servers = find_servers(site.project.checkout, site.project.venv)
    found = tuple(server for server in servers if server.kind == "gunicorn")
    return tuple(server for server in found if is_own(server.pid)) or found


def find_settled_masters(site: Site) -> tuple[Server, ...]:
    """Return each gunicorn as `find_masters`, once none of them is about to end or just starting.

    For that moment, it has no lease, like one that is never pinned.
    """
    ends_at = time.monotonic() + _SETTLED
    while True:
        masters = find_masters(site)
        if all(release_of(master.pid) for master in masters) or time.monotonic() > ends_at:
            return masters
        time.sleep(_POLL)


def on_socket(site: Site, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command of gunicorn with one worker on `{socket}`; empty if a script starts gunicorn in another way."""
    script, words = next(iter(command[1:]), ""), list(command[2:])
    if script == "-m" and words[:1] == ["gunicorn"]:
        del words[0]
    elif not script.endswith(("/bin/gunicorn", "/gunicorn/__main__.py")):
        return ()
    kept: list[str] = []
    while words:
        option, equals, _ = words[0].partition("=")
        count = 1 if equals else _OPTIONS.get(option, 0)
        if option in _OPTIONS:
            del words[:count]
        elif option[:2] in _OPTIONS and not option.startswith("--"):  # as `-w4`
            del words[0]
        else:
            kept.append(words.pop(0))
    venv = site.project.venv
    # It would take the place of the socket for the control of the running gunicorn, and delete it at its end.
    controls = ["--no-control-socket"] if any(venv.glob("lib/python*/site-packages/gunicorn/ctl")) else []
    # Before 20.1, gunicorn is no module to execute.
    return str(venv / "bin" / "python"), "-m", "gunicorn.app.wsgiapp", *kept, *_ON_SOCKET, *controls


def start_directory(site: Site, master: Server) -> Path:
    """Return where a gunicorn was started: its directory, unless an option may have changed that; then the project."""
    root, own = site.project.root, _environ_of(master.pid).get("GUNICORN_CMD_ARGS", "")
    texts = [*master.command, own]
    with contextlib.suppress(OSError):
        texts.append(read_text(root / (master.option("config", "c") or _CONFIG), errors="replace"))
    if not any(_MOVES.search(text) for text in texts):
        with contextlib.suppress(OSError):
            return Path(os.readlink(f"/proc/{master.pid}/cwd"))
    return root


def _master_findings(site: Site, master: Server) -> Iterator[Finding]:
    """Yield why a gunicorn cannot be exchanged."""
    try:
        os.kill(master.pid, 0)
    except ProcessLookupError:  # it has just ended
        return
    except OSError:
        message = f"{master} runs as another user, so releaser cannot signal it"
        yield Finding("gunicorn-denied", message, "Run releaser and gunicorn as the same user.")
        return
    if (second := find_second(master.pid)) and _has_handed_over(master.pid, second):
        return  # it only answers its last requests
    if named := _named_in_pid_file(master, {master.pid, second}):
        message = f"{master} cannot start a second gunicorn while the second one's pid file names {named}"
        yield Finding("gunicorn-pid-file", message, "Delete that file: a second gunicorn that was killed left it.")
    # One that has set a title can only be known by it.
    needed = _TITLE if master.unit and not _environ_of(master.pid) else "GUNICORN_PID"
    if (venv := release_of(master.pid)) is None or needed not in _pin_of(venv):
        message = f"{master} does not run on a release that can start a second gunicorn"
        advice = f"{_BY_HAND} If that does not help, run `releaser rebuild` with such a command first."
        yield Finding("gunicorn-old", message, advice)
    if not _has_sockets(master.pid):
        message = f"{master} has no socket to share with a second one: with `reuse_port`, each worker has its own"
        yield Finding("gunicorn-reuse-port", message, "Start gunicorn without `reuse_port`.")
    keeper = _find_supervisor(master.pid)
    if keeper or master.pid == 1:
        message = f"{keeper or 'the container'} would mistake the replacement of {master} for a crash"
        yield Finding("gunicorn-supervised", message, "Let systemd start gunicorn, or set `restart` to a command.")
    elif master.unit and not _notifies(site, master):
        message = f"{master.unit} is not of `Type=notify`, so systemd would stop it when gunicorn is replaced"
        advice = "Write `Type=notify` in the unit, run `systemctl daemon-reload`, and restart it."
        yield Finding("gunicorn-unit-type", message, advice)


def _named_in_pid_file(master: Server, own: set[int]) -> str:
    """Return the running process in the pid file of a second gunicorn, and the file, unless the process is one of own.

    gunicorn does not start then.
    """
    if name := master.option("pid", "p"):
        with contextlib.suppress(OSError, ValueError):
            file = os.path.join(os.readlink(f"/proc/{master.pid}/cwd"), f"{name}.2")
            pid = int(read_text(Path(file)))
            return f"process {pid} ({file})" if is_alive(pid) and pid not in own else ""
    return ""


def _has_sockets(master: int) -> bool:
    """True if a gunicorn listens on a socket of its workers, or has none yet."""
    from releaser.serving.servers import listening_sockets, sockets_of  # it imports the restart methods

    listening = listening_sockets().keys()
    of_workers = {number for pid in _children_of(master) for number in sockets_of(pid) & listening}
    return not of_workers or bool(of_workers & sockets_of(master))


def _find_supervisor(pid: int) -> str:
    """Return the name of the supervisor that waits for a process, perhaps through a shell; empty without one."""
    while (pid := parent_of(pid)) > 0:
        if (name := _name_of(pid)).startswith(_SUPERVISORS):
            return name
    return ""


def _notifies(site: Site, master: Server) -> bool:
    """True if the systemd that started a gunicorn hears of its successor.

    The environment says so, unless the title of the process has overwritten it. The unit alone does not: it may have
    been changed since the start. Then systemd has no status text, which gunicorn sends at its start.
    """
    if environ := _environ_of(master.pid):
        return "NOTIFY_SOCKET" in environ
    of_user = ["--user"] if master.is_user_unit else []
    try:
        answer = ask_program(site, ["systemctl", *of_user, "show", "--property=NotifyAccess,StatusText", master.unit])
    except ToolError:
        return False
    found = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    return found.get("NotifyAccess") in _NOTIFIED and bool(found.get("StatusText"))


def exchange(first: int, venv: str, limit: float) -> str:
    """Let a gunicorn on the release in `venv` take over from the process `first`; return that in words.

    One that an interrupted run has started goes on, if it is on that release. Raises ToolError if none takes over
    within `limit` seconds: then the first one goes on.
    """
    ends_at = time.monotonic() + limit
    from releaser.serving.restarts.control_sockets import hold_sockets, list_sockets  # slow to import

    second = find_second(first)
    if second and _has_handed_over(first, second):
        return _go_on_with(second, first, venv, limit)
    if second and not _comes_to(venv, second, ends_at):
        _end(second, first, ends_at)
        second = 0
    with contextlib.ExitStack() as stack:
        try:
            second = second or _start_second(first, ends_at)
            _wait_until(lambda: release_of(second) is not None, second, ends_at)
            stack.enter_context(hold_sockets(first))  # before the second one makes its own
            if (found := release_of(second)) != venv:
                message = f"the second gunicorn runs on {found}, not on the live release"
                raise ToolError(message, _BY_HAND)
            workers = _wait_for_workers(first, second, ends_at)
        except ToolError:
            if second := find_second(first):
                _end(second, first, time.monotonic() + limit)
            raise
        restore = stack.enter_context(hold_sockets(second, list_sockets(first)))
        if find_second(first) == second:  # else the first one has ended, and its number may be that of another process
            os.kill(first, signal.SIGTERM)
        _wait_for_end(first, ends_at, restore)
    still = f"; process {first} still answers its last requests" if is_alive(first) else ""
    return f"process {second} with {plural(workers, 'worker')} took over from {first}{still}"


def _has_handed_over(first: int, second: int) -> bool:
    """True if a gunicorn that ends has closed the sockets of the site, so that only the second one serves it."""
    from releaser.serving.servers import sockets_of  # it imports the restart methods

    own = sockets_of(second, but=_STDIO)  # under systemd, those lead to the journal
    return bool(own) and not own & sockets_of(first, but=_STDIO)


def _go_on_with(second: int, first: int, venv: str, limit: float) -> str:
    """Bring the site from the second gunicorn to the release in `venv`, once the first one has ended. Raises ToolError.

    Until then, gunicorn starts no third one.
    """
    if release_of(second) == venv:
        return f"process {second} has taken over from {first}"
    _wait_for_end(first, time.monotonic() + limit)
    if is_alive(first):
        message = (
            f"gunicorn (process {first}) still answers its last requests, and no other gunicorn can start until it ends"
        )
        raise ToolError(message, f"Run `kill -QUIT {first}`, then this command again.", timed_out=True)
    return exchange(second, venv, limit)


def _wait_for_end(pid: int, ends_at: float, meanwhile: Callable[[], object] = int) -> None:
    while is_alive(pid) and time.monotonic() < ends_at:
        meanwhile()
        time.sleep(_POLL)


def _comes_to(venv: str, second: int, ends_at: float) -> bool:
    """True if a second gunicorn, which may just be starting, runs on the release in `venv`."""
    try:
        _wait_until(lambda: release_of(second) is not None, second, ends_at)
    except ToolError:
        return False
    return release_of(second) == venv


def _start_second(first: int, ends_at: float) -> int:
    """Make a gunicorn start a second one; return its process id. Raises ToolError."""
    venv = release_of(first)  # another process with its number, once it has ended, has none
    while time.monotonic() < ends_at and release_of(first) == venv is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGUSR2)
        again_at = time.monotonic() + _AGAIN
        while time.monotonic() < again_at:
            if second := find_second(first):
                return second
            time.sleep(_POLL)
    message = f"gunicorn (process {first}) did not start a second one"
    raise ToolError(message, f"Find the reason in the log of gunicorn. {_BY_HAND}")


def _wait_for_workers(first: int, second: int, ends_at: float) -> int:
    """Wait until all workers of the second gunicorn have booted; return their number. Raises ToolError."""
    wanted, known, since = len(heartbeats(first)), -1, time.monotonic()

    def have_booted() -> bool:
        nonlocal known, since
        beats = heartbeats(second)
        if len(beats) != known:
            known, since = len(beats), time.monotonic()
        is_complete = known >= wanted or time.monotonic() - since > _SETTLED
        return known > 0 and all(beats) and is_complete

    _wait_until(have_booted, second, ends_at)
    return known


def _wait_until(is_so: Callable[[], bool], second: int, ends_at: float) -> None:
    while not is_so():
        if not is_alive(second):
            message = "the workers of the second gunicorn did not start"
            raise ToolError(message, "Find the reason in the log of gunicorn.")
        if time.monotonic() > ends_at:
            message = "the second gunicorn was not ready in time"
            raise ToolError(message, "Find the reason in its log, or raise `restart_timeout`.", timed_out=True)
        time.sleep(_POLL)


def _end(second: int, first: int, ends_at: float) -> None:
    """End a second gunicorn, whose requests may finish, and wait until the first one has noticed. Raises ToolError."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if find_second(first) != second:  # it has ended, or the first one has: then it alone serves the site
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(second, number)
        _wait_for_end(second, min(ends_at, time.monotonic() + _END))
    if find_second(first):
        message = f"the second gunicorn (process {second}) does not end"
        raise ToolError(message, f"Run `kill -9 {second}`.")


def find_second(first: int) -> int:
    """Return the process id of the gunicorn that another one has executed to take its place; 0 without one."""
    own = _addresses_of(first), _environ_of(first)
    for pid in _children_of(first):
        variables = _environ_of(pid)
        is_named = variables.get("GUNICORN_PID") == str(first) or _title_of(pid).startswith(_TITLE)
        # Until it executes its program, it looks like the first one. Addresses may not be random (personality(2)).
        if is_named and (_addresses_of(pid), variables) != own and is_alive(pid):
            return pid
    return 0


def _children_of(pid: int) -> Iterator[int]:
    return (one for one in map(int, filter(str.isdecimal, os.listdir("/proc"))) if parent_of(one) == pid)


def _addresses_of(pid: int) -> list[str]:
    """Return where the kernel has put stack and arguments of a program (proc_pid_stat(5)); a fork keeps that."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()  # from field 3 on
        return [fields[25], *fields[45:49]]
    return []


def heartbeats(master: int) -> list[bool]:
    """Return for each worker of a gunicorn whether it has booted: whether it has touched the file of its heartbeat.

    gunicorn sets the time of that file to that since the start of the system, and before 20.1 its mode to 0 or 1.
    """
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(place := f"/proc/{master}/fd"):
            with contextlib.suppress(OSError):
                if _HEARTBEAT in os.readlink(f"{place}/{name}"):
                    status = os.stat(f"{place}/{name}")
                    found[status.st_ino] = status.st_mtime < _NEVER_BEAT or status.st_mode & 0o776 == 0
    return list(found.values())


def _pin_of(venv: str) -> str:
    """Return the text of the start-up module of a release; empty without one."""
    found = ""
    for hook in Path(venv, "lib").glob(f"*/site-packages/{HOOK}"):
        for name in MODULES:
            with contextlib.suppress(OSError):
                found += read_text(hook.with_name(name))
    return found


def _environ_of(pid: int) -> dict[str, str]:
    """Return the environment with which a process was executed; empty if it has overwritten that with its title."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
        pairs = (entry.partition("=") for entry in file.read().split("\0"))
        return {name: value for name, equals, value in pairs if equals}
    return {}


def _title_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""
