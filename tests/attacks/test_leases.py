"""A user who can only read a release delays a start by 10 ms at most, and cannot get the release deleted in use."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from releaser.releases import leases
from releaser.releases.lease import take
from tests.attacks.people import OWNER, STRANGER, People
from tests.e2e.test_group_use import base_python
from tests.support.sites import SampleSite

HOLD = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_{}); print(flush=True); input()"
STARTS = 5
NOTHING = 0.3  # seconds; each start waited 1.0 for a stranger once, and waits 0.01 at most


@contextlib.contextmanager
def started(people: People, name: str, *words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as one of the people, from its first line of output on to the end of the block."""
    become = ["setpriv", f"--reuid={name}", f"--regid={people.of(name).pw_gid}", "--init-groups"]
    with subprocess.Popen([*become, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            yield process
        finally:
            process.kill()


def test_a_stranger_who_holds_the_lock_delays_no_start(people: People, owned: SampleSite) -> None:
    directory = owned.link.resolve().parent
    lease, python = directory / "venv" / "releaser.lease", owned.link / "bin" / "python"

    def quickest() -> float:
        seconds = []
        for _ in range(STARTS):
            began = time.monotonic()
            with started(people, OWNER, python, "-c", "print(flush=True)"):
                seconds.append(time.monotonic() - began)
        return min(seconds)

    free = quickest()
    with started(people, STRANGER, base_python(), "-c", HOLD.format("EX"), lease):
        assert quickest() - free < NOTHING


def test_processes_that_started_meanwhile_are_counted_once_the_stranger_is_gone(
    people: People, owned: SampleSite
) -> None:
    directory = owned.link.resolve().parent
    lease, python = directory / "venv" / "releaser.lease", owned.link / "bin" / "python"
    with contextlib.ExitStack() as stack:
        stranger = stack.enter_context(started(people, STRANGER, base_python(), "-c", HOLD.format("EX"), lease))
        program = "import os; os.closerange(3, 99); print(flush=True); input()"
        process = stack.enter_context(started(people, OWNER, python, "-c", program))
        stranger.kill()
        stranger.wait()
        assert leases.is_used(str(directory))
        assert leases.holders(str(directory)) == [process.pid]
        assert leases.claim(str(directory)) is None
        second = stack.enter_context(started(people, STRANGER, base_python(), "-c", HOLD.format("EX"), lease))
        os.close(take(str(directory)))  # as `releaser run` does for any program
        second.kill()
        second.wait()
        process.kill()
        process.wait()
        assert not leases.is_used(str(directory))
        claimed = leases.claim(str(directory))
        assert claimed is not None
        os.close(claimed)


def test_a_user_who_keeps_a_release_from_deletion_is_named(people: People, owned: SampleSite) -> None:
    lease = owned.link.resolve() / "releaser.lease"
    for kind in ("SH", "EX"):
        with started(people, STRANGER, base_python(), "-c", HOLD.format(kind), lease) as stranger:
            (process,) = leases.users(str(lease.parent.parent))
            assert (process.pid, process.user) == (stranger.pid, STRANGER)
