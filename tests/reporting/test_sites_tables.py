"""The tables of packages of many sites."""

from collections.abc import Sequence
from typing import Any

import pytest

from releaser.reporting.many_sites import SiteAnswer, find_unknown
from releaser.reporting.sites_tables import find_table


def installed(name: str, version: str, **facts: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("age_seconds", "size_bytes"))
    return {"name": name, "version": version, "asked_by": [], "newer": "", "vulnerabilities": [], **unknown, **facts}


def outdated(name: str, locked: str, latest: str, *by: str, **facts: Any) -> dict[str, Any]:
    blockers = [{"by": one, "reason": "why"} for one in by]
    return {"name": name, "locked": locked, "latest": latest, "blocked_by": blockers, **facts}


def site(path: str, *answer: Any, code: int = 0, **facts: Any) -> SiteAnswer:
    return SiteAnswer(site=path, exit_code=code, answer=list(answer) if not code else None, **facts)


def shown(command: str, answers: Sequence[SiteAnswer]) -> tuple[list[list[str]], list[str]]:
    table = find_table(command)
    assert table is not None
    found = [list(row) for row in table.rows(answers)]
    assert all(len(row) == len(table.columns) for row in found)
    return found, list(table.others(answers))


def test_each_version_is_one_row_with_the_sites_that_have_it() -> None:
    answers = [
        site("/srv/b/shop", installed("django", "5.2.1", newer="5.2.2", vulnerabilities=["B", "A"])),
        site("/srv/a/blog", installed("django", "5.1.0", newer=None, vulnerabilities=None), installed("attrs", "1.0")),
        site("/srv/c/shop", installed("django", "5.2.1", newer="5.2.3", vulnerabilities=None)),
        site("/srv/d", installed("django", "5.2.1", newer=None)),
    ]
    assert shown("packages", answers) == (
        [
            ["attrs", "1.0", "-", "-", "blog"],
            ["django", "5.1.0", "?", "?", "blog"],
            ["django", "5.2.1", "5.2.2, 5.2.3", "A, B", "/srv/b/shop, /srv/c/shop, d"],
        ],
        [],
    )


def test_sites_with_the_same_reason_share_a_row() -> None:
    answers = [
        site("/srv/a", outdated("django", "5.2.1", "6.0", "constraint", next="5.2.2"), outdated("attrs", "1", "2")),
        site("/srv/b", outdated("django", "5.2.1", "6.0", "constraint", next="5.2.2")),
        site("/srv/c", outdated("django", "5.2.1", "6.0", "python")),
    ]
    assert shown("outdated", answers)[0] == [
        ["attrs", "1", "2", "nothing; the next update installs it", "a"],
        ["django", "5.2.1", "6.0", "constraint; the next update installs 5.2.2", "a, b"],
        ["django", "5.2.1", "6.0", "python", "c"],
    ]


def test_a_package_of_all_sites_names_none_of_them() -> None:
    answers = [site(path, installed("django", "5.2.1")) for path in ("/srv/a", "/srv/b")]
    assert [row[-1] for row in shown("packages", answers)[0]] == ["all 2"]
    assert [row[-1] for row in shown("packages", answers[:1])[0]] == ["a"]


@pytest.mark.parametrize("command", ["packages", "outdated"])
def test_a_site_without_a_readable_answer_is_named_below_the_table(command: str) -> None:
    failed = site("/srv/a", code=4, errors=("releaser: the index cannot be reached", "  what to do: wait"))
    strange = site("/srv/b", {"no": "package"})
    assert shown(command, [failed, strange]) == (
        [],
        ["/srv/a: the index cannot be reached (exit code 4)", "/srv/b: its answer cannot be read (exit code 0)"],
    )


@pytest.mark.parametrize("command", ["list", "audit"])
def test_other_answers_are_shown_one_after_the_other(command: str) -> None:
    assert find_table(command) is None


@pytest.mark.parametrize(
    ("missing", "unknown"),
    [
        ([], ()),
        ([["alpah"], ["alpah"]], ("alpah",)),
        ([["alpah", "beta"], ["alpah"]], ("alpah",)),
        ([["beta"], None], ()),
    ],
)
def test_a_package_that_no_site_has_may_be_misspelled(
    missing: list[list[str] | None], unknown: tuple[str, ...]
) -> None:
    answers = [SiteAnswer(site="/srv/a", exit_code=0, answer={"not_installed": names}) for names in missing]
    assert find_unknown(answers) == unknown
