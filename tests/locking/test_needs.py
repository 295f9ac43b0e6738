"""What a project without a lock asks for, from what is installed: roots, extras, and what does not go together."""

from __future__ import annotations

import pytest

from releaser.locking.needs import Needs, Root, oldest_python
from releaser.tools.distributions import Distribution

MARKERS = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux"}


def package(name: str, *requires: str, version: str = "1.0", requested: bool = False, python: str = "") -> Distribution:
    return Distribution(name=name, version=version, requires=requires, requested=requested, requires_python=python)


def root_names(*packages: Distribution, given: tuple[Root, ...] = (), imported: tuple[str, ...] = ()) -> list[str]:
    found = Needs(packages, MARKERS, given).roots(imported=imported)
    return [f"{one.name}[{','.join(sorted(one.extras))}]" if one.extras else one.name for one in found]


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([], []),
        ([package("a"), package("b", "A")], ["b"]),
        ([package("a-b"), package("c", "A_B>=1")], ["c"]),
        ([package("a"), package("b", "a; sys_platform == 'win32'")], ["a", "b"]),
        ([package("a"), package("b", "a; python_version >= '3.11'")], ["b"]),
        ([package("a"), package("b", "a; extra == 'x'")], ["a", "b"]),
        ([package("a"), package("b", "a; extra == 'x'"), package("c", "b[x]")], ["c"]),
        ([package("a", "b"), package("b", "a")], ["a"]),
        ([package("a", "b"), package("b", "c"), package("c", "a"), package("d")], ["a", "d"]),
        ([package("a", "a[x]", "b; extra == 'x'"), package("b")], ["a"]),
        ([package("a", "this is no requirement")], ["a"]),
        ([package("a"), package("b", "a[none-such]")], ["b"]),
    ],
)
def test_what_nothing_else_needs_is_asked_for(packages: list[Distribution], expected: list[str]) -> None:
    assert root_names(*packages) == expected


def test_what_the_code_imports_is_asked_for_too() -> None:
    packages = [package("a"), package("b", "a")]
    assert root_names(*packages, imported=("a", "elsewhere")) == ["a", "b"]


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        # pip notes what was asked for by name: b was not, so it came with the extra
        ([package("a", "b; extra == 'x'", requested=True), package("b")], ["a[x]"]),
        ([package("a", "b; extra == 'x'", requested=True), package("b", requested=True)], ["a", "b"]),
        ([package("a", "b; extra == 'x'"), package("b")], ["a", "b"]),
        # c is missing, so the extra cannot be what brought b
        ([package("a", "b; extra == 'x'", "c; extra == 'x'", requested=True), package("b")], ["a", "b"]),
        # two extras could have brought it
        (
            [package("a", "b; extra == 'x'", "b; extra == 'y'", requested=True), package("b")],
            ["a", "b"],
        ),
        ([package("a", "b; extra == 'x'", requested=True), package("b", "c"), package("c")], ["a[x]"]),
    ],
)
def test_what_came_with_an_extra_stands_for_it(packages: list[Distribution], expected: list[str]) -> None:
    assert root_names(*packages) == expected


def test_what_is_given_comes_first_and_the_rest_is_added() -> None:
    packages = [package("a", "b; extra == 'x'"), package("b"), package("c"), package("d", "c")]
    assert root_names(*packages, given=(Root("a", frozenset({"x"})), Root("c"))) == ["a[x]", "c", "d"]


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([package("a", "b>=2"), package("b", version="2.1")], ()),
        ([package("a", "b>=2"), package("b")], ("a 1.0 needs b>=2, and 1.0 is installed",)),
        ([package("a", "b")], ("a 1.0 needs b, which is not installed",)),
        ([package("a", "b; extra == 'x'", "c; sys_platform == 'win32'")], ()),
        ([package("a", "b>=1"), package("b", version="2.0rc1")], ()),
        ([package("a", "b @ https://example.org/b.whl"), package("b")], ()),
        ([package("a", "b"), package("b", version="of old")], ()),
    ],
)
def test_what_does_not_go_together_is_named(packages: list[Distribution], expected: tuple[str, ...]) -> None:
    assert Needs(packages, MARKERS).broken() == expected


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("3.11.7", [], "3.11"),
        ("3.11.7", ["", ">=3.9", "nonsense"], "3.11"),
        ("3.11.7", [">=3.11.5", ">=3.9.2"], "3.11.5"),
        ("3.11.7", [">=3.12"], "3.11.7"),
        ("3.10.0", [">=3.8,!=3.9.7"], "3.10"),
        ("3.14.0rc1", [">=3.8"], "3.14.0rc1"),
    ],
)
def test_the_oldest_python_that_all_are_for(version: str, bounds: list[str], expected: str) -> None:
    packages = [package(f"p{number}", python=bound) for number, bound in enumerate(bounds)]
    assert oldest_python(packages, version) == expected
