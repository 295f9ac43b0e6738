"""Files that people name: written as a whole, and nothing but files is replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from releaser.commands.output import write_named


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_file_gets_the_mode_of_the_umask_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    file, before = tmp_path / "page.html", os.umask(0o027)
    try:
        write_named(file, b"1")
        assert mode(file) == 0o640
    finally:
        os.umask(before)
    file.chmod(0o604)
    write_named(file, b"2")
    assert (mode(file), file.read_bytes()) == (0o604, b"2")
    write_named(file, b"1", private=True)
    assert mode(file) == 0o600  # for its owner alone


def test_root_leaves_no_file_that_all_can_write_or_that_sets_ids_nor_writes_into_a_directory_of_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    file, everybodys = tmp_path / "page.html", tmp_path / "all"
    file.touch()
    file.chmod(0o6777)
    write_named(file, b"1")
    assert mode(file) == 0o775
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    with pytest.raises(PermissionError, match="all users can write"):
        write_named(everybodys / "page.html", b"1")
    assert not [*everybodys.iterdir()]


def test_a_pipe_is_written_to_and_a_symlink_replaced(tmp_path: Path) -> None:
    pipe, link, other = tmp_path / "pipe", tmp_path / "link", tmp_path / "other"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_named(pipe, b"1")
    reader.join()
    assert (read, stat.S_ISFIFO(pipe.lstat().st_mode)) == ([b"1"], True)
    other.write_bytes(b"other")
    link.symlink_to(other)
    write_named(link, b"1")
    assert (link.is_symlink(), link.read_bytes(), other.read_bytes()) == (False, b"1", b"other")


def test_a_name_of_an_open_file_is_written_to(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with file.open("wb") as stream:
        write_named(Path(f"/proc/self/fd/{stream.fileno()}"), b"1")
    assert file.read_bytes() == b"1"
    write_named(Path(os.devnull), b"1")
    assert stat.S_ISCHR(os.lstat(os.devnull).st_mode)
    with pytest.raises(OSError, match="/dev/"):
        write_named(Path("/dev/no-such-device"), b"1")
