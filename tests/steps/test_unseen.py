"""An interpreter that cannot be seen is gone only if no process runs on it any more."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from releaser.errors import PreflightError
from releaser.releases import leases
from releaser.releases.interpreter import Interpreter
from releaser.releases.store import ReleaseStore
from releaser.steps import unseen
from releaser.steps.unseen import refuse_unseen
from tests.releases.makers import live

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.release import Release

OURS = os.path.realpath(sys.executable)


def release_on(tmp_path: Path, executable: str) -> Release:
    """Make a live release that was sealed on an interpreter which its venv does not lead to any more."""
    was = Interpreter(executable=executable, version="3.12.1", implementation="cpython", abi="", build="", seen={})
    store = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / ".venv")
    release = live(store, 1, interpreter=was)
    python = release.venv / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.12")
    return release


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait, and collect how long it would have been."""
    found: list[float] = []
    monkeypatch.setattr("releaser.steps.unseen.time.sleep", found.append)
    return found


def test_one_on_which_a_process_runs_is_not_gone(tmp_path: Path, pauses: list[float]) -> None:
    release = release_on(tmp_path, OURS)
    refuse_unseen(release)
    assert pauses == [unseen.PAUSE]
    lease = leases.take(str(release.directory))
    try:
        with pytest.raises(PreflightError) as caught:
            refuse_unseen(release)
    finally:
        leases.release(lease)
    message = f"the interpreter of the live release {release.id} cannot be seen from here ({OURS}), yet 1 process runs"
    assert caught.value.message == f"{message} on it: {os.getpid()}"
    assert "Nothing is changed" in caught.value.advice
    assert "`releaser rebuild`" in caught.value.advice


def test_a_process_on_something_else_does_not_count(tmp_path: Path) -> None:
    """As a program that has inherited the lease, while the interpreter was removed."""
    release = release_on(tmp_path, "/nowhere/python3.12")
    lease = leases.take(str(release.directory))
    refuse_unseen(release)
    leases.release(lease)


def test_one_that_is_there_at_the_second_look_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = release_on(tmp_path, OURS)
    python = release.venv / "bin" / "python"

    def comes_back(_: float) -> None:
        python.unlink()
        python.symlink_to(OURS)

    monkeypatch.setattr("releaser.steps.unseen.time.sleep", comes_back)
    lease = leases.take(str(release.directory))
    refuse_unseen(release)
    leases.release(lease)


def test_nothing_is_asked_of_what_is_there(tmp_path: Path, pauses: list[float]) -> None:
    release = release_on(tmp_path, OURS)
    (release.venv / "bin" / "python").unlink()
    (release.venv / "bin" / "python").symlink_to(OURS)
    refuse_unseen(release)
    refuse_unseen(None)
    assert pauses == []
