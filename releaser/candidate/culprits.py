"""Finds the changes that break the tests, with few test runs. Pure: the caller defines what a test run is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

Part: TypeAlias = tuple[str, ...]


_SPARE = 2  # test runs that are left for the release that goes live


class Trials(Protocol):
    """Tests parts of the changes. The empty part is the base that they are made to."""

    def __call__(self, parts: Sequence[Part]) -> Sequence[bool | None]:
        """Return for each part True if its tests pass, None if there is no verdict; several may be tested at once."""


class Culprit(msgspec.Struct, frozen=True):
    """A change that breaks the tests; with a `partner`, only together with that one."""

    item: str
    partner: str = ""


class Search(msgspec.Struct, frozen=True):
    """The result of a search. `passing` is the largest part that passes.

    If `is_flaky`, the same part has both passed and failed, and nothing is named. If `is_cut_off`, no further test run
    was possible: there may be more culprits.
    """

    culprits: tuple[Culprit, ...] = ()
    passing: Part = ()
    is_flaky: bool = False
    is_cut_off: bool = False


class _CutOffError(Exception):
    """No further test run is possible."""


def find_culprits(trials: Trials, items: Part, *, suspects: int = 0, runs: int, jobs: int = 1) -> Search:
    """Take one culprit after another out of `items`, which have failed twice, until the others pass.

    The base has passed once. The last `suspects` of the items are looked at first, the very last one first of all; else
    an item comes after those that it needs. The shortest beginning that fails ends with a culprit. One is named only if
    the tests failed twice with it, without another culprit, and passed twice without it. If runs are left, two more
    must fail.
    """
    book, failing, is_cut_off = _Book(trials, items, runs, jobs), dict[str, Part](), False
    pivots = [len(items) - 1, len(items) - suspects] if suspects else []
    try:
        low = 0
        while True:
            rest = _without(items, failing)
            low = book.find_longest_passing(rest, low, [] if failing else pivots)
            failing[rest[low]] = rest[: low + 1]
            book.waiting.append((rest[low],))
            rest = _without(items, failing)
            if not rest or book.ask(rest)[0]:
                break
    except _CutOffError:
        is_cut_off = True
    proofs: dict[Culprit, Part] = {}
    for item, part in failing.items():
        with contextlib.suppress(_CutOffError):
            culprit, proof = book.confirm(item, part, _without(items, failing))
            proofs[culprit] = proof
    if proofs and not suspects:  # two in a row, else tests that fail in every other run may agree with anything
        first, *_, last = [*proofs.values()] * 2
        for batch in [[first], [last]] if first == last or jobs == 1 else [[first, last]]:
            if book.runs >= _SPARE + len(batch) and not book.is_flaky:
                book.ask(*batch, again=True)
    if book.is_flaky:
        return Search(passing=book.passing, is_flaky=True)
    return Search(tuple(proofs), book.passing, is_cut_off=is_cut_off or len(proofs) < len(failing))


class _Book:
    """The verdicts on parts, and the test runs that are left."""

    def __init__(self, trials: Trials, items: Part, runs: int, jobs: int) -> None:
        self.trials, self.runs, self.jobs = trials, runs, jobs
        self.verdicts: dict[Part, list[bool]] = {(): [True], items: [False, False]}
        #: Parts that are asked for later in any case, and fill a round.
        self.waiting: list[Part] = []

    @property
    def passing(self) -> Part:
        """The largest part that has passed, and never failed."""
        return max((part for part, verdicts in self.verdicts.items() if all(verdicts)), key=len, default=())

    @property
    def is_flaky(self) -> bool:
        """True if the same part has both passed and failed."""
        return any(len({*verdicts}) > 1 for verdicts in self.verdicts.values())

    def ask(self, *parts: Part, again: bool = False) -> list[bool]:
        """Return the verdicts on parts. What is known is asked only `again`."""
        unknown = [part for part in dict.fromkeys(parts) if again or part not in self.verdicts]
        if unknown:
            more = [part for part in dict.fromkeys(self.waiting) if part not in self.verdicts and part not in unknown]
            room = min(self.runs, -(-len(unknown) // self.jobs) * self.jobs)
            unknown = [*unknown, *more][:room]
            self.runs -= len(unknown)
            for part, verdict in zip(unknown, self.trials(unknown) if unknown else (), strict=True):
                if verdict is not None:
                    self.verdicts.setdefault(part, []).append(verdict)
                else:
                    self.runs = 0
        if any(part not in self.verdicts or (again and part not in unknown) for part in parts):
            raise _CutOffError
        return [self.verdicts[part][-1] for part in parts]

    def find_longest_passing(self, items: Part, low: int, pivots: Iterable[int] = (), *, end: Part = ()) -> int:
        """Return the length of the longest beginning of items, with `end`, before the shortest that fails.

        That of length `low` has passed, and all items fail. Raises _CutOffError.
        """
        high = len(items)
        while high - low > 1:
            probes = [pivot for pivot in dict.fromkeys(pivots) if low < pivot < high]
            probes = sorted(probes[: self.jobs] or _divide(low, high, self.jobs))
            verdicts = self.ask(*((*items[:probe], *end) for probe in probes))
            high = min((probe for probe, passed in zip(probes, verdicts, strict=True) if not passed), default=high)
            low = max((probe for probe in probes if probe < high), default=low)
        return low

    def confirm(self, item: str, part: Part, rest: Part) -> tuple[Culprit, Part]:
        """Return the culprit that ends a failing part, and the smallest part that proves it. Raises _CutOffError."""
        others, partner, proof = part[:-1], "", part
        if others and self.ask((item,))[0]:
            partner = others[self.find_longest_passing(others, 0, end=(item,))]
            if self.ask((partner, item))[0]:  # there are more than two
                partner = ""
            else:
                proof = (partner, item)
        elif others:
            proof = (item,)
        while (
            sum(
                self.verdicts[known].count(False)
                for known in self.verdicts
                if item in known and {*known} <= {*rest, *part}
            )
            < 2
        ):
            self.ask(proof, again=True)
        while sum(verdicts.count(True) for known, verdicts in self.verdicts.items() if item not in known) < 2:
            self.ask(rest, again=True)
        return Culprit(item, partner), proof


def _divide(low: int, high: int, jobs: int) -> list[int]:
    """Return the lengths to try between two.

    One halves them, so that the first ones take a run less than the last ones: more is left to be searched then.
    """
    size = high - low
    if jobs == 1:
        leaves = 2 ** (size - 1).bit_length()
        return [low + max(leaves // 4, size - leaves // 2, 1)]
    return sorted({low + size * number // (jobs + 1) for number in range(1, jobs + 1)} - {low})


def _without(items: Part, excluded: Iterable[str]) -> Part:
    return tuple(item for item in items if item not in excluded)


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
