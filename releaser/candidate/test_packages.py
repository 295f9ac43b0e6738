"""What only the tests need: installed beside the venv that is tried, gone afterwards, and never part of a release."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.copies import lead_scripts_into
from releaser.errors import BuildError, ReleaserError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases.metadata import versions_in
from releaser.site.conventions import keep_locked
from releaser.site.disk import can_clone
from releaser.system.files import remove_tree
from releaser.tools.uv import only_groups_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.site import Site


# Places in the state directory, from which recovery sweeps what is called so; tests may run twice at once.
_PREFIX, _SUFFIX = ".test-packages-", ".new"


@contextlib.contextmanager
def test_packages(site: Site, venv: Path, lock: Path) -> Iterator[Path | None]:
    """Install what only tests need, in the versions of `lock`, for the time that `venv` is tried in the staging tree.

    Yield the venv that holds it, or None where there is nothing of the kind. Packages that `venv` has are not in it.
    Raises BuildError.
    """
    if not site.settings.test_groups:
        yield None
        return
    tree, place = site.project.root, None
    try:
        with _told_as_build_error(site):
            place = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, site.state_dir))
            text = lock.read_bytes()
            with _lock_in(tree, text):
                found = _install(site, tree, venv, place / "venv", LockFile.parse(text))
        yield found
    finally:
        if place is not None:
            remove_tree(place)


@contextlib.contextmanager
def test_packages_outside(site: Site, venv: Path, lock: Path) -> Iterator[Path | None]:
    """Do as `test_packages` where there is no staging tree, and nothing of the site may be written.

    Raises BuildError.
    """
    if not site.settings.test_groups:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="releaser-tests-", ignore_cleanup_errors=True) as name:
        with _told_as_build_error(site):
            text, place = lock.read_bytes(), Path(name)
            tree = site.project.root
            if site.project.lock.read_bytes() != text:
                tree = _twin(tree, text, place / "twin")
            found = _install(site, tree, venv, place / "venv", LockFile.parse(text))
        yield found


def _install(site: Site, tree: Path, venv: Path, beside: Path, lock: LockFile) -> Path | None:
    groups = keep_locked(site.settings.test_groups, lock)
    if not groups:
        return None
    words = only_groups_arguments(
        groups,
        present=versions_in(venv).keys() & lock.names,
        local=lock.local,
        # Links to uv's cache would let a test that edits its packages change whatever is built later.
        link_mode=site.settings.link_mode or ("clone" if can_clone(beside.parent) else "copy"),
    )
    site.uv().sync(tree, beside, words, python=venv / "bin" / "python")
    lead_scripts_into(venv, beside / "bin", (str(beside), os.path.realpath(beside)))
    return beside


@contextlib.contextmanager
def _told_as_build_error(site: Site) -> Iterator[None]:
    try:
        yield
    except (ReleaserError, InvalidLockError, OSError) as error:
        named = ", ".join(site.settings.test_groups)
        known = error if isinstance(error, ReleaserError) else ReleaserError(str(error))
        message = f"what only the tests need (`test_groups`: {named}) could not be installed: {known.message}"
        advice = known.advice or "See what uv says, and correct these groups. No package of what goes live is to blame."
        raise BuildError(message, advice=advice, output=known.output) from error


@contextlib.contextmanager
def _lock_in(tree: Path, text: bytes) -> Iterator[None]:
    """Let the staging tree have another lock for the time being."""
    file = tree / "uv.lock"
    before = file.read_bytes()
    try:
        if before != text:
            file.write_bytes(text)
        yield
    finally:
        if before != text:
            file.write_bytes(before)


def _twin(root: Path, lock: bytes, place: Path) -> Path:
    """Make a project with another lock out of symlinks: to what is in it, and in the directories that it refers to."""
    text = (root / "pyproject.toml").read_bytes() + lock
    levels = max((found.count(b"..") for found in re.findall(rb"\.\.(?:/\.\.)*", text)), default=0)
    originals = [root, *root.parents][: levels + 1]
    twin = place.joinpath(*reversed([one.name for one in originals]))
    twin.mkdir(parents=True)
    (twin / "uv.lock").write_bytes(lock)
    for original, copy in zip(originals, [twin, *twin.parents], strict=False):
        for entry in os.listdir(original):
            if not os.path.lexists(copy / entry):
                (copy / entry).symlink_to(original / entry)
    return twin
