"""Who uses a release: with locks of real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from releaser.releases import leases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.spawns

HOLD = "import sys; from releaser.releases import leases; leases.take(sys.argv[1]); print('held', flush=True); input()"


@contextlib.contextmanager
def user(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds a lease until the end of the block."""
    words = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.communicate("\n", timeout=60)


def test_nobody_uses_a_release_at_first(tmp_path: Path) -> None:
    assert leases.holders(str(tmp_path)) == []
    claimed = leases.claim(str(tmp_path))
    assert claimed is not None
    leases.release(claimed)
    assert leases.holders(str(tmp_path)) == []


def test_every_process_with_a_lease_is_a_holder_until_it_ends(tmp_path: Path) -> None:
    with user(tmp_path) as one, user(tmp_path) as two:
        assert leases.holders(str(tmp_path)) == sorted([one.pid, two.pid])
        assert leases.holders(str(tmp_path.parent)) == []
    assert leases.holders(str(tmp_path)) == []


def test_a_release_in_use_cannot_be_claimed(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with user(tmp_path):
        assert leases.claim(str(tmp_path)) is None
    claimed = leases.claim(str(tmp_path))
    assert claimed is not None
    leases.release(claimed)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_claimed_release_gives_no_lease(tmp_path: Path) -> None:
    claimed = leases.claim(str(tmp_path))
    assert claimed is not None
    with contextlib.closing(os.fdopen(claimed)), pytest.raises(BlockingIOError):
        leases.take(str(tmp_path))


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert leases.holders(str(tmp_path)) == []


def test_a_release_that_is_gone_has_no_holders(tmp_path: Path) -> None:
    assert leases.holders(str(tmp_path / "gone")) == []
    assert leases.claim(str(tmp_path / "gone")) is None
