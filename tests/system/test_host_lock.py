"""Runs of one user take turns, and a lock that cannot be taken stops none of them."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from releaser.system.host_lock import one_at_a_time

WAIT = 60.0


def test_runs_for_the_same_subject_take_turns_and_others_do_not_wait(tmp_path: Path) -> None:
    environ, done = {"HOME": str(tmp_path)}, list[str]()

    def work(subject: str) -> threading.Thread:
        def take_turn() -> None:
            with one_at_a_time(subject, environ, wait=WAIT):
                done.append(subject)

        thread = threading.Thread(target=take_turn)
        thread.start()
        return thread

    with one_at_a_time("a", environ, wait=WAIT):
        second, other = work("a"), work("b")
        other.join(WAIT)
        assert done == ["b"]
        done.append("first")
    second.join(WAIT)
    assert done == ["b", "first", "a"]


def test_after_the_wait_the_work_goes_on(tmp_path: Path) -> None:
    with (
        one_at_a_time("a", {"XDG_CACHE_HOME": str(tmp_path)}, wait=WAIT),
        one_at_a_time("a", {"XDG_CACHE_HOME": str(tmp_path)}, wait=0.1),
    ):
        pass


@pytest.mark.parametrize(
    "environ", [{}, {"HOME": ""}, {"HOME": "/proc/none"}, {"HOME": "relative"}, {"XDG_CACHE_HOME": "file"}]
)
def test_without_a_place_for_the_lock_the_work_goes_on(
    environ: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with one_at_a_time("a", environ, wait=WAIT):
        assert [one.name for one in tmp_path.iterdir()] == ["file"]
