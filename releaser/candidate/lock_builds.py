"""Builds that uv needs to make a lock: in the sandbox, and with nothing younger than `min_age`."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.git_sources import fetch_sources
from releaser.candidate.sandbox import OF_UV, bounds_of, look_at, put_all_back, with_variables
from releaser.checkout.leftovers import mark_tried
from releaser.errors import ToolError
from releaser.locks.limits import limits_of_builds
from releaser.locks.lock import LockFile
from releaser.resolution.newest import uploads_within_limits
from releaser.resolution.version_settings import VersionSettings
from releaser.sandbox.bubblewrap import without_symlinks
from releaser.sandbox.choice import bubblewrap_of
from releaser.sandbox.settings import SandboxSettings
from releaser.system.environment import builds_in_place, package_places
from releaser.system.process import Sandbox
from releaser.tools.uv import LockBuilds
from releaser.tools.uv_arguments import limit_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from releaser.site.site import Site


@contextlib.contextmanager
def lock_sandbox(site: Site, tree: Path, python: Path) -> Iterator[Sandbox]:
    """Yield the sandbox for a uv that locks in `tree` for `python`, and builds packages to do so.

    Files that control uv are restored at the end, except for the new lock. Raises ToolError.
    """
    bubblewrap, lock = bubblewrap_of(site), tree / "uv.lock"
    if bubblewrap is None:
        yield Sandbox()
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
        if flaws := [*put_all_back(before)]:
            raise ToolError(flaws[0], returncode=1)


def lock_builds(site: Site) -> LockBuilds | None:
    """Return how uv builds packages to learn their dependencies; None if builds have no sandbox.

    With `sandbox = "auto"`, the sandbox is first looked for when a build needs it, which is rare.
    """
    nothing = None if builds_in_place(site.project.root, site.runner.environ) else without_symlinks()
    builds = LockBuilds(nothing=nothing, sandbox=partial(lock_sandbox, site))
    return builds if SandboxSettings.of(site).sandbox == "auto" or bubblewrap_of(site) is not None else None


# uv 0.13 says this of a package that it skipped; if the index has upload times, it adds the time.
_PASSED_OVER = re.compile(r"`([^`\s]+)` was filtered by `exclude-newer`(?![^\n]*published at)")


def build_within_limits(site: Site, run: Callable[[list[str]], object]) -> None:
    """Call `run`, which installs from the lock of the staging tree, with uv's limits for build requirements.

    With `min_age_unknown = "take"`, repeats it without limits for packages whose index has no upload times. Raises
    ToolError.
    """
    now, limits = datetime.now(UTC), dict[str, datetime | None]()
    if site.supply.asks_others:  # else the supply includes the build requirements
        limits |= limits_of_builds(
            VersionSettings.of(site).age(now), uploads_within_limits(site, LockFile.read(site.project.lock), now)
        )
    while True:
        try:
            run(limit_arguments(limits))
        except ToolError as error:
            undated = {*_PASSED_OVER.findall(error.output)} - {name for name, one in limits.items() if one is None}
            if not limits or not undated or VersionSettings.of(site).min_age_unknown != "take":
                raise
            limits = {**limits, **dict.fromkeys(undated)}
        else:
            return
