"""The lock of a site: one run at a time, and who it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from releaser.errors import LockedError, refuse
from releaser.site.site import Site
from releaser.system.files import private_mode, read_regular_file, set_aside
from releaser.system.run import Run, format_time_id


@contextlib.contextmanager
def hold_lock(site: Site, run: Run, wait: float) -> Iterator[None]:
    """Hold the lock of the site. Raises LockedError with who holds it since when, and PreflightError without flock."""
    path = site.paths.run_lock
    if path.is_symlink() or (path.exists() and not path.is_file()):
        aside = set_aside(path)
        run.note(f"`{path}` was no file. It is now `{aside}`.")
    lock = FileLock(path, timeout=wait, mode=private_mode(path.parent), fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(_name_holder(path), "Run it again later, or with `--wait 600`.") from error
    except (OSError, NotImplementedError) as error:
        message = f"The lock `{path}` cannot be taken: {error}."
        raise refuse("no-lock-file", message, "Set `state_dir` to a local file system of this user.") from error
    try:
        with contextlib.suppress(OSError):
            holder = {"pid": os.getpid(), "command": run.command.name, "since": format_time_id(run.id)}
            path.write_bytes(msgspec.json.encode(holder))
        yield
    finally:
        lock.release()


def _name_holder(path: Path) -> str:
    try:
        holder = msgspec.json.decode(path.read_bytes())
        who = f"`releaser {holder['command']}` (process {holder['pid']}) has been running since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "Another run of releaser holds the lock"
    return f"{who}. Nothing was changed."


def is_running(lock: Path) -> bool:
    """Return True if the process that took the lock last still works."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        holder = msgspec.json.decode(read_regular_file(lock) or b"{}")
        return b"releaser" in Path(f"/proc/{int(holder['pid'])}/cmdline").read_bytes()
    return False
