"""Which tests failed, and which files of the project these touch, by what real runners print."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from releaser.candidate.test_output import failing_tests
from releaser.releases.quarantine import Hold
from releaser.resolution.rules import Code, code_digest, named_files
from releaser.site.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.site.site import Site
    from tests.support.sites import SiteFactory

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
    (project / "tests.py").touch()
    output = "ERROR: test_tea (shop.test_shop.Shop.test_tea)\nFAIL: shop.nothing (unittest.loader._FailedTest)"
    assert set(named_files(output, project)) == {"shop/test_shop.py"}
    assert set(named_files("FAIL: tests (tests.Shop.test_tea)", project)) == {"tests.py"}


CHANGES = {
    "the test": ("shop/test_shop.py", True),
    "code that it may have asked for a page": ("shop/till.py", True),
    "a text": ("notes.txt", False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_failure_that_names_nothing_but_tests_touches_all_code(make_site: SiteFactory, what: str) -> None:
    site = make_site(files={"shop/till.py": "", "shop/test_shop.py": "", "notes.txt": "news\n"})
    found = open_site(site.path, site.env)
    hold = held_for("File shop/test_shop.py, line 3", found)
    assert not Code(found).has_changed(hold)
    name, changes = CHANGES[what]
    site.commit("Change", {name: "1\n"})
    assert Code(found).has_changed(hold) == changes


def test_a_failure_that_names_code_touches_nothing_else(make_site: SiteFactory) -> None:
    site = make_site(files={"shop/till.py": "", "shop/price.py": "", "shop/test_shop.py": ""})
    found = open_site(site.path, site.env)
    hold = held_for("File shop/test_shop.py, line 3\nFile shop/price.py, line 1", found)
    site.commit("Change", {"shop/till.py": "1\n"})
    assert not Code(found).has_changed(hold)
    site.commit("Change", {"shop/price.py": "1\n"})
    assert Code(found).has_changed(hold)


def held_for(output: str, site: Site) -> Hold:
    files = named_files(output, site.project.root)
    return Hold(name="a", by="tests", version="2.0", reason="", at="", files=files, code=code_digest(site))


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


def test_a_very_long_word_takes_no_long_time(tmp_path: Path) -> None:
    """It is looked at once, and not from each of its characters."""
    (tmp_path / "a.py").touch()
    assert list(named_files(f"{'x' * 200_000} a.py {'x.' * 50_000}x", tmp_path)) == ["a.py"]
