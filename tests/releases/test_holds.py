"""Packages that are held back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from releaser.durable import UnreadableStateError
from releaser.releases.holds import HOLDS, Hold, Holds, read_holds, write_holds

if TYPE_CHECKING:
    from pathlib import Path

PERSON = Hold(name="alpha", by="person", reason="waits for the printer", at="2026-11-20T06:00:00+00:00")
TESTS = Hold(
    name="alpha", by="tests", reason="the tests fail", at="2026-11-20T06:00:00+00:00", version="2.0",
    release="20261120T060000Z", python="3.11.7", output="AssertionError", tests=("test_price",), together=("beta 2.0",),
    files={"shop/price.py": "c0ffee"}, code="c",
)  # fmt: skip


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert read_holds(tmp_path) == Holds()
    holds = Holds().adding([PERSON, TESTS])
    write_holds(tmp_path, holds)
    assert read_holds(tmp_path) == holds


def test_a_newer_hold_of_the_same_by_the_same_takes_the_place_of_the_older() -> None:
    newer = Hold(name="alpha", by="tests", reason="again", at="later", version="2.0")
    assert Holds().adding([PERSON, TESTS]).adding([newer]).entries == (PERSON, newer)


def test_what_is_lifted_may_be_that_of_one_alone() -> None:
    holds = Holds().adding([PERSON, TESTS])
    assert holds.without(["alpha"]).entries == ()
    assert holds.without(["alpha"], by="tests").entries == (PERSON,)
    assert holds.without(["beta"]).entries == (PERSON, TESTS)
    assert (holds.by_person("alpha"), holds.by_person("beta")) == (PERSON, None)


def test_each_version_that_failed_is_kept() -> None:
    newer = replace(TESTS, version="2.1", at="later")
    assert Holds().adding([PERSON, TESTS]).adding([newer]).entries == (PERSON, TESTS, newer)
    assert Holds().adding([PERSON, TESTS, newer]).of_tests("alpha") == (TESTS, newer)


def test_what_was_tried_again_rests_for_a_week() -> None:
    holds = Holds().adding([PERSON, TESTS, replace(TESTS, version="2.1", tried_at="2026-11-20T06:00:00+00:00")])
    rest = holds.rests_until("alpha")
    assert rest is not None
    assert rest.isoformat() == "2026-11-27T06:00:00+00:00"
    assert Holds().adding([TESTS]).rests_until("alpha") is None


def test_what_is_undecided_is_that_of_the_last_search_alone() -> None:
    one, other = (replace(TESTS, name=name, by="undecided") for name in ("beta", "gamma"))
    holds = Holds().adding([PERSON, TESTS]).deciding([one])
    assert holds.deciding([other]).entries == (PERSON, TESTS, other)


def test_what_is_live_and_good_is_no_more_held_by_the_tests() -> None:
    holds = Holds().adding([PERSON, TESTS])
    assert holds.without_live({"alpha": "1.0"}) == holds
    assert holds.without_live({"alpha": "1.0, 2.0"}).entries == (PERSON,)


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"version": 1}, {"version": 1, "holds": {}}, {"version": 1, "holds": ["alpha"]},
        {"version": 1, "holds": [{"name": "alpha"}]}, {"version": 1, "holds": [{"name": 7}]},
        {"version": 1, "holds": [{"name": "a", "by": "tests", "reason": "", "at": "", "tests": 7}]},
        {"version": 1, "holds": [{"name": "a", "by": "tests", "reason": "", "at": "", "files": ["x"]}]},
        {"version": 1, "holds": [{"name": "a", "by": "tests", "reason": "", "at": "", "tried_at": "one day"}]},
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, content: Any) -> None:
    (tmp_path / HOLDS).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnreadableStateError, match=HOLDS):
        read_holds(tmp_path)
