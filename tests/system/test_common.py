"""Answers that runs share: only whole ones count."""

import json
import resource
from pathlib import Path

import pytest

from releaser.system import common


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(common, "_place", str(tmp_path))
    return tmp_path


def test_an_answer_is_that_of_the_first_run(place: Path) -> None:
    assert common.ask_once(lambda: "1", "question") == "1"
    assert common.ask_once(lambda: "2", "question") == "1"
    assert common.ask_once(lambda: "2", "another") == "2"


def test_part_of_an_answer_is_none() -> None:
    """Such as on a full disk, for which the limit on the size of files stands."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))
    try:
        assert common.ask_once(lambda: "a long answer", "question") == "a long answer"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert common.ask_once(lambda: "another answer", "question") == "another answer"


def test_an_answer_that_a_killed_run_has_half_written_is_none(place: Path) -> None:
    with common.asking("question") as answer:
        assert answer is not None
        answer.keep(json.dumps(["alpha"]).encode())
    (file,) = place.iterdir()
    file.write_bytes(b"\0" + file.read_bytes()[1:-3])
    with common.asking("question") as answer:
        assert answer is not None
        assert answer.known is None
