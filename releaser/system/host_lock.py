"""A lock between the runs of one user on this host, for work that only one of them may do at a time."""

from __future__ import annotations

import contextlib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.system.file_lock import LockTimeoutError, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def one_at_a_time(subject: str, environ: Mapping[str, str], *, wait: float) -> Iterator[None]:
    """Exclude other runs of this user that name the same subject; wait at most `wait` seconds for them.

    The work goes on without the lock after that time, and if this user has no cache directory: it must be safe then,
    too.
    """
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", ""), ".cache"))
    with contextlib.ExitStack() as stack:
        if cache.is_absolute():
            place = cache / "releaser" / "locks" / sha256(subject.encode(errors="replace")).hexdigest()[:16]
            with contextlib.suppress(OSError, LockTimeoutError):
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(locked(place, mode=0o600, wait=wait))
        yield
