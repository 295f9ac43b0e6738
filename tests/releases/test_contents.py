"""Group and mode of a release's files, and what they take. On a real file system."""

import csv
import os
import shutil
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from releaser.releases.contents import (
    DiskUsage,
    look,
    measure,
    others_may_read,
    own_sizes,
    read_records,
    share,
    total_bytes,
)
from releaser.releases.release import Manifest
from tests.releases.makers import a_manifest
from tests.support.guards import require


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.lstat().st_mode):04o}"


def a_file(path: Path, permissions: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.name, encoding="utf-8")
    path.chmod(permissions)
    return path


@pytest.mark.parametrize(
    ("before", "unwritable", "for_group", "for_all"),
    [
        (0o600, "0644", "0660", "0664"),  # what a cache filled under a strict umask leaves
        (0o644, "0644", "0664", "0664"),
        (0o664, "0644", "0664", "0664"),
        (0o444, "0644", "0664", "0664"),
        (0o000, "0644", "0660", "0664"),
        (0o666, "0644", "0664", "0664"),
        (0o755, "0755", "0775", "0775"),
        (0o775, "0755", "0775", "0775"),
        (0o777, "0755", "0775", "0775"),
        (0o611, "0655", "0671", "0675"),  # executable for some, but not for the owner: left at that
    ],
)
def test_files_are_made_readable_and_if_it_is_asked_for_writable_for_the_group(
    tmp_path: Path, before: int, unwritable: str, for_group: str, for_all: str
) -> None:
    tree = tmp_path / "release"
    path = a_file(tree / "venv" / "file", before)
    for others, writable, expected in ((True, False, unwritable), (False, True, for_group), (True, True, for_all)):
        path.chmod(before)
        share(tree, group=os.getegid(), others=others, writable=writable)
        assert mode(path) == expected
    assert path.read_text(encoding="utf-8") == "file"


@pytest.mark.parametrize(("before", "for_group", "for_all"), [(0o700, "0770", "0775"), (0o2750, "2770", "2775")])
def test_directories_are_made_passable(tmp_path: Path, before: int, for_group: str, for_all: str) -> None:
    tree = tmp_path / "release"
    (tree / "venv").mkdir(parents=True)
    for others, expected in ((False, for_group), (True, for_all)):
        for directory in (tree, tree / "venv"):
            directory.chmod(before)
        share(tree, group=os.getegid(), others=others, writable=True)
        assert [mode(directory) for directory in (tree, tree / "venv")] == [expected, expected]


@pytest.mark.parametrize("is_full", [True, False])
def test_a_file_that_has_another_name_elsewhere_is_separated_first_or_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tree = tmp_path / "release"
    cached = a_file(tmp_path / "cache" / "module.py", 0o600)
    os.utime(cached, (1_000_000, 1_000_000))
    tree.mkdir()
    os.link(cached, tree / "module.py")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="left") if is_full else nullcontext():
        if is_full:
            patched.setattr(os, "replace", full)
        share(tree, group=os.getegid(), others=True, writable=True)
    assert (mode(cached), cached.stat().st_nlink) == ("0600", 1 + is_full)
    assert (mode(tree / "module.py"), (tree / "module.py").read_text()) == (
        "0600" if is_full else "0664", "module.py"
    )  # fmt: skip
    assert (tree / "module.py").stat().st_mtime == 1_000_000  # byte code is checked against it
    assert os.listdir(tree) == ["module.py"]


def test_what_links_lead_to_is_left_alone(tmp_path: Path) -> None:
    tree = tmp_path / "release"
    tree.mkdir()
    outside = a_file(tmp_path / "outside" / "file", 0o600)
    outside.parent.chmod(0o700)
    (tree / "to-file").symlink_to(outside)
    (tree / "to-directory").symlink_to(outside.parent)
    (tree / "to-nothing").symlink_to("gone")
    share(tree, group=os.getegid(), others=True, writable=True)
    assert (mode(outside), mode(outside.parent)) == ("0600", "0700")
    assert (tree / "to-file").is_symlink()


def test_everything_gets_the_group_links_too(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root may give files to any group")
    group = 54321
    tree = tmp_path / "release"
    outside = a_file(tmp_path / "outside", 0o644)
    path = a_file(tree / "venv" / "file", 0o644)
    (tree / "link").symlink_to(outside)
    os.link(outside, tree / "shared")
    share(tree, group=group, others=True, writable=True)
    for place in (tree, tree / "venv", path, tree / "link", tree / "shared"):
        assert place.lstat().st_gid == group, place
    assert outside.stat().st_gid != group


def test_what_is_right_is_not_touched(tmp_path: Path) -> None:
    tree = tmp_path / "release"
    path = a_file(tree / "file", 0o664)
    tree.chmod(0o775)
    before = [place.stat().st_ctime_ns for place in (tree, path)]
    share(tree, group=path.stat().st_gid, others=True, writable=True)
    assert [place.stat().st_ctime_ns for place in (tree, path)] == before


def test_the_project_tells_whether_others_may_read(tmp_path: Path) -> None:
    for permissions, expected in ((0o755, True), (0o750, False), (0o754, True)):
        tmp_path.chmod(permissions)
        assert others_may_read(tmp_path) is expected


# What they take; some have several names

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


def test_what_has_no_name_elsewhere_is_its_own(release: Path, tmp_path: Path) -> None:
    usage = measure(release)
    assert SIZE <= usage.size_bytes == usage.own_bytes < SIZE * 1.2
    assert usage.inodes == 5
    os.link(write(release / "venv" / "one"), release / "venv" / "lib" / "two")
    assert growth(measure(release), usage) == (1, 1, 1), "a file with two names counts once"
    before = measure(release)
    (release / "venv" / "to-big").symlink_to(write(tmp_path / "big"))
    assert growth(measure(release), before) == (0, 0, 1), "of a link counts the link"
    assert measure(tmp_path / "gone") == DiskUsage(size_bytes=0, own_bytes=0, inodes=0)


def test_a_file_with_a_name_elsewhere_is_shared(release: Path, tmp_path: Path) -> None:
    before = measure(release)
    elsewhere = write(tmp_path / "cached")
    os.link(elsewhere, release / "venv" / "one")
    os.link(elsewhere, release / "venv" / "two")
    assert growth(measure(release), before) == (1, 0, 1)
    elsewhere.unlink()
    assert growth(measure(release), before) == (1, 1, 1)


def test_a_venv_that_lies_elsewhere_is_what_the_release_takes(release: Path, tmp_path: Path) -> None:
    before = measure(release)
    (release / "venv").rename(tmp_path / "venv")
    (release / "venv").symlink_to(tmp_path / "venv")
    assert growth(measure(release), before) == (0, 0, 1)  # the link


@pytest.mark.parametrize(
    ("taken", "total"),
    [([], 0), ([(3, 3), (4, 4)], 7), ([(3, 103), (4, 124), (5, 5)], 132)],
)
def test_what_releases_share_counts_once(taken: list[tuple[int, int]], total: int) -> None:
    made = (a_manifest(number, own_bytes=own, size_bytes=size) for number, (own, size) in enumerate(taken))
    assert total_bytes(made) == total


def releases_that_share(*sizes: tuple[int, int], first: int = 1) -> list[Manifest]:
    """Make releases by their sizes and what they own at their seal, each built while the one before was live."""
    return [
        a_manifest(number, size_bytes=size, own_bytes=own, previous=a_manifest(number - 1).id)
        for number, (size, own) in enumerate(sizes, start=first)
    ]


def test_files_that_releases_share_count_where_they_were_made() -> None:
    chain = releases_that_share((100, 100), (104, 10), (104, 8))
    assert total_bytes(chain) == 118
    assert [*own_sizes(chain).values()] == [6, 8, 8], "a later release keeps the files that it took"
    assert total_bytes(chain[1:]) == 112, "whose maker is deleted"
    assert [*own_sizes(chain[1:]).values()] == [8, 8]
    assert [*own_sizes(chain[2:]).values()] == [104], "the last one has all files for itself"


def test_releases_give_back_together_what_only_they_share(release: Path, tmp_path: Path) -> None:
    other = tmp_path / "releases" / "two"
    shutil.copytree(release, other, copy_function=os.link)
    before = [measure(one).own_bytes for one in (release, other)]
    assert max(before) < SIZE < measure(release, other).own_bytes < 2 * SIZE


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["plain.py", "with, comma.py", 'with "quotes".py', "with\x0bvertical tab.py"])
def test_a_record_lists_every_file_with_its_hash(tmp_path: Path, name: str, ending: str) -> None:
    info = tmp_path / "lib" / "python3.11" / "site-packages" / "alpha-1.0.dist-info"
    info.mkdir(parents=True)
    with (info / "RECORD").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator=ending)
        rows.writerows([(name, "sha256=abc", 3), ("../../../bin/alpha", "", ""), ("../../../../outside", "", ""), ()])
    assert read_records(str(tmp_path)) == {f"lib/python3.11/site-packages/{name}": "sha256=abc", "bin/alpha": ""}


def test_each_kind_of_file_has_its_state(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc", encoding="utf-8")
    os.utime(tmp_path / "file", ns=(0, 5))
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "directory").mkdir()
    names = ("file", "link", "directory", "missing", "file/below", "nul\0")
    assert look(str(tmp_path), names) == {
        "file": "3 5 440", "link": "-> file", "directory": "neither a file nor a link",
        "missing": "", "file/below": "", "nul\0": "",
    }  # fmt: skip
    assert look(str(tmp_path / "missing"), ("file",)) == {"file": ""}
