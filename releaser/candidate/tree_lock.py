"""The lock in the staging tree, which stands aside while something else is installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.system.files import read_file, write_new_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.site.site import Site


@contextlib.contextmanager
def lock_to_install(site: Site) -> Iterator[None]:
    """Let the staging tree have the lock that uv is to install from: of a bundle, one that names its wheels."""
    lock = site.project.lock
    with (
        contextlib.nullcontext() if site.bundle is None else other_lock(lock, site.bundle.offline_lock(read_file(lock)))
    ):
        yield


@contextlib.contextmanager
def other_lock(file: Path, text: bytes) -> Iterator[None]:
    """Let the staging tree have another lock for the time being."""
    before = read_file(file)
    if before == text:
        yield
        return
    try:
        write_new_file(file, text)
        yield
    finally:
        write_new_file(file, before)
