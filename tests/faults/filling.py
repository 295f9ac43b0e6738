"""Fills a file system to the last byte or inode; imports nothing of the tests, since a shim calls it, too."""

import os
from pathlib import Path

PAGE = 4096  # tmpfs gives its room in pages


def fill(place: str, ballast: str, kind: str, leave: int = 0) -> None:
    """Take all but `leave` of the pages ("bytes") or inodes of a file system, by a file named `ballast`."""
    found = os.statvfs(place)
    pages, inodes = found.f_bavail * found.f_frsize // PAGE, found.f_favail
    if kind == "bytes" and pages > leave:
        descriptor = os.open(os.path.join(place, ballast), os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(descriptor, 0, (pages - leave) * PAGE)
        os.close(descriptor)
    if kind == "inodes":
        for number in range(inodes - leave):
            Path(place, f"{ballast}-{number}").touch()


def empty(place: str, ballast: str) -> None:
    """Give everything back."""
    for name in os.listdir(place):
        if name.startswith(ballast):
            os.unlink(os.path.join(place, name))
