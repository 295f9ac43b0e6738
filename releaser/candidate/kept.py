"""A kept candidate, in which a person runs commands: its commit in a tree for itself, with the site's own data.

Unlike tests, these commands are meant for the site: its files are reached by links, and its database is the real one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from releaser.candidate.products import Files, is_data, list_files
from releaser.candidate.shadow import Shadow, list_untracked, make_shadow, place_link
from releaser.checkout.products import copy_product
from releaser.checkout.repository import open_repository
from releaser.errors import refuse
from releaser.releases.release import BUILT, Release, list_products
from releaser.releases.venv import find_site_packages
from releaser.site.django import find_django
from releaser.site.site import Site


def require_tested(release: Release) -> None:
    """Raise PreflightError for a release that is not to work on the site's data: it failed more than its migrations."""
    if release.state.state == "ready" or release.manifest.failed_gate == "migrations":
        return
    reason = release.manifest.failure or f"it is {release.state.state}"
    message = f"Release {release.id} is no candidate that passed its tests: {reason}."
    raise refuse("not-tested", message, "Without `--release`, the command runs with the live release.")


def put_release(site: Site, shadow: Shadow, release: Release) -> None:
    """Put the lock, the products and the venv of a release into a shadow with its commit. Raises OSError."""
    (shadow.project / "uv.lock").write_bytes(release.lock.read_bytes())
    for path in list_products(release.directory):
        copy_product(release.directory / BUILT, shadow.map_path(site.paths.top), path)
    place_link(shadow, site.paths.link, release.venv)


@contextlib.contextmanager
def open_kept(site: Site, release: Release) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the project of a candidate in a tree, and the environment there. Raises ToolError and OSError."""
    with (
        tempfile.TemporaryDirectory(prefix="releaser-") as place,
        make_shadow(site, open_repository(site), Path(place, "tree"), release.manifest.commit, mark="run") as shadow,
    ):
        put_release(site, shadow, release)
        for entry in list_untracked(site):
            target = shadow.map_path(entry)
            if target.parent.is_dir() and not os.path.lexists(target):
                os.symlink(entry, target)
        env = site.service_environment(release.venv) | find_django(site, shadow.project).variables
        paths = [str(shadow.map_path(path)) for path in _list_own_paths(site, release.venv)]
        env["PYTHONPATH"] = os.pathsep.join([*paths, str(shadow.project)])  # before those of the live checkout
        top = shadow.map_path(site.paths.top)
        before = list_files(top)
        try:
            yield shadow.project, env
        finally:
            _keep_data(site, shadow, top, before)


def _keep_data(site: Site, shadow: Shadow, top: Path, before: Files) -> None:
    """Move the logs and databases that a command has made in a tree to the checkout, which had none there."""
    for name in list_files(top).keys() - before.keys():
        path = site.paths.top / name
        if is_data(top, name, shadow.project.relative_to(top)) and path.parent.is_dir() and not os.path.lexists(path):
            shutil.move(top / name, path)


def _list_own_paths(site: Site, venv: Path) -> list[Path]:
    """Return the directories of the checkout from which a release imports the project, by its `.pth` files."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(find_site_packages(venv).glob("*.pth")))
    paths = {Path(os.path.normpath(line)) for text in texts for line in text.splitlines() if line.startswith("/")}
    return [path for path in sorted(paths) if path.is_relative_to(site.paths.top)]
