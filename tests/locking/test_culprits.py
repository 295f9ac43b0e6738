"""The search for culprits, against trials that only count."""

from __future__ import annotations

import itertools
import string
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from releaser.locking.culprits import Exhausted, Search, Unsteady

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = tuple(string.ascii_lowercase[:22])
# Trials of a search beside these: the candidate with everything, once more, to see that it fails steadily.
REPEATED = 1


@dataclass
class Bench:
    """Counts the trials, each with all that is in it."""

    works: Callable[[frozenset[str]], bool]
    limit: int = 1000
    tried: list[tuple[str, ...]] = field(default_factory=list)
    whole: list[tuple[str, ...]] = field(default_factory=list)

    def passes(self, items: tuple[str, ...]) -> bool:
        if len(self.tried) >= self.limit:
            raise Exhausted
        self.tried.append(items)
        return self.works(frozenset(items))

    def passes_whole(self, items: tuple[str, ...]) -> bool:
        self.whole.append(items)
        return self.passes(items)

    def search(self, *, items: tuple[str, ...] = ITEMS, suspects: int = 0) -> Search:
        return Search(items=items, passes=self.passes, whole=self.passes_whole, suspects=suspects)


def broken_by(*culprits: str) -> Bench:
    return Bench(lambda items: not items & set(culprits))


def test_one_culprit_in_22_takes_at_most_8_runs() -> None:
    runs = []
    for culprit in ITEMS:
        bench = broken_by(culprit)
        search = bench.search()
        assert search.find()
        assert search.culprits == [culprit]
        assert bench.whole == [search.kept]
        runs.append(REPEATED + len(bench.tried))
    assert max(runs) <= 8


def test_two_culprits_in_22_take_at_most_14_runs() -> None:
    runs = []
    for pair in itertools.combinations(ITEMS, 2):
        bench = broken_by(*pair)
        search = bench.search()
        assert search.find()
        assert sorted(search.culprits) == list(pair)
        assert bench.whole[-1] == search.kept
        runs.append(REPEATED + len(bench.tried))
    assert max(runs) <= 14


@pytest.mark.parametrize("count", [3, 5, 21])
def test_many_culprits_are_all_found(count: int) -> None:
    culprits = ITEMS[-count:]
    search = broken_by(*culprits).search()
    assert search.find()
    assert sorted(search.culprits) == sorted(culprits)


def test_if_nothing_passes_nothing_is_left() -> None:
    search = broken_by(*ITEMS).search()
    assert not search.find()
    assert search.kept == ()


def test_a_suspect_at_the_end_that_is_one_is_found_in_two_runs() -> None:
    bench = broken_by("v")
    search = bench.search(suspects=1)
    assert search.find()
    assert (search.culprits, len(bench.tried)) == (["v"], 2)


def test_wrong_suspects_cost_one_run() -> None:
    for culprit in ITEMS[:20]:
        bench = broken_by(culprit)
        search = bench.search(suspects=2)
        assert search.find()
        assert search.culprits == [culprit]
        assert REPEATED + len(bench.tried) <= 8


def test_of_two_that_break_only_together_one_is_left_out() -> None:
    for first, second in itertools.combinations(ITEMS, 2):
        bench = Bench(partial(lambda pair, items: not pair <= items, {first, second}))
        search = bench.search()
        assert search.find()
        assert search.culprits == [second]


def test_an_upgrade_that_works_only_with_another_one_is_not_left_out() -> None:
    """`a` fails as long as `f` is not with it; the one culprit is `s`."""
    bench = Bench(lambda items: "s" not in items and ("a" not in items or "f" in items))
    search = bench.search()
    assert search.find()
    assert search.culprits == ["s"]
    assert bench.whole[-1] == search.kept


def test_what_is_left_passes_as_it_is_whatever_the_upgrades_do_to_each_other() -> None:
    """All there is to know of four upgrades: which of the 16 sets pass."""
    items = tuple("abcd")
    subsets = [frozenset(one) for size in range(1, 4) for one in itertools.combinations(items, size)]
    for number in range(0, 2 ** len(subsets), 7):
        good = {frozenset[str](), *(one for place, one in enumerate(subsets) if number >> place & 1)}
        bench = Bench(good.__contains__)
        search = bench.search(items=items)
        if search.find():
            assert frozenset(search.kept) in good
            assert bench.whole.count(search.kept) >= 1


def test_when_no_more_runs_are_allowed_what_is_known_to_pass_is_known() -> None:
    bench = broken_by("v")
    bench.limit = 3
    search = bench.search()
    with pytest.raises(Exhausted):
        search.find()
    assert search.passing == ITEMS[:20]
    assert search.culprits == []


def test_what_has_passed_as_a_whole_is_what_is_left_when_runs_end_on_a_second_look() -> None:
    bench = broken_by("c", "v")
    search = bench.search()
    search.find()
    known = bench.tried.index(search.kept)
    again = broken_by("c", "v")
    again.limit = known + 1
    search = again.search()
    with pytest.raises(Exhausted):
        search.find()
    assert search.passing == tuple(one for one in ITEMS if one not in "cv")


def test_what_passes_once_and_fails_later_is_said() -> None:
    bench = broken_by("v")
    search = Search(items=ITEMS, passes=bench.passes, whole=lambda _: False)
    with pytest.raises(Unsteady):
        search.find()


@pytest.mark.parametrize("culprit", ITEMS)
def test_with_two_trials_at_once_one_of_22_is_found_in_fewer_rounds(culprit: str) -> None:
    bench, rounds = broken_by(culprit), []

    def both(shorter: tuple[str, ...], longer: tuple[str, ...]) -> tuple[bool, bool]:
        rounds.append((shorter, longer))
        assert 0 < len(shorter) < len(longer)
        return bench.passes(shorter), bench.passes(longer)

    search = bench.search()
    search.both = both
    search.find()
    assert search.culprits == [culprit]
    assert len(rounds) <= 3
    assert len(bench.tried) <= 10
