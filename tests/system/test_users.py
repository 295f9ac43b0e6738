"""Going on as another user."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from releaser.system import users
from tests.support.guards import require


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Take back what a process forwards to its child for the rest of its life."""
    before = {number: signal.getsignal(number) for number in users._FORWARDED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_whatever_keeps_releaser_from_being_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int, __: int) -> None:
        raise KeyError("nobody")  # noqa: EM101 - as `pwd` does

    monkeypatch.setattr(users, "_become", fail)
    with pytest.raises(OSError, match=r"KeyError\('nobody'\)"):
        users.run_again_as(os.geteuid(), os.getegid(), ["list"], os.environ)


def test_the_cache_of_a_user_without_a_home_is_deleted_by_that_user() -> None:
    """Root would be led elsewhere by what they exchange meanwhile."""
    require(os.geteuid() == 0, "only root can be another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        nobody = 65534
        os.chown(base, nobody, nobody)
        place = Path(base, "cache")
        for name in ("theirs", "roots"):
            (place / name / "a").mkdir(parents=True)
        for path in (place, place / "theirs", place / "theirs" / "a"):
            os.chown(path, nobody, nobody)
        users._remove_as(nobody, nobody, place)
        assert os.listdir(place) == ["roots"]
