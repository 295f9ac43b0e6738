"""The sockets that a program in a sandbox reaches: of databases and name services, and those that the site names.

Any other socket could run commands outside the sandbox: an open terminal, an agent with keys, a container engine, a
system service.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

from releaser.system.expression import expression

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

#: The directories of database sockets below /run.
OF_DATABASES = ("postgresql", "mysqld", "mysql", "mariadb", "redis", "redis-server", "valkey", "memcached")
#: Entries of /run that are no sockets but that programs read: on NixOS they link to all that is installed.
READ_IN_RUN = ("booted-system", "current-system", "opengl-driver")
_PLACES = ("/run", "/tmp")  # noqa: S108 - a sandbox has private ones
_DATABASE = expression(
    r"(/var)?/(run|tmp|lib)/(" + "|".join(OF_DATABASES) + r")/\S+"
    r"|\S*/(\.s\.PGSQL\.\d+|(mysqlx?|mysqld|mariadb|redis(-server)?|valkey(-server)?|memcached)([.-]?\w+)?\.sock(et)?)"
)
# Without these, users from a directory service have no names.
_NAMES = expression(r"(/var)?/run/(nscd/socket|nslcd/socket)|/var/lib/sss/pipes/nss")
# Access to one of these runs programs outside: as root, in a container, or in a user's terminal.
_MANAGER = expression(
    r"(/var)?/run/(docker|containerd|podman|crio|k3s|libvirt|dbus|systemd|fail2ban|screens?|tmux)\b.*"
    r"|(/var)?/run/user/\d+/.*|.*/(lxd|incus)/.*|/tmp/(ssh-|tmux-|screen|emacs|\.X11-unix/).*"
    r"|.*/(\.gnupg|\.screen|S-\w+|emacs\d*)/[^/]+"
    r"|.*/((docker|containerd|podman|crio|snapd|supervisord?|fail2ban|libvirt)[\w-]*\.sock(et)?"
    r"|libvirt-sock(-\w+)?|agent\.\d+|S\.[\w-]+|system_bus_socket)"
)
_MOST = 1_000  # the limit for reached sockets, and for covered ones


def is_of_database(path: str) -> bool:
    """True if a socket belongs to a database, judging by its usual path or name."""
    return _DATABASE.fullmatch(path) is not None


def is_of_manager(path: str) -> bool:
    """True if a socket belongs to a service that runs programs for its user, outside any sandbox."""
    return not is_of_database(path) and _MANAGER.fullmatch(path) is not None


def list_listening() -> list[str]:
    """List the sockets in the file system on which a process listens (proc(5), /proc/net/unix), without symlinks.

    /proc/net/unix lacks sockets that were bound in another network namespace, by a relative path, or under another
    name.
    """
    found = set[str]()
    with contextlib.suppress(OSError), open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.rstrip("\n").split(" ", 7)[-1].lstrip()
            if path.startswith("/") and path not in found:
                real = os.path.realpath(path)
                found |= {real} if _is_socket(real) else set()
    return sorted(found)


def list_reached(listening: Iterable[str], named: Collection[str]) -> list[str]:
    """List the sockets that a sandbox can reach: of databases and name services, and the `named` ones.

    A name may also be a directory. Named sockets, and those in the usual directories of databases, are included even if
    `listening` lacks them.
    """
    found = {path for path in listening if is_of_database(path) or _NAMES.fullmatch(path)}
    found |= {path for place in _PLACES for path in _sockets_in(place, deep=place == "/run") if is_of_database(path)}
    for socket in named:
        inside = (path for path in listening if path.startswith(f"{socket}/"))
        found |= {
            path for path in (socket, *_sockets_in(socket), *inside) if _is_socket(path) and not is_of_manager(path)
        }
    return sorted(found)[:_MOST]


def list_covered(listening: Iterable[str], reached: Collection[str], own: Collection[str]) -> list[str]:
    """List the sockets to cover: those that are neither reached nor below one of `own`, where they are out of reach."""
    found = (path for path in listening if path not in reached and not any(path.startswith(f"{one}/") for one in own))
    return [path for path in found if os.path.exists(path)][:_MOST]


def find_named(texts: Iterable[str], paths: Iterable[str]) -> Iterator[str]:
    """Yield the sockets among `paths` that a text names."""
    words = {os.path.realpath(one) for one in re.findall(r"/[^\s\"'=:;,?&@#]+", "\n".join(texts))}
    yield from (path for path in paths if path in words)


def _sockets_in(place: str, *, deep: bool = False) -> Iterator[str]:
    """Yield the sockets in a directory; with `deep`, also those in its subdirectories."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _sockets_in(entry.path) if deep else ()
            elif not entry.is_file(follow_symlinks=False) and _is_socket(entry.path):
                yield entry.path


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:  # deleted, although a process may still have it open
        return False
