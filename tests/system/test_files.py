"""State files: the old content or the new, never a mixture. On a real file system."""

import contextlib
import ctypes
import errno
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pytest

from releaser.system import exact
from releaser.system import files as durable
from releaser.system.deletion import delete_directory
from releaser.system.files import (
    UnreadableStateError,
    decode_state,
    exchange,
    hash_of_file,
    load_state,
    plain,
    put_aside,
    read_end,
    read_file,
    read_state,
    remove_tree,
    replace_file,
    replace_symlink,
    sync_directory,
    sync_file_system,
    write_state,
)
from releaser.system.frozen import Frozen, field, replace
from tests.support.guards import require


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"one", b"", b"two\n" * 100_000):
        replace_file(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["file"]
    with path.open("rb") as reader:
        replace_file(path, b"new")
        assert reader.read() == b"two\n" * 100_000, "readers of the old file are not disturbed"


def test_a_new_file_is_open_to_the_group_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == 0o664


@pytest.mark.parametrize("permissions", [0o600, 0o666, 0o755])
def test_a_replaced_file_keeps_its_mode_and_its_group(tmp_path: Path, permissions: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(permissions)
    if os.geteuid() == 0:  # only root may give files to any group
        os.chown(path, -1, 54321)
    before = path.stat()
    replace_file(path, b"new")
    assert (mode(path), path.stat().st_gid) == (permissions, before.st_gid)


def test_a_temporary_name_lies_where_it_is_told_to_and_what_a_crash_has_left_there_does_not_matter(
    tmp_path: Path,
) -> None:
    state, target, link = tmp_path / "state", tmp_path / "uv.lock", tmp_path / "link"
    state.mkdir()
    (state / ".uv.lock.new").write_bytes(b"left by a crash")
    (state / ".link.new").symlink_to("left by a crash")
    for text in ("one", "two"):
        replace_file(target, text.encode(), staging=state)
        replace_symlink(link, text, staging=state)
        assert (target.read_text(encoding="utf-8"), os.readlink(link)) == (text, text)
    assert os.listdir(state) == []


def test_what_cannot_be_replaced_stays_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file, target = tmp_path / "file", tmp_path / "target"
    replace_file(file, b"old")
    (target / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_file(target, b"new")
    with pytest.raises(OSError, match="directory"):
        replace_symlink(target, "one", staging=tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]


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


class Part(Frozen):
    number: int


class State(Frozen):
    """A state file with one field of each kind that there is."""

    name: str
    path: str = ""
    parts: tuple[Part, ...] = ()
    names: frozenset[str] = frozenset()
    at: datetime | None = None
    known: Mapping[str, bool] = field(default_factory=dict)
    kind: Literal["one", "other"] = "one"


@pytest.fixture(params=["with msgspec", "without msgspec"])
def _each_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_needs_msgspec", lambda: request.param == "with msgspec")


each_reader = pytest.mark.usefixtures("_each_reader")

FULL = State(
    name="größer",
    path="/srv/caf\udce9",
    parts=(Part(number=1), Part(number=2)),
    names=frozenset({"b", "a"}),
    at=datetime(2026, 11, 20, 6, 12, tzinfo=UTC),
    known={"x": True},
    kind="other",
)


@each_reader
def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_state(path, State) is None
    write_state(path, FULL)
    assert read_state(path, State) == FULL
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    content = json.loads(text)
    assert (content["version"], content["name"], content["names"]) == (2, "größer", ["a", "b"])
    assert content["at"] == "2026-11-20T06:12:00+00:00"


@each_reader
def test_equal_values_of_two_state_files_are_in_memory_once(tmp_path: Path) -> None:
    """Of a thousand releases, most values are those of the release before."""
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    write_state(paths[0], FULL)
    write_state(paths[1], replace(FULL, name="other", names=frozenset({"c"})))
    first, second = (read_state(path, State) for path in paths)
    assert first is not None
    assert second is not None
    assert (first, second) == (FULL, replace(FULL, name="other", names=frozenset({"c"})))
    assert {name for name, value in vars(first).items() if vars(second)[name] is not value} == {"name", "names"}


class Uncompared(Frozen):
    name: str
    since: str = field(default="", compare=False)


class Loose(Frozen):
    """A state file with values that may be equal to others and yet differ."""

    parts: tuple[Uncompared, ...] = ()
    known: Mapping[str, Any] = field(default_factory=dict)
    level: float = 0.0
    at: datetime | None = None


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Loose(parts=(Uncompared(name="a", since="1"),)), Loose(parts=(Uncompared(name="a", since="2"),))),
        (Loose(known={"a": 1, "b": 2}), Loose(known={"b": 2, "a": 1})),
        (Loose(known={"a": [1]}), Loose(known={"a": [True]})),
        (Loose(level=0.0), Loose(level=-0.0)),
        (Loose(at=NOON), Loose(at=NOON.astimezone(timezone(timedelta(hours=1))))),
    ],
)
@each_reader
def test_no_state_file_gets_values_of_another_that_only_seem_equal(tmp_path: Path, first: Loose, second: Loose) -> None:
    assert first == second
    for name, content in (("first", first), ("second", second)):
        text = {"version": 2, **vars(content), "at": content.at.isoformat() if content.at else None}
        (tmp_path / name).write_text(json.dumps(text, default=plain), encoding="utf-8")
    read_state(tmp_path / "first", Loose)
    assert repr(read_state(tmp_path / "second", Loose)) == repr(decode_state(tmp_path / "second", Loose))


def test_state_is_read_from_disk_once_until_somebody_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reads, open_file = tmp_path / "state.json", list[Path | str](), durable._open_file

    def opening(path: Path | str, flags: int) -> tuple[int, os.stat_result]:
        reads.append(path)
        return open_file(path, flags)

    monkeypatch.setattr(durable, "_open_file", opening)
    write_state(path, FULL)
    assert read_state(path, State) is read_state(path, State)
    assert len(reads) == 1
    write_state(path, State(name="b"))  # this run
    assert read_state(path, State) == State(name="b")
    other = tmp_path / "other.json"
    write_state(other, State(name="c"))
    other.rename(path)  # another process
    assert read_state(path, State) == State(name="c")
    path.unlink()
    assert read_state(path, State) is None


@each_reader
def test_fields_of_a_later_releaser_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"version": 2, "name": "a", "signature": "abc"}', encoding="utf-8")
    assert read_state(path, State) == State(name="a")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"\xff\xfe{", b"{}", b'{"version": "2"}', b'{"version": 1, "name": "a"}',
        b"\0" * 512, b"[" * 200_000, b'{"version": 2}', b'{"version": 2, "name": 5}',
        b'{"version": 2, "name": "a", "parts": [{}]}', b'{"version": 2, "name": "a", "parts": [{"number": "1"}]}',
        b'{"version": 2, "name": "a", "names": null}', b'{"version": 2, "name": "a", "at": "yesterday"}',
        b'{"version": 2, "name": "a", "known": {"x": 1}}', b'{"version": 2, "name": "a", "kind": "third"}',
        b'{\n "version": 2,\n "name": "a", "new": "\xff"}', b'{\n "version": 2,\n "name": "a", "\\udcff": 1}',
    ],
)  # fmt: skip
@each_reader
def test_what_is_no_state_is_told_apart_from_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(data)
    with pytest.raises(UnreadableStateError) as caught:
        read_state(path, State)
    assert caught.value.path == path
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert load_state(path, FULL) == FULL
    assert path.read_bytes() == data


def test_what_is_in_the_place_of_a_state_file_or_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`state_dir` may name a file, which preflight refuses; what this user may not read does not count as empty."""

    def refuse(path: Path, _most: int) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "directory.json").mkdir()
    (tmp_path / "state.json").touch()
    with pytest.raises(UnreadableStateError, match="a directory"):
        read_state(tmp_path / "directory.json", State)
    assert read_state(tmp_path / "state.json" / "state.json", dict) is None
    monkeypatch.setattr(durable, "_read_file", refuse)
    with pytest.raises(PermissionError):
        load_state(tmp_path / "state.json", FULL)


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """A reader of a pipe would wait, and one of a device find no end."""
    place = tmp_path / "state.json"
    os.mkfifo(place) if kind == "a pipe" else place.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        read_file(place)
    with pytest.raises(OSError, match="not a regular file"):
        read_end(place, most=9)
    assert hash_of_file(place) is None


def test_nothing_that_is_put_aside_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for number in ("1", "2", "3"):
        path.write_text(number, encoding="utf-8")
        assert put_aside(path) == tmp_path / f"state.json.unreadable-{number}"
    assert {one.read_text(encoding="utf-8") for one in tmp_path.iterdir()} == {"1", "2", "3"}


def test_whole_file_systems_and_directories_can_be_synced(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    sync_directory(tmp_path)
    sync_file_system(tmp_path)
    assert {*os.listdir("/proc/self/fd")} <= before  # what others had open they may close meanwhile
    for sync in (sync_directory, sync_file_system):
        with pytest.raises(FileNotFoundError):
            sync(tmp_path / "gone")


class Libc:
    """A C library whose calls fail with an error number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def syncfs(self, *_: object) -> int:
        ctypes.set_errno(self._number)
        return -1

    renameat2 = syncfs


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
    for library in (lambda: Libc(number), object):  # a C library may be too old for it as well
        monkeypatch.setattr(durable, "_libc", library)
        assert exchange(tmp_path / "one", tmp_path / "two") is False


# Deleting a tree: also one that is not writable, and never at the cost of what is around it


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Mount something in the place of a release, in a directory that others may pass."""
    require(os.geteuid() == 0 and shutil.which("mount"), "only root can mount")
    place = tmp_path / "releases" / "20200101T000000Z"
    place.mkdir(parents=True)
    place.parent.chmod(0o2775)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.spawns
def test_what_cannot_be_deleted_leaves_the_modes_around_it_alone(mounted: Path) -> None:
    with pytest.raises(OSError, match=mounted.name):
        remove_tree(mounted)
    assert mode(mounted.parent) == 0o2775
    assert mode(mounted.parent.parent) == 0o700


def test_a_tree_is_removed_with_what_its_links_lead_to_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "file").touch()
    (tree / "link").symlink_to(tmp_path / "kept")
    remove_tree(tree)
    remove_tree(tree)  # there is nothing to do
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()


@contextlib.contextmanager
def as_anybody(directory: Path) -> Iterator[None]:
    """Be a user to whom permissions apply, as they do not to root; `directory` is given to it."""
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(directory, user, -1)
    before = os.geteuid()
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_tree_is_removed_by_its_owner_even_if_parts_of_it_are_not_writable() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place, as_anybody(Path(place)):
        tree = Path(place) / "tree"
        for name in ("a/b", "c", "d/e/f"):
            (tree / name).mkdir(parents=True)
            (tree / name / "file").touch()
        (tree / "c" / "link").symlink_to("/etc")
        (tree / "d/e/f").chmod(0o000)
        for name in ("a/b", "a", "c", "d/e", "d"):
            (tree / name).chmod(0o500)
        remove_tree(tree)
        assert os.listdir(place) == []


def test_directories_nested_too_deeply_are_an_error_of_the_system(tmp_path: Path) -> None:
    descriptor, place = os.open(tmp_path, os.O_RDONLY), tmp_path / "a"
    for _ in range(1500):
        os.mkdir("a", dir_fd=descriptor)
        inner = os.open("a", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    try:
        with contextlib.suppress(OSError):  # newer versions of Python delete it
            remove_tree(place)
    finally:
        subprocess.run(["rm", "-r", "--", str(place)], check=False)


@pytest.mark.parametrize("link", ["releases", "releases/a"])
def test_nothing_is_deleted_behind_a_symlink(tmp_path: Path, link: str) -> None:
    for name in ("theirs", "theirs/a"):
        (tmp_path / name).mkdir()
    (tmp_path / "theirs" / "a" / "letter.txt").touch()
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "theirs" / ("a" if "/" in link else ""))
    with pytest.raises(OSError, match="Not a directory"):
        delete_directory(tmp_path / "releases" / "a", last=".releaser")
    assert (tmp_path / "theirs" / "a" / "letter.txt").exists()


def test_a_file_without_a_size_is_read_to_its_end_and_one_that_grows_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_file("/proc/self/maps").count(b"\n") > 5
    grows, open_file = tmp_path / "grows", durable._open_file
    grows.write_bytes(b"one\n")

    def opening(path: Path | str, flags: int) -> tuple[int, os.stat_result]:
        found = open_file(path, flags)
        with grows.open("ab") as file:
            file.write(b"two\n")
        return found

    monkeypatch.setattr(durable, "_open_file", opening)
    assert read_file(grows) == b"one\ntwo\n"


def test_state_files_with_paths_that_are_not_utf8_are_read_one_after_the_other(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_state(tmp_path / name, Loose(known={"path": "b\udce4r"}))
    assert read_state(tmp_path / "first", Loose) == read_state(tmp_path / "second", Loose)
    assert read_state(tmp_path / "second", Loose) == Loose(known={"path": "b\udce4r"})
