"""Finding what breaks the tests among many upgrades, with few trials; pure, as the trials are somebody else's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Trial = Callable[[tuple[str, ...]], bool]


class Exhausted(Exception):  # noqa: N818 - no failure of anything, but the end of what may be spent
    """No further trial is allowed; a trial raises it."""


class Unsteady(Exception):  # noqa: N818 - what was tried is at fault, and not who tries
    """The same upgrades passed once, and failed later."""


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
    culprits: list[str] = field(default_factory=list)
    passing: tuple[str, ...] = ()

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
            middle = boundary if low < boundary < high else (low + high + 1) // 2
            boundary = 0
            if self.passes(rest[:middle]):
                low = middle
                self.passing = rest[:low]
            else:
                high = middle
        self.culprits.append(rest[high - 1])

    def _put_back(self) -> None:
        """Let those come after all that only failed as long as another culprit, or too few others, were with them.

        The last one that was found needs no second look: all that is left failed with it, and passes without.
        """
        found = list(self.culprits)
        for culprit in found[:-1]:
            others = [one for one in self.culprits if one != culprit]
            if self.passes(self._without(others)):
                self.culprits = others
        if self.culprits != found and not self.whole(self.kept):
            self.culprits = found

    def _without(self, left_out: Sequence[str]) -> tuple[str, ...]:
        return tuple(item for item in self.items if item not in left_out)
