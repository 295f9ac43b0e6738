"""A lock between the runs of one user on this host, for work that only one of them may do at a time."""

from __future__ import annotations

import contextlib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def one_at_a_time(subject: str, environ: Mapping[str, str], *, wait: float) -> Iterator[None]:
    """Exclude other runs of this user that name the same subject; wait at most `wait` seconds for them.

    The work goes on without the lock after that time, and if this user has no cache directory: it must be safe then,
    too. The file of the lock is never deleted, as two runs could otherwise hold locks on two files of one name.
    """
    from filelock import FileLock, Timeout  # slow to import

    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", ""), ".cache"))
    with contextlib.ExitStack() as stack:
        if cache.is_absolute():
            place = cache / "releaser" / "locks" / sha256(subject.encode(errors="replace")).hexdigest()[:16]
            with contextlib.suppress(OSError, Timeout, NotImplementedError):
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = FileLock(place, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)
                stack.enter_context(lock.acquire(timeout=wait))
        yield
