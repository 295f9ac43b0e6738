"""The search for what breaks the tests: a table of what is planted, and how many test runs it takes."""

import errno
import os
import signal
import time
from collections.abc import Sequence
from itertools import combinations, cycle
from pathlib import Path

import pytest

from releaser.candidate.culprits import Part, Search, find_culprits, find_suspects
from releaser.candidate.tests import was_killed
from releaser.errors import BuildError, Interrupted
from releaser.packages.lock import parse_lock
from releaser.packages.rules import is_pinnable, sort_by_needs
from releaser.system import signals
from releaser.system.process import Finished, NoAnswer, call_at_once


class Bench:
    """Tests parts: one fails that has all items of one of the `broken` parts. Rounds are counted, and test runs."""

    def __init__(self, *broken: str, jobs: int = 1) -> None:
        self.broken, self.jobs = [frozenset(words.split()) for words in broken], jobs
        self.rounds = self.runs = 0
        self.passing: Part = ()

    def __call__(self, parts: Sequence[Part]) -> list[bool | None]:
        self.rounds, self.runs = self.rounds - (-len(parts) // self.jobs), self.runs + len(parts)
        verdicts = [not any(words <= {*part} for words in self.broken) for part in parts]
        self.passing = max(
            [self.passing, *(part for part, passed in zip(parts, verdicts, strict=True) if passed)], key=len
        )
        return [*verdicts]


def find(items: str, *broken: str, head: int = 0, tail: int = 0, runs: int = 15, jobs: int = 1) -> tuple[Search, Bench]:
    """Return what is found, and the bench; the candidate was tested again before, which is one of sixteen runs."""
    bench = Bench(*broken, jobs=jobs)
    return find_culprits(bench, tuple(items.split()), head=head, tail=tail, runs=runs, jobs=jobs), bench


def name(search: Search) -> list[str]:
    """Return the culprits, a pair as `d with b`."""
    return [f"{part[1]} with {part[0]}" if len(part) == 2 else part[-1] for part in search.culprits]


TABLE = {
    "one alone": ("a", ("a",), (0, 0), "a", "", 3),
    "one of four": ("a b c d", ("b",), (0, 0), "b", "a c d", 6),
    "the last suspect": ("a b c d", ("d",), (0, 1), "d", "a b c", 2),
    "the other suspect": ("a b c d", ("c",), (0, 2), "c", "a b d", 4),
    "both suspects": ("a b c d", ("c", "d"), (0, 2), "c, d", "a b", 5),
    "a wrong suspect": ("a b c d", ("a",), (0, 1), "a", "b c d", 5),
    "the commit": ("a b c d", ("a",), (1, 0), "a", "b c d", 2),
    "the commit, and one": ("a b c d", ("a", "c"), (1, 0), "a, c", "b d", 7),
    "one with the commit": ("a b c d", ("a c",), (1, 0), "c with a", "a b d", 8),
    "one, but not the commit": ("a b c d", ("c",), (1, 0), "c", "a b d", 7),
    "the commit, or the last suspect": ("a b c d", ("d",), (1, 1), "d", "a b c", 3),
    "two": ("a b c d e f", ("b", "e"), (0, 0), "b, e", "a c d f", 10),
    "a pair": ("a b c d", ("b d",), (0, 0), "d with b", "a b c", 8),
    "a pair, and one": ("a b c d", ("b d", "a"), (0, 0), "a, d with b", "b c", 9),
    "three that break together": ("a b c d", ("a b d",), (0, 0), "d", "a b c", 8),
    "all": ("a b c", ("a", "b", "c"), (0, 0), "a, b, c", "", 10),
}


@pytest.mark.parametrize("planted", TABLE)
def test_law_22_culprits_are_found(planted: str) -> None:
    items, broken, (head, tail), culprits, passing, runs = TABLE[planted]
    search, bench = find(items, *broken, head=head, tail=tail)
    assert (", ".join(name(search)), " ".join(bench.passing), bench.runs) == (culprits, passing, runs)
    assert not search.is_flaky
    assert not search.is_cut_off
    beside, _ = find(items, *broken, head=head, tail=tail, jobs=3)
    assert {part[-1] for part in beside.culprits} == {part[-1] for part in search.culprits}


def test_law_22_two_culprits_among_22_take_14_runs_and_two_jobs_less_time() -> None:
    items = [f"p{number:02}" for number in range(22)]
    ratios = []
    for pair in combinations(items, 2):
        search, bench = find(" ".join(items), *pair)
        assert ({*name(search)}, len(bench.passing)) == ({*pair}, 20)
        assert bench.runs + 1 <= 14
        both, beside = find(" ".join(items), *pair, jobs=2)
        assert {*name(both)} == {*pair}
        ratios.append(beside.rounds / (bench.rounds + 1))  # the candidate is tested again beside the live release
    assert sum(ratios) / len(ratios) < 0.62


def test_law_22_a_search_that_is_cut_off_names_only_what_it_has_proven() -> None:
    for runs in range(12):
        search, bench = find("a b c d e f g h", "b", "e", "g", runs=runs)
        assert bench.runs <= runs
        assert search.is_cut_off
        assert {*name(search)} <= {"b", "e", "g"}
    no_verdict = find_culprits(lambda parts: [None] * len(parts), ("a", "b"), runs=15)
    assert no_verdict == Search(is_cut_off=True)


def test_law_22_packages_that_only_move_together_are_tried_together() -> None:
    """A verdict is that of what was tested: of b and c, a part never has one alone."""
    bench, tried = Bench("b"), list[Part]()

    def test(parts: Sequence[Part]) -> list[bool | None]:
        tried.extend(parts)
        return bench(parts)

    def shrink(part: Part) -> Part:
        return part if {"b", "c"} <= {*part} else tuple(item for item in part if item not in ("b", "c"))

    search = find_culprits(test, ("b", "c", "a", "d"), runs=15, shrink=shrink)
    assert (name(search), bench.passing) == (["c with b"], ("a", "d"))
    assert {shrink(part) for part in tried} == {*tried}
    assert len(tried) == 4


@pytest.mark.parametrize(
    ("verdicts", "head"), [("PF", 0), ("FP", 0), ("P", 0), ("PPF", 0), ("PF", 1), ("P", 1), ("PPF", 1)]
)
def test_law_22_tests_that_contradict_themselves_are_flaky_and_name_nothing(verdicts: str, head: int) -> None:
    turns = cycle(verdicts)
    test = lambda parts: [next(turns) == "P" for _ in parts]  # noqa: E731 - as short as the other one
    search = find_culprits(test, ("a", "b", "c"), head=head, runs=15)
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
            for item in name(search):
                assert sum(item in part and not passed for part, passed in runs) >= 2
                assert sum(item not in part and passed for part, passed in runs) >= 2


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
    ("name", "version", "is_plain"), [("a", "1", True), ("d", "1 (0000000)", False), ("e", "1", False)]
)
def test_law_22_which_versions_uv_can_name(name: str, version: str, is_plain: bool) -> None:
    assert is_pinnable(parse_lock(LOCK), name, version) == is_plain


def test_law_22_a_package_comes_after_those_that_it_needs() -> None:
    assert sort_by_needs(parse_lock(LOCK), ["a", "c", "b"]) == ["b", "c", "a"]
    assert sort_by_needs(parse_lock(LOCK), ["a"]) == ["a"]


def test_law_10_what_is_called_at_once_returns_or_is_no_answer() -> None:
    assert call_at_once([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
    assert call_at_once([lambda: "x" * 300_000, lambda: ""]) == ["x" * 300_000, ""]
    assert call_at_once([fail]) == [NoAnswer("no room")]
    assert call_at_once([lambda: 1, fail]) == [1, NoAnswer("no room")]
    assert call_at_once([lambda: 1, fill]) == [1, NoAnswer("/x: No space left on device.")]
    killed = NoAnswer("It was killed.")
    assert call_at_once([lambda: 1, lambda: os.kill(os.getpid(), signal.SIGKILL)]) == [1, killed]


def test_law_42_a_signal_ends_all_children_at_once(tmp_path: Path) -> None:
    """Each tidies up only once the other one was asked to end, too."""
    parent = os.getpid()

    def work(own: str, other: str) -> None:
        try:
            (tmp_path / f"{own} began").touch()
            while own == "a" and not (tmp_path / f"{other} began").exists():
                time.sleep(0.01)
            os.kill(parent, signal.SIGTERM if own == "a" else 0)
            signals.wait(60)
        finally:
            (tmp_path / f"{own} is asked").touch()
            while not (tmp_path / f"{other} is asked").exists():
                time.sleep(0.01)
            (tmp_path / f"{own} ended").touch()

    with pytest.raises(Interrupted), signals.raise_on_signals():
        call_at_once([lambda: work("a", "b"), lambda: work("b", "a")])
    assert sorted(path.name for path in tmp_path.glob("* ended")) == ["a ended", "b ended"]


def fill() -> int:
    """Raise the error of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x")


def fail() -> int:
    """Raise an error of a build."""
    raise BuildError("no room", "Free some.")
