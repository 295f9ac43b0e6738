"""Finding what breaks the tests among many upgrades, with few trials; pure, as the trials are somebody else's."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Trial = Callable[[tuple[str, ...]], bool]
    Pair = Callable[[tuple[str, ...], tuple[str, ...]], tuple[bool, bool]]


class Exhausted(Exception):  # noqa: N818 - no failure of anything, but the end of what may be spent
    """No further trial is allowed; a trial raises it."""


class Unsteady(Exception):  # noqa: N818 - what was tried is at fault, and not who tries
    """The same upgrades passed once, and failed later."""


@dataclass(kw_only=True)
class Budget:
    """How many runs of the tests a search may make, and within how many seconds from when it begins."""

    runs: int
    seconds: float
    spent: int = 0
    _began: float | None = None

    def begin(self) -> None:
        """Let the time run, unless it does already."""
        if self._began is None:
            self._began = time.monotonic()

    def allows(self, count: int = 1) -> bool:
        """Whether so many more may be made."""
        in_time = self._began is None or time.monotonic() <= self._began + self.seconds
        return self.spent + count <= self.runs and in_time

    def spend(self, *, spare: int = 0) -> None:
        """Count one; `spare` others are kept for what is to go live. Raises Exhausted."""
        if not self.allows(1 + spare):
            raise Exhausted
        self.spent += 1


@dataclass(kw_only=True)
class Search:
    """One search among `items`, which fail together, while none of them passes.

    `passes` tries a part of the items; `whole` tries all that are left when a culprit is out, in earnest. Items that
    need others should stand behind these. `suspects` stand at the end, and are told apart from all others first.
    `culprits` are those found so far, in order, and `passing` is the largest part that is known to pass.
    """

    items: Sequence[str]
    passes: Trial
    whole: Trial
    suspects: int = 0
    #: Tries two parts side by side, the shorter one first; None if that cannot be.
    both: Pair | None = None
    culprits: list[str] = field(default_factory=list)
    passing: tuple[str, ...] = ()

    @property
    def undecided(self) -> tuple[str, ...]:
        """What is neither known to pass nor to fail."""
        return tuple(one for one in self.kept if one not in self.passing)

    @property
    def kept(self) -> tuple[str, ...]:
        """All items but the culprits, in their order."""
        return self._without(self.culprits)

    def find(self) -> bool:
        """Search until what is left passes as a whole, and tell whether anything is left.

        The shortest run of items from the beginning that fails ends with a culprit: it takes as many trials as a number
        of that size has bits. Raises what the trials raise, and Unsteady.
        """
        while self.kept:
            self._find_one()
            rest = self.kept
            if not rest:
                return False
            if self.whole(rest):
                self.passing = rest
                with contextlib.suppress(Exhausted):  # then what was found earlier gets no second look
                    self._put_back()
                return True
            if self.passing == rest:
                raise Unsteady
        return False

    def _find_one(self) -> None:
        rest = self.kept
        low, high = len(self.passing), len(rest)
        boundary = len(rest) - self.suspects if not self.culprits else 0
        while high - low > 1:
            at_first, boundary = boundary if low < boundary < high else 0, 0
            middle = at_first or (low + high + 1) // 2
            if self.both is not None and high - low > 2 and not at_first:
                low, high = self._narrowed(self.both, low, high)
                continue
            if self.passes(rest[:middle]):
                low = middle
                self.passing = rest[:low]
            else:
                high = middle
        self.culprits.append(rest[high - 1])

    def _narrowed(self, both: Pair, low: int, high: int) -> tuple[int, int]:
        """Try two beginnings side by side, and return between which lengths the one lies that fails first."""
        rest, third = self.kept, (high - low) // 3
        shorter, longer = low + third, low + 2 * third
        for length, passed in zip((shorter, longer), both(rest[:shorter], rest[:longer]), strict=True):
            if not passed:
                return low, length
            low = length
            self.passing = rest[:low]
        return low, high

    def _put_back(self) -> None:
        """Let those come after all that only failed as long as another culprit, or too few others, were with them.

        The last one that was found needs no second look: all that is left failed with it, and passes without.
        """
        found, fewer = list(self.culprits), list(self.culprits)
        for culprit in found[:-1]:
            others = [one for one in fewer if one != culprit]
            if self.passes(self._without(others)):
                fewer = others
        if fewer != found and self.whole(self._without(fewer)):
            self.culprits = fewer
            self.passing = self.kept

    def _without(self, left_out: Sequence[str]) -> tuple[str, ...]:
        return tuple(item for item in self.items if item not in left_out)
