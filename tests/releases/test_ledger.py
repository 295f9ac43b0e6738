"""What became of the releases, as a value."""

from __future__ import annotations

from releaser.releases.release import EMPTY_LEDGER, Ledger

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
