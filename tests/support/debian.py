"""A copy of this Debian system, to try in it what would change the system."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import Finished, run
from tests.support.guards import other_file_system, require

# The network namespace has no network at all.
_ENTER = """\
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount --rbind "$2" "$1/root/$2"
cd "$1/root"
shift 2
/usr/sbin/pivot_root . .
umount --lazy .
cd /
exec "$@"
"""
_SYSTEM = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


class DebianCopy:
    """A Debian system whose files are those of this one; changes to them stay in it. It has no network.

    What is below `shared` is that of this system.
    """

    def __init__(self, place: Path, shared: Path) -> None:
        self.place = place
        self.shared = shared
        self.changes = place / "upper"
        for name in ("upper", "work", "root"):
            (place / name).mkdir()

    def run(self, *words: str | Path, env: Mapping[str, str] = _SYSTEM, check: int | None = 0) -> Finished:
        """Run a program in it as root."""
        enter = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec", _ENTER)
        return run([*enter, "sh", self.place, self.shared, *words], cwd=Path("/"), env=env, check=check, timeout=300)

    def changed(self) -> set[str]:
        """Return the paths of files that are there, and are not, or are other ones, outside of it."""
        found = (path for path in self.changes.rglob("*") if path.is_file() or path.is_symlink())
        return {f"/{path.relative_to(self.changes)}" for path in found}


@contextmanager
def debian_copy(shared: Path) -> Iterator[DebianCopy]:
    """Make a copy, which goes away at the end."""
    require(os.geteuid() == 0 and shutil.which("unshare"), "only root can mount a copy of the system")
    require(shutil.which("dpkg-deb") and shutil.which("apt-get"), "a Debian system is needed")
    place = Path(tempfile.mkdtemp(prefix="debian-", dir=other_file_system(Path("/"))))
    try:
        yield DebianCopy(place, shared)
    finally:
        shutil.rmtree(place)
