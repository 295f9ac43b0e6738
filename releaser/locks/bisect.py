"""Finds the upgrades that break the tests, with few trials. Pure: the caller defines a trial."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Protocol

from releaser.system.frozen import Frozen, Mutable, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

Part = tuple[str, ...]
#: `found`: all other items together pass. `nothing_left`: every item is a culprit. `no_culprit`: no item is.
#: `cut_off`: no further trial was possible. `flaky`: the same part has both passed and failed.
Kind = Literal["found", "nothing_left", "no_culprit", "cut_off", "flaky"]

_DIVISIONS = (2, 4, 8)  # numbers of parts to divide the items into, to find a part without which the others pass


class Trials(Protocol):
    """Tries parts of the items; each verdict is None if no further trial is possible."""

    def passes(self, part: Part, *, without: Part = ()) -> bool | None:
        """Try a part; the culprits in `without` must not be installed, even if the part needs them."""

    def passes_whole(self, part: Part, *, without: Part) -> bool | None:
        """Try all items but the culprits in full, as the release would go live."""

    def passes_again(self, part: Part, *, without: Part) -> bool | None:
        """Try a part again, whatever its verdict was."""


class Budget(Mutable):
    """The number of test runs that a search may make, and its seconds from the beginning."""

    runs: int
    seconds: float
    spent: int = 0
    _began: float | None = None

    def begin(self) -> None:
        """Start the clock, unless it runs already."""
        if self._began is None:
            self._began = time.monotonic()

    def allows(self, count: int = 1) -> bool:
        """True if the search may make `count` more test runs."""
        return self.spent + count <= self.runs and self.in_time

    @property
    def in_time(self) -> bool:
        """True if time is left."""
        return self._began is None or time.monotonic() <= self._began + self.seconds


class SearchResult(Frozen):
    """The result of a search."""

    kind: Kind
    #: All items, in the order in which they were tried.
    items: Part = ()
    #: The items that break the tests, in the order in which they were found.
    culprits: Part = ()
    #: For each culprit, the part that ends with it and fails, but passes without it.
    failing: Mapping[str, Part] = field(default_factory=dict)
    #: The largest part that is known to pass.
    passing: Part = ()

    @property
    def kept(self) -> Part:
        """All items but the culprits."""
        return _without(self.items, self.culprits)

    @property
    def undecided(self) -> Part:
        """The items that are neither known to pass nor to fail."""
        return _without(self.kept, self.passing)


def find_culprits(trials: Trials, items: Part, *, suspects: int = 0, passing: Part = ()) -> SearchResult:
    """Remove one culprit after another from `items`, which fail together, until the remaining items pass.

    The shortest beginning that fails ends with a culprit: finding it takes as many trials as the number of items has
    bits. So an item must come after the items that it needs. The search first separates the last `suspects` items from
    all others. `passing` is a beginning that is known to pass. A culprit is named only if its part fails twice, and the
    remaining items pass twice.
    """
    return _confirm_rest(trials, _search_without(trials, items, suspects=suspects, passing=passing))


def _search_without(trials: Trials, items: Part, *, suspects: int, passing: Part) -> SearchResult:
    """Remove culprits whose parts fail twice, until the remaining items pass once."""
    result = SearchResult(kind="cut_off", items=items, passing=passing)
    while True:
        rest = result.kept
        low, is_certain = _bisect(trials, result, suspects=0 if result.culprits else suspects)
        result = replace(result, passing=rest[:low])
        if not is_certain:
            return result
        verdict = trials.passes_again(rest[: low + 1], without=result.culprits)
        if verdict is None:
            return result
        if verdict:
            return replace(result, kind="flaky")
        failing = {**result.failing, rest[low]: rest[: low + 1]}
        result = replace(result, culprits=tuple(failing), failing=failing)
        if not result.kept:
            return replace(result, kind="nothing_left")
        verdict = trials.passes_whole(result.kept, without=result.culprits)
        if verdict is None:
            return result
        if verdict:
            return _give_second_chance(trials, replace(result, kind="found", passing=result.kept))
        if result.passing == result.kept:
            return replace(result, kind="flaky")


def find_culprits_and_needed(trials: Trials, items: Part, suspects: Part) -> SearchResult:
    """Find culprits if the tests fail without any item too: then new code needs an item, unless the code is broken.

    First look for a part without which all others pass: the suspects, then halves, quarters and eighths.
    """
    parts = [suspects] if suspects else []
    for count in _DIVISIONS:
        size = -(-len(items) // count)
        parts += [items[start : start + size] for start in range(0, len(items), size)]
    for part in dict.fromkeys(parts):
        rest = _without(items, part)
        verdict = trials.passes(rest) if rest else False
        if verdict is None:
            return SearchResult(kind="cut_off", items=items)
        if verdict:
            return find_culprits(trials, (*rest, *part), passing=rest)
    return SearchResult(kind="no_culprit")


def find_needed(trials: Trials, found: SearchResult) -> Part:
    """Find the item without which the kept items fail; return all candidates if no further trial is possible."""
    low, high = 0, len(found.kept)
    while high - low > 1:
        middle = (low + high + 1) // 2
        verdict = trials.passes(found.kept[:middle], without=found.culprits)
        if verdict is None:
            break
        low, high = (low, middle) if verdict else (middle, high)
    return found.kept[low:high]


def find_pairs(trials: Trials, found: SearchResult) -> dict[str, str]:
    """Map each culprit that breaks the tests only together with one other item to that item.

    The map lacks culprits that fail alone, and those for which no further trial is possible.
    """
    pairs: dict[str, str] = {}
    excluded: Part = ()
    for culprit, part in found.failing.items():
        partner = _find_partner(trials, part, without=excluded) if culprit in found.culprits else None
        excluded = (*excluded, culprit)
        if partner is not None:
            pairs[culprit] = partner
    return pairs


def _find_partner(trials: Trials, part: Part, *, without: Part) -> str | None:
    """Find the one item of a failing part without which its last item passes; None unless exactly one exists."""
    others, culprit = part[:-1], part[-1]
    if not others or not trials.passes((culprit,), without=without):
        return None
    low, high = 0, len(others)
    while high - low > 1:
        middle = (low + high + 1) // 2
        verdict = trials.passes((*others[:middle], culprit), without=without)
        if verdict is None:
            return None
        low, high = (middle, high) if verdict else (low, middle)
    partner = others[high - 1]
    # The part has failed twice; the pair has not been tried twice yet.
    if len(others) > 1 and trials.passes_again((partner, culprit), without=without) is not False:
        return None
    return partner


def _confirm_rest(trials: Trials, result: SearchResult) -> SearchResult:
    """Try the passing items again without the culprits; if no trial is possible, name no culprit."""
    if not result.culprits or result.kind == "flaky":
        return result
    verdict = trials.passes_again(result.passing, without=result.culprits)
    if verdict is None:
        return replace(result, kind="cut_off", culprits=(), failing={})
    return result if verdict else replace(result, kind="flaky")


def _bisect(trials: Trials, result: SearchResult, *, suspects: int) -> tuple[int, bool]:
    """Return the length of the longest beginning that is known to pass, and whether the next longer one fails."""
    rest = result.kept
    low, high, middle = len(result.passing), len(rest), len(rest) - suspects
    while high - low > 1:
        if not low < middle < high:
            middle = (low + high + 1) // 2
        verdict = trials.passes(rest[:middle], without=result.culprits)
        if verdict is None:
            return low, False
        low, high = (middle, high) if verdict else (low, middle)
    return low, True


def _give_second_chance(trials: Trials, found: SearchResult) -> SearchResult:
    """Clear culprits that failed only together with another culprit, or with too few other items.

    The last culprit needs no second try: the remaining items fail with it, and pass without it.
    """
    fewer = found.culprits
    for culprit in found.culprits[:-1]:
        others = _without(fewer, (culprit,))
        verdict = trials.passes(_without(found.items, others), without=others)
        if verdict is None:
            return found
        fewer = others if verdict else fewer
    kept = _without(found.items, fewer)
    if fewer != found.culprits and trials.passes_whole(kept, without=fewer):
        return replace(found, culprits=fewer, passing=kept)
    return found


def _without(items: Part, excluded: Part) -> Part:
    return tuple(item for item in items if item not in excluded)
