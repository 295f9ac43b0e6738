"""The wheels of a bundle: those of the lock, of what was built here, and of what builds the project's own packages."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.bundles.manifest import WHEELS
from releaser.bundles.wheels import find_metadata, pack_installed, select_wheels
from releaser.candidate.lock_builds import build_within_limits
from releaser.errors import ToolError, refuse
from releaser.releases.release import lock_of
from releaser.site.conventions import needed_groups
from releaser.system.files import read_if_there, remove_tree
from releaser.tools.download import download

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from releaser.bundles.manifest import Target
    from releaser.bundles.pool import Pool
    from releaser.bundles.wheels import LockedWheel
    from releaser.locks.lock import LockFile
    from releaser.releases.release import Release
    from releaser.site.site import Site


def collect_wheels(  # noqa: PLR0913 - of what, for whom, and where they may lie
    site: Site, release: Release, commit: str | None, targets: Sequence[Target], pool: Pool, scratch: Path
) -> dict[str, Path]:
    """Return all wheels of a release by their paths in a bundle. Raises PreflightError and OSError."""
    lock, python = lock_of(release), release.manifest.python
    groups = needed_groups(site, lock, release.manifest.group)
    own = select_wheels(lock, groups, None, python=python)
    chosen = {one.name: one for one in own.wheels}
    for target in targets:
        chosen |= {one.name: one for one in select_wheels(lock, groups, target, python=python).wheels}
    indexes = {
        str(one.get("name", "")): str(one.get("url", ""))
        for one in site.pyproject.table("tool", "uv").get("index", ())
        if isinstance(one, dict)
    }
    found = {WHEELS + one.name: _fetch(site, one, indexes, pool, scratch) for one in chosen.values()}
    packed = [  # of packages of which there is only a source: what was built of it, and tested
        pool.packed(f"{release.id}/{name}", partial(pack_installed, find_metadata(release.venv, name)))
        for name in own.built
    ]
    for number, wanted in enumerate(_list_requirements(site, commit, lock)):
        packed.append(pool.packed(f"{release.id}/build {number}", partial(_pack_requirements, site, release, wanted)))
    return found | {WHEELS + one.name: one for made in packed for one in made}


def _fetch(site: Site, wheel: LockedWheel, indexes: Mapping[str, str], pool: Pool, scratch: Path) -> Path:
    known = pool.find(wheel.sha256)
    if known is not None:
        return known
    place = scratch / wheel.name
    where = wheel.place if "://" in wheel.place else os.path.join(site.project.root, wheel.place)
    try:
        download(where, place, sha256=wheel.sha256, environ=site.runner.environ, indexes=indexes)
    except ToolError as error:
        refuse(f"a wheel of the lock cannot be downloaded: {error.message}", error.advice)
    return pool.add(place)


def _list_requirements(site: Site, commit: str | None, lock: LockFile) -> list[tuple[str, ...]]:
    """Return what builds the packages of the project itself, which are built on the host: once what several need."""
    import tomllib

    found = dict[tuple[str, ...], None]()
    for package in lock.packages:
        source = package.get("source", {})
        place = source.get("editable", source.get("directory"))
        if place is None:
            continue
        file = site.project.root / place / "pyproject.toml"
        path = os.path.relpath(file, site.git.layout.top)
        data = read_if_there(file) if commit is None else site.git.data(commit, path)
        try:
            system: dict[str, Any] = tomllib.loads((data or b"").decode()).get("build-system", {})
        except ValueError as error:
            refuse(f"{path} cannot be read: {error}", "Correct it, and release that.")
        wanted = [str(one) for one in system.get("requires", ["setuptools>=61"])]
        if system.get("build-backend") == "hatchling.build":
            wanted.append("editables")  # which it needs for those that are editable
        if wanted:
            found[tuple(wanted)] = None
    return list(found)


def _pack_requirements(site: Site, release: Release, wanted: Sequence[str], directory: Path) -> None:
    """Make wheels of what builds a package, and of what that needs: as old as `min_age` asks for, and nothing built."""
    venv = directory.with_name("build venv")
    try:
        site.uv.run(["venv", "--quiet", "--clear", "--python", release.venv / "bin" / "python", venv])
        python = str(venv / "bin" / "python")
        words = ["pip", "install", "--quiet", "--no-build", "--python", python, *wanted]
        build_within_limits(site, lambda limits: site.uv.run([*words, *limits], tree=site.project.root))
        for info in sorted(venv.glob("lib/python3*/site-packages/*.dist-info")):
            pack_installed(info, directory)
    except ToolError as error:
        message = f"what builds the project's own packages cannot be installed: {error.reason}"
        refuse(message, error.advice or "See uv's message.")
    finally:
        remove_tree(venv)
