"""Limits: of what programs print, servers send and releaser writes down."""

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import eventually, mostly_slow, says, silent
from tests.e2e.test_mail import mailing
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server, read_mail

MOST = 60 << 10  # bytes of a mail, a line of the history or an answer about one failure

#: Tests that print as many megabytes as a variable says.
PRINTING = """\
import os, unittest
class Printing(unittest.TestCase):
    def test_prints(self):
        for _ in range(int(os.environ.get("MEGABYTES", "0"))):
            os.write(1, b"x" * (1 << 20))
"""


def memory(pid: int) -> int:
    """Return the bytes of memory that a process has, with those of its files in memory."""
    fields = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split("VmRSS:")[1].split()
    files: dict[int, int] = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if "memfd:" in os.readlink(path):
                files[path.stat().st_ino] = path.stat().st_blocks * 512
    return int(fields[0]) * 1024 + sum(files.values())


def peak(site: SampleSite, megabytes: int) -> int:
    """Return the most memory that releaser has in a run whose tests print."""
    most = 0
    with site.starting("check", "--tests", env={"MEGABYTES": str(megabytes)}) as run:
        while run.poll() is None:
            with contextlib.suppress(OSError, IndexError):  # it has ended
                most = max(most, memory(run.pid))
            time.sleep(0.002)
    assert run.returncode == 0
    return most


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", mostly_slow([200, 1024], 200))
def test_law_42_what_tests_print_takes_no_memory(make_site: SiteFactory, megabytes: int) -> None:
    site = make_site.live(files={"site_tests.py": PRINTING})
    quiet, loud = peak(site, 0), peak(site, megabytes)
    assert loud <= 1.3 * quiet, f"{loud >> 20} MiB, and {quiet >> 20} MiB if they print nothing"


@contextlib.contextmanager
def endless(line: bytes, *, pause: float) -> Iterator[tuple[int, threading.Event]]:
    """Serve the same line for ever to whoever comes; yield the port, and the event that a line has gone out."""
    is_over, has_served = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while not is_over.wait(pause):
                connection.sendall(line)
                has_served.set()

    def listen() -> None:
        with contextlib.suppress(OSError):
            while not is_over.is_set():
                threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1], has_served
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_law_26_42_a_mail_server_without_end_takes_no_memory(make_site: SiteFactory) -> None:
    with endless(b"220-" + b"x" * 4000 + b"\r\n", pause=0) as (port, _):
        site = make_site.live(due="1.1.0", dotenv=mailing(f"127.0.0.1:{port}"))
        says(site.releaser("update", check=7), "took no mail", "outbox")
    assert site.version("alpha") == "1.1.0"
    assert len(list((site.state / "outbox/new").iterdir())) == 1


@pytest.mark.slow
def test_law_26_42_a_mail_server_that_drips_holds_no_news(make_site: SiteFactory) -> None:
    with endless(b"220-more\r\n", pause=0.3) as (port, has_served):
        site = make_site.live(due="1.1.0", dotenv=mailing(f"127.0.0.1:{port}"))
        with site.starting("update") as run:
            assert has_served.wait(timeout=60)
            assert len(list((site.state / "outbox/new").iterdir())) == 1
            assert site.json("history")[0]["result"] == "updated"
            run.terminate()
            run.communicate(timeout=10)
    assert (run.returncode, (site.state / "journal.json").exists()) == (143, False)
    with mail_server() as server:
        site.write_dotenv(mailing(server.host))
        silent(site.releaser("update"))
        assert [mail["Subject"][:19] for _, mail, _ in server.mails] == ["Updated: site, alph"]


@pytest.mark.slow
def test_law_42_a_health_check_that_drips_fails(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    with endless(b"HTTP/1.1 200 OK\r\n", pause=0.3) as (port, _):
        site.write_dotenv(health_check=f"http://127.0.0.1:{port}/", health_timeout="2s", restart="true")
        says(site.releaser("update", check=6), "does not answer")
    assert site.version("alpha") == "1.0.0"


LONG = "import alpha, sys\n\nsys.exit('`A=' * 170_000 if alpha.__version__ != '1.0.0' else 0)\n"


@pytest.mark.slow
def test_law_28_42_a_long_line_is_cut_wherever_it_is_told(make_site: SiteFactory) -> None:
    with mail_server() as server:
        settings = mailing(server.host, TEST_COMMAND="python long.py")
        site = make_site.live(due="1.1.0", files={"long.py": LONG}, dotenv=settings)
        site.push_from_elsewhere({"notes.txt": "more"}, message="z" * 100_000)
        finished = site.releaser("update", check=5)
        (mail,) = [mail for _, mail, _ in server.mails]
    failed = next(path for path in (site.state / "releases").iterdir() if path.name != site.live())
    sizes = {
        "stderr": len(finished.stderr),
        "mail": len(mail.as_bytes()),
        "manifest": (failed / "manifest.json").stat().st_size,
        "history": len((site.state / "history.jsonl").read_bytes().splitlines()[-1]),
    }
    assert max(sizes.values()) < MOST, sizes
    assert "`A=`A=" in read_mail(mail)
    assert "zzz" in read_mail(mail)


@pytest.mark.slow
def test_law_09_42_a_history_that_has_grown_is_cut_not_lost(site: SampleSite) -> None:
    path = site.state / "history.jsonl"
    line = path.read_bytes().splitlines()[-1]
    path.write_bytes((line + b"\n") * (18 * (1 << 20) // len(line)))
    silent(site.releaser("update"))
    assert path.stat().st_size < 4 << 20
    assert not path.with_name("history.jsonl.broken").exists()
    assert site.json("history")[0]["command"] == "update"


@pytest.mark.slow
def test_law_05_42_a_cache_that_is_in_use_holds_no_news(make_site: SiteFactory) -> None:
    with mail_server() as server:
        site = make_site.live(due="1.1.0", dotenv=mailing(server.host))
        (site.state / "cache/ballast").write_bytes(os.urandom(100 << 20))
        with open(site.state / "cache/.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            began = time.monotonic()
            with site.starting("update") as run:
                eventually(lambda: server.mails, "the mail", seconds=60)
                assert run.wait(timeout=60) == 0
        assert time.monotonic() - began < 100  # uv itself waits for 300 s
        assert (site.state / "cache/ballast").exists()
    site.releaser("prune", check=0)
    assert not (site.state / "cache/ballast").exists()


@pytest.mark.slow
def test_law_12_18_42_what_a_shadow_copies_has_one_limit(site: SampleSite) -> None:
    for number in range(13):  # without their content, they take no room here
        site.edit(f"../media/{number}/film", "")
        os.truncate(site.outer / f"media/{number}/film", 99 << 20)
        (site.outer / f"media/{number}").rename(site.outer / f"media{number:02}")
    text = site.releaser("check", check=0).stderr
    assert [number for number in range(13) if f"media{number:02}" in text] == [10, 11, 12], text
