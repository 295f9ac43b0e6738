"""What a directory takes on disk. On real files, some of which have several names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from releaser.releases import extents
from releaser.releases.cost import Cost, measure

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


def more(cost: Cost, than: Cost) -> tuple[bool, bool, int]:
    """Tell whether a file more of its own, or shared, is in the one; and how many inodes more."""
    own, shared = cost.own_bytes - than.own_bytes, cost.shared_bytes - than.shared_bytes
    return SIZE <= own < SIZE * 1.2, SIZE <= shared < SIZE * 1.2, cost.inodes - than.inodes


def test_what_has_no_name_elsewhere_is_its_own(release: Path) -> None:
    cost = measure(release)
    assert SIZE <= cost.own_bytes < SIZE * 1.2
    assert (cost.shared_bytes, cost.size_bytes, cost.inodes) == (0, cost.own_bytes, 5)
    write(release / "venv" / "another.py")
    assert more(measure(release), cost) == (True, False, 1)


def test_a_file_with_two_names_counts_once(release: Path) -> None:
    cost = measure(release)
    one = write(release / "venv" / "one")
    os.link(one, release / "venv" / "two")
    os.link(one, release / "venv" / "lib" / "three")
    assert more(measure(release), cost) == (True, False, 1)


def test_a_file_with_a_name_elsewhere_is_shared(release: Path, tmp_path: Path) -> None:
    cost = measure(release)
    elsewhere = write(tmp_path / "cached")
    os.link(elsewhere, release / "venv" / "one")
    os.link(elsewhere, release / "venv" / "two")
    now = measure(release)
    assert more(now, cost) == (False, True, 1)
    assert now.size_bytes == now.own_bytes + now.shared_bytes
    elsewhere.unlink()
    assert more(measure(release), cost) == (True, False, 1)


def test_links_count_as_links(release: Path, tmp_path: Path) -> None:
    cost = measure(release)
    (release / "venv" / "to-big").symlink_to(write(tmp_path / "big"))
    now = measure(release)
    assert more(now, cost) == (False, False, 1)
    assert now.own_bytes - cost.own_bytes < SIZE


def test_a_venv_that_lies_elsewhere_is_what_the_release_takes(release: Path, tmp_path: Path) -> None:
    cost = measure(release)
    (release / "venv").rename(tmp_path / "venv")
    (release / "venv").symlink_to(tmp_path / "venv")
    now = measure(release)
    assert now.inodes == cost.inodes
    assert 0 <= now.own_bytes - cost.own_bytes < SIZE


def test_what_is_gone_takes_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path / "gone") == Cost(own_bytes=0, shared_bytes=0, inodes=0)


def test_the_type_of_a_file_system_is_known(tmp_path: Path) -> None:
    assert extents.file_system("/proc") == "proc"
    assert extents.file_system(tmp_path) == extents.file_system(str(tmp_path)) != ""
    assert extents.file_system(tmp_path / "gone") == ""
    assert extents.tells_sharing("/proc") is False


def test_blocks_are_asked_for_only_where_they_can_be_shared(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost, asked = measure(release), []

    def shared_bytes(path: str) -> int:
        asked.append(Path(path).name)
        return 4096

    monkeypatch.setattr(extents, "shared_bytes", shared_bytes)
    monkeypatch.setattr(extents, "file_system", lambda _: "ext4")
    assert measure(release) == cost
    monkeypatch.setattr(extents, "file_system", lambda _: "xfs")
    assert measure(release) == Cost(own_bytes=cost.own_bytes - 4096, shared_bytes=4096, inodes=cost.inodes)
    assert asked == ["module.py"]


def test_where_blocks_cannot_be_seen_a_file_is_its_own(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = measure(release)

    def shared_bytes(_: str) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(extents, "shared_bytes", shared_bytes)
    monkeypatch.setattr(extents, "file_system", lambda _: "btrfs")
    assert measure(release) == cost
