"""The part of a changelog between two versions, in the forms in which projects write them."""

import time

import pytest

from releaser.reporting.changelog_text import choose_files, find_in_files

KEEP = """\
# Changelog

<!-- towncrier release notes start -->
## [Unreleased]
- Not yet.

## [1.2.0](https://example.org/shop/tree/v1.2.0) - 2026-02-03
### Added
- Vouchers.

## [1.1.1] - 2026-01-02


- Round prices.

## [1.1.0] - 2025-12-01
- Old.

[1.2.0]: https://example.org/shop/compare/v1.1.1...v1.2.0
"""
RST = """\
.. _changes:

=======
Changes
=======

1.2.0 (2026-02-03)
==================

Features
--------

- Vouchers for Python 3.14. (#12)

.. _v1.1.1:

1.1.1 (2026-01-02)
==================

- Round prices.

1.1 (2025-12-01)
================

- Old.
"""
NAMED = """\
What's new in shop-tool 1.2.0
-----------------------------

- Vouchers.

Release v1.1.1
~~~~~~~~~~~~~~
- Round prices.

shop_tool 1.1.0
---------------
- Old.
"""
OVERLINED = """\
###############
Version 1.2.0
###############

Vouchers.

###############
Version 1.1.0
###############

Old.
"""
PLAIN = """\
shop-tool: the history

1.2.0 (03.02.2026)
  * Vouchers.

1.1.1 - 2026-01-02
  * Round prices.

1.1.0
  * Old.
"""
SPHINX = """\
.. changelog::
    :version: 1.2.0
    :released: today

    .. change::
        :tags: cart

        Vouchers.

.. changelog::
    :version: 1.1.0

    Old.
"""
HIGHER = "## 1.2.0\n\n- Vouchers.\n\n# Elsewhere\n\nNothing.\n\n## 1.1.0\n- Old.\n"
CALENDAR = "2026.2 (February)\n=================\n- Vouchers.\n\n2025.12\n=======\n- Old.\n"
CASES = {
    "Keep a Changelog": (
        KEEP,
        [
            "[1.2.0](https://example.org/shop/tree/v1.2.0) - 2026-02-03",
            "### Added",
            "- Vouchers.",
            "",
            "[1.1.1] - 2026-01-02",
            "- Round prices.",
        ],
    ),
    "towncrier in reStructuredText": (
        RST,
        [
            "1.2.0 (2026-02-03)",
            "Features",
            "",
            "- Vouchers for Python 3.14. (#12)",
            "",
            "1.1.1 (2026-01-02)",
            "- Round prices.",
        ],
    ),
    "headings with names": (
        NAMED,
        ["What's new in shop-tool 1.2.0", "- Vouchers.", "", "Release v1.1.1", "- Round prices."],
    ),
    "overlines": (OVERLINED, ["Version 1.2.0", "Vouchers."]),
    "no markup": (PLAIN, ["1.2.0 (03.02.2026)", "  * Vouchers.", "", "1.1.1 - 2026-01-02", "  * Round prices."]),
    "Sphinx": (
        SPHINX,
        ["1.2.0", "    :released: today", "", "    .. change::", "        :tags: cart", "", "        Vouchers."],
    ),
    "a higher heading": (HIGHER, ["1.2.0", "- Vouchers."]),
    "CRLF and control characters": (
        KEEP.replace("\n", "\r\n").replace("Vou", "\x1b[31mVou\x07").replace("2026-02", "\u202e2026-02"),
        ["[1.2.0](https://example.org/shop/tree/v1.2.0) - 2026-02-03", "### Added", "- Vouchers.", "",
         "[1.1.1] - 2026-01-02", "- Round prices."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES)
def test_the_versions_after_the_old_one_are_found(text: str, lines: list[str]) -> None:
    found = find_in_files({"CHANGES": text}, "shop-tool", "1.1.0", "1.2.0")
    assert found is not None
    assert list(found.lines) == lines
    assert (found.has_new, found.is_whole) == (True, True)


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (RST, "1.2.0", "1.3.0"),  # it has nothing newer
        (RST, "1.2.0", "1.1.0"),  # a downgrade
        (RST, "1.1.0 (abc)", "1.2.0"),  # a commit
        ("Python 3.14\n===========\n\nIt works.\n", "3.13", "3.14"),  # the version of something else
        ("See the website.\n", "1.0", "1.1"),
        ("", "1.0", "1.1"),
    ],
)
def test_nothing_is_found_where_nothing_is(text: str, old: str, new: str) -> None:
    assert find_in_files({"CHANGES": text}, "shop-tool", old, new) is None


def test_of_several_files_the_one_that_has_all_counts() -> None:
    texts = {
        "its metadata": "## 1.2.0\n- The newest alone.\n",
        "CHANGES.rst": "The changelog is in docs.\n",
        "docs/changelog_1.rst": RST,
        "docs/history.rst": "1.1.1\n=====\n- Half.\n\n1.1.0\n=====\n- Old.\n",
    }
    found = find_in_files(texts, "shop-tool", "1.1.0", "1.2.0")
    assert found is not None
    assert found.source == "docs/changelog_1.rst"
    alone = find_in_files({"its metadata": texts["its metadata"]}, "shop-tool", "1.1.0", "1.2.0")
    assert alone is not None
    assert not alone.is_whole
    calendar = find_in_files({"NEWS": CALENDAR}, "shop-tool", "2025.12", "2026.2")
    assert calendar is not None
    assert calendar.lines == ("2026.2 (February)", "- Vouchers.")


def test_files_about_single_versions_are_joined_the_newest_first() -> None:
    is_chosen = choose_files("1.9", "1.10.1")
    names = ("1.8", "1.9", "1.9.1", "1.10", "1.10.1", "1.11", "index")
    texts = {path: f"About\n=====\n\n{path}" for name in names if is_chosen(path := f"docs/releases/{name}.txt")}
    found = find_in_files(texts, "shop-tool", "1.9", "1.10.1")
    assert found is not None
    assert [line for line in found.lines if "/" in line] == [
        f"docs/releases/{n}.txt" for n in ("1.10.1", "1.10", "1.9.1")
    ]
    assert (found.source, found.has_new) == ("docs/releases/1.10.1.txt", True)


@pytest.mark.parametrize(
    ("path", "is_chosen"),
    [
        ("CHANGES", True),
        ("Changelog.rst", True),
        ("HISTORY.md", True),
        ("NEWS.rst", True),
        ("CHANGES-2.x.txt", True),
        ("docs/source/2026-news.rst", True),
        ("docs/whats-new.md", True),
        ("docs/releasenotes/1.2.0.rst", True),
        ("docs/releasenotes/1.3.0.rst", False),
        ("docs/releasenotes/1.0.0.rst", False),
        ("src/shop/changes.py", False),
        ("docs/_static/changelog.css", False),
        ("shop/templates/news.txt", False),
        ("README.md", False),
    ],
)
def test_changelogs_are_known_by_their_names(path: str, is_chosen: bool) -> None:
    assert choose_files("1.1.0", "1.2.0")(path) is is_chosen


@pytest.mark.attack
@pytest.mark.parametrize(
    "text",
    ["# " + "a-b " * 49 + "x", "# 2\n" * 100_000, "\n2.0\n" * 100_000, "a\na\n=\n" * (4 << 20)],
    ids=["a line that can be read in many ways", "many headings", "many without markup", "a long description"],
)
def test_a_hostile_text_takes_no_time(text: str) -> None:
    began = time.process_time()
    find_in_files({"CHANGES": text}, "a-b", "1.0", "3.0")
    choose_files("1.0", "3.0")("changes/" + "1" * 100_000)
    assert time.process_time() - began < 5
