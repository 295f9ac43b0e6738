"""What tests leave in a staging tree: nothing of it is resolved, built or run that has not passed."""

from __future__ import annotations

import contextlib
import errno
import shutil
from typing import TYPE_CHECKING

from releaser.errors import BuildError, ToolError, reason_of
from releaser.system.files import clear_name, read_if_there, write_anew

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.site.site import Site
    from releaser.system.process import Runner


def forget(runner: Runner, top: Path) -> None:
    """Forget what was tried in a staging tree: there is a new one."""
    runner.remembered.pop(_tried(top), None)


def mark_tried(site: Site) -> None:
    """Note that code is tried in the staging tree, and what git does not know there yet. Raises BuildError."""
    known, top = site.runner.remembered, site.git.layout.top
    if _tried(top) not in known:
        try:
            known[_tried(top)] = "\0".join(site.git.unknown_files())
        except ToolError as error:
            message = f"git cannot tell what is in {top}: {error.message}"
            raise BuildError(message, advice="See git's message.", output=error.output) from error


def clean_tree(site: Site) -> None:
    """Put back what has been changed in the staging tree since then; what uv goes by has been put back already.

    Raises BuildError.
    """
    top, project = site.git.layout.top, site.project
    before = site.runner.remembered.get(_tried(top))
    if before is None:
        return
    try:
        caches = {name for name in before.split("\0") if name.endswith("__pycache__/")}
        for name in ({*site.git.unknown_files()} - {*before.split("\0")}) | caches:
            clear_name(top / name.rstrip("/"), of_directory=True)
        kept = {path: read_if_there(path) for path in (project.pyproject, project.lock)}
        site.git.restore_files()
        for path, data in kept.items():
            if data is not None and read_if_there(path) != data:
                write_anew(path, data)
        _bring_anew(site, top)
        del site.runner.remembered[_tried(top)]
    except (ToolError, OSError) as error:
        message = f"what tests have left in {top} cannot be taken away: {reason_of(error)}"
        raise BuildError(message, advice=f"Delete {top}; the next run makes it anew.") from error


def _bring_anew(site: Site, top: Path) -> None:
    """Bring once more what the checkout has and git does not track. Raises OSError."""
    given = site.staged
    if given is None:
        return
    for name in (*given.copied, *given.linked):
        source, target = site.project.of_checkout(top / name), top / name
        if not target.parent.resolve().is_relative_to(top.resolve()):
            raise OSError(errno.ELOOP, "it is behind a symlink now", str(target))
        clear_name(target, of_directory=True)
        with contextlib.suppress(FileNotFoundError):  # it may have gone meanwhile
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in given.linked:
                target.symlink_to(source)
            else:
                shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy2(source, target)


def _tried(top: Path) -> tuple[str, str]:
    return "tried in", str(top)
