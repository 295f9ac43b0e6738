"""What the end-to-end tests share: other ways to run releaser, servers, and questions about a site."""

import contextlib
import errno
import os
import pty
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from releaser.reporting.style import WIDEST
from tests.support import snapshots
from tests.support.commands import Finished, beside, console_script, run
from tests.support.serving import http_server, reply
from tests.support.sites import SampleSite, SiteFactory

STEPS = ("python start", "collectstatic", "restart", "health check")  # after a flip
SECONDS = 300.0  # the longest that a test waits for something that should happen at once, on a busy machine

# A test command that reports to the test, and goes on when the test lets it.
MEETING_TESTS = """\
import os, socket
with socket.create_connection(("127.0.0.1", int(os.environ["MEETING_PORT"]))) as meeting:
    meeting.sendall(b"here")
    meeting.recv(1)
"""


def silent(finished: Finished) -> None:
    """See that a run went well without a word."""
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", ""), str(finished)


def step(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return one step of a report."""
    (found,) = (one for one in report["steps"] if one["step"] == name)
    return dict(found)


def steps(report: Mapping[str, Any]) -> list[str]:
    """Return the names of the steps of a report, in order."""
    return [one["step"] for one in report["steps"]]


def states(site: SampleSite) -> dict[str, str]:
    """Return the state of each release by its id, newest first; `good` for the previous one, too."""
    return {row["id"]: row["state"].replace("previous", "good") for row in site.json("list")}


def changed_files(site: SampleSite, commit: str = "HEAD") -> set[str]:
    """Return what a commit changes."""
    return set(site.git("show", "--name-only", "--format=", commit).splitlines())


def body(site: SampleSite, number: int = -1, kind: str = "plain") -> str:
    """Return the text of a mail in the outbox, the newest by default; what was wrapped is one line again."""
    part = site.outbox_mails()[number].get_body(preferencelist=(kind,))
    assert part is not None
    return unfolded(str(part.get_content())) if kind == "plain" else str(part.get_content())


def unfolded(text: str) -> str:
    """Undo the wrapping of the text of a mail: join a line to the one before if its first word had no room there."""
    lines, before, indent = [""], "", 0
    for line in text.split("\n"):
        first, *_ = (*line.split(), "")
        here = len(line) - len(line.lstrip())
        had_no_room = bool(first and before) and len(before) + 1 + len(first) > WIDEST
        if had_no_room and here == (indent + 2 if lines.count("") > 2 else 0):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
            indent = here
        before = line
    return "\n".join(lines[1:])


def everything_said(site: SampleSite, *said: str) -> str:
    """Return what was printed, and all that is in logs, mails, history and other state files."""
    places = [site.state_dir / name for name in ("logs", "outbox", "releases")]
    files = [path for place in places for path in place.rglob("*") if path.is_file() and "venv" not in path.parts]
    files += [path for path in site.state_dir.iterdir() if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", errors="replace").replace("=\n", "") for path in files]
    return "\n".join([*said, *texts, *(body(site, number) for number in range(len(site.outbox_mails())))])


def outer_snapshot(site: SampleSite) -> dict[str, str]:
    """Fingerprint everything around the site too: repository, remote, state, index; times of change included."""
    found = {}
    for place, directories, files in os.walk(site.outer):
        for name in [".", *files, *directories]:
            path = Path(place, name)
            found[str(path)] = f"{path.lstat().st_mtime_ns} {snapshots.fingerprint(path)}"
    return found


def edit_pyproject(site: SampleSite, old: str, new: str) -> str:
    """Return the text of pyproject.toml with one replacement."""
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new)


def from_server(site: SampleSite, url: str, *, lock: bool = False) -> None:
    """Let the site take its packages from a server; nothing is committed unless it is to `lock`."""
    index = f'index-url = "{url}"'
    site.edit("pyproject.toml", edit_pyproject(site, 'no-index = true\nfind-links = ["../index"]', index))
    if lock:
        site.push_commit("Take packages from a server", lock=True)


def make_hook(repository: Path, name: str, script: str = "exit 1") -> Path:
    """Put a hook into a repository; by default it refuses what is to be done."""
    hook = repository / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    hook.chmod(0o755)
    return hook


def under_umask(site: SampleSite, umask: str, command: str, *, env: Mapping[str, str | None]) -> Finished:
    """Run releaser under another umask."""
    script = f'umask {umask}; exec "$0" "$@"'
    words: list[str | Path] = ["sh", "-c", script, console_script(), command, "--project", site.path]
    return run(words, cwd=site.outer, env=site.environment(env))


def on_terminal(
    site: SampleSite,
    command: str,
    *args: str,
    env: Mapping[str, str | None] | None = None,
    typed: str = "",
    before: Sequence[str] = (),
) -> tuple[int, str]:
    """Run releaser on a terminal of its own, on which somebody has typed; return its exit status and what is there.

    `before` are words of a program that makes a session for it.
    """
    controller, terminal = pty.openpty()
    words = [*before, str(console_script()), *command.split(" "), "--project", str(site.path), *args]
    environment = site.environment({"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "50", **(env or {})})
    process = subprocess.Popen(
        words, cwd=site.outer, env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=not before,
    )  # fmt: skip
    os.close(terminal)
    os.write(controller, typed.encode())
    try:
        text = b"".join(_all_of(controller))
        return process.wait(timeout=SECONDS), text.decode()
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def _all_of(controller: int) -> Iterator[bytes]:
    while select.select([controller], [], [], SECONDS)[0]:
        try:
            chunk = os.read(controller, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # the other side was closed
                raise
            return
        if not chunk:
            return
        yield chunk
    pytest.fail("nothing came from the terminal any more")


def in_background(
    site: SampleSite, command: str, *args: str, env: Mapping[str, str | None] | None = None
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Start releaser and go on; it is ended, if need be, at the end of the block."""
    words = [str(console_script()), *command.split(" "), "--project", str(site.path), *args]
    return beside(words, cwd=site.outer, env=site.environment(env), stdin=subprocess.PIPE)


class Meeting:
    """A place where a program that releaser runs waits for the test: see `MEETING_TESTS`."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.env = {"MEETING_PORT": str(listener.getsockname()[1])}

    @contextlib.contextmanager
    def kept_waiting(self) -> Iterator[None]:
        """Wait until the program has come, and let it go at the end of the block."""
        program, _ = self._listener.accept()
        with program:
            assert program.recv(16) == b"here"
            yield
            program.sendall(b"!")


@contextlib.contextmanager
def meeting() -> Iterator[Meeting]:
    """Open a meeting."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        yield Meeting(listener)


@dataclass
class WebSite:
    """A web server that answers with the status that `answer` gives for each request; `asked` counts them."""

    url: str
    asked: int = 0


@contextlib.contextmanager
def web_site(answer: Callable[[], int]) -> Iterator[WebSite]:
    """Serve on the loopback; `answer` is called in another thread."""

    def deal(request: BaseHTTPRequestHandler) -> None:
        site.asked += 1
        status = answer()
        reply(request, status, f"this is answer {status}".encode())

    with http_server(deal) as url:
        site = WebSite(url=f"{url}/health")
        yield site


def answers(*statuses: int) -> Callable[[], int]:
    """Return a function that gives these one after the other, and the last one for ever."""
    left = list(statuses)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@contextlib.contextmanager
def endless_server(_: Sequence[bytes] = ()) -> Iterator[str]:
    """Let clients connect on the loopback, and never answer; give the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def eventually(happened: Callable[[], object], what: str) -> None:
    """Wait until something that another process does has happened; fail the test if it does not."""
    ends_at = time.monotonic() + SECONDS
    while not happened():
        if time.monotonic() > ends_at:
            pytest.fail(f"{what} did not happen within {SECONDS:g} s")
        time.sleep(0.01)


def watched(make_site: SiteFactory, service: str, **settings: str) -> SampleSite:
    """Make an adopted site that asks the service at a URL about vulnerabilities."""
    variables = {f"RELEASER_{name.upper()}": value for name, value in settings.items()}
    return make_site.adopted(dotenv={"RELEASER_VULNERABILITY_SERVICE": service, **variables})


def users(site: SampleSite) -> dict[str, list[int]]:
    """Return which processes use each release."""
    return {row["id"]: row["in_use_by"] for row in site.json("list")}


def wait_until_used(site: SampleSite, release: str, pid: int) -> None:
    """Wait until a process is all that uses a release."""
    eventually(lambda: users(site)[release] == [pid], f"the use of {release} by {pid}")
