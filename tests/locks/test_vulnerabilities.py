"""What is made of the answer of `uv audit`: a whole answer, or none at all."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from releaser.locks.vulnerabilities import Audit, Vulnerability, fixed_by, parse_audit, unknown

# What uv 0.13.8 printed for two packages, of a loopback service; the second vulnerability had no fix and no summary.
RECORDED: dict[str, Any] = {
    "schema": {"version": "preview"},
    "summary": {"audited_packages": 2, "vulnerabilities": 2, "adverse_statuses": 0},
    "vulnerabilities": [
        {
            "dependency": {"name": "beta", "version": "1.0.0"},
            "id": "CVE-2",
            "display_id": "CVE-2",
            "aliases": [],
            "summary": None,
            "description": None,
            "link": "https://example.org/CVE-2",
            "fix_versions": [],
        },
        {
            "dependency": {"name": "alpha", "version": "1.0.0"},
            "id": "GHSA-1",
            "display_id": "PYSEC-1",
            "aliases": ["CVE-2026-1", "PYSEC-1"],
            "summary": "bad thing",
            "description": "At length: bad thing",
            "link": "https://example.org/GHSA-1",
            "fix_versions": ["1.1.0"],
        },
    ],
    "adverse_statuses": [],
}
ALPHA = Vulnerability(
    name="alpha", version="1.0.0", id="PYSEC-1", aliases=("GHSA-1", "CVE-2026-1"), summary="bad thing",
    fixed=("1.1.0",), link="https://example.org/GHSA-1",
)  # fmt: skip
BETA = Vulnerability(name="beta", version="1.0.0", id="CVE-2", link="https://example.org/CVE-2")


def known(*vulnerabilities: Vulnerability) -> Audit:
    return Audit(known=True, vulnerabilities=vulnerabilities)


def flaw(version: str, *fixed: str, name: str = "alpha", id: str = "CVE-1") -> Vulnerability:  # noqa: A002
    return Vulnerability(name=name, version=version, id=id, fixed=fixed)


def test_a_whole_answer_is_read_its_summaries_in_one_line_and_its_versions_in_order() -> None:
    assert parse_audit(json.dumps(RECORDED), packages=2) == known(ALPHA, BETA)
    content: Any = copy.deepcopy(RECORDED)
    content["vulnerabilities"][1] |= {"summary": "bad\n  thing\t", "fix_versions": ["10.0", "soon", "9.1"]}
    assert parse_audit(json.dumps(content), packages=2) == known(replace(ALPHA, fixed=("soon", "9.1", "10.0")), BETA)


def test_nothing_found_in_a_whole_answer_means_that_nothing_is_known() -> None:
    content = RECORDED | {"vulnerabilities": [], "summary": {"audited_packages": 5, "vulnerabilities": 0}}
    assert parse_audit(json.dumps(content), packages=5) == Audit(known=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>Please log in</html>",
        "{}",
        json.dumps(RECORDED)[:-20],
        json.dumps(RECORDED | {"vulnerabilities": RECORDED["vulnerabilities"][:1]}),
        json.dumps(RECORDED | {"vulnerabilities": ["CVE-1", "CVE-2"]}),
        json.dumps(RECORDED | {"summary": {"audited_packages": 1, "vulnerabilities": 2}}),
        json.dumps(RECORDED).replace('"version": "1.0.0"', '"edition": "1.0.0"'),
        "[" * 100_000,
    ],
)
def test_anything_but_a_whole_answer_is_unknown_and_says_why(text: str) -> None:
    answer = parse_audit(text, packages=2)
    assert (answer.known, answer.vulnerabilities) == (False, ())
    assert answer.reason.startswith("uv's answer")


@pytest.mark.parametrize(
    ("version", "fixed", "expected"),
    [
        ("5.0.1", ("4.2.16", "5.0.9", "5.1.1"), "5.0.9"),
        ("4.1", ("4.2.16", "5.0.9", "5.1.1"), "4.2.16"),
        ("5.1.0", ("4.2.16", "5.0.9", "5.1.1"), "5.1.1"),
        ("5.2", ("4.2.16", "5.0.9", "5.1.1"), None),
        ("2.0", ("1!1.0",), "1!1.0"),
        ("2.0rc1", ("2.0",), "2.0"),
        ("9.0", ("10.0",), "10.0"),
        ("1.0", (), None),
        ("1.0", ("soon",), None),
        ("unknown", ("1.0",), None),
    ],
)
def test_the_fix_is_the_lowest_version_above_the_one_at_hand(
    version: str, fixed: tuple[str, ...], expected: str | None
) -> None:
    assert flaw(version, *fixed).fix == expected


def test_a_package_with_several_is_free_of_all_that_can_be_fixed_from_the_highest_fix_on() -> None:
    found = known(flaw("1.0", "1.1"), flaw("1.0", "1.10", id="CVE-2"), flaw("1.0", id="CVE-3"), BETA)
    assert found.fixes() == {"alpha": "1.10"}


@pytest.mark.parametrize("ignored", ["PYSEC-1", "pysec-1", "GHSA-1", "cve-2026-1"])
def test_what_is_ignored_by_any_of_its_names_is_left_out(ignored: str) -> None:
    assert known(ALPHA, BETA).without([ignored]) == known(BETA)
    assert unknown("no network").without(["CVE-2"]) == unknown("no network")


@pytest.mark.parametrize(
    ("before", "after", "fixed"),
    [
        (known(ALPHA, BETA), known(flaw("1.1.0", id="CVE-9")), (ALPHA, BETA)),
        (known(ALPHA, BETA), known(flaw("1.0.5", id="GHSA-1"), BETA), ()),  # it goes by another name now
        (known(ALPHA), known(flaw("1.0", name="gamma", id="PYSEC-1")), (ALPHA,)),  # that of another package
        (unknown("x"), known(), ()),
        (known(ALPHA), unknown("x"), ()),
    ],
)
def test_what_is_gone_is_fixed_if_both_answers_are_known(
    before: Audit, after: Audit, fixed: tuple[Vulnerability, ...]
) -> None:
    assert fixed_by(before, after) == fixed
