"""Leases: a locked file beside each venv shows every user of the host that a process runs on the release.

The start-up module in the venv takes a shared flock(2) when a Python of the venv starts. See `startup/_releaser.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from releaser.releases import startup
from releaser.releases.venv import find_site_packages
from releaser.system.files import remove_path

LEASE = "lease"
MODULE = "_releaser.py"
STARTUP_FILES = {MODULE: (Path(startup.__file__).parent / MODULE).read_bytes(), "_releaser.pth": b"import _releaser\n"}


def install_startup_module(venv: Path) -> None:
    """Put the start-up module into a venv. Raises OSError."""
    for name, data in STARTUP_FILES.items():
        path = find_site_packages(venv) / name
        if not path.is_file() or path.read_bytes() != data:
            remove_path(path)  # never in place: releases share files
            path.write_bytes(data)


def remove_startup_module(venv: Path) -> None:
    """Take the start-up module out of a venv. Raises OSError."""
    place = find_site_packages(venv)
    # The module last: a Python that starts meanwhile must not miss it.
    for path in (*(place / name for name in reversed(STARTUP_FILES)), *(place / "__pycache__").glob("_releaser.*.pyc")):
        remove_path(path)


def make_lease(release: Path) -> None:
    """Make the lease of a release: of one byte, readable for everybody. Raises OSError."""
    path = release / LEASE
    if not path.is_file() or path.is_symlink():
        remove_path(path)
        path.write_bytes(b"\n")
    path.chmod(0o444)


@contextlib.contextmanager
def claim(release: Path) -> Iterator[bool]:
    """Yield True if no process uses the release, and keep new ones from it; False if one does.

    A release without a lease has no start-up module either, so nothing is known of its processes.
    """
    try:
        descriptor = os.open(release / LEASE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = True
    except OSError:
        is_free = False
    try:
        yield is_free
    finally:
        os.close(descriptor)


def is_used(release: Path) -> bool:
    """Return True if any process uses the release, of whichever user."""
    with claim(release) as is_free:
        return not is_free


def list_users(release: Path) -> tuple[int, ...]:
    """Return the ids of the processes that use a release, as far as this user may see them."""
    if not is_used(release):
        return ()
    path = os.fsencode(os.path.realpath(release / LEASE))
    users = []
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and path in Path(entry.path, "maps").read_bytes():
                users.append(int(entry.name))
    return tuple(sorted(users))
