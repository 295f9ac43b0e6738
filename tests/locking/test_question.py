"""The question which versions there are, and what is read out of the answer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from releaser.locking.question import question, read_answer

ROOT = Path("/srv/shop stuff/shop")


def asked(uv: dict[str, Any], *, wanted: tuple[str, ...] = ("alpha",), uv_toml: dict[str, Any] | None = None) -> Any:
    text = question(dict.fromkeys(wanted, ""), root=ROOT, uv=uv, uv_toml=uv_toml)
    return tomllib.loads(text)


def test_packages_are_dependencies_with_the_bounds_that_are_wanted() -> None:
    text = question({"alpha": "", "beta": ">=2.0rc1"}, root=ROOT, uv={}, uv_toml=None)
    assert tomllib.loads(text)["project"]["dependencies"] == ["alpha", "beta>=2.0rc1"]


def test_indexes_are_those_of_the_project_wherever_the_question_lies() -> None:
    uv: dict[str, Any] = {
        "index": [
            {"name": "own", "url": "../own", "format": "flat", "explicit": True},
            {"name": "other", "url": "https://index.example.org/simple", "default": True},
        ],
        "find-links": ["wheels", "/opt/wheels", "https://files.example.org/x"],
        "extra-index-url": ["https://extra.example.org"],
        "index-url": "./simple",
        "no-index": False,
        "index-strategy": "unsafe-best-match",
        "prerelease": "allow",
    }
    assert asked(uv)["tool"]["uv"] == {
        "index": [{**uv["index"][0], "url": "/srv/shop stuff/shop/../own"}, uv["index"][1]],
        "find-links": ["/srv/shop stuff/shop/wheels", "/opt/wheels", "https://files.example.org/x"],
        "extra-index-url": ["https://extra.example.org"],
        "index-url": "/srv/shop stuff/shop/simple",
        "no-index": False,
        "index-strategy": "unsafe-best-match",
        "prerelease": "allow",
    }


def test_nothing_that_says_which_versions_are_wanted_is_taken_over() -> None:
    uv = {"constraint-dependencies": ["alpha<1"], "exclude-newer": "2026-01-01", "override-dependencies": ["alpha<2"]}
    assert asked({**uv, "resolution": "lowest"})["tool"]["uv"] == {}


def test_of_the_sources_only_indexes_count_and_only_for_what_is_asked() -> None:
    sources = {
        "Alpha.X": [{"index": "own", "marker": "sys_platform == 'linux'"}],
        "beta": {"git": "https://git.example.org/beta"},
        "gamma": {"index": "own"},
    }
    assert asked({"sources": sources}, wanted=("alpha-x", "beta"))["tool"]["uv"]["sources"] == {
        "Alpha.X": {"index": "own"}
    }


def test_a_uv_toml_takes_the_place_of_the_table_but_for_the_sources() -> None:
    uv = {"index-url": "https://one.example.org", "sources": {"alpha": {"index": "own"}}}
    found = asked(uv, uv_toml={"index-url": "https://two.example.org"})["tool"]["uv"]
    assert found == {"index-url": "https://two.example.org", "sources": {"alpha": {"index": "own"}}}


@pytest.mark.parametrize("text", ['"quoted"', "back\\slash", "é€𝄞", "line\nfeed", "\x7f", "tab\t"])
def test_any_text_survives(text: str) -> None:
    found = asked({"index": [{"name": text, "url": f"https://x.example.org/{text}"}]})["tool"]["uv"]["index"]
    assert found == [{"name": text, "url": f"https://x.example.org/{text}"}]


ANSWER = """\
lock-version = "1.0"
[[packages]]
name = "alpha"
version = "1.9"
marker = "python_full_version < '3.14'"
[[packages]]
name = "alpha"
version = "1.10"
marker = "python_full_version >= '3.14'"
[[packages]]
name = "beta"
version = "2.0"
[[packages]]
name = "gamma"
version = "3.0"
marker = "python_full_version >= '3.14'"
"""


def test_the_newest_version_and_the_newest_for_this_python_are_told_apart() -> None:
    found = read_answer(ANSWER, python="3.12.1")
    assert {name: (one.newest, one.fitting) for name, one in found.items()} == {
        "alpha": ("1.10", "1.9"),
        "beta": ("2.0", "2.0"),
        "gamma": ("3.0", None),
    }
    assert read_answer(ANSWER, python="3.14.0")["alpha"].fitting == "1.10"


def test_an_answer_without_packages_is_empty_and_no_toml_is_an_error() -> None:
    assert read_answer('lock-version = "1.0"', python="3.12.1") == {}
    with pytest.raises(ValueError, match="Invalid value"):
        read_answer("packages = [", python="3.12.1")
