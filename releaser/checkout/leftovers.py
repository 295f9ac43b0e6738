"""Replaces the staging tree after code of a candidate ran in it, or only its lock for a while."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.checkout.staging import keep_uv_files, remake_tree
from releaser.errors import BuildError, ToolError, reason_of
from releaser.reporting.hooks import prepare_again
from releaser.system.files import read_file, write_new_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from releaser.site.site import Site


def mark_tried(site: Site) -> None:
    """Record that code of a candidate runs with write access to the staging tree."""
    if site.tree.is_staged:
        site.runner.remembered[_cleanup_key(site)] = ""


def renew_tree(site: Site) -> None:
    """Make a new staging tree if code of a candidate ran in it. Raises BuildError.

    Changes by that code cannot be distinguished from the original files. Only `pyproject.toml` and the lock keep their
    present content: the sandbox has already restored them.
    """
    if _cleanup_key(site) not in site.runner.remembered:
        return
    try:
        with keep_uv_files(site):
            remake_tree(site, site.tree)
    except (ToolError, OSError) as error:
        message = f"could not clean up {site.git.layout.top} after the tests: {reason_of(error)}"
        advice = "Free some disk space. If that directory still exists, delete it; the next run makes a new one."
        raise BuildError(message, advice, output=getattr(error, "output", "")) from error
    prepare_again(site)
    del site.runner.remembered[_cleanup_key(site)]


def _cleanup_key(site: Site) -> tuple[str, str]:
    return "tried in", str(site.git.layout.top)


def lock_to_install(site: Site) -> AbstractContextManager[None]:
    """Put the lock that uv installs from into the staging tree for a while; it may name other sources."""
    return other_lock(site.project.lock, site.supply.to_install(read_file(site.project.lock)))


@contextlib.contextmanager
def other_lock(file: Path, text: bytes) -> Iterator[None]:
    """Replace the lock of the staging tree for the time of the context."""
    before = read_file(file)
    if before == text:
        yield
        return
    try:
        write_new_file(file, text)
        yield
    finally:
        write_new_file(file, before)
