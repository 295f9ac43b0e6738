"""Installs a venv in the sandbox: wheels first, through uv's cache, and then packages that need a build."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.build_limits import packages_built_from_source
from releaser.candidate.git_sources import fetch_sources
from releaser.candidate.sandbox import sandbox_of
from releaser.errors import ToolError
from releaser.locks.lock import LockFile
from releaser.system.process import in_new_sandbox
from releaser.tools.uv import packages_to_build
from releaser.tools.uv_arguments import NOT_LOCAL, exclude_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from releaser.candidate.git_sources import Fetched
    from releaser.site.site import Site
    from releaser.system.process import Sandbox


def sync_in_sandbox(
    site: Site, venv: Path, run: Callable[..., None], words: Sequence[str], finish: Callable[[Sandbox], None] | None
) -> None:
    """Install wheels, then builds, and local packages last: only they may write to the staging tree.

    `run` and `finish` are those of `Confinement.sync`. Raises ToolError.
    """
    others = words if NOT_LOCAL in words else [*words, NOT_LOCAL]
    lock = LockFile.read(site.project.lock)
    missing = _sync_wheels(run, others, {*lock.without_wheels, *packages_built_from_source(site, lock)})

    def build(fetched: Fetched) -> None:
        with sandbox_of(site, venv, what="builds", fetched=fetched) as sandbox:
            if missing:
                run(others, sandbox=sandbox)
            if finish is not None:
                finish(sandbox)

    def build_own() -> None:
        with sandbox_of(site, venv, what="own builds") as sandbox:
            run(words, sandbox=sandbox)

    if missing or finish is not None:
        with fetch_sources(site, site.project.root, of=missing) as fetched:
            in_new_sandbox(partial(build, fetched))
    if others is not words:
        in_new_sandbox(build_own)


def _sync_wheels(run: Callable[..., None], words: Sequence[str], missing: set[str]) -> set[str]:
    """Install the wheels of all packages but `missing`; return these and others that need a build. Raises ToolError.

    uv names the packages without a suitable wheel one at a time, before it installs anything.
    """
    while True:
        try:
            run([*words, "--no-build", *exclude_arguments(missing)])
        except ToolError as error:
            more = {*packages_to_build(error.output)} - missing
            if not more:
                raise
            missing = missing | more
        else:
            return missing
