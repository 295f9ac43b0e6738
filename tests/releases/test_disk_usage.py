"""What a release takes on disk. On real files, some of which have several names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from releaser.releases.disk_usage import DiskUsage, measure, total_bytes
from tests.releases.makers import a_manifest

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 200_000


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Make a release of one file and four directories."""
    place = tmp_path / "releases" / "one"
    (place / "venv" / "lib" / "site-packages").mkdir(parents=True)
    write(place / "venv" / "lib" / "site-packages" / "module.py")
    return place


def write(path: Path) -> Path:
    """Write a file that takes some blocks."""
    path.write_bytes(b"x" * SIZE)
    return path


def growth(usage: DiskUsage, before: DiskUsage) -> tuple[int, int, int]:
    """Return how much was added: files of `SIZE` that take space, those of them that are its own, and inodes."""
    size, own = usage.size_bytes - before.size_bytes, usage.own_bytes - before.own_bytes
    return size // SIZE, own // SIZE, usage.inodes - before.inodes


def test_what_has_no_name_elsewhere_is_its_own(release: Path) -> None:
    usage = measure(release)
    assert SIZE <= usage.size_bytes == usage.own_bytes < SIZE * 1.2
    assert usage.inodes == 5
    write(release / "venv" / "another.py")
    assert growth(measure(release), usage) == (1, 1, 1)


def test_a_file_with_two_names_counts_once(release: Path) -> None:
    before = measure(release)
    one = write(release / "venv" / "one")
    os.link(one, release / "venv" / "lib" / "two")
    assert growth(measure(release), before) == (1, 1, 1)


def test_a_file_with_a_name_elsewhere_is_shared(release: Path, tmp_path: Path) -> None:
    before = measure(release)
    elsewhere = write(tmp_path / "cached")
    os.link(elsewhere, release / "venv" / "one")
    os.link(elsewhere, release / "venv" / "two")
    assert growth(measure(release), before) == (1, 0, 1)
    elsewhere.unlink()
    assert growth(measure(release), before) == (1, 1, 1)


def test_of_a_link_counts_the_link(release: Path, tmp_path: Path) -> None:
    before = measure(release)
    (release / "venv" / "to-big").symlink_to(write(tmp_path / "big"))
    assert growth(measure(release), before) == (0, 0, 1)


def test_a_venv_that_lies_elsewhere_is_what_the_release_takes(release: Path, tmp_path: Path) -> None:
    before = measure(release)
    (release / "venv").rename(tmp_path / "venv")
    (release / "venv").symlink_to(tmp_path / "venv")
    assert growth(measure(release), before) == (0, 0, 0)


def test_what_is_gone_takes_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path / "gone") == DiskUsage(size_bytes=0, own_bytes=0, inodes=0)


@pytest.mark.parametrize(
    ("taken", "total"),
    [([], 0), ([(3, 3), (4, 4)], 7), ([(3, 103), (4, 124), (5, 5)], 132)],
)
def test_what_releases_share_counts_once(taken: list[tuple[int, int]], total: int) -> None:
    assert total_bytes(a_manifest(own_bytes=own, size_bytes=size) for own, size in taken) == total
