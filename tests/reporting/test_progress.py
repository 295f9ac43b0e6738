"""How far tests and downloads are, by what programs print."""

import pytest

from releaser.reporting.terminal import Count, Downloads, Tests, share

DJANGO = "Found 5 test(s).\nSystem check identified no issues (0 silenced).\n..F.s\n======\nFAIL: test_x (a.T)\n"
PYTEST = (
    "============ test session starts ============\ncollected 7 items / 1 deselected\n\n"
    "tests/test_a.py ..s                       [ 42%]\ntests/test_b.py .F..                      [100%]\n"
)
VERBOSE = (
    "collected 2 items\n\ntests/test_a.py::test_one PASSED    [ 50%]\ntests/test_a.py::test_two[x y] FAILED   [100%]\n"
)
XDIST = "2 workers [2 items]\n\n[gw0] [ 50%] PASSED tests/test_a.py::test_one \n[gw1] [100%] FAILED tests/a.py::two\n"
UNITTEST = "test_one (a.T.test_one) ... ok\ntest_two (a.T.test_two)\nDocstring. ... ok\ntest_c (a.T) ... skipped 'no'\n"


def fed(count: Count, text: str, size: int) -> Count:
    data = text.encode()
    for start in range(0, len(data), size):
        count.feed(data[start : start + size])
    return count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DJANGO, "5 of 5 tests"),
        (PYTEST, "7 of 7 tests"),
        ("......  [ 42%]\n...", "9 tests"),
        (VERBOSE, "2 of 2 tests"),
        (XDIST, "2 of 2 tests"),
        (UNITTEST, "2 tests"),
        ("collected 3 items\n\ntests/a.py .", "1 of 3 tests"),
        ("collected 1 item\n\n\x1b[32ma.py \x1b[0m\x1b[32m.\x1b[0m", "1 of 1 test"),
        ("Found 12 test(s).\n", "0 of 12 tests"),
        ("no tests here...\n\xff\n", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 4000])
def test_tests_are_counted_as_their_runners_show_them(text: str, said: str, size: int) -> None:
    assert str(fed(Tests(), text, size)) == said


def test_the_dots_of_many_tests_stand_on_one_line() -> None:
    assert str(fed(Tests(), 20_000 * ".", 100)) == "20000 tests"


def test_downloads_are_added_up() -> None:
    text = "Resolved 3 packages in 2ms\nDownloading a (1.5MiB)\nDownloading b (512.0KiB)\n Downloaded a\n"
    assert str(fed(Downloads(), text, 9)) == "2 MB to download"
    assert str(fed(Downloads(), "Audited 3 packages\n", 9)) == ""


def test_a_share_is_said_in_bytes_or_in_what_is_counted() -> None:
    assert share(1_200_000, 3_400_000_000) == "1 MB of 3.4 GB"
    assert (share(1, 0, "package"), share(0, 0, "package")) == ("1 package", "")
