"""Packages that are held back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from releaser.durable import UnreadableStateError
from releaser.releases.holds import HOLDS, Hold, Holds, read_holds, write_holds

if TYPE_CHECKING:
    from pathlib import Path

PERSON = Hold(name="alpha", by="person", reason="waits for the printer", at="2026-11-20T06:00:00+00:00")
TESTS = Hold(
    name="alpha", by="tests", reason="the tests fail", at="2026-11-20T06:00:00+00:00", version="2.0",
    release="20261120T060000Z", code_key="c", python="3.11.7", output="AssertionError",
)  # fmt: skip


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert read_holds(tmp_path) == Holds()
    holds = Holds().adding([PERSON, TESTS])
    write_holds(tmp_path, holds)
    assert read_holds(tmp_path) == holds


def test_a_newer_hold_of_the_same_by_the_same_takes_the_place_of_the_older() -> None:
    newer = Hold(name="alpha", by="tests", reason="again", at="later", version="2.1")
    assert Holds().adding([PERSON, TESTS]).adding([newer]).entries == (PERSON, newer)


def test_what_is_lifted_may_be_that_of_one_alone() -> None:
    holds = Holds().adding([PERSON, TESTS])
    assert holds.without(["alpha"]).entries == ()
    assert holds.without(["alpha"], by="tests").entries == (PERSON,)
    assert holds.without(["beta"]).entries == (PERSON, TESTS)
    assert (holds.by_person("alpha"), holds.by_person("beta")) == (PERSON, None)


def test_what_the_tests_hold_counts_for_the_same_code_and_python_alone() -> None:
    assert TESTS.counts_for(code_key="c", python="3.11.7")
    assert not TESTS.counts_for(code_key="d", python="3.11.7")
    assert not TESTS.counts_for(code_key="c", python="3.12.1")
    assert PERSON.counts_for(code_key="d", python="3.12.1")


def test_what_is_live_and_good_is_no_more_held_by_the_tests() -> None:
    holds = Holds().adding([PERSON, TESTS])
    assert holds.without_live({"alpha": "1.0"}) == holds
    assert holds.without_live({"alpha": "1.0, 2.0"}).entries == (PERSON,)


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"version": 1}, {"version": 1, "holds": {}}, {"version": 1, "holds": ["alpha"]},
        {"version": 1, "holds": [{"name": "alpha"}]}, {"version": 1, "holds": [{"name": 7}]},
        {"version": 1, "holds": [{"name": "a", "by": "tests", "reason": "", "at": "", "more": "x"}]},
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, content: Any) -> None:
    (tmp_path / HOLDS).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnreadableStateError, match=HOLDS):
        read_holds(tmp_path)
