"""Deleting a tree: also one that is not writable, and never at the cost of what is around it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from releaser.system.files import remove_tree
from tests.support.guards import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Make a directory that others may pass."""
    directory = tmp_path / "releases"
    directory.mkdir()
    directory.chmod(0o2775)
    return directory


@pytest.fixture
def mounted(releases: Path) -> Iterator[Path]:
    """Mount something in the place of a release."""
    require(os.geteuid() == 0 and shutil.which("mount"), "only root can mount")
    place = releases / "20200101T000000Z"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.spawns
def test_what_cannot_be_deleted_leaves_the_modes_around_it_alone(mounted: Path) -> None:
    with pytest.raises(OSError, match=mounted.name):
        remove_tree(mounted)
    assert mode(mounted.parent) == 0o2775
    assert mode(mounted.parent.parent) == 0o700


def test_a_directory_that_is_not_writable_is_deleted(releases: Path) -> None:
    tree = releases / "one"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "file").touch()
    outside = releases / "outside"
    outside.mkdir()
    outside.chmod(0o500)
    (tree / "deep" / "link").symlink_to(outside)
    for place in (tree / "deep" / "er", tree / "deep", tree):
        place.chmod(0o500)
    remove_tree(tree)
    assert not tree.exists()
    assert (mode(releases), mode(outside) & 0o777) == (0o2775, 0o500)


def test_a_tree_that_is_gone_already_is_no_error(releases: Path) -> None:
    remove_tree(releases / "none")
    assert mode(releases) == 0o2775
