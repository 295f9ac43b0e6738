"""Finds the changes that break the tests, with few test runs. Pure: the caller defines what a test run is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

Part: TypeAlias = tuple[str, ...]
#: Tests parts of the changes, several at once; True if the tests pass, None if there is no verdict. The empty part is
#: the base that the changes are made to.
Trials: TypeAlias = Callable[[Sequence[Part]], Sequence[bool | None]]

_SPARE = 2  # test runs that are left for the release that goes live


class Search(msgspec.Struct, frozen=True):
    """The result of a search. Each of the `culprits` is a part that fails, by its last change: a pair, if it has two.

    If `is_flaky`, the same part has both passed and failed, and nothing is named. If `is_cut_off`, no further test run
    was possible: there may be more culprits.
    """

    culprits: tuple[Part, ...] = ()
    is_flaky: bool = False
    is_cut_off: bool = False


class _CutOffError(Exception):
    """No further test run is possible, or of use."""


def find_culprits(  # noqa: PLR0913 - what is searched, and with which means
    trials: Trials,
    items: Part,
    *,
    head: int = 0,
    tail: int = 0,
    runs: int,
    jobs: int = 1,
    shrink: Callable[[Part], Part] = lambda part: part,
) -> Search:
    """Take one culprit after another out of `items`, which have failed twice, until the others pass.

    The base has passed once. The first `head` and the last `tail` items are suspects, of which the very last one is
    looked at first; else an item comes after those that it needs. The shortest beginning that fails ends with a
    culprit. One is named only if the tests failed twice with it, without another culprit, and passed twice without it.
    Unless one is a suspect, two more must fail if runs are left. `shrink` returns what of a part can be had without the
    rest; a verdict is that of what it returns.
    """
    book, failing, is_cut_off, rest, low = _Book(trials, items, runs, jobs, shrink), list[Part](), False, items, 0
    likely = [head, *([len(items) - 1, len(items) - tail] if tail else [])]
    try:
        while not failing or (rest and not book.ask(rest, failing[-1][-1:])[0]):
            low = book.find_longest_passing(rest, low, () if failing else likely)
            failing.append(rest[: low + 1])
            rest = rest[:low] + rest[low + 1 :]
    except _CutOffError:
        is_cut_off = True
    culprits = list[Part]()
    for part in failing:
        with contextlib.suppress(_CutOffError):
            culprits.append(book.prove(part, rest))
    suspects = {*items[:head], *items[len(items) - tail :]}
    if culprits and book.runs >= _SPARE + 2 and suspects.isdisjoint(part[-1] for part in culprits):
        with contextlib.suppress(_CutOffError):  # in a row, else tests that fail in every other run may agree with it
            book.ask(culprits[0], culprits[-1], again=True)
    if book.is_flaky:
        return Search(is_flaky=True)
    return Search(tuple(culprits), is_cut_off=is_cut_off or len(culprits) < len(failing))


class _Book:
    """The verdicts on parts, and the test runs that are left."""

    def __init__(self, trials: Trials, items: Part, runs: int, jobs: int, shrink: Callable[[Part], Part]) -> None:
        self.trials, self.runs, self.jobs, self.shrink = trials, runs, jobs, shrink
        self.verdicts: list[tuple[Part, bool]] = [((), True), (items, False), (items, False)]

    @property
    def is_flaky(self) -> bool:
        """True if the same part has both passed and failed."""
        return len({*self.verdicts}) > len({part for part, _ in self.verdicts})

    def ask(self, *parts: Part, again: bool = False) -> list[bool]:
        """Return the verdicts on parts. What is known is asked only `again`. Raises _CutOffError."""
        known, parts = dict(self.verdicts), tuple(map(self.shrink, parts))
        unknown = [part for part in parts if again or part not in known]
        if len(unknown) > self.runs:
            raise _CutOffError
        for start in range(0, len(unknown), self.jobs):
            batch = unknown[start : start + self.jobs]
            found = self.trials(batch)
            self.runs -= len(batch)
            self.verdicts += [(part, passed) for part, passed in zip(batch, found, strict=True) if passed is not None]
            if None in found or self.is_flaky:
                self.runs = 0
                raise _CutOffError
        known = dict(self.verdicts)
        return [known[part] for part in parts]

    def find_longest_passing(self, items: Part, low: int, likely: Iterable[int] = (), *, end: Part = ()) -> int:
        """Return the length of the longest beginning of items, with `end`, before the shortest that fails.

        That of length `low` has passed, and all items fail. Raises _CutOffError.
        """
        high = len(items)
        while high - low > 1:
            probes = [length for length in dict.fromkeys(likely) if low < length < high]
            probes = sorted(probes[: self.jobs] or _divide(low, high, self.jobs))
            verdicts = self.ask(*((*items[:probe], *end) for probe in probes))
            high = min((probe for probe, passed in zip(probes, verdicts, strict=True) if not passed), default=high)
            low = max((probe for probe in probes if probe < high), default=low)
        return low

    def prove(self, part: Part, rest: Part) -> Part:
        """Return the smallest part that proves its last item. All of `rest` passes. Raises _CutOffError."""
        *others, item = part
        if others and not self.ask((item,))[0]:
            part = (item,)
        elif others:
            partner = others[self.find_longest_passing((*others,), 0, end=(item,))]
            part = part if self.ask((partner, item))[0] else (partner, item)  # there may be more than two
        allowed = {*rest, *others, item}
        while sum(not passed and item in known and {*known} <= allowed for known, passed in self.verdicts) < 2:
            self.ask(part, again=True)
        while sum(passed and item not in known for known, passed in self.verdicts) < 2:
            self.ask(rest, again=True)
        return part


def _divide(low: int, high: int, jobs: int) -> list[int]:
    """Return the lengths to try between two.

    One halves them, so that the first ones take a run less than the last ones: more is left to be searched then.
    """
    size = high - low
    if jobs == 1:
        leaves = 2 ** (size - 1).bit_length()
        return [low + max(leaves // 4, size - leaves // 2, 1)]
    return sorted({low + size * number // (jobs + 1) for number in range(1, jobs + 1)} - {low})


#: A file of a package in a traceback, of Python or pytest, but for warnings; or a module that lacks something.
_FRAME = re.compile(
    r"/site-packages/(?P<file>[^\s\"':]+)(?:\", line \d+, in |:\d+: (?!\w*Warning\b)|\))|"
    r"\b(?:No module named|cannot import name '\w+' from|module) '(?P<module>\w+)"
)


def find_suspects(output: str, owners: Mapping[str, str]) -> list[str]:
    """Return the packages through whose files tracebacks pass, that of the last one first.

    `owners` are packages by the paths of their files, and by the names of their modules.
    """
    named = [match["module"] or match["file"] for match in _FRAME.finditer(output)]
    known = (owners.get(name) or owners.get(name.partition("/")[0]) for name in named)
    return [*dict.fromkeys(filter(None, reversed([*known])))]
