"""The project lock, held by real processes."""

import contextlib
import json
import os
import select
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from releaser.errors import LockedError
from releaser.site import run_lock
from releaser.site.run_lock import Holder
from releaser.system import signals

pytestmark = pytest.mark.spawns

NOW = datetime(2026, 11, 20, 6, 12, tzinfo=UTC)
SECONDS = 60.0
HOLD = """\
import sys
from datetime import UTC, datetime
from pathlib import Path
from releaser.site import run_lock
from releaser.system.signals import MARK
from releaser.system.process import Runner

state, script, option, marked = Path(sys.argv[1]), sys.argv[2], sys.argv[3], bool(sys.argv[4])
with run_lock.acquire(state, command="update", now=datetime.now(UTC)):
    if script:
        marks = {MARK: run_lock.holder(state).mark} if marked else {}
        runner = Runner(environ={"PATH": "/usr/bin:/bin"}, marks=marks)
        runner.run(["sh", "-c", script, "sh", str(state)], cwd=state, timeout=60, **({option: True} if option else {}))
    print("held", flush=True)
    input()
"""


@contextlib.contextmanager
def other_run(
    state: Path, script: str = "", *, option: str = "", marked: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run another process that holds the lock, and runs `script` first if there is one, until the end of the block."""
    words = [sys.executable, "-c", HOLD, str(state), script, option, "1" if marked else ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def taken(state: Path, *, wait: float = 0.0) -> bool:
    """Try to take the lock."""
    try:
        with run_lock.acquire(state, command="init", now=NOW, wait=wait):
            return True
    except LockedError:
        return False


def test_the_lock_can_be_taken_again_and_again_by_the_group_too(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    assert [taken(tmp_path) for _ in range(3)] == [True] * 3
    assert {*os.listdir("/proc/self/fd")} <= before  # what others had open they may close meanwhile
    # It stays: two runs could hold locks on two files of that name.
    assert os.listdir(tmp_path / run_lock.DIRECTORY) == ["lock"]
    assert stat.S_IMODE((tmp_path / run_lock.LOCK).stat().st_mode) == 0o660


def test_a_note_tells_who_holds_it_until_the_run_ends_or_fails(tmp_path: Path) -> None:
    assert (run_lock.holder(tmp_path), run_lock.find_running(tmp_path)) == (None, None)
    with run_lock.acquire(tmp_path, command="update", now=NOW):
        expected = Holder(pid=os.getpid(), command="update", since="2026-11-20T06:12:00+00:00")
        assert run_lock.holder(tmp_path) == run_lock.find_running(tmp_path) == expected
    assert (run_lock.holder(tmp_path), run_lock.find_running(tmp_path)) == (None, None)
    with pytest.raises(KeyboardInterrupt), run_lock.acquire(tmp_path, command="update", now=NOW):
        raise KeyboardInterrupt
    assert run_lock.find_running(tmp_path) is None
    assert taken(tmp_path)


def test_a_second_run_is_told_about_the_first_if_its_note_can_be_read_and_may_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "INTRODUCTION", 0.1)  # nobody is going to note anything
    with other_run(tmp_path) as other:
        assert said(other) == "held\n"
        found = run_lock.find_running(tmp_path)
        assert found is not None
        assert (found.pid, found.command) == (other.pid, "update")
        with pytest.raises(LockedError) as caught, run_lock.acquire(tmp_path, command="init", now=NOW):
            pytest.fail("two runs hold the lock")
        expected = f"`releaser update` (pid {other.pid}) has held the lock of this project since {found.since}"
        assert caught.value.message == f"another run is in progress: {expected}"
        assert caught.value.exit_code == 8
        assert run_lock.holder(tmp_path) == found  # its note is still there
        assert not taken(tmp_path, wait=0.1)
        for note in (None, "", "{", "[]", "{}", '{"pid": "x", "command": "c", "since": "s"}', "\0"):
            (tmp_path / run_lock.HOLDER).unlink(missing_ok=True)
            if note is not None:
                (tmp_path / run_lock.HOLDER).write_text(note, encoding="utf-8")
            assert run_lock.holder(tmp_path) is None
            assert run_lock.find_running(tmp_path) == Holder(pid=0, command="?", since="?")
        with pytest.raises(LockedError, match="another run holds the lock of this project"):
            run_lock.acquire(tmp_path, command="init", now=NOW).__enter__()
        other.terminate()  # it may take a moment
        assert taken(tmp_path, wait=SECONDS)


def test_it_is_known_since_when_runs_have_been_killed(tmp_path: Path) -> None:
    note, noted = tmp_path / run_lock.HOLDER, []
    for _ in range(2):
        with other_run(tmp_path) as other:
            said(other)
            noted.append(note.stat().st_mtime)
            other.kill()
        assert run_lock.holder(tmp_path) is not None
        assert run_lock.find_running(tmp_path) is None  # its note means nothing
    with run_lock.acquire(tmp_path, command="init", now=NOW) as held:
        assert held.killed_since == noted[0]  # and what it may have left cannot be looked for
        assert json.loads(note.read_text(encoding="utf-8"))["pid"] == os.getpid()
    with run_lock.acquire(tmp_path, command="init", now=NOW) as held:
        assert held.killed_since == noted[0]
        held.killed_since = None
    with run_lock.acquire(tmp_path, command="init", now=NOW) as held:
        assert held.killed_since is None
    note.touch()  # as a power cut leaves it
    with run_lock.acquire(tmp_path, command="init", now=NOW) as held:
        assert held.killed_since is not None


def test_a_lock_that_cannot_be_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        taken(tmp_path / "file" / "state")
    assert run_lock.find_running(tmp_path / "file" / "state") is None


# Children


class Fifo:
    """A named pipe that is open in both directions here, so that neither end ever waits for the other to come."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR)

    def say(self, word: str) -> None:
        """Write a line."""
        os.write(self._descriptor, word.encode() + b"\n")

    def hear(self) -> str:
        """Wait for a line."""
        assert select.select([self._descriptor], [], [], SECONDS)[0], "nothing was said"
        return os.read(self._descriptor, 100).decode().strip()

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


@pytest.fixture
def pipes(tmp_path: Path) -> Iterator[tuple[Fifo, Fifo]]:
    """Make the pipes `go`, which a child of a run reads, and `done`, into which it writes."""
    with contextlib.closing(Fifo(tmp_path / "go")) as go, contextlib.closing(Fifo(tmp_path / "done")) as done:
        yield go, done


# Out of the reach of the signal that a child gets when its parent dies.
GRANDCHILD = "sh -c 'echo $$ >done; read word <go; echo $word >done' & wait"
SERVICE = "(echo here >done; read word <go; echo $word >done) & echo started"


@pytest.mark.parametrize("option", ["daemons", "may_leave_service", "daemons of a run that goes well"])
def test_no_child_has_the_lock_and_a_service_that_stays_is_not_ended(
    tmp_path: Path, pipes: tuple[Fifo, Fifo], option: str
) -> None:
    """Else a daemon that the tests of a site leave behind would keep out all runs to come, once one is killed."""
    go, done = pipes
    script = f"setsid sh -c '{SERVICE}'" if "daemons" in option else SERVICE
    with other_run(tmp_path, script, option=option.split()[0], marked=option != "daemons") as other:
        assert said(other) == "held\n"
        assert done.hear() == "here"
        assert not taken(tmp_path)
        if "well" in option:
            other.communicate("go on\n")
        else:
            other.kill()
            other.wait()
        assert taken(tmp_path, wait=SECONDS)
    go.say("still there")
    assert done.hear() == "still there"


@pytest.mark.parametrize("script", [GRANDCHILD, f"trap '' TERM; {GRANDCHILD}"])
def test_what_a_killed_run_has_left_is_ended(
    tmp_path: Path, pipes: tuple[Fifo, Fifo], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """If need be, without its leave."""
    monkeypatch.setattr(signals, "GRACE", 0.5)
    with other_run(tmp_path, script, marked=True) as other:
        left = int(pipes[1].hear())
        other.kill()
        other.wait()
        with run_lock.acquire(tmp_path, command="init", now=NOW):
            assert not signals.is_alive(left)


def test_a_run_that_has_just_begun_is_named_and_one_that_is_about_to_end_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock a moment before it has noted who it is; what a killed one has noted means nothing."""
    monkeypatch.setattr(run_lock, "INTRODUCTION", SECONDS)  # a busy machine may take longer over either
    with subprocess.Popen(["true"]) as ended:
        pass
    killed = Holder(pid=ended.pid, command="prune", since=NOW.isoformat())
    with other_run(tmp_path) as other:
        said(other)
        note = (tmp_path / run_lock.HOLDER).read_text(encoding="utf-8")
        (tmp_path / run_lock.HOLDER).write_text(json.dumps(asdict(killed)), encoding="utf-8")
        writer = threading.Timer(0.1, (tmp_path / run_lock.HOLDER).write_text, [note])
        writer.start()
        with pytest.raises(LockedError, match=rf"`releaser update` \(pid {other.pid}\) has held"):
            run_lock.acquire(tmp_path, command="init", now=NOW).__enter__()
        writer.join()
        (tmp_path / run_lock.HOLDER).unlink()  # as of one that is about to end, so that nobody could be named
        ender = threading.Timer(0.1, other.kill)
        ender.start()
        assert taken(tmp_path)
        ender.join()
