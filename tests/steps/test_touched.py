"""Which tests failed, and which files of the project that touches, by what real runners print."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from releaser.steps.runners import failing_tests
from releaser.steps.touched import named_files

if TYPE_CHECKING:
    from pathlib import Path

PRICE = "def price(item):\n    return {'tea': 2}[item]\n"
TESTS = """\
import unittest
from shop.price import price

class Shop(unittest.TestCase):
    def test_tea(self):
        self.assertEqual(price("tea"), 3)

    def test_milk(self):
        price("milk")

    def test_all(self):
        pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with tests of which two fail, one of them in its code."""
    (tmp_path / "shop").mkdir()
    for name, text in {"__init__.py": "", "price.py": PRICE, "test_shop.py": TESTS, "till.py": ""}.items():
        (tmp_path / "shop" / name).write_text(text, encoding="utf-8")
    return tmp_path


RUNNERS = {
    "unittest": (["-m", "unittest", "shop.test_shop"], ["test_milk", "test_tea"]),
    "pytest": (["-m", "pytest", "-p", "no:cacheprovider", "shop"], ["::test_milk", "::test_tea"]),
    "pytest, short": (["-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider"], ["::test_milk", "::test_tea"]),
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_what_failed_is_named_with_the_files_that_it_touches(project: Path, runner: str) -> None:
    words, tests = RUNNERS[runner]
    done = subprocess.run(
        [sys.executable, *words], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    names = failing_tests(done.stdout)
    assert len(names) == 2
    assert all(wanted in name for wanted, name in zip(tests, names, strict=True)), names
    files = named_files(done.stdout, project)
    assert set(files) == {"shop/price.py", "shop/test_shop.py"}
    before = dict(files)
    (project / "shop" / "price.py").write_text(PRICE + "\n", encoding="utf-8")
    after = named_files(done.stdout, project)
    assert {name for name in before if before[name] != after[name]} == {"shop/price.py"}


def test_what_is_not_of_the_project_is_none_of_its_files(project: Path) -> None:
    output = f'''
  File "{project}/.venv/lib/python3.11/site-packages/django/http.py", line 7, in get
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
  File "{project}/../other/code.py", line 1, in <module>
  File "{project}/shop/till.py", line 1, in <module>
'''
    assert set(named_files(output, project)) == {"shop/till.py"}


def test_a_test_of_django_is_known_by_its_module(project: Path) -> None:
    output = "ERROR: test_tea (shop.test_shop.Shop.test_tea)\nFAIL: shop.nothing (unittest.loader._FailedTest)"
    assert set(named_files(output, project)) == {"shop/test_shop.py"}
