"""The sockets of this host that a program in a sandbox reaches: those of databases, and those that its site names.

All others could have something run outside: a terminal that somebody has left open, an agent with keys, a container
engine, a service of the system.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

#: Where databases have their sockets, below /run.
OF_DATABASES = ("postgresql", "mysqld", "mysql", "mariadb", "redis", "redis-server", "valkey", "memcached")
#: What programs read below /run that is no socket: there, NixOS has links to all that is installed.
READ_IN_RUN = ("booted-system", "current-system", "opengl-driver")
_DATABASE = re.compile(
    r"(/var)?/(run|tmp|lib)/(" + "|".join(OF_DATABASES) + r")(/\S+)?"
    r"|\S*/(\.s\.PGSQL\.\d+|(mysqlx?|mysqld|mariadb|redis(-server)?|valkey(-server)?|memcached)([.-]?\w+)?\.sock(et)?)"
)
# Who reaches one of these runs programs outside: as root, in a container, or in somebody's terminal.
_MANAGER = re.compile(
    r"/(docker|containerd|podman|crio|k3s|libvirt|lxd|incus|dbus|systemd|snapd|fail2ban|screens?|tmux|gnupg)\b"
    r"|/(ssh-|agent\.|S\.gpg-agent|S\.(uscreen|screen)|\.screen|\.X11-unix|bus$)"
)
_MOST = 1_000


def is_of_manager(path: str) -> bool:
    """Whether a socket is of something that runs programs for its user, outside of any sandbox."""
    return _MANAGER.search(path) is not None


def is_of_database(path: str) -> bool:
    """Whether a socket is of a database, as its usual path or name tells."""
    return _DATABASE.fullmatch(path) is not None


def list_listening() -> list[str]:
    """List the sockets in the file system on which somebody listens (proc(5), /proc/net/unix), without symlinks."""
    found = set[str]()
    with contextlib.suppress(OSError), open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.rstrip("\n").split(" ", 7)[-1].lstrip()
            if path.startswith("/") and path not in found:
                with contextlib.suppress(OSError):  # it is gone, though somebody still has it open
                    real = os.path.realpath(path)
                    found |= {real} if stat.S_ISSOCK(os.lstat(real).st_mode) else set()
    return sorted(found)[:_MOST]


def select_reached(paths: Iterable[str], named: Collection[str]) -> Iterator[str]:
    """Yield the sockets that are of databases, or are `named`, or lie in a directory that is."""
    for path in paths:
        is_named = any(path == one or path.startswith(f"{one}/") for one in named)
        if (is_named or is_of_database(path)) and not is_of_manager(path):
            yield path


def find_named(texts: Iterable[str], paths: Iterable[str]) -> Iterator[str]:
    """Yield the sockets of these that a text names, or whose directory it names as clients of PostgreSQL do."""
    together = "\n".join(texts)
    words = {os.path.realpath(one) for one in re.findall(r"/[^\s\"'=:;,?&@#]+", together)}
    for path in paths:
        place = os.path.dirname(path)
        if path in words or (place in words and place.count("/") > 1):
            yield path
