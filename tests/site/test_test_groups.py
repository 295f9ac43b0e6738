"""Which dependency groups go live unasked, which are for the tests alone, and what cannot be."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from releaser.errors import PreflightError
from releaser.site import conventions as test_groups
from releaser.site.conventions import choose_dependency_group
from releaser.site.project import Pyproject
from releaser.site.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = Path("/srv/site/pyproject.toml")
ALL: dict[str, Any] = {"prod": ["gunicorn"], "dev": ["ruff"], "test": ["pytest"]}


def pyproject(uv: dict[str, Any] | None = None, **groups: Any) -> Pyproject:
    return Pyproject(
        path=FILE, content={"project": {"name": "shop"}, "dependency-groups": groups, "tool": {"uv": uv or {}}}
    )


@pytest.mark.parametrize(
    ("uv", "tests", "live", "left_out"),
    [
        ({}, (), ("dev",), ()),
        ({}, ("test",), ("dev",), ()),
        ({}, ("dev",), (), ("dev",)),
        ({"default-groups": []}, ("dev",), (), ()),
        ({"default-groups": ["test", "gone"]}, (), ("test",), ()),
        ({"default-groups": ["test", "dev"]}, ("test",), ("dev",), ("test",)),
        ({"default-groups": "all"}, ("test",), ("prod", "dev"), ("test",)),
        ({"default-groups": "all"}, (), ("prod", "dev", "test"), ()),
        ({"default-groups": 5}, (), ("dev",), ()),
    ],
)
def test_default_groups_go_live_but_for_those_of_the_tests(
    uv: dict[str, Any], tests: tuple[str, ...], live: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    settings, there = Settings(test_groups=tests), pyproject(uv, **ALL)
    assert test_groups.live_default_groups(settings, there) == live
    assert test_groups.left_out_groups(settings, there) == left_out


def found(settings: Settings, there: Pyproject) -> list[str]:
    live = None
    with contextlib.suppress(PreflightError):
        live = choose_dependency_group(settings, there)
    findings = list(test_groups.test_group_findings(settings, there, live=live, source="FILE: KEY"))
    assert all(one.advice for one in findings)
    return [f"{one.message}. {one.advice}" for one in findings]


def conflict(*names: str, **more: str) -> dict[str, Any]:
    return {"conflicts": [[{"group": name, **more} for name in names]]}


@pytest.mark.parametrize(
    ("settings", "there", "words"),
    [
        ({}, pyproject(**ALL), []),
        ({"test_groups": ("test", "dev")}, pyproject(**ALL), []),
        (
            {"test_groups": ("tset",)},
            pyproject(**ALL),
            ["FILE: KEY names the group `tset`", f"not in .* of {FILE}", "`test`?"],
        ),
        ({"test_groups": ("x",)}, pyproject(**ALL), ["`x`", "Add the group, or take it out of `test_groups`."]),
        ({"test_groups": ("odd",)}, pyproject(odd={}), ["`odd`, which is not a list in"]),
        ({"test_groups": ("prod",), "group": "prod"}, pyproject(**ALL), ["the one that goes live"]),
        ({"test_groups": ("test",), "group": "gone"}, pyproject(**ALL), []),
        (
            {"test_groups": ("test",), "group": "prod"},
            pyproject(conflict("prod", "test"), **ALL),
            ["`prod` and `test`"],
        ),
        ({"test_groups": ("test",)}, pyproject(conflict("dev", "test"), **ALL), ["`dev` and `test`"]),
        ({"test_groups": ("test", "dev")}, pyproject(conflict("dev", "test"), **ALL), ["`dev` and `test`"]),
        ({"test_groups": ("test",)}, pyproject(conflict("prod", "test"), **ALL), []),
        ({"test_groups": ("test",), "group": "prod"}, pyproject(conflict("prod", "dev"), **ALL), []),
        ({"test_groups": ("test",)}, pyproject(conflict("dev", "test", package="shop"), **ALL), ["`dev` and `test`"]),
        ({"test_groups": ("test",)}, pyproject(conflict("dev", "test", package="member"), **ALL), []),
        ({"test_groups": ("test",)}, pyproject({"conflicts": [5, [{"extra": "x"}, 5]]}, **ALL), []),
    ],
)
def test_what_cannot_be_is_found(settings: Mapping[str, Any], there: Pyproject, words: list[str]) -> None:
    said = found(Settings(environment="local", **settings), there)
    assert len(said) == (1 if words else 0)
    assert all(re.search(word.replace("?", r"\?"), said[0]) for word in words)


def test_groups_that_are_included_count_for_conflicts() -> None:
    there = pyproject(
        conflict("old", "new"),
        prod=["gunicorn", {"include-group": "old"}],
        test=[{"include-group": "more"}],
        more=[{"include-group": "new"}, {"include-group": "test"}],
        old=["django<5"],
        new=["django>=5"],
    )
    (said,) = found(Settings(group="prod", test_groups=("test",)), there)
    assert "`new` and `old`" in said


def test_each_group_that_is_missing_is_told() -> None:
    assert len(found(Settings(environment="local", test_groups=("a", "b")), pyproject())) == 2
