"""The search for what breaks the tests: a table of what is planted, and how many test runs it takes."""

import os
import signal
from collections.abc import Sequence
from itertools import combinations, cycle

import pytest

from releaser.candidate.culprits import Part, Search, find_culprits, find_suspects
from releaser.candidate.tests import was_killed
from releaser.errors import BuildError, ToolError
from releaser.packages.lock import parse_lock
from releaser.packages.rules import list_needed, pin_arguments
from releaser.system.process import Finished, call_at_once


class Bench:
    """Tests parts: one fails that has all items of one of the `broken` parts. Rounds are counted, and test runs."""

    def __init__(self, *broken: str) -> None:
        self.broken = [frozenset(words.split()) for words in broken]
        self.rounds = self.runs = 0

    def __call__(self, parts: Sequence[Part]) -> list[bool | None]:
        self.rounds, self.runs = self.rounds + 1, self.runs + len(parts)
        return [not any(words <= {*part} for words in self.broken) for part in parts]


def find(items: str, *broken: str, suspects: int = 0, runs: int = 15, jobs: int = 1) -> tuple[Search, Bench]:
    """Return what is found, and the bench; the candidate was tested again before, which is one of sixteen runs."""
    bench = Bench(*broken)
    return find_culprits(bench, tuple(items.split()), suspects=suspects, runs=runs, jobs=jobs), bench


TABLE = {
    "one alone": ("a", ("a",), 0, "a", "", 3),
    "one of four": ("a b c d", ("b",), 0, "b", "a c d", 6),
    "the last suspect": ("a b c d", ("d",), 1, "d", "a b c", 2),
    "the other suspect": ("a b c d", ("c",), 2, "c", "a b d", 4),
    "both suspects": ("a b c d", ("c", "d"), 2, "c, d", "a b", 5),
    "a wrong suspect": ("a b c d", ("a",), 1, "a", "b c d", 3),
    "two": ("a b c d e f", ("b", "e"), 0, "b, e", "a c d f", 10),
    "a pair": ("a b c d", ("b d",), 0, "d with b", "a b c", 8),
    "a pair, and one": ("a b c d", ("b d", "a"), 0, "a, d with b", "b c", 9),
    "three that break together": ("a b c d", ("a b d",), 0, "d", "a b c", 8),
    "all": ("a b c", ("a", "b", "c"), 0, "a, b, c", "", 10),
}


@pytest.mark.parametrize("name", TABLE)
def test_law_22_culprits_are_found(name: str) -> None:
    items, broken, suspects, culprits, passing, runs = TABLE[name]
    search, bench = find(items, *broken, suspects=suspects)
    named = [f"{each.item} with {each.partner}" if each.partner else each.item for each in search.culprits]
    assert (", ".join(named), " ".join(search.passing), bench.runs) == (culprits, passing, runs)
    assert not search.is_flaky
    assert not search.is_cut_off
    assert {each.item for each in find(items, *broken, suspects=suspects, jobs=3)[0].culprits} == {
        each.item for each in search.culprits
    }


def test_law_22_two_culprits_among_22_take_14_runs_and_two_jobs_less_time() -> None:
    items = [f"p{number:02}" for number in range(22)]
    ratios = []
    for pair in combinations(items, 2):
        search, bench = find(" ".join(items), *pair)
        assert ({each.item for each in search.culprits}, len(search.passing)) == ({*pair}, 20)
        assert bench.runs + 1 <= 14
        both, beside = find(" ".join(items), *pair, jobs=2)
        assert {each.item for each in both.culprits} == {*pair}
        ratios.append(beside.rounds / (bench.rounds + 1))  # the candidate is tested again beside the live release
    assert sum(ratios) / len(ratios) < 0.62


def test_law_22_a_search_that_is_cut_off_names_only_what_it_has_proven() -> None:
    for runs in range(12):
        search, bench = find("a b c d e f g h", "b", "e", "g", runs=runs)
        assert bench.runs <= runs
        assert search.is_cut_off
        assert {each.item for each in search.culprits} <= {"b", "e", "g"}
        assert not {*search.passing} & {"b", "e", "g"}
    no_verdict = find_culprits(lambda parts: [None] * len(parts), ("a", "b"), runs=15)
    assert no_verdict == Search(is_cut_off=True)


@pytest.mark.parametrize("verdicts", ["PF", "FP", "P", "PPF"])
def test_law_22_tests_that_contradict_themselves_are_flaky_and_name_nothing(verdicts: str) -> None:
    turns = cycle(verdicts)
    search = find_culprits(lambda parts: [next(turns) == "P" for _ in parts], ("a", "b", "c"), runs=15)
    assert search.culprits == ()
    assert search.is_flaky or search.is_cut_off


def test_law_22_every_verdict_counts() -> None:
    """A culprit has failed twice and passed twice without it, whatever else is broken."""
    for size, number in ((5, 1), (5, 2), (6, 3)):
        for broken in combinations("abcdef"[:size], number):
            runs: list[tuple[Part, bool]] = [((), True)]
            bench = Bench(*broken)

            def test(
                parts: Sequence[Part], bench: Bench = bench, runs: list[tuple[Part, bool]] = runs
            ) -> list[bool | None]:
                verdicts = bench(parts)
                runs += [(part, bool(verdict)) for part, verdict in zip(parts, verdicts, strict=True)]
                return verdicts

            search = find_culprits(test, tuple("abcdef"[:size]), runs=15)
            runs += [(tuple("abcdef"[:size]), False)] * 2
            for culprit in search.culprits:
                assert sum(culprit.item in part and not passed for part, passed in runs) >= 2
                assert sum(culprit.item not in part and passed for part, passed in runs) >= 2


OWNERS = {
    "pyotp/totp.py": "pyotp",
    "pyotp": "pyotp",
    "django": "django",
    "yaml": "pyyaml",
    "six.py": "six",
    "six": "six",
}
PLACE = "/srv/shop/.venv/lib/python3.13/site-packages"


@pytest.mark.parametrize(
    ("output", "suspects"),
    [
        (
            f'  File "{PLACE}/django/test/client.py", line 9, in get\n  File "{PLACE}/pyotp/totp.py", line 3, in now',
            "pyotp django",
        ),
        (f"{PLACE}/pyotp/totp.py:12: in now\n{PLACE}/yaml/__init__.py:3: ValueError", "pyyaml pyotp"),
        (".venv/lib/python3.13/site-packages/six.py:12: in now", "six"),
        (f"{PLACE}/pyotp/totp.py:12: DeprecationWarning: old", ""),
        (f"ImportError: cannot import name 'now' from 'pyotp' ({PLACE}/pyotp/__init__.py)", "pyotp"),
        ("ModuleNotFoundError: No module named 'yaml.nodes'", "pyyaml"),
        ("AttributeError: module 'pyotp' has no attribute 'now'", "pyotp"),
        ('  File "/srv/shop/app.py", line 2, in ok\nAssertionError', ""),
    ],
)
def test_law_22_suspects_are_in_the_traceback(output: str, suspects: str) -> None:
    assert " ".join(find_suspects(output, OWNERS)) == suspects


@pytest.mark.parametrize(
    ("status", "output", "is_killed"),
    [(1, "AssertionError", False), (-9, "", True), (-15, "", True), (137, "Killed", True), (-11, "", False),
     (1, "MemoryError", True),
     (1, "E   MemoryError: no room", True), (1, "OSError: [Errno 12] Cannot allocate memory", True),
     (1, "[gw0] node down: Not properly terminated", True), (1, "AssertionError: MemoryError is raised", False),
     (1, "concurrent.futures.process.BrokenProcessPool: A process died", True)],
)  # fmt: skip
def test_law_24_what_ended_a_test_run_from_outside(status: int, output: str, is_killed: bool) -> None:
    assert was_killed(Finished(("test",), status, output, "", 1.0)) == is_killed
    assert was_killed(Finished(("test",), 0, "", "", 1.0, timed_out=True))


LOCK = """
[[package]]
name = "a"
version = "2"
dependencies = [{ name = "b" }]
[[package]]
name = "b"
version = "2"
[[package]]
name = "c"
version = "1"
[[package]]
name = "d"
version = "1"
source = { git = "https://x/d#0123456789" }
"""


@pytest.mark.parametrize(
    ("part", "words"), [("", "a==1 b==1"), ("a", "a==2 b==1"), ("a b", "a==2 b==2"), ("d", "a==1 b==1 d")]
)
def test_law_22_a_part_of_the_changes_is_pinned(part: str, words: str) -> None:
    before = {"a": "1", "b": "1", "d": "1 (0000000)"}
    arguments = pin_arguments(parse_lock(LOCK), before, part.split())
    assert arguments == ["lock", *(word for bound in words.split() for word in ("-P", bound))]
    free = pin_arguments(parse_lock(LOCK), before, part.split(), may_differ=True)
    assert free == [word.replace("==2", "") for word in arguments]


def test_law_22_a_package_comes_after_those_that_it_needs() -> None:
    assert list_needed(parse_lock(LOCK), ["a", "c"], ["a", "b", "c"]) == ["b", "a", "c"]
    assert list_needed(parse_lock(LOCK), ["a"], ["a"]) == ["a"]


def test_law_10_what_is_called_at_once_returns_or_raises() -> None:
    assert call_at_once([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
    assert call_at_once([lambda: "x" * 300_000, lambda: ""]) == ["x" * 300_000, ""]
    with pytest.raises(BuildError, match="no room"):
        call_at_once([lambda: 1, fail])
    with pytest.raises(ToolError, match="killed"):
        call_at_once([lambda: 1, lambda: os.kill(os.getpid(), signal.SIGKILL)])


def fail() -> int:
    """Raise an error of a build."""
    raise BuildError("no room", "Free some.")
