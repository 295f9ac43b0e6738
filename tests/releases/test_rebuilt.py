"""A release that was rebuilt: it stands where the other one stood, and that one may go."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from releaser.errors import NoSuchReleaseError
from releaser.rebuild import refuse_unadopted, to_revive
from releaser.releases.ledger import LEDGER, Ledger
from releaser.releases.policy import KeepPolicy, Verdict, judge
from releaser.releases.store import ReleaseStore
from tests.releases.makers import NOW, a_manifest, built, live

if TYPE_CHECKING:
    from pathlib import Path

ALL = KeepPolicy(keep=9, keep_within=timedelta(days=900), keep_failed=0, keep_at_least=timedelta(0))


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Make a store with three releases, the middle one of which is rebuilt as `rebuilt`."""
    store = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / ".venv")
    for number in (1, 2, 3):
        live(store, number)
    middle = a_manifest(2)
    built(store, 9, id="rebuilt", sequence=2, replaces=middle.id)
    store.record(lambda ledger: ledger.replaced(middle.id, "rebuilt"))
    return store


def verdicts(store: ReleaseStore, policy: KeepPolicy) -> dict[str, Verdict]:
    now = NOW + timedelta(days=100)
    return {one.id: one for one in judge(store.census(), policy, now=now, rollback_target=None, in_use={})}


def test_a_rollback_goes_to_it_where_it_went_to_the_other(store: ReleaseStore) -> None:
    first, middle = a_manifest(1).id, a_manifest(2).id
    assert [one.id for one in store.rollback_order()] == ["rebuilt", first]
    assert store.census().replaced == {middle: "rebuilt"}
    assert store.next_sequence() == 4


def test_without_the_ledger_the_order_is_the_same(store: ReleaseStore) -> None:
    (store.state_dir / LEDGER).unlink()
    assert next(store.rollback_order()).id == "rebuilt"


def test_the_other_one_takes_no_place_and_may_go(store: ReleaseStore) -> None:
    middle = a_manifest(2).id
    found = verdicts(store, ALL)
    assert (found[middle].kept, found[middle].reasons) == (False, ("rebuilt as rebuilt",))
    assert found["rebuilt"].kept
    found = verdicts(store, KeepPolicy(keep=2, keep_within=timedelta(0), keep_failed=0, keep_at_least=timedelta(0)))
    assert [name for name, one in found.items() if one.kept] == [a_manifest(3).id, "rebuilt", a_manifest(1).id]
    store.record(lambda ledger: ledger.pinned(middle, on=True))
    assert verdicts(store, ALL)[middle].reasons == ("pinned",)


def test_a_pin_goes_over() -> None:
    ledger = Ledger(marks={"A": "good"}, activations=("A", "B", "A"), pins=frozenset({"A"}))
    after = ledger.replaced("A", "C")
    assert (after.activations, after.pins, after.marks) == (
        ("C", "B", "C"),
        frozenset({"C"}),
        {"A": "good", "C": "good"},
    )
    assert Ledger(marks={}, pins=frozenset({"B"})).replaced("A", "C").pins == {"B"}


def test_what_is_of_no_use_is_not_rebuilt(store: ReleaseStore) -> None:
    def refused(name: str) -> str:
        with pytest.raises(NoSuchReleaseError) as caught:
            to_revive(store, name)
        assert caught.value.advice
        return caught.value.message

    middle = a_manifest(2).id
    assert refused(middle) == f"{middle} is rebuilt already, as rebuilt"
    assert "no release" in refused("nowhere")
    for number, changes in ((4, {"tests": "failed"}), (5, {"origin": "override", "overrides": ("a",)}), (6, {})):
        assert "is not one that a rollback would go to" in refused(built(store, number, **changes).id)
    store.record(lambda ledger: ledger.marked(a_manifest(1).id, "bad"))
    assert "(bad)" in refused(a_manifest(1).id)
    (store.path("rebuilt") / "uv.lock").write_text("version = 1\n# changed", encoding="utf-8")
    assert "has been changed" in refused("rebuilt")
    assert to_revive(store, None) is None
    assert to_revive(store, a_manifest(3).id) is None  # it is live, so that this is what is meant anyway


def test_without_any_release_there_is_nothing_to_rebuild(tmp_path: Path) -> None:
    from releaser.errors import PreflightError

    with pytest.raises(PreflightError, match="no release has been live yet"):
        refuse_unadopted(ReleaseStore(state_dir=tmp_path, link=tmp_path / ".venv"))
