"""The words of a run: the telling line of tests, the order of changes, full stops, exact versions."""

import pytest

from releaser.candidate.tests import find_telling_line
from releaser.packages.changes import compare_locks, describe_changes, describe_news
from releaser.releases.release import PackageChange
from releaser.system.text import end_sentence
from tests.unit.samples import make_lock

DJANGO = """\
Found 2 test(s).
Creating test database for alias 'default'...
FAIL: test_a (shop.tests.T.test_a)
----------------------------------------------------------------------
{}
----------------------------------------------------------------------
Ran 2 tests in 0.001s

FAILED (failures=1)
Destroying test database for alias 'default'...
"""
TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in b\n    c()\n{}'


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (DJANGO.format("AssertionError: 1 != 2"), "AssertionError: 1 != 2"),
        (DJANGO.format(TRACEBACK.format("app.exceptions.ImproperlyConfigured: no key")),
         "app.exceptions.ImproperlyConfigured: no key"),
        (DJANGO.format(TRACEBACK.format("KeyboardInterrupt")), "KeyboardInterrupt"),
        (DJANGO.format(""), "test_a (shop.tests.T.test_a)"),
        ("Found 1 test(s).\nfour\nDestroying test database for alias 'default'...\n", "four"),
        ("Destroying test database for alias 'default'...\n", "Destroying test database for alias 'default'..."),
        ("SystemCheckError: System check identified some issues:\n\nERRORS:\nshop.Tea: (models.E020) The check\n"
         "\nSystem check identified 1 issue (0 silenced).\n", "shop.Tea: (models.E020) The check"),
        ("FAILED tests/test_a.py::test_b - assert 1 == 2\n=== 1 failed in 0.1s ===\n",
         "tests/test_a.py::test_b - assert 1 == 2"),
        ("E       ValueError: one\nFAILED tests/test_a.py::test_b - ValueError: one\n", "ValueError: one"),
        (TRACEBACK.format("OSError: one\n\nThen\n\n") + TRACEBACK.format("shop.Sold: two\n"), "shop.Sold: two"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure_is_its_telling_line(output: str, line: str) -> None:
    assert find_telling_line(output) == line


def test_a_long_list_begins_with_what_leaves_major_versions_and_the_packages_of_the_project() -> None:
    before = make_lock(", ".join(f"p{number:02} 1.0" for number in range(12)))
    after = make_lock(", ".join([*(f"p{number:02} 1.1" for number in range(10)), "p10 2.0"]))
    changes = compare_locks(before, after)
    assert describe_changes(changes, 3) == "p11 1.0 (removed), p10 1.0 → 2.0, p00 1.0 → 1.1 and 9 more"


def test_code_is_named_where_no_package_changes() -> None:
    change = PackageChange("a", "1", "2", "major")
    table: list[tuple[list[PackageChange], list[str], str]] = [
        ([change], ["1a2b3c4 Fix it"], "a 1 → 2"),
        ([], ["1a2b3c4 Fix it"], "commit 1a2b3c4 Fix it"),
        ([], ["1a2b3c4 Fix it", "2b3c4d5 Break it"], "commit 1a2b3c4 Fix it and 1 more"),
        ([], [], "the same packages"),
    ]
    for changes, commits, words in table:
        assert describe_news(changes, commits) == words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("It failed: x is not y..", "It failed: x is not y."), ("It failed", "It failed."), ("It failed.", "It failed."),
     ("Is it?", "Is it?"), ("It goes on …", "It goes on …"), ("See `../a..b`", "See `../a..b`."), ("", ""),
     ("One.. Two", "One. Two."), ("`a b..` is in ../x", "`a b..` is in ../x."), ("Wait...", "Wait...")],
)  # fmt: skip
def test_a_sentence_ends_with_one_full_stop(text: str, sentence: str) -> None:
    assert end_sentence(text) == sentence
