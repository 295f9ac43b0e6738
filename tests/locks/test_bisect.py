"""The search for culprits, against trials that only count."""

import itertools
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from releaser.locks.bisect import Budget, Part, find_culprits, find_culprits_and_needed, find_needed, find_pairs

ITEMS = tuple(string.ascii_lowercase[:22])
# Trials of a search beside these: the candidate with everything, once more, to see that it fails steadily.
REPEATED = 1


@dataclass
class FakeTrials:
    """Counts the trials, each with all that is in it."""

    works: Callable[[frozenset[str]], bool]
    limit: int = 1000
    tried: list[Part] = field(default_factory=list)
    whole: list[Part] = field(default_factory=list)
    again: list[Part] = field(default_factory=list)

    def passes_again(self, part: Part, *, without: Part) -> bool | None:
        assert not {*without}.intersection(part)
        self.again.append(part)
        return self.works(frozenset(part))

    def passes_whole(self, part: Part, *, without: Part) -> bool | None:
        self.whole.append(part)
        return self.passes(part, without=without)

    def passes(self, part: Part, *, without: Part = ()) -> bool | None:
        assert not {*without}.intersection(part)
        if len(self.tried) >= self.limit:
            return None
        self.tried.append(part)
        return self.works(frozenset(part))


def broken_by(*culprits: str, limit: int = 1000) -> FakeTrials:
    return FakeTrials(lambda items: not items & set(culprits), limit=limit)


@pytest.mark.parametrize(("count", "most"), [(1, 7), (2, 14)])
def test_few_culprits_in_22_take_few_runs(count: int, most: int) -> None:
    for culprits in itertools.combinations(ITEMS, count):
        trials = broken_by(*culprits)
        result = find_culprits(trials, ITEMS)
        assert (result.kind, sorted(result.culprits)) == ("found", list(culprits))
        assert trials.whole[-1] == result.kept == result.passing
        assert REPEATED + len(trials.tried) <= most


@pytest.mark.parametrize("count", [3, 5, 21])
def test_many_culprits_are_all_found_each_with_the_part_that_fails(count: int) -> None:
    culprits = ITEMS[-count:]
    trials = broken_by(*culprits)
    result = find_culprits(trials, ITEMS)
    assert sorted(result.culprits) == sorted(culprits)
    for culprit, part in result.failing.items():
        assert part[-1] == culprit
        assert part == ITEMS or part in trials.tried


def test_if_nothing_passes_nothing_is_left() -> None:
    result = find_culprits(broken_by(*ITEMS), ITEMS)
    assert (result.kind, result.kept, result.undecided) == ("nothing_left", (), ())


def test_a_suspect_at_the_end_is_found_in_two_runs_and_wrong_ones_cost_one() -> None:
    trials = broken_by("v")
    assert find_culprits(trials, ITEMS, suspects=1).culprits == ("v",)
    assert len(trials.tried) == 2
    for culprit in ITEMS[:20]:
        trials = broken_by(culprit)
        assert find_culprits(trials, ITEMS, suspects=2).culprits == (culprit,)
        assert REPEATED + len(trials.tried) <= 8


def test_of_two_that_break_only_together_one_is_left_out_and_both_are_named() -> None:
    for first, second in itertools.combinations(ITEMS, 2):
        trials = FakeTrials(partial(lambda pair, items: not pair <= items, {first, second}))
        result = find_culprits(trials, ITEMS)
        assert result.culprits == (second,)
        assert find_pairs(trials, result) == {second: first}
        assert REPEATED + len(trials.tried) <= 13


@pytest.mark.parametrize(
    ("works", "culprits", "pairs"),
    [
        (lambda items: "c" not in items and not {"d", "v"} <= items, ("c", "v"), {"v": "d"}),
        (lambda items: not {"d", "k", "v"} <= items, ("v",), {}),
    ],
    ids=["a pair and a culprit that fails alone", "three that break only together"],
)
def test_only_pairs_are_named(
    works: Callable[[frozenset[str]], bool], culprits: tuple[str, ...], pairs: dict[str, str]
) -> None:
    trials = FakeTrials(works)
    result = find_culprits(trials, ITEMS)
    assert (result.kind, result.culprits, find_pairs(trials, result)) == ("found", culprits, pairs)


def test_if_no_run_is_left_to_look_for_a_partner_there_is_none() -> None:
    trials = FakeTrials(lambda items: not {"d", "v"} <= items)
    result = find_culprits(trials, ITEMS)
    for more in range(3):
        trials.limit = len(trials.tried) + more
        assert find_pairs(trials, result) == {}


# Tests that fail at times


def test_a_culprit_is_named_after_its_part_has_failed_twice_and_the_rest_has_passed_twice() -> None:
    for culprits in itertools.combinations(ITEMS[:9], 2):
        trials = broken_by(*culprits)
        result = find_culprits(trials, ITEMS[:9])
        assert trials.again == [*result.failing.values(), result.kept]


@pytest.mark.parametrize("lie", range(3))
def test_a_verdict_that_is_another_when_repeated_names_no_culprit(lie: int) -> None:
    trials = broken_by("c", "v")
    truth = trials.passes_again
    trials.passes_again = lambda part, *, without: truth(part, without=without) != (len(trials.again) == lie + 1)  # type: ignore[method-assign]
    result = find_culprits(trials, ITEMS)
    assert result.kind == "flaky"
    assert len(trials.again) == lie + 1  # and no run is wasted after it


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_what_cannot_be_repeated_is_undecided(answers: int) -> None:
    trials = broken_by("c", "v")
    truth = trials.passes_again
    trials.passes_again = lambda part, *, without: (  # type: ignore[method-assign]
        truth(part, without=without) if len(trials.again) < answers else None
    )
    result = find_culprits(trials, ITEMS)
    assert (result.kind, result.culprits) == ("cut_off", ())
    assert {"c", "v"} <= {*result.undecided}
    assert not {"c", "v"}.intersection(result.passing)


@dataclass
class CoinTrials(FakeTrials):
    """Tests that fail half the time, whatever is in them; `repeats` tells whether a verdict is asked for twice."""

    items: Part = ()
    repeats: bool = True
    verdicts: dict[Part, bool] = field(default_factory=dict)

    def passes_again(self, part: Part, *, without: Part) -> bool | None:
        if part == self.items or not self.repeats:  # all of them have failed twice before a search
            return self.verdicts.get(part, part == ())
        return super().passes_again(part, without=without)

    def passes(self, part: Part, *, without: Part = ()) -> bool | None:
        if part not in self.verdicts:  # what is known is not tried again by a search
            self.verdicts[part] = super().passes(part, without=without) is True
        return self.verdicts[part]


def _toss(coin: random.Random, _items: frozenset[str]) -> bool:
    return coin.random() < 0.5


def rate_of_blame(count: int, *, repeats: bool, worlds: int = 4000) -> float:
    """Return in how many of the worlds in which nothing is broken some upgrade is blamed."""
    blamed = 0
    for seed in range(worlds):
        coin = random.Random(seed)  # noqa: S311 - it has to be the same each time
        if coin.random() < 0.5 or coin.random() < 0.5:  # all of them pass, or pass when they are repeated
            continue
        items = ITEMS[:count]
        trials = CoinTrials(partial(_toss, coin), items=items, repeats=repeats, verdicts={items: False})
        result = find_culprits(trials, items)
        blamed += bool(result.culprits) and result.kind != "flaky"
    return blamed / worlds


@pytest.mark.parametrize("count", [2, 4, 8, 16, 22])
def test_tests_that_fail_half_the_time_blame_few_good_packages(count: int) -> None:
    before, now = rate_of_blame(count, repeats=False), rate_of_blame(count, repeats=True)
    assert before > 0.2
    assert now < before * 0.45
    assert now < 0.1


def test_an_upgrade_that_works_only_with_another_one_is_not_left_out() -> None:
    """`a` fails as long as `f` is not with it; the one culprit is `s`."""
    trials = FakeTrials(lambda items: "s" not in items and ("a" not in items or "f" in items))
    result = find_culprits(trials, ITEMS)
    assert (result.culprits, trials.whole[-1]) == (("s",), result.kept)


def test_what_is_left_passes_as_it_is_whatever_the_upgrades_do_to_each_other() -> None:
    """All there is to know of four upgrades: which of the 16 sets pass."""
    items = tuple("abcd")
    subsets = [frozenset(one) for size in range(1, 4) for one in itertools.combinations(items, size)]
    for number in range(0, 2 ** len(subsets), 7):
        good = {frozenset[str](), *(one for place, one in enumerate(subsets) if number >> place & 1)}
        trials = FakeTrials(good.__contains__)
        result = find_culprits(trials, items)
        if result.kind == "found":
            assert frozenset(result.kept) in good
            assert result.kept in trials.whole


@pytest.mark.parametrize("limit", range(14))
def test_when_no_more_runs_are_allowed_each_item_is_passing_a_culprit_or_undecided(limit: int) -> None:
    result = find_culprits(broken_by("c", "v", limit=limit), ITEMS)
    assert sorted((*result.culprits, *result.passing, *result.undecided)) == list(ITEMS)
    assert {*result.culprits} <= {"c", "v"}
    assert not {"c", "v"}.intersection(result.passing)
    assert result.kind == "cut_off" or not result.undecided


@pytest.mark.parametrize("missing", [0, 1])
def test_what_has_passed_is_what_is_left_if_runs_end_before_or_at_a_second_look(missing: int) -> None:
    trials = broken_by("c", "v")
    find_culprits(trials, ITEMS)
    limit = len(trials.tried) - 1 - missing  # the last one is the second look at `c`
    result = find_culprits(broken_by("c", "v", limit=limit), ITEMS)
    assert (result.kind, result.culprits) == ("cut_off" if missing else "found", ("c", "v"))
    assert result.passing == result.kept


def test_what_passes_once_and_fails_later_is_said() -> None:
    trials = broken_by("v")
    trials.passes_whole = lambda part, *, without: False  # type: ignore[method-assign]  # noqa: ARG005
    assert find_culprits(trials, ITEMS).kind == "flaky"


# New code that needs one of the upgrades


def needs(needed: str, *culprits: str, limit: int = 1000) -> FakeTrials:
    return FakeTrials(lambda items: needed in items and not items & set(culprits), limit=limit)


def test_a_culprit_is_found_beside_what_new_code_needs() -> None:
    for needed, culprit in itertools.permutations("abcdefgh", 2):
        result = find_culprits_and_needed(trials := needs(needed, culprit), tuple("abcdefgh"), ())
        assert (result.kind, result.culprits) == ("found", (culprit,))
        assert find_needed(trials, result) == (needed,)


def test_a_suspect_is_left_out_first() -> None:
    trials = needs("a", "e")
    result = find_culprits_and_needed(trials, tuple("abcdef"), ("e",))
    assert result.culprits == ("e",)
    assert trials.tried[0] == tuple("abcdf")


def test_if_no_part_passes_no_item_is_to_blame() -> None:
    result = find_culprits_and_needed(FakeTrials(lambda _: False), ITEMS, ("c",))
    assert (result.kind, result.items, result.passing) == ("no_culprit", (), ())


def test_without_runs_all_is_undecided_and_may_be_needed() -> None:
    items = tuple("abcdef")
    result = find_culprits_and_needed(needs("a", "e", limit=0), items, ("e",))
    assert (result.kind, result.undecided) == ("cut_off", items)
    found = find_culprits_and_needed(needs("a", "e"), items, ("e",))
    assert find_needed(needs("a", "e", limit=1), found) == tuple("abc")


def test_the_budget_counts_runs_and_the_minutes_begin_with_the_search() -> None:
    budget = Budget(runs=2, seconds=-1.0)
    assert budget.allows(2)
    assert not budget.allows(3)
    budget.begin()
    assert not budget.allows()
