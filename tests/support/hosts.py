"""Users of this machine as hosts of a fleet, which a server of OpenSSH on a loopback port lets in."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.e2e.test_group_use import base_python
from tests.support.guards import require
from tests.support.serving import kept_port

_SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {base}/host_key
AuthorizedKeysFile {base}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv PATH={path} UV_PYTHON_DOWNLOADS=never
"""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A user with a home of its own; `outer` is where its site lies."""

    name: str
    user: str
    home: Path

    @property
    def outer(self) -> Path:
        return self.home / "srv"

    @property
    def site(self) -> Path:
        return self.outer / "site"

    @property
    def state(self) -> Path:
        return self.outer / ".releaser" / "site"

    def give(self) -> None:
        """Let all that lies in the home be of the user."""
        subprocess.check_call(["chown", "-hR", f"{self.user}:", self.home])

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program as cron does."""
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
        env = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": self.user}
        return subprocess.run(
            [*become, *words], env=env, cwd=self.home, capture_output=True, text=True, check=False, timeout=300
        )

    def live(self) -> Path:
        """Return the directory of the live release."""
        return (self.site / ".venv").resolve().parent

    def flipped_at(self) -> float:
        """Return when the live release went live."""
        return (self.site / ".venv").lstat().st_mtime

    def version(self, package: str) -> str:
        """Return the version of a package in the live release."""
        (found,) = self.live().glob(f"venv/lib/python*/site-packages/{package}-*.dist-info")
        return found.name.removeprefix(f"{package}-").removesuffix(".dist-info")

    def digest(self) -> str:
        """Hash the files of the live release and the code, wherever they lie.

        Byte code is made by whoever starts first, and uv notes when each wheel was unpacked.
        """
        hashed = sha256()
        for place, inside in ((self.live() / "venv", ""), (self.live() / "uv.lock", ""), (self.site, ".git")):
            files = [place] if place.is_file() else sorted(place.rglob("*"))
            for file in files:
                parts = file.relative_to(place).parts
                if not file.is_file() or file.is_symlink() or parts[:1] in ((inside,), (".venv",)):
                    continue
                if "__pycache__" not in parts and file.name != "uv_cache.json":
                    data = file.read_bytes().replace(str(self.live()).encode(), b"RELEASE")
                    data = re.sub(rb"(?m)^.*/uv_cache\.json,.*\n", b"", data)
                    hashed.update(f"{parts} {sha256(data).hexdigest()}\n".encode())
        return hashed.hexdigest()

    def records(self) -> dict[str, bytes]:
        """Return what tells whether anything happened: where the symlink leads, the releases, history and checkout."""
        found = {"live": os.fsencode(self.live().name), "history": (self.state / "history.jsonl").read_bytes()}
        found["releases"] = os.fsencode(" ".join(sorted(one.name for one in (self.state / "releases").iterdir())))
        head = ["git", "-c", "safe.directory=*", "-C", str(self.site), "rev-parse", "HEAD"]
        return found | {"commit": subprocess.check_output(head)}


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Hosts h1, h2 and so on, behind one port."""

    base: Path
    port: int
    all: tuple[Host, ...]

    def inventory(self, *, away: str = "") -> str:
        """Return their lines of an inventory; at the port of one that is `away`, nobody listens."""
        options = f"-o UserKnownHostsFile={self.base}/known_hosts -o IdentityFile={self.base}/key -o IdentitiesOnly=yes"
        ports = {one: 1 if one.name == away else self.port for one in self.all}
        lines = [f"{one.name} ansible_user={one.user} ansible_port={port}" for one, port in ports.items()]
        shared = {
            "ansible_host": "127.0.0.1",
            "ansible_ssh_common_args": f"'{options}'",
            "ansible_python_interpreter": base_python(),
            "releaser_project": "~/srv/site",
        }
        return "\n".join(["[fleet]", *lines, "", "[fleet:vars]", *(f"{key}={value}" for key, value in shared.items())])


@contextlib.contextmanager
def made(count: int) -> Iterator[Hosts]:
    """Make the users and start the server; both are gone after the block."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    require(os.geteuid() == 0 and shutil.which("useradd"), "only root can make users")
    require(sshd and shutil.which("crontab"), "the server of OpenSSH and cron are needed")
    require(Path(base_python()).exists(), "an interpreter that everybody may start is needed")
    base = Path(tempfile.mkdtemp(prefix="hosts-"))  # pytest's own directories are for one user alone
    base.chmod(0o755)
    mark = unused_name()
    hosts = tuple(
        Host(name=f"h{number}", user=f"{mark}-h{number}", home=base / f"h{number}") for number in range(1, count + 1)
    )
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base)
        for one in hosts:
            stack.callback(subprocess.call, ["userdel", one.user], stderr=subprocess.DEVNULL)
            stack.callback(subprocess.call, ["crontab", "-r", "-u", one.user], stderr=subprocess.DEVNULL)
            # Without PAM, nobody gets in whose password is locked; this one is none at all.
            home = ("--create-home", "--home-dir", one.home, "--shell", "/bin/sh")
            subprocess.check_call(["useradd", *home, "--user-group", "--password", "*", one.user])
        keeper, port = kept_port()
        stack.enter_context(keeper)
        stack.enter_context(_server(base, str(sshd), port))
        yield Hosts(base=base, port=port, all=hosts)


def unused_name() -> str:
    """Return how the names of users of a test begin; a process id comes again, and a killed test leaves its users."""
    return f"rel-{secrets.token_hex(4)}"


@contextlib.contextmanager
def _server(base: Path, sshd: str, port: int) -> Iterator[None]:
    for name in ("host_key", "key"):
        subprocess.check_call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", base / name])
    public = (base / "host_key.pub").read_text(encoding="utf-8")
    (base / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}", encoding="utf-8")
    path = ":".join(dict.fromkeys((os.path.dirname(base_python()), "/usr/local/bin", "/usr/bin", "/bin")))
    config = base / "sshd_config"
    config.write_text(_SSHD.format(base=base, port=port, path=path), encoding="utf-8")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it shuts its unprivileged part in
    with open(base / "sshd.log", "wb") as log, subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=log) as server:
        try:
            _wait_for(port, base / "sshd.log")
            yield
        finally:
            words = ["pgrep", "-P", str(server.pid)]  # its sessions
            for one in subprocess.run(words, capture_output=True, check=False).stdout.split():
                subprocess.call(["kill", one])
            server.terminate()


def _wait_for(port: int, log: Path) -> None:
    ends = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        require(time.monotonic() < ends, f"sshd does not listen: {log.read_text(encoding='utf-8')}")
        time.sleep(0.05)


def recap(printed: str) -> dict[str, dict[str, int]]:
    """Return the counts at the end of what ansible-playbook printed, by host."""
    lines = re.findall(r"^(\S+) +: (ok=.*)$", printed, re.MULTILINE)
    return {host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", text)} for host, text in lines}
