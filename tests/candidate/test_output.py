"""What is read from what tests print, against the runners themselves and what they are known to print."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from releaser.candidate.output import (
    CUT_SHORT,
    NONE_RUN,
    complaint,
    count_tests,
    failing_tests,
    fewer_tests,
    find_output_flaw,
    names_runner,
)
from tests.releases.makers import a_manifest

DJANGO = "Found 3 test(s).\nSystem check identified no issues (0 silenced).\n...\n" + "-" * 70 + "\n"


@pytest.mark.parametrize(
    ("output", "count"),
    [
        (f"{DJANGO}Ran 3 tests in 0.004s\n\nOK\n", 3),
        (f"{DJANGO}Ran 1 test in 61.200s\n\nFAILED (failures=1)\n", 1),
        (f"{DJANGO}Ran 3 tests in 0.004s\n\nOK (skipped=1)\n", 2),
        (f"{DJANGO}Ran 3 tests in 0.004s\n\nFAILED (errors=1, skipped=2, expected failures=1)\n", 1),
        (f"{DJANGO}Ran 3 tests in 0.004s\n\nOK (skipped=3)\n", 0),
        ("Found 0 test(s).\n\nRan 0 tests in 0.000s\n\nOK\n", 0),
        ("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", 0),
        ("Ran 2 tests in 0.1s\n\nOK\nand the others\nRan 5 tests in 0.1s\n\nOK (skipped=1)\n", 6),
        ("===== 12 passed, 2 skipped, 1 warning in 0.12s =====\n", 12),
        ("3 failed, 1 passed, 1 xfailed, 2 errors in 61.03s (0:01:01)\n", 7),
        ("\x1b[32m==== \x1b[32m\x1b[1m3 passed\x1b[0m\x1b[32m in 0.01s\x1b[0m\x1b[32m ====\x1b[0m\n", 3),
        ("===== 2 skipped in 0.01s =====\n", 0),
        ("===== 5 deselected in 0.01s =====\n", 0),
        ("3 tests collected in 0.01s\n", 0),
        ("===== no tests ran in 0.01s =====\n", 0),
        ("no tests ran in 0.01s\n", 0),
        ("collected 0 items\n", 0),
        ("\nResults (0.05s):\n       4 passed\n       1 skipped\n", 4),
        ("Found 3 test(s).\n", None),
        ("we ran 3 tests in all, 3 passed\n", None),
        ("", None),
    ],
)
def test_the_tests_that_were_run_are_counted(output: str, count: int | None) -> None:
    assert count_tests(output) == count


KNOWN = (
    "python manage.py test --noinput", "python -Wd ./manage.py test shop", "python manage.py --settings=x test",
    "django-admin test", "python -m django test", "python -m pytest -x", "coverage run -m pytest",
    "coverage run manage.py test", "uv run pytest", "pytest tests", "/srv/bin/py.test", "python -m unittest",
)  # fmt: skip
UNKNOWN = (
    "python run_tests.py", "python manage.py check", "python manage.py testserver", "tox", "python run_tests.py pytest",
)  # fmt: skip


def test_a_runner_is_known_by_the_command() -> None:
    assert [command for command in (*KNOWN, *UNKNOWN) if names_runner(command.split())] == [*KNOWN]


def test_a_line_that_is_missing_counts_only_where_the_runner_is_known() -> None:
    assert find_output_flaw(["python", "manage.py", "test"], "Found 3 test(s).\n") == CUT_SHORT
    assert find_output_flaw(["python", "run_tests.py"], "all is well\n") == ""
    assert find_output_flaw(["python", "run_tests.py"], "Ran 0 tests in 0.000s\n\nOK\n") == NONE_RUN
    assert find_output_flaw(["python", "manage.py", "test"], "1 passed in 0.01s\n") == ""  # TEST_RUNNER may be any


@pytest.mark.parametrize(("now", "before", "told"), [(2, 3, True), (3, 3, False), (4, 3, False), (None, 3, False)])
def test_a_fall_is_told(now: int | None, before: int, *, told: bool) -> None:
    found = fewer_tests(a_manifest(2, tests_run=now), a_manifest(1, tests_run=before))
    assert (found is not None) is told
    assert fewer_tests(a_manifest(2, tests_run=now), a_manifest(1)) is None
    assert fewer_tests(a_manifest(2, tests_run=now), None) is None


SHOP = """\
import unittest

class Shop(unittest.TestCase):
    def test_all(self):
        pass

    def test_milk(self):
        {}["milk"]

    def test_skipped(self):
        self.skipTest("no")

    def test_tea(self):
        self.assertEqual(2, 3)
"""
ITS_OWN = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take two seconds to load


@pytest.mark.parametrize("options", ["-m unittest", "-m pytest", "-m pytest -q --tb=line"])
def test_real_runners_say_how_many_ran_and_which_failed(tmp_path: Path, options: str) -> None:
    (tmp_path / "test_shop.py").write_text(SHOP, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n", encoding="utf-8")
    words, both = [sys.executable, *options.split()], subprocess.STDOUT
    printed = subprocess.run(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=both, text=True, check=False, env=ITS_OWN
    ).stdout
    assert count_tests(printed) == 3, printed
    milk, tea = failing_tests(printed)
    assert ("test_milk" in milk, "test_tea" in tea) == (True, True), printed


OTHER_LINES = """\
ERROR: could not connect to the database
FAIL: test_tea (shop.test_shop.Shop.test_tea) (kind='green')
FAILED shop/test_shop.py::test_tea[two words] - AssertionError: no
FAILED shop/test_shop.py::test_milk
"""


def test_lines_of_a_log_are_no_tests_and_names_stay_whole() -> None:
    assert failing_tests(OTHER_LINES) == (
        "shop/test_shop.py::test_milk",
        "shop/test_shop.py::test_tea[two words]",
        "test_tea (shop.test_shop.Shop.test_tea) (kind='green')",
    )


# What a failing test says

TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/shop/tests.py", line 3, in test_receipt
    print_receipt()
  File "/srv/.releaser/shop/releases/A/venv/lib/python3.11/site-packages/{module}/parser.py", line 7, in parse
    raise ValueError("no such paper")
ValueError: no such paper

FAILED (failures=1)
"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", ""),
        (TRACEBACK, ": ValueError: no such paper"),
        ("E   AssertionError: 1 != 2\n=== 1 failed ===", ": AssertionError: 1 != 2"),
        ('  File "x.py"\n    go()\nshop.NoPaper: x\nbye', ": shop.NoPaper: x"),
        ("shop.NoPaper: x\nbye", ": bye"),
        ("psycopg.errors.UndefinedColumnError: no x\n\nFAILED", ": psycopg.errors.UndefinedColumnError: no x"),
        ("it did not work", ": it did not work"),
    ],
)
def test_what_a_test_complains_of(output: str, said: str) -> None:
    assert complaint(output) == said
    assert len(complaint("ValueError: " + "x" * 1000)) < 210
