"""A test that fails, and passes when it is run once more alone, is flaky and fails no tier; nothing else is."""

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest

from tests.conftest import ATTACKS, END_TO_END, LONGEST, longest_first, of_other_turns
from tests.support.commands import Finished, run

Tier = Callable[..., Finished]

pytestmark = pytest.mark.spawns

TIER = Path(__file__).parents[2] / "scripts" / "tier.py"
# `first_time(name)` is true when it is called for the first time, over all processes.
SAMPLE = """
import os, pathlib, pytest

def first_time(name):
    try:
        (pathlib.Path(__file__).parent / f"{name}.was-here").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

def test_good():
    pass
"""


def in_fixture(name: str, *lines: str) -> str:
    """Return a test with a fixture of these lines."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"\n@pytest.fixture\ndef {name}():\n{body}\ndef test_with_{name}({name}):\n    pass\n"


FLAKY = """
def test_flaky():
    assert not first_time("flaky"), "too slow"
"""
TEARDOWN = in_fixture("port", "yield", 'assert not first_time("port"), "port in use"')
SETUP = in_fixture("server", 'assert not first_time("server"), "no server"')
RED_FIXTURE = in_fixture("broken", 'raise OSError("never there")')
RED = """
def test_red():
    assert not "red"
"""
# Passes in the company of others, fails at first, and is skipped later.
SKIPPED_LATER = """
def test_skipped_later():
    if not first_time("skipped"):
        pytest.skip("not again")
    assert False
"""
CRASH = """
def test_crash():
    if first_time("crash"):
        os._exit(3)
"""
COLLECTION = """
if first_time("collection"):
    raise OSError("cannot be imported")
"""
INTERRUPT = """
def test_interrupt():
    if first_time("interrupt"):
        raise KeyboardInterrupt
"""
MANY = """
@pytest.mark.parametrize("number", range(21))
def test_one_of_many(number):
    assert not first_time(f"many-{number}")
"""
OTHER_NAME = """
@pytest.mark.parametrize("number", [os.getpid()])
def test_other(number):
    assert False
"""


@pytest.fixture
def tier(tmp_path: Path) -> Tier:
    """Run a tier of these tests, as make does."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_", "FLAKY_"))}

    def ended(*tests: str, words: Sequence[str] = ("-n", "2", "--dist", "worksteal"), **extra: str) -> Finished:
        for number, text in enumerate(tests):
            (tmp_path / f"test_{number}.py").write_text(SAMPLE + text, encoding="utf-8")
        return run([sys.executable, TIER, "-p", "no:cacheprovider", *words], cwd=tmp_path, env={**env, **extra})

    return ended


def verdicts(ended: Finished) -> list[str]:
    return [line for line in ended.stdout.splitlines() if line.startswith(("FLAKY:", "FAILED TWICE:", "Once more"))]


def test_a_green_tier_is_run_once(tier: Tier) -> None:
    ended = tier("")
    assert ended.returncode == 0, ended
    assert "1 passed in " in ended.stdout.splitlines()[-1]  # pytest's closing line


@pytest.mark.slow
def test_what_passes_alone_is_flaky_and_fails_nothing(tier: Tier) -> None:
    ended = tier(FLAKY + SETUP, TEARDOWN)
    assert ended.returncode == 0, ended
    assert "1 failed, 3 passed, 2 errors in " in ended.stdout
    assert {
        "FLAKY: test_0.py::test_flaky, AssertionError: too slow",
        "FLAKY: test_0.py::test_with_server, AssertionError: no server",
        "FLAKY: test_1.py::test_with_port, AssertionError: port in use",
    } <= {*verdicts(ended)}
    assert ended.stdout.endswith("3 flaky in this tier, 3 in this run; more than 5 fail it.\n")


@pytest.mark.slow
@pytest.mark.parametrize("words", [("-n", "2"), ("-q",)])
def test_what_fails_twice_fails_the_tier(tier: Tier, words: tuple[str, ...]) -> None:
    ended = tier(FLAKY + RED + RED_FIXTURE + SKIPPED_LATER, words=words)
    assert ended.returncode == 1, ended
    assert [line for line in verdicts(ended) if not line.startswith("Once more")] == [
        "FAILED TWICE: test_0.py::test_red",
        "FAILED TWICE: test_0.py::test_skipped_later",
        "FAILED TWICE: test_0.py::test_with_broken",
        "FLAKY: test_0.py::test_flaky, AssertionError: too slow",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tests", "words"),
    [
        pytest.param((FLAKY, CRASH), ("-n", "2"), id="crash"),
        pytest.param((FLAKY, COLLECTION), ("-n", "0", "--continue-on-collection-errors"), id="collection"),
        pytest.param((FLAKY, INTERRUPT), ("-n", "0"), id="interrupt"),
        pytest.param((FLAKY, RED), ("-n", "0", "-x"), id="x"),
        pytest.param((FLAKY, FLAKY), ("-n", "2", "-x"), id="x in workers"),
        pytest.param((FLAKY,), ("--no-such-option",), id="usage"),
        pytest.param((MANY,), ("-n", "2"), id="many"),
    ],
)
def test_what_a_second_run_cannot_judge_is_no_flaky_test(
    tier: Tier, tests: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ended = tier(*tests, words=words)
    assert ended.returncode != 0
    assert verdicts(ended) == []


@pytest.mark.slow
def test_the_tiers_of_one_run_count_together(tier: Tier, tmp_path: Path) -> None:
    known = tmp_path / "flaky"
    known.write_text("FLAKY: a\nFLAKY: b\nFLAKY: c\n", encoding="utf-8")
    assert tier(FLAKY + SETUP, FLAKY_TESTS=str(known)).returncode == 0
    (tmp_path / "flaky.was-here").unlink()
    ended = tier(FLAKY, FLAKY_TESTS=str(known))
    assert ended.returncode == 1, ended
    assert ended.stdout.endswith("1 flaky in this tier, 6 in this run; more than 5 fail it.\n")
    assert known.read_text(encoding="utf-8").count("FLAKY: ") == 6


def test_a_test_that_is_not_found_again_has_failed(tier: Tier) -> None:
    ended = tier(OTHER_NAME, words=())
    assert ended.returncode == 1, ended
    assert "FLAKY:" not in ended.stdout


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_each_worker_begins_with_a_module_that_takes_minutes(workers: int) -> None:
    names = [f"test_{number // 10}.py" for number in range(1000)]
    for number, name in enumerate(LONGEST):
        names[900 + number : 900 + number] = [name] * 3
    items = [cast("pytest.Item", SimpleNamespace(path=Path(name))) for name in names]
    found = [item.path.name for item in longest_first(items, workers)]
    assert sorted(found) == sorted(names)
    assert len([*itertools.groupby(found)]) == 100 + len(LONGEST), "no module is torn apart"
    parts = [number * len(found) // workers for number in range(min(workers, len(LONGEST)))]
    assert all({*found[part : part + 26]} & {*LONGEST} for part in parts)


def test_each_slow_end_to_end_test_has_one_turn_and_all_others_have_each() -> None:
    def item(place: Path, name: str, *marks: str) -> pytest.Item:
        found = mock.Mock(path=place / "test_a.py", nodeid=f"test_a.py::{name}")
        found.get_closest_marker = lambda mark: mark in marks or None
        return cast("pytest.Item", found)

    tables = [[item(END_TO_END[0], f"test_{number}[{row}]", "slow") for row in "ab"] for number in range(40)]
    others = [item(END_TO_END[0], "test_story"), item(ATTACKS, "test_attack", "slow")]
    items = [*itertools.chain(*tables), *others]
    first, second = ([one for one in items if one not in of_other_turns(items, turn)] for turn in ("1/2", "2/2"))
    assert [one for one in first if one in second] == others
    assert len(first) + len(second) == len(items) + len(others)
    for table in tables:
        assert (table[0] in first) == (table[1] in first)
    assert min(len(first), len(second)) > len(items) / 4
    assert of_other_turns(items, None) == set()
