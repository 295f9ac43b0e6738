"""Isolation of what uv builds to make a lock: packages that have to be built before it is known what they need."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.isolated import (
    GIT_BY_HTTP,
    OF_UV,
    hidden_from,
    isolation_of,
    look_at,
    programs_of,
    put_all_back,
    writable_places,
)
from releaser.checkout.leftovers import mark_tried
from releaser.errors import ToolError
from releaser.locks.versions import normalize_name
from releaser.releases.store import store_of
from releaser.system.environment import builds_in_place, fetches_by_ssh
from releaser.system.files import read_if_there
from releaser.system.isolation import Bounds, Sandbox, without_symlinks
from releaser.tools.uv import LockBuilds, failed_builds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.site.site import Site


@contextlib.contextmanager
def lock_sandbox(site: Site, tree: Path, python: Path) -> Iterator[Sandbox]:
    """Yield what isolates a uv that locks in `tree` for `python`, and builds for that; its lock stays.

    Raises ToolError.
    """
    isolation, lock = isolation_of(site, "builds"), tree / "uv.lock"
    if isolation is None:
        yield Sandbox()
        return
    if site.staged is not None:
        mark_tried(site)
    wanted = b"".join(read_if_there(tree / name) or b"" for name in ("pyproject.toml", "uv.lock"))
    passwords, keys = not GIT_BY_HTTP.search(wanted), fetches_by_ssh(wanted)
    bounds = Bounds(
        writable=(*(() if tree == site.project.checkout else (tree,)), *writable_places(site)),
        hidden=hidden_from(site, isolation, needs_keys=keys, passwords=passwords),
        kept=(site.project.outer, site.project.state_dir, tree.parent),
        needed=programs_of(site, python),
    )
    before = {path: look_at(path) for path in (tree / ".git", *(tree / one for one in OF_UV)) if path != lock}
    try:
        with isolation.sandbox(bounds) as sandbox:
            yield sandbox
    finally:
        if flaws := [*put_all_back(before)]:
            raise ToolError(flaws[0], returncode=1)


def lock_builds(site: Site) -> LockBuilds | None:
    """Return how packages are built that have to be, to learn what they need; None if nothing is isolated here."""

    def is_known(output: str) -> bool:
        live = store_of(site).live()
        if site.settings.isolate != "auto" or live is None:
            return False
        sources = [one for one in live.locked.packages if one["name"] in live.locked.without_wheels]
        failed = {(normalize_name(name), version) for name, version in failed_builds(output)}
        return bool(failed) and failed <= {(one["name"], one.get("version", "")) for one in sources}

    nothing = None if builds_in_place(site.project.root, site.runner.environ) else without_symlinks()
    builds = LockBuilds(nothing=nothing, isolated=partial(lock_sandbox, site), is_known=is_known)
    return builds if isolation_of(site, "builds") is not None else None
