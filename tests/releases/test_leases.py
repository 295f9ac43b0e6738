"""Who uses a release: with locks of real processes."""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from releaser.releases import lease, leases
from tests.releases.makers import user

pytestmark = pytest.mark.spawns


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release, of which only the directories matter."""
    (tmp_path / "release" / "venv").mkdir(parents=True)
    return tmp_path / "release"


def claim(release: Path) -> int:
    claimed = leases.claim(str(release))
    assert claimed is not None
    return claimed


def test_every_process_with_a_lease_is_a_holder_until_it_ends(release: Path) -> None:
    assert leases.holders(str(release)) == []
    with user(release) as one, user(release) as two:
        assert leases.holders(str(release)) == sorted([one.pid, two.pid])
        assert leases.holders(str(release.parent)) == []
        two.kill()
        two.wait()
        assert leases.holders(str(release)) == [one.pid]
    assert leases.holders(str(release)) == []


def test_the_command_of_a_process_is_one_line_that_does_nothing_to_a_terminal() -> None:
    words = [sys.executable, "-c", "print(flush=True); input()", "\x1b]0;owned\x07\n\x9b2J\u202efdp.exe"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # the kernel tells the words only a little after the program was begun
            found = leases.look(process.pid)
        finally:
            process.kill()
    assert found is not None
    assert found.command.endswith(" ?]0;owned???2J?fdp.exe")


def test_a_release_in_use_cannot_be_claimed_and_that_leaves_no_trace(release: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    assert not leases.is_used(str(release))
    assert os.listdir(release / "venv") == []
    with user(release):
        assert leases.is_used(str(release))
        assert leases.claim(str(release)) is None
    assert not leases.is_used(str(release))
    os.close(claim(release))
    assert leases.holders(str(release)) == []
    assert set(os.listdir("/proc/self/fd")) <= before


def test_who_only_looks_does_not_use_it(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = claim(release)
    monkeypatch.setattr(time, "sleep", lambda _: os.close(claimed))
    assert not leases.is_used(str(release))


def test_a_claim_is_opened_for_writing(release: Path) -> None:
    """Without that, NFS gives nobody an exclusive lock, as flock(2) says."""
    for _ in range(2):  # the first time, it makes the file
        claimed = claim(release)
        assert fcntl.fcntl(claimed, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        os.close(claimed)


def test_a_lease_file_that_can_only_be_read_is_claimed_as_well(release: Path) -> None:
    lease = release / "venv" / "releaser.lease"
    lease.write_text("")
    lease.chmod(0o444)
    for place in (release, lease.parent):
        place.chmod(0o755)
    program = (
        "import os; from releaser.releases import leases\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"  # whom modes mean something to
        "claimed = leases.claim('.')\n"
        "print(claimed is not None, leases.is_used('.'))"
    )
    words = [sys.executable, "-c", program]  # from there: that user may not get at the directories above
    done = subprocess.run(words, cwd=release, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "True"]


def test_a_claimed_release_gives_no_lease(release: Path) -> None:
    claimed, before = claim(release), set(os.listdir("/proc/self/fd"))
    with contextlib.closing(os.fdopen(claimed)), pytest.raises(BlockingIOError):
        lease.take(str(release))
    assert {*os.listdir("/proc/self/fd")} < before


def test_a_release_without_its_venv_can_be_claimed_once_and_one_that_is_gone_has_no_holders(release: Path) -> None:
    (release / "venv").rmdir()
    claimed = claim(release)
    assert leases.claim(str(release)) is None
    os.close(claimed)
    assert leases.holders(str(release / "gone")) == []
    assert leases.claim(str(release / "gone")) is None
