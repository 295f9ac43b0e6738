"""Finds the application servers that run a site, and the setting that restarts each of them."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, how_to_set
from releaser.releases.leases import parent_of, release_of
from releaser.serving.health_settings import HealthSettings
from releaser.serving.restarts import restart_of
from releaser.site.django_settings import is_django
from releaser.site.restart_settings import RestartSettings
from releaser.site.state_dir import OWNER, read_owner
from releaser.system.expression import expression
from releaser.system.files import UnreadableStateError, read_text
from releaser.system.frozen import Frozen
from releaser.system.signals import is_own
from releaser.system.words import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from releaser.site.site import Site

#: Kinds by the name of the program.
_KINDS = {
    "gunicorn": "gunicorn",
    "uwsgi": "uWSGI",
    "pyuwsgi": "uWSGI",
    "granian": "Granian",
    "daphne": "Daphne",
    "uvicorn": "Uvicorn",
    "hypercorn": "Hypercorn",
}
_PASSENGER = expression(r"(?i)\bpassenger\b.*(wsgi-loader|preloader)|^Passenger \w*(App|Preloader)")
_PYTHON = expression(r"(python|pypy)[\d.]*t?")
_SYSTEM_UNIT = expression(r"/system\.slice/(?:[^/]+\.slice/)*([^/]+\.service)(?:/|$)", re.MULTILINE)
_USER_UNIT = expression(r"/user@\d+\.service/(?:[^/]+\.slice/)+([^/]+\.service)(?:/|$)", re.MULTILINE)
# Services that also run programs of others: restarting one would restart other sites, too.
_STARTERS = expression(
    r"(cron|crond|ssh|sshd|docker|containerd|podman|getty@.*|apache2|httpd|nginx|passenger|unit|uwsgi|emperor\.uwsgi"
    r"|uwsgi-emperor|supervisor|supervisord|circusd?|runit|pm2-.*|releaser-.*)\.service"
)
_UNIT_PLACES = ("/etc/systemd/system", "/run/systemd/system")
_UNIT_LINE = expression(r"^\s*(WorkingDirectory|ExecStart|Type)\s*=\s*(.*?)\s*$", re.MULTILINE)
_TOUCH_RELOAD = expression(r"^\s*touch-reload\s*=\s*(\S+)", re.MULTILINE)
_LISTENS, _LISTENS_TCP = "00010000", "0A"  # flags in /proc/net/unix, a state in /proc/net/tcp
_ANY = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - a server that listens on all addresses


class Server(Frozen):
    """A process that serves the site: the oldest of its kind, which starts the others."""

    pid: int
    kind: str
    command: tuple[str, ...]
    #: The systemd service that started the process; empty if none is known.
    unit: str = ""
    #: True if that service belongs to the user's systemd.
    is_user_unit: bool = False

    def __str__(self) -> str:
        return f"{self.kind} (process {self.pid}{f', {self.unit}' if self.unit else ''})"

    @property
    def restart(self) -> tuple[str, ...]:
        """The command that restarts its service; empty if no service is known."""
        return restart_units((self.unit,), is_user_unit=self.is_user_unit) if self.unit else ()

    @property
    def watches_file(self) -> bool:
        """True if touching a restart file may restart the server."""
        return self.kind in ("Passenger", "uWSGI")

    @property
    def touch_reload(self) -> str:
        """The file whose change restarts uWSGI, from its command line or the file of its options; empty if unknown.

        Not that of `touch-chain-reload`: the workers that it starts keep the Python path of the master.
        """
        if file := self.option("touch-reload"):
            return file
        for option in ("ini", "i"):
            with contextlib.suppress(OSError):
                place = Path(f"/proc/{self.pid}/cwd", self.option(option) or f"{option}-missing")
                if found := _TOUCH_RELOAD.search(read_text(place, errors="replace")):
                    return found[1]
        return ""

    @property
    def remedy(self) -> str:
        """The setting, to be pasted, that makes updates restart the server."""
        if self.unit and self.is_user_unit:
            return _setting(*self.restart)
        if self.unit:
            rule = f"USER ALL=(root) NOPASSWD: /usr/bin/systemctl restart {self.unit}"
            return f"{_setting(*self.restart)}, and in /etc/sudoers.d/releaser: {rule}"
        match self.kind:
            case "Passenger":
                return '`mkdir tmp` in the project, or `restart = "passenger"` under [tool.releaser]'
            case "uWSGI":
                if file := self.touch_reload:
                    return f'`restart_file = "{file}"` under [tool.releaser]'
                return "`mkdir tmp` in the project, and `touch-reload = tmp/restart.txt` in the file of uWSGI's options"
            case "gunicorn":
                return '`restart = "gunicorn"` under [tool.releaser]'
        return f"{_setting('sudo', 'systemctl', 'restart', 'NAME.service')}, with the service that starts it"

    def option(self, *names: str) -> str:
        """Return the value of an option on the command line; empty without one."""
        for number, word in enumerate(self.command):
            option, _, value = word.partition("=")
            if option.lstrip("-") in {name.lstrip("-") for name in names} and option.startswith("-"):
                return value or next(iter(self.command[number + 1 :]), "")
        return ""


def restart_units(units: Sequence[str], *, is_user_unit: bool = False) -> tuple[str, ...]:
    """Return the command that restarts services of systemd."""
    return (*(("systemctl", "--user") if is_user_unit else ("sudo", "systemctl")), "restart", *units)


def _setting(*words: str) -> str:
    listed = ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    return f"`restart = [{listed}]` under [tool.releaser]"


def find_servers(checkout: Path, venv: Path) -> tuple[Server, ...]:
    """Return the servers that run in the checkout or from its venv, among the processes that this user may see."""
    places = {os.path.realpath(checkout)}
    named = tuple({f"{checkout}/", f"{os.path.realpath(checkout)}/", f"{os.path.realpath(venv)}/"})
    releases = os.path.dirname(os.path.dirname(os.path.realpath(venv))) if venv.is_symlink() else ""
    found = {one.pid: one for one in _list_servers() if _is_of(one, places, named, releases)}
    return tuple(
        one for pid, one in sorted(found.items()) if parent_of(pid) not in found and not is_of_another(pid, venv)
    )


# Variables that belong to one process of a server, and not to its site.
_OF_PROCESS = re.compile(
    r"GUNICORN_(PID|FD)|LISTEN_\w+|NOTIFY_SOCKET|_RELEASER_\w+|(IN_)?PASSENGER_\w+|UWSGI_\w+|INVOCATION_ID"
)


def environ_of_server(site: Site) -> dict[str, str]:
    """Return the environment of the running server of a site; empty if none runs, or this user may not read it.

    A unit or a start script may set variables that releaser itself does not have.
    """
    own = (one for one in find_servers(site.project.checkout, site.project.venv) if is_own(one.pid))
    for server in own:  # the variables of others could name code that this user would run
        with contextlib.suppress(OSError):
            text = read_text(Path(f"/proc/{server.pid}/environ"), errors="replace")
            pairs = (entry.partition("=") for entry in text.split("\0"))
            found = {name: value for name, sign, value in pairs if sign and name}
            return {name: value for name, value in found.items() if not _OF_PROCESS.fullmatch(name)}
    return {}


def describe_servers(site: Site) -> Iterator[str]:
    """Yield the kind and the process of each server of a site."""
    yield from map(str, find_servers(site.project.checkout, site.project.venv))


def find_units(checkout: Path, places: Iterable[Path], *, must_serve: bool = False) -> tuple[str, ...]:
    """Return the enabled services of systemd, in these directories, that start programs in the checkout.

    With `must_serve`, return none unless one of them is a known server.
    """
    found, serves = set[str](), False
    for link in (link for place in places for link in place.glob("*.wants/*.service")):
        with contextlib.suppress(OSError):
            lines = _UNIT_LINE.findall(read_text(link, errors="replace"))
            commands = [[word.strip("\"'-@:+!") for word in value.split()] for _, value in lines]
            words = [word for command in commands for word in command]
            is_named = any(f"{word}/".startswith((f"{checkout}/", f"{os.path.realpath(checkout)}/")) for word in words)
            if is_named and ("Type", "oneshot") not in lines and not _STARTERS.fullmatch(link.name):
                found.add(link.name)
                serves = serves or any(kind_of(tuple(command)) for command in commands if command)
    return tuple(sorted(found)) if serves or not must_serve else ()


def unit_places(environ: Mapping[str, str]) -> Mapping[bool, tuple[Path, ...]]:
    """Return the directories of the enabled services: at False those of the host, at True those of this user."""
    own = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/"), ".config"), "systemd", "user")
    return {False: tuple(map(Path, _UNIT_PLACES)), True: (own,)}


def find_addresses(checkout: Path, venv: Path) -> tuple[str, ...]:
    """Return the addresses on which its servers listen, such as `127.0.0.1:8000`, or the path of a socket.

    The first is open in the most processes: workers share the socket of the site, and not that for control. Only those
    addresses are found whose processes this user may examine: processes of this user.
    """
    sockets = listening_sockets()
    found = Counter(sockets[number] for pid in _pids_of(checkout, venv) for number in sockets_of(pid) & sockets.keys())
    return tuple(sorted(found, key=lambda one: (-found[one], one.startswith("/"), one)))


def _pids_of(checkout: Path, venv: Path) -> list[int]:
    servers = {one.pid for one in find_servers(checkout, venv)}
    return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if {pid, parent_of(pid)} & servers]


def sockets_of(pid: int, *, but: Collection[str] = ()) -> set[str]:
    """Return the inodes of the sockets that a process has open, but for those of some descriptors."""
    found = set[str]()
    with contextlib.suppress(OSError):
        for name in {*os.listdir(f"/proc/{pid}/fd")}.difference(but):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return {name[len("socket:[") : -1] for name in found if name.startswith("socket:[")}


def listening_sockets() -> dict[str, str]:
    """Return the addresses of all listening sockets by their inodes (proc(5))."""
    found = {}
    for kind in ("tcp", "tcp6", "unix"):
        with contextlib.suppress(OSError), open(f"/proc/net/{kind}", encoding="utf-8", errors="replace") as file:
            for words in map(str.split, file):
                if kind == "unix" and words[3] == _LISTENS and words[7:] and words[7].startswith("/"):
                    found[words[6]] = words[7]
                elif kind != "unix" and words[3] == _LISTENS_TCP:
                    found[words[9]] = _address(words[1])
    return found


def _address(text: str) -> str:
    """Return an address of /proc/net/tcp as in a URL; the kernel writes each 32 bits as a number of this machine."""
    host, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(host[at : at + 8], 16)) for at in range(0, len(host), 8))
    name = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    name = _ANY.get(name, name)
    return f"{f'[{name}]' if ':' in name else name}:{int(port, 16)}"


def find_unrestarted(site: Site) -> Finding | None:
    """Report that `restart = "auto"` finds nothing to restart, and suggest settings; None if all is well.

    A project without Django, a health check or a visible server is a script: it needs no restart.
    """
    project = site.project
    way = restart_of(site)
    if not way.yields_to_start or RestartSettings.of(site).start or way.restarts_processes(site):
        return None
    servers = find_servers(project.checkout, project.venv)
    if not servers and not HealthSettings.of(site).health_check and not is_django(project.root):
        return None
    no_place = f"{project.checkout} has neither tmp/ nor config/tmp/"
    message = f"updates do not restart the site: `restart` is auto, but {no_place}"
    if servers:
        advice = " ".join(f"For {one}, set {one.remedy}." for one in _first_of_each(servers))
    else:
        guide = "The guide on web servers has the setting for each server."
        advice = f"For this server, {how_to_set('restart', 'COMMAND')}. {guide}"
    return Finding("restart-nothing", message, f'{advice} If no process needs a restart, set `restart = "none"`.')


def unrestarted_warnings(site: Site) -> Iterator[Finding]:
    """Yield the finding of `find_unrestarted`."""
    if finding := find_unrestarted(site):
        yield finding


def _first_of_each(servers: Iterable[Server]) -> Iterator[Server]:
    seen = set[str]()
    for one in servers:
        if one.remedy not in seen:
            seen.add(one.remedy)
            yield one


def _list_servers() -> Iterator[Server]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and (words := _command_of(int(name))) and (kind := kind_of(words)):
            unit, is_user_unit = _unit_of(int(name))
            yield Server(pid=int(name), kind=kind, command=words, unit=unit, is_user_unit=is_user_unit)


def kind_of(words: tuple[str, ...]) -> str:
    """Return the kind of server that a command line starts; empty if it starts no known server."""
    if _PASSENGER.search(" ".join(words)):
        return "Passenger"
    name = os.path.basename(_program(words)).partition(".")[0].rstrip(":")
    return _KINDS.get(re.sub(r"(-core|_python\d*)$", "", name), "")


def _program(words: tuple[str, ...]) -> str:
    """Return the program of a command line; for Python, the script or module that it runs."""
    first = words[0].partition(" ")[0]  # a process that sets its title has all words in the first
    if not _PYTHON.fullmatch(os.path.basename(first)):
        return first
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, "")
        if word == "-c":
            return ""
        if word in ("-W", "-X"):
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def _is_of(server: Server, places: set[str], named: tuple[str, ...], releases: str) -> bool:
    with contextlib.suppress(OSError):
        if os.readlink(f"/proc/{server.pid}/cwd") in places:
            return True
    if any(place in f"{word}/" for word in server.command for place in named):
        return True
    # Its title may hide the words.
    return bool(releases) and os.path.dirname(os.path.dirname(release_of(server.pid) or "")) == releases


def is_of_another(pid: int, venv: Path) -> bool:
    """True if a process runs on a release of another site, whose path is below that of this site, or contains it."""
    release = release_of(pid)
    if release is None:
        return False
    with contextlib.suppress(OSError, UnreadableStateError):
        owner = read_owner(Path(release).parents[2] / OWNER)
        return owner is not None and owner.link != venv and owner.link.is_symlink()
    return False


def _command_of(pid: int) -> tuple[str, ...]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        return tuple(one_line(word, limit=1000) for word in file.read().rstrip("\0 ").split("\0"))
    return ()


def _unit_of(pid: int) -> tuple[str, bool]:
    """Return the systemd service of a process, and whether it belongs to a user's systemd (cgroups(7))."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
        return unit_in(text)
    return "", False


def unit_in(cgroups: str) -> tuple[str, bool]:
    """Return the service named in the cgroups of a process; services that start arbitrary programs do not count."""
    for pattern, is_user_unit in ((_USER_UNIT, True), (_SYSTEM_UNIT, False)):
        found = pattern.search(cgroups)
        if found and not _STARTERS.fullmatch(found.group(1)):
            return found.group(1), is_user_unit
    return "", False
