"""A real systemd for a test: process 1 of its own namespaces, with the files of this machine, but none of its units."""

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.e2e.scenes import eventually
from tests.live.pair import WAIT
from tests.support.guards import require

_SYSTEMD = "/lib/systemd/systemd"
_UNITS = "/run/units"
# What every unit depends on by default. Those of the machine would boot it: empty /tmp, start udev, and more.
_DEFAULTS = ("test", "sysinit", "basic", "sockets", "shutdown", "multi-user", "umount")
# The unit path leaves no other unit. In the cgroup namespace, a fresh cgroup2 mount shows the group of this test alone.
_START = f"""
set -e
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /usr/lib/tmpfiles.d
mount -t tmpfs tmpfs /usr/lib/systemd/system
mkdir -p {_UNITS} /run/systemd/system
for name in {" ".join(_DEFAULTS)}; do
    printf '[Unit]\\nDescription=%s\\nDefaultDependencies=no\\n' $name > {_UNITS}/$name.target
done
exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH={_UNITS} SYSTEMD_GENERATOR_PATH=/run/none \\
    {_SYSTEMD} --system --unit=test.target --log-target=null --show-status=no
"""
_SPACES = ("--pid", "--mount", "--uts", "--cgroup", "--ipc", "--fork", "--propagation", "private", "--kill-child")


class Systemd:
    """A running systemd; `inside` are the words that start a program next to it."""

    def __init__(self, pid: int) -> None:
        self.inside = ("nsenter", f"--target={pid}", "--mount", "--pid", "--cgroup", "--uts")

    def run(self, *words: str | Path, check: bool = True) -> str:
        """Run a program in the namespaces of systemd, and return its output."""
        done = subprocess.run([*self.inside, *words], check=False, capture_output=True, text=True, timeout=WAIT)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def add(self, units: Mapping[str, str]) -> None:
        """Install units, with their texts."""
        for name, text in units.items():
            subprocess.run(
                [*self.inside, "tee", f"{_UNITS}/{name}"], check=True, input=text.encode(), stdout=subprocess.DEVNULL
            )
        self.run("systemctl", "daemon-reload")

    def state(self, unit: str) -> str:
        """Return its ActiveState."""
        return self.run("systemctl", "show", "--property=ActiveState", "--value", unit).strip()


@contextlib.contextmanager
def running_systemd() -> Iterator[Systemd]:
    """Run systemd during the block; all of its processes end with the block."""
    require(os.geteuid() == 0, "root is needed")
    require(shutil.which("unshare") and Path(_SYSTEMD).exists(), "systemd is needed")
    group = next(Path(place) for place in _cgroup2()) / f"test-{uuid.uuid4().hex}"
    group.mkdir()
    enter = f'echo $$ > {group}/cgroup.procs && exec setpriv --pdeathsig KILL unshare {" ".join(_SPACES)} bash -c "$0"'
    process = subprocess.Popen(["bash", "-c", enter, _START])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        eventually(lambda: process.poll() is not None or children.read_text().split(), "its first process")
        systemd = Systemd(int(children.read_text().split()[0]))
        is_up = ("systemctl", "is-system-running")
        eventually(lambda: systemd.run(*is_up, check=False).strip() in ("running", "degraded"), "a running systemd")
        yield systemd
    finally:
        process.kill()
        process.wait()
        eventually(lambda: _remove(group), "the end of its processes")


def _cgroup2() -> Iterator[str]:
    """Yield where cgroup2 is mounted."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            yield place


def _remove(group: Path) -> bool:
    """Remove a cgroup, the lowest first; False while it has processes."""
    try:
        for place, _, _ in os.walk(group, topdown=False):
            Path(place).rmdir()
    except OSError:
        return False
    return True
