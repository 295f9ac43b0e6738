"""Debian in a directory, for the scripts that try releaser on hosts that this one is not; root alone can."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
#: Also from a mirror that lags behind.
UPDATE = "apt-get -qq -o Acquire::Check-Valid-Until=false update"
#: Makes a directory the root of a shell's own mounts: unlike chroot, it leaves the kernel no reason against namespaces.
_PIVOT = """\
mount --rbind "$1" "$1"
cd "$1"
shift
pivot_root . mnt
exec chroot . sh -ec 'umount -l /mnt; "$@"' - "$@"
"""


class Host:
    """A directory with Debian, and its users."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "SSL_CERT_FILE": "/opt/ca-certificates.crt",
            "PIP_CERT": "/opt/ca-certificates.crt",
        }

    def run(
        self, command: str, user: str = "", *, check: bool = True, loud: bool = False, has_namespaces: bool = False
    ) -> int:
        """Run a line of a shell on the host; return its exit status. A `loud` one is shown with its output.

        The kernel makes no user namespace in a chroot, as on a host that forbids them, unless `has_namespaces`.
        """
        words = [*(["runuser", "-u", user, "--"] if user else []), "sh", "-ec", command]
        change = ["unshare", "--mount", "sh", "-ec", _PIVOT, "-"] if has_namespaces else ["chroot"]
        if loud:
            print(f"\n# {command}", flush=True)
        words = [*change, str(self.root), *words]
        done = subprocess.run(words, env=self.env, capture_output=not loud, text=True, check=False)
        if check and done.returncode:
            sys.exit(f"`{command}` ended with {done.returncode}.\n{done.stdout or ''}{done.stderr or ''}")
        return done.returncode

    def read(self, command: str) -> str:
        """Return what a line of a shell prints on the host, also if it fails."""
        words = ["chroot", str(self.root), "sh", "-ec", f"exec 2>&1\n{command}"]
        return subprocess.run(words, env=self.env, capture_output=True, text=True, check=False).stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file of the host."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Mount what programs need, and take it away at the end."""
        places = [("proc", "-t", "proc"), ("sys", "--rbind", ""), ("dev", "--rbind", "")]
        try:
            for name, option, kind in places:
                source = [option, kind, name] if kind else [option, f"/{name}"]
                subprocess.run(["mount", *source, str(self.root / name)], check=True)
                subprocess.run(["mount", "--make-rslave", str(self.root / name)], check=True)
            yield
        finally:
            for name, _, _ in reversed(places):
                subprocess.run(["umount", "--recursive", str(self.root / name)], check=False)


def install_debian(root: Path, suite: str) -> None:
    """Make a small Debian, from debootstrap's own mirror."""
    words = ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "opt/ca-certificates.crt")


def copy_python(host: Host, base: Path) -> None:
    """Copy a Python that the OS does not own to /opt/python."""
    shutil.copytree(base, host.root / "opt/python", symlinks=True, ignore=shutil.ignore_patterns("test", "__pycache__"))
    host.run("echo /opt/python/lib >/etc/ld.so.conf.d/python.conf && ldconfig")


@contextlib.contextmanager
def debian_host(suite: str, packages: str) -> Iterator[Host]:
    """Make a host with these packages in a temporary directory, which goes away at the end unless KEEP=1."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        sys.exit("This needs root, and debootstrap: `apt install debootstrap`.")
    root = Path(tempfile.mkdtemp(prefix="releaser-os-"))
    root.chmod(0o755)
    host = Host(root)
    try:
        install_debian(root, suite)
        with host.mounted():
            host.run(f"{UPDATE}\napt-get -qq -y --no-install-recommends install {packages}")
            yield host
    finally:
        if os.environ.get("KEEP"):
            print(f"The host is in {root}.")
        elif not any(str(root) in line for line in Path("/proc/mounts").read_text().splitlines()):
            shutil.rmtree(root)
