"""A lock on a file excludes other processes, and nothing else."""

import os
import stat
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from releaser.system import file_lock
from releaser.system.file_lock import LockTimeoutError, locked, open_locked


def test_a_lock_excludes_others_until_it_is_released_and_its_file_stays(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    before = os.umask(0o077)
    try:
        with locked(place, mode=0o660):
            assert stat.S_IMODE(place.stat().st_mode) == 0o660
            with pytest.raises(LockTimeoutError), locked(place, mode=0o660):
                pass
            with pytest.raises(Timeout):  # the library of earlier versions takes the same lock
                FileLock(place, timeout=0).acquire()
    finally:
        os.umask(before)
    with FileLock(place, timeout=0, preserve_lock_file=True), pytest.raises(LockTimeoutError):
        open_locked(place, mode=0o660, wait=0.01, every=0.005)
    os.close(open_locked(place, mode=0o660))
    assert place.exists()


def test_programs_do_not_inherit_a_lock_and_a_symlink_is_not_followed(tmp_path: Path) -> None:
    descriptor = open_locked(tmp_path / "lock", mode=0o600)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        open_locked(tmp_path / "link", mode=0o600)
    assert not (tmp_path / "target").exists()


def test_a_file_that_is_exchanged_before_its_lock_is_taken_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, lock = tmp_path / "lock", file_lock.try_to_lock

    def exchanged(descriptor: int) -> bool:
        monkeypatch.setattr(file_lock, "try_to_lock", lock)
        place.unlink()
        place.touch()
        return lock(descriptor)

    monkeypatch.setattr(file_lock, "try_to_lock", exchanged)
    with locked(place, mode=0o600), pytest.raises(LockTimeoutError):
        open_locked(place, mode=0o600)
