"""Builds that uv needs to make a lock, in the sandbox."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.sandbox.landlock import without_symlinks
from releaser.sandbox.settings import SandboxSettings
from releaser.system.environment import builds_in_place, package_places
from releaser.system.process import NO_SANDBOX
from releaser.tools.uv import LockBuilds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.site.site import Site
    from releaser.system.process import Sandbox


@contextlib.contextmanager
def lock_sandbox(site: Site, tree: Path, python: Path) -> Iterator[Sandbox]:
    """Yield the sandbox for a uv that locks in `tree` for `python`, and builds packages to do so.

    Files that control uv are restored at the end, except for the new lock. Raises ToolError.
    """
    # Most locks need no build.
    from releaser.candidate.git_sources import fetch_sources
    from releaser.candidate.sandbox import OF_UV, bounds_of, look_at, restore_watched_files, with_variables
    from releaser.checkout.leftovers import mark_tried
    from releaser.sandbox.choice import bubblewrap_of

    bubblewrap, lock = bubblewrap_of(site), tree / "uv.lock"
    if bubblewrap is None:
        yield NO_SANDBOX
        return
    mark_tried(site)
    before = {path: look_at(path) for path in (tree / ".git", *(tree / name for name in OF_UV)) if path != lock}
    try:
        with fetch_sources(site, tree) as fetched:
            writable = () if tree == site.project.checkout else (tree,)
            kept = (tree.parent, *package_places(tree, site.runner.environ), *fetched.places)
            with bubblewrap.sandbox(bounds_of(site, python, writable, kept)) as sandbox:
                yield with_variables(sandbox, fetched)
    finally:
        if flaws := [*restore_watched_files(before)]:
            raise ToolError(flaws[0], returncode=1)


def lock_builds(site: Site) -> LockBuilds | None:
    """Return how uv builds packages to learn their dependencies; None if builds have no sandbox.

    With `sandbox = "auto"`, the sandbox is first looked for when a build needs it, which is rare.
    """
    nothing = None if builds_in_place(site.project.root, site.runner.environ) else without_symlinks()
    if SandboxSettings.of(site).sandbox != "auto":
        from releaser.sandbox.choice import bubblewrap_of

        if bubblewrap_of(site) is None:
            return None
    return LockBuilds(nothing=nothing, sandbox=partial(lock_sandbox, site))
