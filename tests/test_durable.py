"""State files: the old content or the new, never a mixture. On a real file system."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
from pathlib import Path

import pytest

from releaser import durable
from releaser.durable import (
    UnreadableStateError,
    exchange,
    read_json,
    replace_file,
    replace_symlink,
    sync_directory,
    sync_file_system,
    write_json,
)
from tests.support.guards import require


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"one", b"", b"two\n" * 100_000):
        replace_file(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["file"]


def test_readers_of_the_old_file_are_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new")
        assert reader.read() == b"old"


def test_a_new_file_is_open_to_the_group_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == 0o664


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o644, 0o666, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, permissions: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(permissions)
    replace_file(path, b"new")
    assert mode(path) == permissions


def test_a_replaced_file_keeps_its_group(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root may give files to any group")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, -1, 54321)
    replace_file(path, b"new")
    assert path.stat().st_gid == 54321


def test_the_temporary_file_lies_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "state").mkdir()
    target = tmp_path / "checkout" / "uv.lock"
    (tmp_path / "state" / ".uv.lock.new").write_bytes(b"left by a crash")
    replace_file(target, b"new", staging=tmp_path / "state")
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path / "state") == []


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_file(target, b"new")
    assert os.listdir(tmp_path) == ["target"]


def test_nothing_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    replace_file(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_on_disk_before_its_name_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that reaches the disk before the content would leave an empty file after a power cut."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        done.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def noting_rename(self: Path, target: Path) -> Path:
        done.append(f"rename {self.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_rename)
    replace_file(tmp_path / "file", b"data")
    assert done == ["sync .file.new", "rename .file.new", f"sync {tmp_path.name}"]
    done.clear()
    replace_symlink(tmp_path / "link", "file", staging=tmp_path)
    assert done == ["rename .link.new", f"sync {tmp_path.name}"]


def test_a_link_is_made_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / ".link.new").symlink_to("left by a crash")
    for target in ("one", "two"):
        replace_symlink(tmp_path / "link", target, staging=tmp_path / "state")
        assert os.readlink(tmp_path / "link") == target
    assert os.listdir(tmp_path / "state") == []


def test_a_link_that_cannot_be_put_in_place_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_symlink(tmp_path / "link", "one", staging=tmp_path)
    assert os.listdir(tmp_path) == ["link"]


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_json(path) is None
    content = {"name": "größer", "path": "/srv/caf\udce9", "list": [1, None, True, "a\nb"]}
    write_json(path, content)
    assert read_json(path) == {"version": 1, **content}
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "größer"


def test_another_version_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {}, version=2)
    assert read_json(path, version=2) == {"version": 2}
    with pytest.raises(UnreadableStateError, match="version 2 is not known here"):
        read_json(path)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"5", b"\xff\xfe{", b"{}", b'{"version": "1"}', b"\0" * 512]
)
def test_what_is_no_state_is_told_apart_from_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(data)
    with pytest.raises(UnreadableStateError) as caught:
        read_json(path)
    assert caught.value.path == path
    assert str(caught.value) == f"{path}: {caught.value.reason}"


def test_files_that_nest_too_deep_are_unreadable_too(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"[" * 200_000)
    with pytest.raises(UnreadableStateError):
        read_json(path)


def test_whole_file_systems_and_directories_can_be_synced(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    sync_directory(tmp_path)
    sync_file_system(tmp_path)
    assert sorted(os.listdir("/proc/self/fd")) == before
    for sync in (sync_directory, sync_file_system):
        with pytest.raises(FileNotFoundError):
            sync(tmp_path / "gone")


class Libc:
    """A C library whose calls fail with an error number, or that lacks renameat2."""

    def __init__(self, number: int) -> None:
        self._number = number

    def syncfs(self, _: int) -> int:
        ctypes.set_errno(self._number)
        return -1

    def renameat2(self, *_: object) -> int:
        ctypes.set_errno(self._number)
        return -1


def test_a_disk_that_fails_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_libc", lambda: Libc(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_file_system(tmp_path)
    with pytest.raises(OSError, match="Input/output error"):
        exchange(tmp_path, tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_may_not_know_how_to_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(durable, "_libc", lambda: Libc(number))
    assert exchange(tmp_path / "one", tmp_path / "two") is False


def test_a_c_library_may_be_too_old_to_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_libc", object)
    assert exchange(tmp_path / "one", tmp_path / "two") is False
