"""Which of many upgrades break the tests, found with few trials. Pure: the caller decides what a trial is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

Part = tuple[str, ...]
#: `found`: the rest passes as a whole. `nothing_left`: every item is a culprit. `no_culprit`: none of them is.
#: `cut_off`: no further trial was possible. `flaky`: the same part has both passed and failed.
Kind = Literal["found", "nothing_left", "no_culprit", "cut_off", "flaky"]

_DIVISIONS = (2, 4, 8)  # into so many parts the items are divided to find one without which the others pass


class Trials(Protocol):
    """Tries parts of the items; None instead of a verdict says that no further trial is possible."""

    def passes(self, part: Part, *, without: Part = ()) -> bool | None:
        """Try a part; the culprits `without` which it is tried must not come in with what it needs."""

    def passes_whole(self, part: Part, *, without: Part) -> bool | None:
        """Try what is left without the culprits in earnest, as it is to go live."""

    def passes_again(self, part: Part, *, without: Part) -> bool | None:
        """Try a part once more, although its verdict is known."""


@dataclass(kw_only=True)
class Budget:
    """How many test runs a search may make, and within how many seconds from when it begins."""

    runs: int
    seconds: float
    spent: int = 0
    _began: float | None = None

    def begin(self) -> None:
        """Let the time run, unless it does already."""
        if self._began is None:
            self._began = time.monotonic()

    def allows(self, count: int = 1) -> bool:
        """Whether `count` more may be made."""
        return self.spent + count <= self.runs and self.in_time

    @property
    def in_time(self) -> bool:
        """Whether the seconds are not over yet."""
        return self._began is None or time.monotonic() <= self._began + self.seconds


class SearchResult(Frozen):
    """What a search has come to."""

    kind: Kind
    #: All items, in the order in which they were tried.
    items: Part = ()
    #: Those that were found to break the tests, in the order in which they were found.
    culprits: Part = ()
    #: Of each culprit, the part that ends with it and fails, but passes without it.
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
    """Leave one item after the other out of `items`, which fail together, until the rest passes as a whole.

    The shortest beginning that fails ends with a culprit: to find it takes as many trials as the number of items has
    bits. So items that need others have to stand after these. The last `suspects` items are told apart from all others
    first. `passing` is a beginning that is known to pass. A culprit is named only if its part fails twice, and what is
    left passes twice.
    """
    return _confirm_rest(trials, _leave_out(trials, items, suspects=suspects, passing=passing))


def _leave_out(trials: Trials, items: Part, *, suspects: int, passing: Part) -> SearchResult:
    """Leave out culprits whose parts fail twice, until the rest passes once."""
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


def find_culprits_beside_needed(trials: Trials, items: Part, suspects: Part) -> SearchResult:
    """Find culprits where the tests fail without any item, too: something new needs one of them, unless it is broken.

    First a part is looked for without which all others pass: the suspects, one half, one quarter, one eighth.
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
    """Find the item without which what was kept fails; all that it may be if no further trial is possible."""
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

    A culprit that fails alone has none, and one of which no further trial is possible.
    """
    pairs: dict[str, str] = {}
    left_out: Part = ()
    for culprit, part in found.failing.items():
        partner = _find_partner(trials, part, without=left_out) if culprit in found.culprits else None
        left_out = (*left_out, culprit)
        if partner is not None:
            pairs[culprit] = partner
    return pairs


def _find_partner(trials: Trials, part: Part, *, without: Part) -> str | None:
    """Find the one item of a part that fails without which its last item passes; None if there is not exactly one."""
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
    # The part has failed twice; a smaller one has not yet.
    if len(others) > 1 and trials.passes_again((partner, culprit), without=without) is not False:
        return None
    return partner


def _confirm_rest(trials: Trials, result: SearchResult) -> SearchResult:
    """Try what passes without the culprits once more; if no trial is possible, no culprit is known."""
    if not result.culprits or result.kind == "flaky":
        return result
    verdict = trials.passes_again(result.passing, without=result.culprits)
    if verdict is None:
        return replace(result, kind="cut_off", culprits=(), failing={})
    return result if verdict else replace(result, kind="flaky")


def _bisect(trials: Trials, result: SearchResult, *, suspects: int) -> tuple[int, bool]:
    """Return how long the longest beginning is that is known to pass, and whether the next longer one fails."""
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
    """Let those in after all that only failed as long as another culprit, or too few others, were with them.

    The last one that was found needs no second look: all that is left failed with it, and passes without.
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


def _without(items: Part, left_out: Part) -> Part:
    return tuple(item for item in items if item not in left_out)
