"""What a site that goes first says of versions."""

from __future__ import annotations

from typing import Any

import pytest

from releaser.pipelines.canaries import doubt_of, find_reason_to_wait
from releaser.reporting.many_sites import SiteAnswer

ALPHA, BETA = {"name": "alpha", "new": "2"}, {"name": "beta", "new": "3"}
WELL: dict[str, Any] = {"held_back": [], "quarantined": [], "last_change": None}


def answer(code: int, found: object) -> SiteAnswer:
    return SiteAnswer(site="/srv/first", exit_code=code, answer=found)


def waits(first: SiteAnswer, status: object = WELL, shown: object = None, plan: object = None) -> str:
    doubt = doubt_of(first, lambda *words: status if words == ("status",) else shown)
    return find_reason_to_wait(answer(0, plan or {"changes": [ALPHA, BETA]}), [doubt] if doubt else [])


def test_where_all_is_well_nobody_waits() -> None:
    assert waits(answer(0, {"result": "activated", "changes": [ALPHA]})) == ""


@pytest.mark.parametrize("code", [4, 5, 6, 7])
def test_what_has_just_failed_waits(code: int) -> None:
    first = answer(code, {"changes": [ALPHA]})
    assert waits(first) == "it waits, as /srv/first, which goes first, has failed with alpha 2"
    assert waits(first, plan={"changes": [BETA]}) == ""


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (1, None), (3, {"changes": []}), (8, {"changes": [ALPHA]}), (137, None), (5, {"changes": []}), (4, None),
        (0, {"result": "unchanged", "due_at": "2026-11-23T03:00:00+00:00"}),
    ],
)  # fmt: skip
def test_one_that_came_to_no_end_holds_up_every_version(code: int, found: object) -> None:
    assert "/srv/first, which goes first: it" in waits(answer(code, found))
    assert waits(answer(code, found), plan={"changes": []}) == ""  # there is nothing to wait with


def test_what_is_held_there_waits_on_all_nights_unless_a_person_holds_it() -> None:
    quiet = answer(0, {"result": "unchanged", "changes": []})
    held = {"name": "beta", "version": "3", "by": "tests"}
    assert "failed with beta 3" in waits(quiet, {**WELL, "held_back": [held]})
    assert waits(quiet, {**WELL, "held_back": [{**held, "by": "person"}]}) == ""


def test_what_was_in_a_candidate_that_failed_since_the_last_change_waits() -> None:
    quiet = answer(0, {"result": "unchanged", "changes": []})
    candidate = {"release": "20261122T031205Z", "at": "2026-11-22T03:12:05+00:00"}
    status = {**WELL, "quarantined": [candidate]}
    assert "failed with alpha 2" in waits(quiet, status, {"changes": [ALPHA]})
    assert "what fails there is not known" in waits(quiet, status, None)
    held = {"name": "gamma", "version": "5", "by": "tests"}
    assert "what fails there is not known" in waits(quiet, {**status, "held_back": [held]}, None)
    changed = {"started_at": "2026-11-22T03:12:02+00:00", "seconds": 60.0}
    assert waits(quiet, {**status, "last_change": changed}, {"changes": [ALPHA]}) == ""


def test_each_of_several_versions_of_a_package_counts() -> None:
    assert "alpha 2" in waits(answer(5, {"changes": [ALPHA]}), plan={"changes": [{"name": "alpha", "new": "1, 2"}]})


def test_one_whose_state_cannot_be_read_holds_up_every_version() -> None:
    assert "its state cannot be read" in waits(answer(0, {"result": "unchanged"}), None)


@pytest.mark.parametrize(
    "garbage",
    [
        [],
        "x",
        {"held_back": 5, "quarantined": [5], "last_change": []},
        5,
        {
            "last_change": {"started_at": "9999-12-31T00:00:00+00:00", "seconds": 1.0},
            "held_back": [],
            "quarantined": [],
        },
    ],
)
def test_garbage_in_an_answer_does_no_harm(garbage: object) -> None:
    assert isinstance(waits(answer(0, garbage), garbage, garbage, garbage), str)
