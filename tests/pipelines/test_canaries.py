"""What a site that goes first says of versions."""

from __future__ import annotations

from typing import Any

import pytest

from releaser.locks.failed_elsewhere import why_all_waits
from releaser.locks.lock import Change
from releaser.pipelines.many_sites import find_failures
from releaser.reporting.many_sites import SiteAnswer

ALPHA, BETA = {"name": "alpha", "new": "2"}, {"name": "beta", "new": "3"}
WELL: dict[str, Any] = {"held_back": [], "quarantined": []}


def answer(code: int, found: object) -> SiteAnswer:
    return SiteAnswer(site="/srv/first", exit_code=code, answer=found)


def waits(
    first: SiteAnswer,
    status: object = WELL,
    shown: object = None,
    brings: tuple[Any, ...] = (ALPHA, BETA),
    **said: object,
) -> str:
    failure = find_failures(first, lambda *words: {"status": status, "show": shown, **said}.get(words[0]))
    changes = [Change(name=one["name"], old="1", new=one["new"], bump="major") for one in brings]
    return why_all_waits([failure] if failure else [], changes)


@pytest.mark.parametrize("code", [4, 7])
def test_what_has_just_failed_waits(code: int) -> None:
    first = answer(code, {"changes": [ALPHA]})
    assert waits(first) == "it waits, as /srv/first, which goes first, has failed with alpha 2"
    assert waits(first, brings=(BETA,)) == ""
    assert waits(answer(0, {"result": "activated", "changes": [ALPHA]})) == ""  # where all is well


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (1, None), (3, {"changes": []}), (8, {"changes": [ALPHA]}), (137, None), (5, {"changes": []}), (4, None),
    ],
)  # fmt: skip
def test_one_that_came_to_no_end_holds_up_every_version(code: int, found: object) -> None:
    assert "/srv/first, which goes first: it" in waits(answer(code, found))
    assert waits(answer(code, found), brings=()) == ""  # there is nothing to wait with


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
    run = {"command": "update", "result": "activated", "started_at": "2026-11-22T03:12:02+00:00", "seconds": 60.0}
    assert waits(quiet, status, {"changes": [ALPHA]}, history=[run]) == ""
    for other in ("rebuild", "rollback"):
        assert "failed with alpha 2" in waits(quiet, status, {"changes": [ALPHA]}, history=[{**run, "command": other}])


def test_one_that_waits_for_its_own_time_says_what_it_has_said_before() -> None:
    waiting = answer(0, {"result": "unchanged", "due_at": "2026-11-23T03:00:00+00:00"})
    assert waits(waiting) == ""
    held = {"name": "beta", "version": "3, 4", "by": "tests"}
    assert "failed with beta 3" in waits(waiting, {**WELL, "held_back": [held]})
    assert "its state cannot be read" in waits(answer(0, {"result": "unchanged"}), None)
    assert "alpha 2" in waits(answer(5, {"changes": [ALPHA]}), brings=({"name": "alpha", "new": "1, 2"},))


def test_what_is_no_version_is_not_handed_on() -> None:
    held = {"name": "beta\nalpha", "version": "3", "by": "tests"}
    assert "what fails there is not known" in waits(answer(0, {}), {**WELL, "held_back": [held]})


@pytest.mark.parametrize(
    "garbage",
    [
        [],
        "x",
        {"held_back": 5, "quarantined": [5]},
        5,
        [{"command": "update", "result": "activated", "started_at": "9999-12-31T00:00:00+00:00", "seconds": 1.0}],
    ],
)
def test_garbage_in_an_answer_does_no_harm(garbage: object) -> None:
    assert isinstance(waits(answer(0, garbage), garbage, garbage, history=garbage), str)
    status = {**WELL, "quarantined": [{"release": "x", "at": "2026-11-22T03:12:05+00:00"}]}
    assert isinstance(waits(answer(0, {}), status, {"changes": [ALPHA]}, history=garbage), str)
