"""Which tests failed, by what real runners print, and whether what failed is worth another try."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from releaser.candidate.output import failing_tests
from releaser.releases.quarantine import Hold, Holds
from releaser.resolution.rules import code_digest, select_holds
from releaser.site.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

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
    for name, text in {"__init__.py": "", "price.py": PRICE, "test_shop.py": TESTS}.items():
        (tmp_path / "shop" / name).write_text(text, encoding="utf-8")
    return tmp_path


RUNNERS = {
    "unittest": (["-m", "unittest", "shop.test_shop"], ["test_milk", "test_tea"]),
    "pytest": (["-m", "pytest", "-p", "no:cacheprovider", "shop"], ["::test_milk", "::test_tea"]),
    "pytest, short": (["-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider"], ["::test_milk", "::test_tea"]),
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_what_failed_is_named(project: Path, runner: str) -> None:
    words, tests = RUNNERS[runner]
    done = subprocess.run(
        [sys.executable, *words], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    names = failing_tests(done.stdout)
    assert len(names) == 2
    assert all(wanted in name for wanted, name in zip(tests, names, strict=True)), names


@pytest.mark.parametrize(
    ("name", "is_tried"),
    [("shop/till.py", True), ("shop/templates/till.html", True), ("notes.txt", False), ("uv.lock", False)],
)
def test_what_failed_is_tried_again_when_the_code_changes(make_site: SiteFactory, name: str, is_tried: bool) -> None:
    site = make_site(files={"shop/till.py": "", "notes.txt": "news\n"})
    found, now = open_site(site.path, site.env), datetime.now(UTC)
    hold = Hold(name="a", by="tests", version="2.0", reason="", at="", python="3.11.1", code=code_digest(found))
    holds = Holds(entries=(hold,))
    assert select_holds(found, holds, python="3.11.7", now=now) == holds
    assert select_holds(found, holds, python="3.12.0", now=now) == Holds()
    site.commit("Change", {name: "1\n"})
    found = open_site(site.path, site.env)
    assert select_holds(found, holds, python="3.11.7", now=now) == (Holds() if is_tried else holds)
    rests = Holds(entries=(Hold(name="a", by="tests", version="2.0", reason="", at="", tried_at=now.isoformat()),))
    assert select_holds(found, rests, python="3.11.7", now=now) == rests


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
