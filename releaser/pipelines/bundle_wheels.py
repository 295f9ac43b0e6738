"""The wheels of a bundle: from the lock, built on this host, and for building the project's own packages."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.bundles.manifest import WHEELS, Target
from releaser.bundles.wheels import LockedWheel, find_metadata, pack_installed, select_wheels
from releaser.candidate.build_limits import build_within_limits
from releaser.core.confinement import confinement
from releaser.errors import ToolError, refuse
from releaser.releases.release import Release, lock_of
from releaser.site.conventions import needed_groups
from releaser.site.supply import SupplyFacts
from releaser.system.files import remove_tree
from releaser.system.frozen import Frozen, replace
from releaser.tools.download import download

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from releaser.bundles.pool import Pool
    from releaser.locks.lock import LockFile
    from releaser.site.site import Site


# Asks a backend for further build requirements (PEP 517, PEP 660), and ignores the output of setup.py.
_ASKING = """
import functools, importlib, json, os, sys
answer = os.dup(1)
os.dup2(2, 1)
module, _, names = sys.argv[1].partition(":")
sys.path[:0] = sys.argv[2:]
backend = functools.reduce(getattr, filter(None, names.split(".")), importlib.import_module(module))
hooks = (getattr(backend, f"get_requires_for_build_{kind}", None) for kind in ("wheel", "editable"))
os.write(answer, json.dumps([str(one) for hook in hooks if hook is not None for one in hook(None)]).encode())
"""


class OwnBuild(Frozen):
    """The build of a package of the project; `place` is its directory, relative to the top of the checkout."""

    place: str
    requires: tuple[str, ...]
    backend: str = "setuptools.build_meta:__legacy__"
    #: The directories of a backend that is part of the package.
    paths: tuple[str, ...] = ()


def collect_wheels(  # noqa: PLR0913 - of what, for whom, and where they may lie
    site: Site, release: Release, commit: str, targets: Sequence[Target], pool: Pool, scratch: Path
) -> dict[str, Path]:
    """Return all wheels of a release by their paths in a bundle. Raises PreflightError and OSError."""
    lock, python = lock_of(release), release.manifest.python
    groups = needed_groups(site, lock, release.manifest.group)
    tried = SupplyFacts.of(release.manifest).tried
    own = select_wheels(lock, groups, None, python=python, tried=tried)
    chosen = {wheel.name: wheel for wheel in own.wheels}
    for target in targets:
        selected = select_wheels(lock, groups, target, python=python, tried=tried)
        chosen |= {wheel.name: wheel for wheel in selected.wheels}
    indexes = {
        str(index.get("name", "")): str(index.get("url", ""))
        for index in site.pyproject.table("tool", "uv").get("index", ())
        if isinstance(index, dict)
    }
    found = {WHEELS + wheel.name: _fetch(site, wheel, indexes, pool, scratch) for wheel in chosen.values()}
    packed = [  # packages without a wheel in the lock: the build that was tested
        pool.packed(f"{release.id}/{name}", partial(pack_installed, find_metadata(release.venv, name)))
        for name in own.built
    ]
    check_out = partial(_check_out, site, commit, scratch)
    for number, own_build in enumerate(_list_builds(site, commit, lock, tried)):
        pack = partial(_pack_requirements, site, release, own_build, check_out)
        packed.append(pool.packed(f"{release.id}/build {number}", pack))
    return found | {WHEELS + wheel.name: wheel for wheels in packed for wheel in wheels}


def _fetch(site: Site, wheel: LockedWheel, indexes: Mapping[str, str], pool: Pool, scratch: Path) -> Path:
    known = pool.find(wheel.sha256)
    if known is not None:
        return known
    place = scratch / wheel.name
    where = wheel.place if "://" in wheel.place else os.path.join(site.project.root, wheel.place)
    try:
        download(where, place, sha256=wheel.sha256, environ=site.runner.environ, indexes=indexes)
    except ToolError as error:
        refuse("wheel-not-downloaded", f"a wheel of the lock cannot be downloaded: {error.message}", error.advice)
    return pool.add(place)


def _list_builds(site: Site, commit: str, lock: LockFile, tried: Collection[str]) -> list[OwnBuild]:
    """Return the builds of the project's own packages, which the installing host repeats."""
    import tomli

    found = []
    for package in lock.packages:
        source = package.get("source", {})
        place = source.get("editable", source.get("directory"))
        if place is None or package["name"] in tried:
            continue
        home = os.path.relpath(site.project.root / place, site.git.layout.top)
        path = os.path.normpath(os.path.join(home, "pyproject.toml"))
        data = site.git.data(commit, path)
        try:
            system: dict[str, Any] = tomli.loads((data or b"").decode()).get("build-system", {})
        except ValueError as error:
            refuse(
                "wheel-unreadable", f"{path} cannot be read: {error}", "Correct pyproject.toml, and update the site."
            )
        own = OwnBuild(place=home, requires=tuple(map(str, system.get("requires", ["setuptools>=61"]))))
        if "build-backend" in system:
            paths = tuple(map(str, system.get("backend-path", ())))
            own = replace(own, backend=str(system["build-backend"]), paths=paths)
        found.append(own)
    return found


def _check_out(site: Site, commit: str, scratch: Path) -> Path:
    """Return a checkout of the code that builds may write to, made once. Raises ToolError and OSError."""
    place = scratch / "checkout"
    if not place.exists():
        place.mkdir()
        site.git.shadow(place).fill_shadow(place, commit)
    return place


def _pack_requirements(
    site: Site, release: Release, own: OwnBuild, check_out: Callable[[], Path], directory: Path
) -> None:
    """Pack the build requirements of a package into wheels, within `min_age`, and without building any."""
    venv = directory.with_name("build venv")
    python = venv / "bin" / "python"

    def install(wanted: Sequence[str]) -> None:
        words = ["pip", "install", "--quiet", "--no-build", "--python", str(python), *wanted]
        if wanted:
            build_within_limits(site, lambda limits: site.uv.run([*words, *limits], tree=site.project.root))

    try:
        site.uv.run(["venv", "--quiet", "--clear", "--python", release.venv / "bin" / "python", venv])
        install(own.requires)
        install(_ask_backend(site, own, check_out(), python))
        for info in sorted(venv.glob("lib/python3*/site-packages/*.dist-info")):
            pack_installed(info, directory)
    except ToolError as error:
        message = f"the build requirements of the project's own packages cannot be installed: {error.reason}"
        refuse("build-requirements", message, error.advice or "See uv's message.")
    finally:
        remove_tree(venv)


def _ask_backend(site: Site, own: OwnBuild, tree: Path, python: Path) -> tuple[str, ...]:
    """Return the further build requirements that the backend of a package names. Raises ToolError."""
    place = tree / own.place
    with confinement().locking(site, tree, python) as sandbox:
        words: list[str | Path] = [python, "-I", "-c", _ASKING, own.backend, *(str(place / path) for path in own.paths)]
        env = {**site.runner.neutral, **dict(sandbox.variables)}
        finished = site.runner.run(words, cwd=place, env=env, timeout=site.uv.timeout, sandbox=sandbox)
    return tuple(json.loads(finished.stdout))
