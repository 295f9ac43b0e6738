"""Whether there is room, on the file systems that there are."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from releaser.project import room
from tests.support.guards import other_file_system

if TYPE_CHECKING:
    from collections.abc import Iterable

    from releaser.errors import Unfit

MB = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outer" / "site").mkdir(parents=True)
    return tmp_path / "outer" / "site"


def messages(findings: Iterable[Unfit]) -> list[str]:
    found = list(findings)
    assert all(finding.advice for finding in found)
    return [finding.message for finding in found]


def a_need(what: str, place: Path, *, size: int = 0, inodes: int = 0, remedy: str = "") -> room.Need:
    return room.Need(what=what, place=place, bytes=size, inodes=inodes, remedy=remedy)


def free(monkeypatch: pytest.MonkeyPatch, size: int, *, inodes: int = 10**6, free_inodes: int = 10**5) -> None:
    """Let every file system have so much room."""
    found = SimpleNamespace(f_bavail=size // 1000, f_frsize=1000, f_files=inodes, f_favail=free_inodes)
    monkeypatch.setattr(os, "statvfs", lambda _: found)


def test_the_nearest_directory_that_exists_is_found(root: Path) -> None:
    assert room.nearest_existing(root / "a" / "b") == root
    assert room.nearest_existing(root) == root
    assert room.nearest_existing(Path("/no-such-place/a")) == Path("/")
    (root / "dangling").symlink_to("nowhere")
    assert room.nearest_existing(root / "dangling" / "a") == root


@pytest.mark.parametrize(
    ("free_bytes", "inodes", "free_inodes", "needed", "words"),
    [
        (10**9, 10**6, 10**5, 0, []),
        (10**9, 10**6, 10**5, 10**9, []),
        (10**9, 10**6, 10**5, 10**9 + 4096, ["no space for another release: 1000 MB free"]),
        (49_000_000, 10**6, 10**5, 0, ["50 MB needed"]),
        (49_000_000, 10**6, 10**5, 1000, ["50 MB needed"]),
        (10**9, 10**6, 4999, 0, ["too few free inodes for another release: 4999"]),
        (10**9, 10**6, 5000, 0, []),
        (10**9, 0, 0, 0, []),  # a file system that does not count them
        (0, 10**6, 0, 0, ["no space", "too few free inodes"]),
    ],
)
def test_there_must_be_room_for_a_release(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    free_bytes: int,
    inodes: int,
    free_inodes: int,
    needed: int,
    words: list[str],
) -> None:
    free(monkeypatch, free_bytes, inodes=inodes, free_inodes=free_inodes)
    said = messages(room.findings([room.for_release(root / "state", needed_bytes=needed)]))
    assert len(said) == len(words)
    assert all(word in message for word, message in zip(words, said, strict=True))


def test_a_release_of_many_files_needs_as_many_inodes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 10**9, free_inodes=20_000)
    assert messages(room.findings([room.for_release(root, needed_inodes=20_000)])) == []
    assert messages(room.findings([room.for_release(root, needed_inodes=20_001)])) == [
        f"too few free inodes for another release: 20000 at {root}, 20001 needed"
    ]


def test_what_lies_on_one_file_system_needs_room_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 300 * MB)
    release = room.for_release(root / "state", needed_bytes=200 * MB)
    small = a_need("the scratch tree", root.parent, size=1000)
    cache = a_need("uv's cache", root.parent / "cache" / "uv", size=100 * MB, remedy="`uv cache prune`")
    assert messages(room.findings([release, small])) == []
    (found,) = room.findings([release, small, cache])
    assert found.message == (
        f"no space for another release: 300 MB free at {root}, 300 MB needed (200 MB for another release,"
        " 100 MB for uv's cache)"
    )
    assert found.advice == "Make room, or prune: `releaser prune`; lower `keep`; `uv cache prune`."


def test_each_file_system_is_judged_by_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = other_file_system(root)
    free(monkeypatch, 60 * MB)
    needs = [room.for_release(root), a_need("uv's cache", cache, size=61 * MB, remedy="`uv cache prune`")]
    (found,) = room.findings(needs)
    assert found.message == f"no space for uv's cache: 60 MB free at {cache}, 61 MB needed"
    assert found.advice == "Make room, or `uv cache prune`."


def test_a_release_that_shares_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 10 * MB)
    (message,) = messages(room.findings([room.for_release(root, shares=True)]))
    assert message.startswith("no space for another release, which shares what does not change: 10 MB free")


def test_what_is_free_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 10 * MB, free_inodes=7)
    assert room.free_room(root / "not" / "yet") == room.Room(bytes=10 * MB, inodes=7)
    free(monkeypatch, 10 * MB, inodes=0, free_inodes=0)
    assert room.free_room(root).inodes is None
