"""Installs a venv from the lock of the staging tree."""

from __future__ import annotations

import os
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from releaser.candidate.build_limits import build_within_limits
from releaser.candidate.compiling import compile_modules
from releaser.checkout.leftovers import lock_to_install, mark_tried, renew_tree
from releaser.core.confinement import confinement
from releaser.core.reuse import NOTHING, reuse
from releaser.errors import ToolError
from releaser.locks.lock import LockFile
from releaser.releases.acceptance import refresh_arguments
from releaser.releases.contents import list_below
from releaser.releases.store import store_of
from releaser.site.conventions import find_excluded_groups
from releaser.system.files import write_new_file
from releaser.system.process import NO_SANDBOX, in_new_sandbox
from releaser.system.words import first_few
from releaser.tools.uv_arguments import local_export_arguments, local_install_arguments, sync_arguments

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from releaser.core.reuse import Taken
    from releaser.releases.release import Release
    from releaser.site.site import Site, SiteFacts
    from releaser.system.process import Sandbox


# Files that a build leaves next to the source, and that nothing needs.
_HARMLESS = ("build", "dist", "__pycache__")


def install(  # noqa: PLR0913 - the origin of the packages, and how to install them
    site: Site, facts: SiteFacts, venv: Path, *, live: Release | None, link_mode: str, compiled: bool = True
) -> Taken:
    """Install third-party packages as locked in the staging tree, and local ones from its source.

    Unchanged packages may come from `live`; None has uv install all. Editable packages point into the staging tree
    until the release is sealed. Returns the files that came from `live`. Raises ToolError and OSError.
    """
    group, without = facts.group, find_excluded_groups(site, site.project.lock)
    words = sync_arguments(group=group, link_mode=link_mode, without=without)
    words += refresh_arguments(LockFile.read(site.project.lock), site.project.root, store_of(site).live())
    unlink_live_data(site)
    taken = reuse().take(site, facts, live, venv) if live is not None else NOTHING
    sync(site, venv, words, python=facts.python, compiled=taken.compiled if compiled else None)
    _install_own(site, facts, venv, link_mode=link_mode, compiled=compiled)
    return taken


def _install_own(site: Site, facts: SiteFacts, venv: Path, *, link_mode: str, compiled: bool) -> None:
    """Install the local packages into an existing venv. Raises ToolError."""
    tree, uv = site.project.root, facts.uv
    if not LockFile.read(site.project.lock).has_own:
        return
    without = find_excluded_groups(site, site.project.lock)
    local = uv.run(local_export_arguments(group=facts.group, without=without), tree=tree)
    if not local.strip():
        return
    requirements = tree / ".releaser-local.txt"
    write_new_file(requirements, local.encode())
    before = set(site.git.unknown_files())
    python = venv / "bin" / "python"
    words = local_install_arguments(python=python, requirements=requirements, link_mode=link_mode)
    mark_tried(site)
    installed = {path for path in list_below(str(venv), "lib") if path.endswith(".py")} if compiled else set()

    def build() -> None:
        with confinement().inside(site, venv, what="own builds") as sandbox:
            build_within_limits(site, lambda limits: uv.run([*words, *limits], tree=tree, sandbox=sandbox))
            if compiled:
                compile_modules(site, venv, python=facts.python, but=installed, sandbox=sandbox)

    in_new_sandbox(build)
    _refuse_built_files(site, before)


def sync(
    site: Site, venv: Path, words: Sequence[str], *, python: Path, compiled: Collection[str] | None = None
) -> None:
    """Run `uv sync` into `venv`, and compile its modules but for those `compiled`; with None, compile none.

    Raises ToolError.
    """

    def run(words: Sequence[str], *, sandbox: Sandbox = NO_SANDBOX) -> None:
        def within(limits: list[str]) -> None:
            site.uv.sync(site.project.root, venv, [*words, *limits], python=python, sandbox=sandbox)

        build_within_limits(site, within)

    finish = None if compiled is None else partial(compile_modules, site, venv, python=python, but=compiled)
    with lock_to_install(site):
        if not confinement().works(site):
            mark_tried(site)
        confinement().sync(site, venv, run, words, finish)


def unlink_live_data(site: Site) -> None:
    """Make a new staging tree without links to the live checkout, if the sandbox that the links need does not work.

    Raises BuildError.
    """
    if site.tree.carried.needs_sandbox and not confinement().works(site):
        mark_tried(site)
        renew_tree(site)


def _refuse_built_files(site: Site, before: set[str]) -> None:
    """Refuse a build that wrote files into the staging tree that the packages need and the checkout lacks.

    Examples are compiled extensions of editable packages, and generated version modules. `before` has the files that
    were untracked there before the build. Raises ToolError.
    """
    top = site.git.layout.top
    checkout = site.project.of_checkout(top)
    created = sorted(path for path in set(site.git.unknown_files()) - before if _is_needed(path, checkout))
    if created:
        message = f"the build of the project's packages creates files that the checkout lacks: {first_few(created, 3)}"
        places = {package["source"].get("editable", ".") for package in LockFile.read(site.project.lock).packages} - {
            "."
        }
        homes = [os.path.normpath(site.project.root / place) for place in places]  # of local packages but the project
        is_other = any((top / path).is_relative_to(home) for path in created for home in homes)
        wheel = "Let uv install that package as a wheel (`editable = false` in tool.uv.sources), or build"
        by_hand = f"{wheel if is_other else 'Build'} it once in the checkout yourself."
        raise ToolError(message, site.supply.advice or by_hand)


def _is_needed(path: str, checkout: Path) -> bool:
    parents = [parent for parent in PurePosixPath(path).parents if parent.name in _HARMLESS]
    if any(not os.path.lexists(checkout / parent) for parent in parents):
        return False
    name = path.rstrip("/").rpartition("/")[2]
    if name in _HARMLESS or name.endswith((".egg-info", ".pyc")) or name.startswith(".releaser-"):
        return False
    return name.endswith(".so") or not os.path.lexists(checkout / path)
