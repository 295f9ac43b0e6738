"""Print the time and the memory of runs that meet too much of something, or a server without end; needs no network."""

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.sites import SampleSite, SiteFactory, Templates

LOUD = "import os\nfor _ in range({megabytes}):\n    os.write(1, b'x' * 999_999 + b'\\n')\n"


def measure(site: SampleSite, command: str, *args: str) -> tuple[int, float, float, float]:
    """Run a command; return its exit code, seconds, and the MiB that releaser, and the largest program, had at most."""
    began, most = time.monotonic(), 0
    with site.starting(command, *args) as run:
        while True:
            pid, status, usage = os.wait4(run.pid, os.WNOHANG)
            if pid:
                break
            with contextlib.suppress(OSError, IndexError):  # it has just ended
                text = Path(f"/proc/{run.pid}/status").read_text(encoding="utf-8")
                most = max(most, int(text.split("VmHWM:")[1].split()[0]))
            time.sleep(0.01)
        run.returncode = os.waitstatus_to_exitcode(status)
    return run.returncode, time.monotonic() - began, most / 1024, usage.ru_maxrss / 1024


@contextlib.contextmanager
def talking(line: bytes) -> Iterator[int]:
    """Yield the port of a server that sends the same line for ever; without a line, it takes calls and is silent."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while line:
                connection.sendall(line)
            connection.recv(1 << 20)
            connection.recv(1)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1]


def print_loudly(site: SampleSite, megabytes: int) -> None:
    """Let the tests print."""
    site.push_commit("Print", {"run_tests.py": LOUD.format(megabytes=megabytes)})


def enlarge_lock(site: SampleSite, size: int) -> None:
    """Commit a lock with a comment of so many bytes."""
    site.push_commit("Enlarge", {"uv.lock": site.lock() + "#" + "x" * size + "\n"})


def leave_files(site: SampleSite, number: int) -> None:
    """Leave files in the checkout that git does not track."""
    (site.path / "uploads").mkdir()
    for each in range(number):
        (site.path / f"uploads/{each}.jpg").write_bytes(b"x" * 100)


def main() -> None:
    """Print a line for each scene."""
    with tempfile.TemporaryDirectory(prefix="releaser-limits-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        templates = Templates(place, place / "uv-cache")

        def show(name: str, prepare: Callable[[SampleSite], object], command: str = "update", *args: str) -> None:
            base = place / name.replace(" ", "-")
            base.mkdir()
            site = SiteFactory(base, templates).live(due="1.1.0")
            prepare(site)
            code, seconds, own, all_programs = measure(site, command, *args)
            words = f"exit {code}, {seconds:.1f} s, releaser {own:.0f} MiB, the largest program {all_programs:.0f} MiB"
            print(f"{name:28} {command:10} {words}", flush=True)

        show("nothing of it", lambda site: None)
        show("1 GB of test output", lambda site: print_loudly(site, 1000))
        show("a lock of 10 MB", lambda site: enlarge_lock(site, 10_000_000))
        show("10,000 untracked files", lambda site: leave_files(site, 10_000))
        show("status beside them", lambda site: leave_files(site, 10_000), "status")
        with talking(b"") as port:
            url = f"http://127.0.0.1:{port}/shop.git"
            show("a silent remote", lambda site: site.git("remote", "set-url", "origin", url))
        servers = {"a talking mail server": b"220-" + b"x" * 4000 + b"\r\n", "a silent mail server": b""}
        for name, line in servers.items():
            with talking(line) as port:
                dotenv = {"ADMINS_JSON": "ada@example.org", "RELEASER_SMTP_HOST": f"127.0.0.1:{port}"}
                show(name, partial(SampleSite.write_dotenv, changes=dotenv))


if __name__ == "__main__":
    main()
