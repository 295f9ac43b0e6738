"""The journal on a disk that is full: it is replaced whole, with the room that was kept for it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from releaser.releases.journal import RESERVE, SIZE, Entry, Journal, keep_reserve
from tests.support.guards import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENTRY = Entry(command="update", run_id="20261120T061200Z-1", phase="committing", origin="a", target="b")


@pytest.fixture(params=["bytes", "inodes"])
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A state directory with a journal and its reserve, on a file system that is full then."""
    require(os.geteuid() == 0 and shutil.which("mount"), "only root can mount")
    options = "size=256k" if request.param == "bytes" else "size=1m,nr_inodes=8"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "releaser-test", tmp_path], check=True)
    try:
        Journal(state_dir=tmp_path).write(ENTRY)
        keep_reserve(tmp_path)
        with pytest.raises(OSError, match="No space left"):
            fill(tmp_path)
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(directory: Path) -> None:
    for number in range(1000):
        with (directory / f"filler-{number}").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096) and file.tell() < 64 * 1024:
                pass


@pytest.mark.spawns
def test_what_must_be_recorded_is_and_never_in_place(full_disk: Path) -> None:
    journal, number = Journal(state_dir=full_disk), (full_disk / "journal.json").stat().st_ino
    reverting = ENTRY.moved("reverting", reason="the site is ill")
    with pytest.raises(OSError, match="No space left"):
        journal.write(reverting)
    assert journal.read() == ENTRY
    journal.write_on_full_disk(reverting)
    assert journal.read() == reverting
    assert journal.path.stat().st_ino != number
    for step in ("collectstatic", "restart", "health check"):
        reverting = dataclasses.replace(reverting, done=(*reverting.done, step))
        journal.write_on_full_disk(reverting)
        assert journal.read() == reverting
    assert not (full_disk / RESERVE).exists()
    keep_reserve(full_disk)  # there is no room for it
    assert journal.read() == reverting
    with contextlib.suppress(FileNotFoundError):
        for filler in full_disk.glob("filler-*"):
            filler.unlink()
    keep_reserve(full_disk)
    assert (full_disk / RESERVE).stat().st_size == SIZE
    assert list(full_disk.glob(".*")) == []


def test_without_a_reserve_the_earlier_entry_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(state_dir=tmp_path)
    journal.write(ENTRY)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("releaser.system.files.os.fsync", refuse)
    with pytest.raises(OSError, match="broken"):
        journal.write_on_full_disk(ENTRY.moved("reverting"))
    assert journal.read() == ENTRY
