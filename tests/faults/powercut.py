"""Real power cuts: a site on an ext4 file system in a file, which is shut down without writing anything out."""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scenes import Scenes
from tests.faults.stage import Stage
from tests.faults.tracing import Call, Hit, hit
from tests.support.commands import require

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
_SIZE = 128 * 1024 * 1024  # bytes
_PATIENCE = 120.0  # seconds until a file system is no longer in use, also by a namespace of another program
# The journal of the file system is not written every five seconds, so each cut loses the same; as with XFS, a rename
# over an older file does not write out the new one.
_OPTIONS = "loop,commit=600,noauto_da_alloc"


def require_power_cuts() -> None:
    """Skip the test where this machine does not mount an ext4 image."""
    able = os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None
    require(able, "power cuts need root, loop devices and mkfs.ext4")


class Disk:
    """An ext4 file system in the file `image`, mounted at `place`."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image, self.place = image, place

    def mount(self) -> None:
        """Mount it; after a cut, the journal of the file system is replayed here."""
        _do("mount", "-o", _OPTIONS, self.image, self.place)

    def cut(self, *, entries_written: bool) -> None:
        """Cut the power: nothing that is only in memory gets to the disk any more.

        With `entries_written`, changes of directories are on the disk by then, the data of unsynced files is not: an
        fsync by any other program, or five seconds, do that.
        """
        if entries_written:
            with (self.place / "another-program").open("wb") as file:
                os.fsync(file.fileno())
        descriptor = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def boot(self) -> None:
        """Come back after a cut."""
        self.unmount()
        self.mount()
        (self.place / "another-program").unlink(missing_ok=True)

    def unmount(self) -> None:
        """Unmount it as soon as no process has anything open there."""
        ends_at = time.monotonic() + _PATIENCE
        while subprocess.run(["umount", self.place], check=False, capture_output=True).returncode != 0:
            if time.monotonic() > ends_at:
                _do("umount", "--lazy", self.place)
                pytest.fail(f"{self.place} is still in use")
            time.sleep(0.02)
        # The loop device goes a moment later; mounted again before that, it would be the file system that was cut.
        while subprocess.run(["losetup", "--associated", self.image], check=True, capture_output=True).stdout:
            if time.monotonic() > ends_at:
                pytest.fail(f"{self.image} is still mounted in another process")
            time.sleep(0.02)


class DiskImage:
    """A file system with the files of `source`, made once; `mounted` gives a copy of it."""

    def __init__(self, source: Path, base: Path) -> None:
        require_power_cuts()
        self._base, self._image, self._numbers = base, base / "disk.img", 0
        with self._image.open("wb") as file:
            file.truncate(_SIZE)
        _do("mkfs.ext4", "-q", "-F", "-I", "256", self._image)
        place = base / "image"
        place.mkdir()
        with _mounted(Disk(self._image, place)):  # `mkfs.ext4 -d` would cut times of change to whole seconds
            _do("cp", "--archive", f"{source}/.", place)
            (place / "lost+found").rmdir()

    @contextlib.contextmanager
    def mounted(self, place: Path) -> Iterator[Disk]:
        """Mount a copy at `place` for the length of the block."""
        self._numbers += 1
        disk = Disk(self._base / f"disk-{self._numbers}.img", place)
        _do("cp", "--sparse=always", "--reflink=auto", self._image, disk.image)
        try:
            with _mounted(disk):
                yield disk
        finally:
            disk.image.unlink()


class DiskStage(Stage):
    """A scene whose outer directory lies on a disk of its own; the remote does not, as it stands for another host."""

    def __init__(self, scenes: Scenes, name: str, place: Path) -> None:
        require_power_cuts()
        super().__init__(scenes, name, place)
        (place / "disk").mkdir()
        self._image = DiskImage(self.site.outer, place / "disk")

    @contextlib.contextmanager
    def disk(self) -> Iterator[Disk]:
        """Bring the site back to its beginning, on a disk that is mounted for the length of the block."""
        self.bring_back()
        shutil.rmtree(self.site.outer)
        self.site.outer.mkdir()
        with self._image.mounted(self.site.outer) as disk:
            yield disk

    def boot(self, disk: Disk) -> None:
        """Come back after a cut; the web server starts with the release that is live."""
        disk.boot()
        link, served = self.site.link, self.site.outer / "served"
        served.unlink(missing_ok=True)
        if link.is_symlink():
            served.write_text(os.readlink(link), encoding="utf-8")

    def cut_at(self, at: Call, disk: Disk, *, entries_written: bool) -> Hit:
        """Kill the command at a call; cut the power at once, and come back."""
        met = hit(self.site, self.command, at=at, fault="signal=KILL")
        disk.cut(entries_written=entries_written)
        self.boot(disk)
        return met


@contextlib.contextmanager
def _mounted(disk: Disk) -> Iterator[None]:
    disk.mount()
    try:
        yield
    finally:
        disk.unmount()


def _do(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)
