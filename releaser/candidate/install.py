"""Installing a venv from the lock of the staging tree: wheels, and in isolation whatever runs code of a package."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from typing import TYPE_CHECKING

from releaser.candidate.isolated import (
    give_up,
    is_in_question,
    isolation_of,
    note_that_it_works,
    sandbox_of,
    without_isolation,
)
from releaser.errors import Finding, ToolError
from releaser.releases.contents import find_altered
from releaser.releases.integrity import name_of
from releaser.resolution.resolve import lock_of
from releaser.site.conventions import find_left_out
from releaser.system.environment import fetches_by_ssh
from releaser.system.words import first_few
from releaser.tools.uv import local_export_arguments, local_install_arguments, sync_arguments
from releaser.tools.uv_output import failed_builds, fails_locally, packages_to_build

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from releaser.run import Workspace
    from releaser.site.site import Site, SiteFacts
    from releaser.tools.uv import Uv


logger = logging.getLogger(__name__)

# What building a package leaves beside its source, and nothing needs.
_HARMLESS = ("build", "dist", "__pycache__")


def install(site: Site, facts: SiteFacts, venv: Path, *, link_mode: str, compiled: bool = True) -> tuple[Finding, ...]:
    """Install third-party packages as locked in the staging tree, and local ones from its source.

    Editable packages lead into the staging tree until the release is sealed. Returns what uv's cache had altered, which
    is not installed. Raises ToolError.
    """
    tree, uv, group = site.project.root, facts.uv, facts.group
    without = find_left_out(site, site.project.lock)
    words = sync_arguments(group=group, link_mode=link_mode, compiled=False, without=without)
    sync(site, venv, words, python=facts.python, compiled=compiled)
    findings: list[Finding] = []
    if altered := {name_of(info): path for info, path in find_altered(str(venv)).items()}:
        words = sync_arguments(group=group, link_mode="copy", compiled=False, without=without, anew=altered)
        sync(site, venv, words, python=facts.python, compiled=compiled)
        still = find_altered(str(venv)).values()
        for name, path in altered.items():
            if path in still:
                logger.warning("the release of %s itself has another %s than its RECORD names", name, path)
            else:
                message = f"uv's cache had another {path} of {name} than its RECORD names; {name} was installed anew"
                findings.append(Finding(message, advice=f"Find out what writes there, then `uv cache clean {name}`."))
    local = uv.run(local_export_arguments(group=group, without=without), tree=tree)
    if not local.strip():
        return tuple(findings)
    requirements = tree / ".releaser-local.txt"
    requirements.write_text(local, encoding="utf-8")
    before = set(site.git.unknown_files())
    python = venv / "bin" / "python"
    words = local_install_arguments(python=python, requirements=requirements, link_mode=link_mode, compiled=compiled)
    with sandbox_of(site, venv, what="builds") as sandbox:
        uv.run(words, tree=tree, sandbox=sandbox)
    _refuse_built_files(site, before)
    return tuple(findings)


def install_candidate(work: Workspace, venv: Path, *, link_mode: str) -> tuple[Finding, ...]:
    """Install a candidate; without isolation, if what is live cannot be built in it either. Raises ToolError.

    A package that is part of the project is built without it, if that is what helps: its owner is trusted.
    """
    site = work.site
    try:
        return install(site, work.facts, venv, link_mode=link_mode)
    except ToolError as error:
        failed = {name for name, _ in failed_builds(error.output)}
        if not is_in_question(site, "builds") or not (failed or fails_locally(error.output)):
            raise
        if failed and _live_builds(work, failed, venv.parent / "live"):
            raise
        shutil.rmtree(venv, ignore_errors=True)
        with without_isolation(site, "builds"):
            found = install(site, work.facts, venv, link_mode=link_mode)
        give_up(site, work.log, error.output, "builds")
        return found


def _live_builds(work: Workspace, names: Iterable[str], place: Path) -> bool:
    """Whether isolation is not to blame for packages that could not be built: what is live of them can be, at `place`.

    Without anything live, the packages are those that the site has been running on, and isolation is to blame.
    """
    site, live = work.site, lock_of(work.live)
    known = live.names.intersection(names)
    if work.live is None or not known:
        return work.live is not None
    words = sync_arguments(group=work.before.group, link_mode="copy", compiled=False)
    words += [word for name in sorted(live.names - known) for word in ("--no-install-package", name)]
    try:
        place.mkdir()
        with other_lock(site.project.lock, live.data), sandbox_of(site, place, what="builds") as sandbox:
            work.facts.uv.sync(site.project.root, place, words, python=work.facts.python, sandbox=sandbox)
    except ToolError:
        return False
    finally:
        shutil.rmtree(place, ignore_errors=True)
    note_that_it_works(site, "builds")
    return True


def sync(site: Site, venv: Path, words: Sequence[str], *, python: Path, compiled: bool = False) -> None:
    """Do a `uv sync` into `venv`, in isolation if builds are; `words` say nothing of compiling. Raises ToolError.

    In isolation, the wheels are installed first, which come through uv's cache. Whatever runs code of a package, be it
    a build or the start of the venv's Python that compiles, comes after that, and has a cache of its own.
    """
    tree, uv, compiling = site.project.root, site.uv(), ["--compile-bytecode"] if compiled else []
    if isolation_of(site, "builds") is None:
        uv.sync(tree, venv, [*words, *compiling], python=python)
    elif _sync_wheels(uv, tree, venv, words, python=python) or compiled:
        needs_keys = fetches_by_ssh(site.project.lock.read_bytes())  # what is built then
        with sandbox_of(site, venv, what="builds", needs_keys=needs_keys) as sandbox:
            uv.sync(tree, venv, [*words, *compiling], python=python, sandbox=sandbox)


def _sync_wheels(uv: Uv, tree: Path, venv: Path, words: Sequence[str], *, python: Path) -> tuple[str, ...]:
    """Install what needs no build; return the packages that are missing. Raises ToolError.

    uv names one at a time, before it does anything.
    """
    missing: tuple[str, ...] = ()
    while True:
        without = [word for name in missing for word in ("--no-install-package", name)]
        try:
            uv.sync(tree, venv, [*words, "--no-build", *without], python=python)
        except ToolError as error:
            more = packages_to_build(error.output)
            if not more or set(more) <= set(missing):
                raise
            missing += more
        else:
            return missing


def _refuse_built_files(site: Site, before: set[str]) -> None:
    """Refuse a build that has written files into the staging tree which the packages need and the checkout lacks.

    Compiled extensions of editable packages are such files, and generated version modules. `before` is what git did
    not track there before the build. Raises ToolError.
    """
    top = site.git.layout.top
    checkout = site.project.of_checkout(top)
    made = sorted(path for path in set(site.git.unknown_files()) - before if _is_needed(path, checkout))
    if made:
        message = f"building the project's own packages writes files that the checkout lacks: {first_few(made, 3)}"
        advice = (
            "Let uv install that package as a wheel (`editable = false` in tool.uv.sources), or build it once in the"
            " checkout, by hand."
        )
        raise ToolError(message, advice=advice)


def _is_needed(path: str, checkout: Path) -> bool:
    name = path.rstrip("/").rpartition("/")[2]
    if name in _HARMLESS or name.endswith((".egg-info", ".pyc")) or name.startswith(".releaser-"):
        return False
    return name.endswith(".so") or not os.path.lexists(checkout / path)


@contextlib.contextmanager
def other_lock(file: Path, text: bytes) -> Iterator[None]:
    """Let the staging tree have another lock for the time being."""
    before = file.read_bytes()
    if before == text:
        yield
        return
    try:
        file.write_bytes(text)
        yield
    finally:
        file.write_bytes(before)
