"""Installs a venv from the lock of the staging tree: wheels directly, builds in a sandbox."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from releaser.candidate.git_sources import fetch_sources
from releaser.candidate.lock_builds import build_within_limits
from releaser.candidate.sandbox import keep_from_live_data, sandbox_of
from releaser.checkout.leftovers import lock_to_install, mark_tried
from releaser.errors import ToolError
from releaser.locks.lock import LockFile
from releaser.releases.acceptance import refresh_arguments
from releaser.releases.store import store_of
from releaser.releases.venv import executable_of
from releaser.sandbox.choice import bubblewrap_of
from releaser.site.conventions import find_excluded_groups
from releaser.system.environment import all_settings_of_uv
from releaser.system.files import write_new_file
from releaser.system.words import first_few
from releaser.tools.uv import packages_to_build
from releaser.tools.uv_arguments import (
    COMPILED,
    NOT_LOCAL,
    exclude_arguments,
    local_export_arguments,
    local_install_arguments,
    sync_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from releaser.site.site import Site, SiteFacts
    from releaser.system.process import Sandbox


# Compiles as uv does, but in an interpreter that ignores the venv. Skips modules that do not compile.
_COMPILING = """
import compileall, os, py_compile, sys
mode = py_compile.PycInvalidationMode.TIMESTAMP
files = [os.path.join(top, one) for top, _, names in os.walk(sys.argv[1]) for one in names if one.endswith(".py")]
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
jobs, shares, children = max(1, min(cores, 8, len(files) // 200)), [0], 0
for one in range(1, jobs):
    try:
        is_child = os.fork() == 0
    except OSError:  # there may be no more processes
        shares += range(one, jobs)
        break
    if is_child:
        shares, children = [one], 0
        break
    children += 1
for share in shares:
    for file in files[share::jobs]:
        compileall.compile_file(file, force=True, quiet=2, invalidation_mode=mode)
sys.exit(any([os.wait()[1] for _ in range(children)]))
"""

# Files that a build leaves next to the source, and that nothing needs.
_HARMLESS = ("build", "dist", "__pycache__")


def install(site: Site, facts: SiteFacts, venv: Path, *, link_mode: str, compiled: bool = True) -> None:
    """Install third-party packages as locked in the staging tree, and local ones from its source.

    Editable packages point into the staging tree until the release is sealed. Raises ToolError.
    """
    group, without = facts.group, find_excluded_groups(site, site.project.lock)
    words = sync_arguments(group=group, link_mode=link_mode, compiled=compiled, without=without)
    words += refresh_arguments(LockFile.read(site.project.lock), site.project.root, store_of(site).live())
    keep_from_live_data(site)
    sync(site, venv, words, python=facts.python)
    _install_own(site, facts, venv, link_mode=link_mode, compiled=compiled)


def _install_own(site: Site, facts: SiteFacts, venv: Path, *, link_mode: str, compiled: bool) -> None:
    """Install the local packages into an existing venv, in the sandbox if one works. Raises ToolError."""
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
    words = local_install_arguments(python=python, requirements=requirements, link_mode=link_mode, compiled=compiled)
    with sandbox_of(site, venv, what="own builds") as sandbox:
        build_within_limits(site, lambda limits: uv.run([*words, *limits], tree=tree, sandbox=sandbox))
    _refuse_built_files(site, before)


def sync(site: Site, venv: Path, words: Sequence[str], *, python: Path) -> None:
    """Run `uv sync` into `venv`, which does not exist yet, in a sandbox if builds have one. Raises ToolError.

    With a sandbox, uv first installs the wheels, through its cache. Builds follow, with a separate cache. Then an
    interpreter that ignores the venv compiles all modules. Local packages are last: only they may write in the staging
    tree.
    """

    def run(words: Sequence[str], *, sandbox: Sandbox | None = None) -> None:
        def within(limits: list[str]) -> None:
            site.uv.sync(site.project.root, venv, [*words, *limits], python=python, sandbox=sandbox)

        build_within_limits(site, within)

    with lock_to_install(site):
        if bubblewrap_of(site) is None:
            mark_tried(site)
            run(words)
        else:
            _sync_in_sandbox(site, venv, run, words)


def _sync_in_sandbox(site: Site, venv: Path, run: Callable[..., None], words: Sequence[str]) -> None:
    compiling = [word for word in words if word == COMPILED]
    words = [word for word in words if word != COMPILED]
    others = words if NOT_LOCAL in words else [*words, NOT_LOCAL]
    lock = LockFile.read(site.project.lock)
    missing = _sync_wheels(run, others, {*lock.without_wheels, *only_built(site, lock)})
    python = executable_of(venv / "bin" / "python")  # now, as a build could change the symlink
    if missing or compiling:
        with (
            fetch_sources(site, site.project.root, of=missing) as fetched,
            sandbox_of(site, venv, what="builds", fetched=fetched) as sandbox,
        ):
            if missing:
                run(others, sandbox=sandbox)
            if compiling:  # uv takes longer, and its Python runs code of the venv at start
                command: list[str | Path] = [python, "-I", "-S", "-W", "ignore", "-c", _COMPILING, venv / "lib"]
                env = {**site.runner.neutral, **dict(sandbox.variables)}
                site.runner.run(command, cwd=site.project.root, env=env, timeout=site.uv.timeout, sandbox=sandbox)
    if others is not words:
        with sandbox_of(site, venv, what="own builds") as sandbox:
            run([*words, *compiling], sandbox=sandbox)


# The parts of a sync in a sandbox


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


def only_built(site: Site, lock: LockFile) -> set[str]:
    """Return the packages of a lock for which uv's settings forbid wheels; uv builds them in spite of `--no-build`."""
    found = set[str]()
    for settings in all_settings_of_uv(site.project.root, site.runner.environ):
        if settings.get("no-binary"):
            return {*lock.names}
        found |= {*settings.get("no-binary-package", ())}
    return found


def _refuse_built_files(site: Site, before: set[str]) -> None:
    """Refuse a build that wrote files into the staging tree that the packages need and the checkout lacks.

    Examples are compiled extensions of editable packages, and generated version modules. `before` has the files that
    were untracked there before the build. Raises ToolError.
    """
    top = site.git.layout.top
    checkout = site.project.of_checkout(top)
    created = sorted(path for path in set(site.git.unknown_files()) - before if _is_needed(path, checkout))
    if created:
        message = (
            f"building the project's own packages creates files that are not in the checkout: {first_few(created, 3)}"
        )
        places = {package["source"].get("editable", ".") for package in LockFile.read(site.project.lock).packages} - {
            "."
        }
        homes = [os.path.normpath(site.project.root / place) for place in places]  # of local packages but the project
        is_other = any((top / path).is_relative_to(home) for path in created for home in homes)
        wheel = "Let uv install that package as a wheel (`editable = false` in tool.uv.sources), or build"
        by_hand = f"{wheel if is_other else 'Build'} it once in the checkout, by hand."
        raise ToolError(message, site.supply.advice or by_hand)


def _is_needed(path: str, checkout: Path) -> bool:
    parents = [parent for parent in PurePosixPath(path).parents if parent.name in _HARMLESS]
    if any(not os.path.lexists(checkout / parent) for parent in parents):
        return False
    name = path.rstrip("/").rpartition("/")[2]
    if name in _HARMLESS or name.endswith((".egg-info", ".pyc")) or name.startswith(".releaser-"):
        return False
    return name.endswith(".so") or not os.path.lexists(checkout / path)
