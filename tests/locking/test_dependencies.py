"""The pyproject.toml of a project that had no lock."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
from packaging.requirements import Requirement

from releaser.locking.dependencies import (
    Founding,
    asked_for,
    declared_already,
    founded,
    project_name,
    source_of,
)
from releaser.locking.needs import Root
from releaser.locking.overrides import Override
from releaser.locking.requirements import Line

FOUNDING = Founding(name="shop", requires_python=">=3.11", dependencies=("a>=1", "b[x]"))


def line(text: str) -> Line:
    return Line(requirement=Requirement(text), where="requirements.txt, line 1")


def test_a_new_file_holds_what_is_needed() -> None:
    assert founded(None, FOUNDING) == (
        '[project]\nname = "shop"\nversion = "0"\nrequires-python = ">=3.11"\n'
        'dependencies = [\n    "a>=1",\n    "b[x]",\n]\n'
    )


def test_a_file_that_is_there_keeps_its_comments_and_its_order() -> None:
    text = (
        '# ours\n[tool.black]\nline-length = 99  # wide\n\n[project]\nname = "x"  # a name\nversion = "3"\n\n[tool.z]\n'
    )
    found = founded(text, FOUNDING)
    assert tomllib.loads(found)["project"] == {
        "name": "x", "version": "3", "requires-python": ">=3.11", "dependencies": ["a>=1", "b[x]"],
    }  # fmt: skip
    for kept in ("# ours\n[tool.black]\nline-length = 99  # wide\n", 'name = "x"  # a name\n', "\n[tool.z]\n"):
        assert kept in found


def test_a_version_that_is_dynamic_is_not_given() -> None:
    found = tomllib.loads(founded('[project]\nname = "x"\ndynamic = ["version"]\n', FOUNDING))
    assert "version" not in found["project"]


def test_what_else_uv_has_to_know_is_added_to_what_it_knows() -> None:
    founding = Founding(
        name="shop", requires_python=">=3.11", dependencies=(), constraints=("c<2",),
        sources={"b": {"path": "../b", "editable": True}}, indexes=({"url": "https://i.example.org", "default": True},),
        links=("../index",), no_index=True, group="none", environments=("sys_platform == 'linux'",),
    )  # fmt: skip
    text = '[tool.uv]\nconstraint-dependencies = ["d<3"]\npackage = false\n\n[tool.releaser]\nkeep = 3\n'
    assert tomllib.loads(founded(text, founding))["tool"] == {
        "uv": {
            "constraint-dependencies": ["d<3", "c<2"],
            "package": False,
            "find-links": ["../index"],
            "no-index": True,
            "environments": ["sys_platform == 'linux'"],
            "index": [{"url": "https://i.example.org", "default": True}],
            "sources": {"b": {"path": "../b", "editable": True}},
        },
        "releaser": {"keep": 3, "group": "none"},
    }


@pytest.mark.parametrize(
    "text",
    [
        "tool = {uv = {package = false}}\n",
        "[tool]\nuv = {package = false}\n",
        "[tool]\nuv.package = false\n",
        "tool.uv.package = false\n[tool.black]\nfast = true\n",
        "[tool.uv]\npackage = false\nsources = {c = {path = 'c'}}\n",
        "[tool.uv]\npackage = false\nsources.c = {path = 'c'}\n",
    ],
)
def test_it_is_added_however_the_tables_are_written(text: str) -> None:
    founding = replace(FOUNDING, sources={"b": {"path": "b"}}, indexes=({"url": "https://i.example.org"},))
    before = tomllib.loads(text)["tool"]["uv"]
    found = tomllib.loads(founded(text, founding))
    assert found["project"]["dependencies"] == ["a>=1", "b[x]"]
    assert found["tool"]["uv"] == {
        **before,
        "index": [{"url": "https://i.example.org"}],
        "sources": {**before.get("sources", {}), "b": {"path": "b"}},
    }


def test_indexes_that_are_there_stay_behind_the_new_ones() -> None:
    text = '[[tool.uv.index]]\nurl = "https://i.example.org"\n\n[[tool.uv.index]]\nname = "ours"\nurl = "https://o"\n'
    founding = replace(FOUNDING, indexes=({"url": "https://i.example.org", "default": True},))
    assert tomllib.loads(founded(text, founding))["tool"]["uv"]["index"] == [
        {"url": "https://i.example.org", "default": True}, {"name": "ours", "url": "https://o"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("roots", "lines", "expected"),
    [
        ([Root("b"), Root("a", frozenset({"y", "x"}))], [], ("a[x,y]>=1.0", "b>=2.0rc1")),
        ([Root("c"), Root("d")], [], ("c>=1.5", "d==of old")),
        ([Root("a")], ["A==1.0"], ("A>=1.0",)),
        ([Root("a")], ["a~=1.0; sys_platform == 'win32'", "a"], ("a", 'a~=1.0; sys_platform == "win32"')),
        ([], ["a[y,x]==1.0; python_version > '3'", "b==2.*"], ('a[x,y]>=1.0; python_version > "3"', "b==2.*")),
        ([Root("a"), Root("b")], ["b<3,>=1"], ("a>=1.0", "b<3,>=1")),
    ],
)
def test_exact_versions_become_lower_bounds(roots: list[Root], lines: list[str], expected: tuple[str, ...]) -> None:
    versions = {"a": "1.0", "b": "2.0rc1", "c": "1.5+shop", "d": "of old"}
    assert asked_for(roots, versions, [line(text) for text in lines]) == expected


@pytest.mark.parametrize(
    ("override", "place", "editable", "expected"),
    [
        (Override(name="a", url="https://example.org/a.whl"), "", False, ("a @ https://example.org/a.whl", None)),
        (Override(name="a", extras=frozenset({"x"}), url="file:///srv/a"), "../a", True,
         ("a[x]", {"path": "../a", "editable": True})),
        (Override(name="a", url="file:///srv/a.whl"), "/srv/a.whl", False, ("a", {"path": "/srv/a.whl"})),
    ],
)  # fmt: skip
def test_what_is_given_is_a_source(override: Override, place: str, editable: bool, expected: Any) -> None:
    assert source_of(override, place, editable=editable) == expected


@pytest.mark.parametrize(
    ("directory", "expected"),
    [("shop", "shop"), ("The Shop_2", "the-shop-2"), ("läden", "l-den"), ("--", "site"), ("django", "django-site")],
)
def test_the_project_has_a_name_that_no_package_has(directory: str, expected: str) -> None:
    assert project_name(directory, ["django"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('[project]\nname = "x"\ndependencies = []\n[dependency-groups]\ndev = []\n[tool.uv]\npackage = false\n', []),
        ('[project]\ndependencies = ["a"]\n', ["[project] dependencies"]),
        ('[project]\ndynamic = ["version", "dependencies"]\n', ['[project] dynamic = ["dependencies"]']),
        ('[project.optional-dependencies]\nx = ["a"]\n', ["[project] optional-dependencies"]),
        ('[dependency-groups]\ndev = []\nprod = ["a"]\n', ["[dependency-groups]"]),
        ('[tool.uv]\ndev-dependencies = ["a"]\n', ["[tool.uv] dev-dependencies"]),
        ('[tool.poetry.dependencies]\npython = "3"\n', ["[tool.poetry] dependencies"]),
        ('project = 1\n[tool]\nuv = "x"\n', []),
    ],
)
def test_what_is_declared_already_is_named(text: str, expected: list[str]) -> None:
    assert list(declared_already(tomllib.loads(text))) == expected


def test_the_parser_says_what_is_no_toml() -> None:
    with pytest.raises(ValueError, match="line 1"):
        founded("[project\n", FOUNDING)
