"""Power cuts for real: a site on a file system of its own, which is shut down without writing out anything."""

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

from tests.faults.observed import Fault, Point, started
from tests.faults.scenes import Scenes
from tests.support.guards import require
from tests.support.sites import SampleSite

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
_SIZE = 96 * 1024 * 1024  # bytes
_PATIENCE = 20.0  # seconds until a file system is no longer in use


def can_cut() -> bool:
    """Whether this machine lets us mount an ext4 image."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None


class Disk:
    """An ext4 file system in a file, mounted at `place`."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image, self.place = image, place

    def mount(self) -> None:
        """Mount it; after a cut, this is where the journal is replayed."""
        _do("mount", "-o", "loop", self.image, self.place)

    def cut(self, *, entries_written: bool) -> None:
        """Cut the power: nothing that is only in memory gets to the disk any more.

        With `entries_written`, what has changed in directories is on the disk by then, the data of unsynced files not:
        anybody's fsync, or five seconds, do that.
        """
        if entries_written:
            with (self.place / "somebody-syncs").open("wb") as file:
                os.fsync(file.fileno())
        descriptor = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Unmount it, once nobody has anything open there any more."""
        ends_at = time.monotonic() + _PATIENCE
        while subprocess.run(["umount", self.place], check=False, capture_output=True).returncode != 0:
            if time.monotonic() > ends_at:
                _do("umount", "--lazy", self.place)
                pytest.fail(f"{self.place} is still in use")
            time.sleep(0.02)
        # A sandbox of another test has seen this mount, and keeps it until it ends; else it would be mounted once more.
        while subprocess.run(["losetup", "--associated", self.image], check=True, capture_output=True).stdout:
            if time.monotonic() > ends_at:
                pytest.fail(f"{self.image} is still mounted in another process")
            time.sleep(0.02)

    def boot(self) -> None:
        """Come back after a cut."""
        self.unmount()
        self.mount()
        (self.place / "somebody-syncs").unlink(missing_ok=True)


class Disks:
    """Sites on disks of their own; the image of each scene is made once, and copied."""

    def __init__(self, directory: Path, scenes: Scenes) -> None:
        self._directory, self._scenes = directory, scenes
        self._made: dict[str, tuple[SampleSite, Path]] = {}

    @contextlib.contextmanager
    def site(self, scene: str, base: Path) -> Iterator[tuple[SampleSite, Disk]]:
        """Give the site of a scene on its own disk, which is gone after the block. The remote is on another one."""
        require(can_cut(), "power cuts need root, loop devices and mkfs.ext4")
        like, image = self._image(scene)
        place = base / like.outer.name
        place.mkdir(parents=True)
        disk = Disk(base / "disk.img", place)
        _do("cp", "--sparse=always", "--reflink=auto", image, disk.image)
        try:
            with _mounted(disk):
                yield _settled(like, base), disk
        finally:
            shutil.rmtree(base)

    def _image(self, scene: str) -> tuple[SampleSite, Path]:
        if scene not in self._made:
            place = self._directory / str(len(self._made))
            site = self._scenes.copy(scene, place)
            site.remote.rename(place / "remote.git")
            site.remote.symlink_to(f"../{site.remote.name}")
            image, fresh = place / "disk.img", place / "mounted"
            fresh.mkdir()
            with image.open("wb") as file:
                file.truncate(_SIZE)
            _do("mkfs.ext4", "-q", "-F", "-I", "256", image)
            with _mounted(Disk(image, fresh)):  # `mkfs.ext4 -d` would cut times of change to whole seconds
                _do("cp", "--archive", f"{site.outer}/.", fresh)
                (fresh / "lost+found").rmdir()
            self._made[scene] = site, image
        return self._made[scene]


@contextlib.contextmanager
def _mounted(disk: Disk) -> Iterator[None]:
    """Mount a disk below a shared mount, so that it goes from bubblewrap's copies of the mounts, too, with the block.

    Whoever runs bubblewrap at that time has them. Else a disk that was cut would still be mounted there when it is
    mounted again, and would be the same one; and one that was filled would not have been written out.
    """
    base = disk.place.parent
    _do("mount", "--bind", base, base)
    try:
        _do("mount", "--make-shared", base)
        disk.mount()
        try:
            yield
        finally:
            disk.unmount()
    finally:
        _do("umount", "--lazy", base)


def _settled(like: SampleSite, base: Path) -> SampleSite:
    """Return the site on the mounted disk, with all that lies elsewhere."""
    place = like.outer.parent
    for path in place.iterdir():
        if path.is_dir() and path.name not in (like.outer.name, "home", "mounted"):
            shutil.copytree(path, base / path.name, symlinks=True)
        elif path.suffix == ".passed":
            shutil.copyfile(path, base / path.name)
    return like.moved(base)


def _do(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)


def cut_at(
    site: SampleSite, disk: Disk, command: str, *args: str, at: Point, entries_written: bool, without: str = ""
) -> None:
    """Run releaser, cut the power while it stands still at a point, and come back."""
    with started(site, command, *args, fault=Fault(at=at, how="SIGSTOP", without=without)) as process:
        found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert found is not None
        assert found.si_code == os.CLD_STOPPED, f"{at} did not come"
        disk.cut(entries_written=entries_written)
    disk.boot()
