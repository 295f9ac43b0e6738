"""What became of the releases, as a value and as a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from releaser.durable import UnreadableStateError
from releaser.releases.ledger import EMPTY_LEDGER, Ledger, read_ledger, write_ledger

if TYPE_CHECKING:
    from pathlib import Path

FULL = Ledger(
    marks={"A": "good", "B": "bad", "C": "failed"}, activations=("A", "B", "A"), pins=frozenset({"A"}), last_sequence=7
)


def test_every_change_makes_a_new_ledger() -> None:
    changed = EMPTY_LEDGER.marked("A", "good").activated("A").pinned("A", on=True)
    assert (changed.marks, changed.activations, changed.pins) == ({"A": "good"}, ("A",), frozenset({"A"}))
    assert Ledger(marks={}) == EMPTY_LEDGER
    assert changed.marked("A", "bad").marks == {"A": "bad"}
    assert changed.pinned("A", on=False).pins == changed.pinned("B", on=False).pins - {"A"} == frozenset()


def test_going_live_twice_in_a_row_is_going_live_once() -> None:
    assert EMPTY_LEDGER.activated("A").activated("A").activated("B").activated("A").activations == ("A", "B", "A")


def test_a_release_that_is_gone_is_forgotten_everywhere() -> None:
    assert FULL.forgotten("A") == Ledger(marks={"B": "bad", "C": "failed"}, activations=("B",), last_sequence=7)
    assert FULL.forgotten("X") == FULL


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_ledger(tmp_path, FULL)
    assert read_ledger(tmp_path) == FULL
    content = json.loads((tmp_path / "ledger.json").read_bytes())
    assert content["version"] == 1
    assert content["pins"] == ["A"]


def test_no_file_is_an_empty_ledger(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == EMPTY_LEDGER


@pytest.mark.parametrize(
    "change",
    [
        {"marks": None},
        {"marks": [1]},
        {"activations": 5},
        {"pins": None},
        {"pins": [[]]},
        {"last_sequence": "many"},
        {"last_sequence": None},
        {"version": 2},
    ],
)
def test_what_is_no_ledger_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps({"version": 1, **FULL.as_json(), **change}), encoding="utf-8")
    with pytest.raises(UnreadableStateError, match=r"ledger\.json"):
        read_ledger(tmp_path)


@pytest.mark.parametrize("key", ["marks", "activations", "pins", "last_sequence"])
def test_nothing_may_be_missing(tmp_path: Path, key: str) -> None:
    content = {"version": 1, **FULL.as_json()}
    del content[key]
    (tmp_path / "ledger.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnreadableStateError, match=key):
        read_ledger(tmp_path)
