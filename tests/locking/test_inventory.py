"""What of an environment is to be locked, what no lock can hold, and whether two sets of versions are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from releaser.locking.inventory import Inventory, differences, take_stock, unlockable
from releaser.tools.distributions import Distribution, Environment

ROOT = Path("/srv/shop/shop")
SITE = "/srv/shop/shop/.venv/lib/python3.11/site-packages"
SYSTEM = "/usr/lib/python3/dist-packages"
MARKERS = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux"}
GIT = {"url": "https://git.example.org/theme.git", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}


def package(name: str, *requires: str, **fields: Any) -> Distribution:
    metadata = f"{name}-1.0.dist-info"
    return Distribution(**{
        "name": name, "version": "1.0", "requires": requires, "metadata": metadata, "location": SITE,
        "modules": frozenset({name}), **fields,
    })  # fmt: skip


def of_the_system(name: str, *requires: str, **fields: Any) -> Distribution:
    return package(name, *requires, **{"location": SYSTEM, "outside": True, **fields})


def stock(*packages: Distribution, used: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Inventory:
    environment = Environment(python=Path("/usr/bin/python3"), markers=MARKERS, distributions=packages)
    return take_stock(environment, root=ROOT, used_modules=used, without=without)


def names(inventory: Inventory) -> list[str]:
    return [one.name for one in inventory.packages]


def test_all_of_a_venv_counts_but_what_is_left_out() -> None:
    found = stock(package("a"), package("b"), package("c"), without=("b",))
    assert (names(found), found.of_the_system, found.unused) == (["a", "c"], (), ())
    assert found.versions == {"a": "1.0", "c": "1.0"}


def test_of_the_system_only_what_is_needed_counts() -> None:
    found = stock(
        package("a", "b"),
        of_the_system("b", "c"),
        of_the_system("c"),
        of_the_system("imported", "d"),
        of_the_system("d"),
        of_the_system("apt"),
        used=("imported", "a"),
    )
    assert names(found) == ["a", "b", "c", "imported", "d"]
    assert found.of_the_system == ("b", "c", "imported", "d")
    assert found.unused == ("apt",)


def test_a_module_that_several_packages_share_tells_nothing() -> None:
    shared = frozenset({"google"})
    found = stock(of_the_system("one", modules=shared), of_the_system("two", modules=shared), used=("google",))
    assert found.unused == ("one", "two")


@pytest.mark.parametrize("fields", [
    {"direct_url": {"url": "file:///srv/shop/shop", "dir_info": {"editable": True}}},
    {"location": "/srv/shop/shop", "metadata": "shop.egg-info"},
    {"location": "/srv/shop/shop/src", "metadata": "shop.egg-info"},
])  # fmt: skip
def test_the_project_itself_is_no_package_of_it(fields: dict[str, Any]) -> None:
    found = stock(package("a"), package("shop", **fields))
    assert names(found) == ["a"]
    assert found.own is not None
    assert found.own.name == "shop"


@pytest.mark.parametrize(
    ("fields", "reason", "instead"),
    [
        (
            {"direct_url": GIT},
            "was installed from git+https://git.example.org/theme.git (commit 012345678)",
            "theme @ git+https://git.example.org/theme.git@0123456789abcdef",
        ),
        (
            {"direct_url": {**GIT, "url": "https://grace:hush@git.example.org/theme.git"}},
            "was installed from git+https://***@git.example.org/theme.git (commit 012345678)",
            "theme @ git+https://***@git.example.org/theme.git@0123456789abcdef",
        ),
        (
            {"direct_url": {"url": "file:///srv/the%20theme", "dir_info": {"editable": True}}},
            "is an editable install of /srv/the theme",
            "theme @ /srv/the theme",
        ),
        (
            {"direct_url": {"url": "file:///srv/theme", "dir_info": {}}},
            "was built from the directory /srv/theme",
            "theme @ /srv/theme",
        ),
        (
            {"direct_url": {"url": "file:///srv/theme-1.0-py3-none-any.whl", "archive_info": {}}},
            "was installed from the file /srv/theme-1.0-py3-none-any.whl",
            "theme @ /srv/theme-1.0-py3-none-any.whl",
        ),
        (
            {"direct_url": {"url": "https://example.org/theme-1.0.tar.gz", "archive_info": {}}},
            "was installed from https://example.org/theme-1.0.tar.gz",
            "theme @ https://example.org/theme-1.0.tar.gz",
        ),
        (
            {"location": "/srv/theme", "metadata": "theme.egg-info"},
            "is an editable install of /srv/theme",
            "theme @ /srv/theme",
        ),
        (
            {"metadata": "theme-1.0-py3.11.egg-info"},
            "was installed by its setup.py, which leaves no trace of where it came from",
            "theme==1.0",
        ),
    ],
)
def test_what_came_from_no_index_cannot_be_locked(fields: dict[str, Any], reason: str, instead: str) -> None:
    (found,) = unlockable(stock(package("a"), package("theme", **fields)))
    assert str(found) == f"theme 1.0 {reason}"
    assert found.instead == instead


@pytest.mark.parametrize(
    "one",
    [
        package("theme"),
        package("theme", metadata="theme-1.0-py3.11.egg-info", by_pip=True),
        of_the_system("theme", metadata="theme-1.0.egg-info"),
    ],
)
def test_what_an_index_may_have_can_be_locked(one: Distribution) -> None:
    assert unlockable(stock(one, used=("theme",))) == ()


@pytest.mark.parametrize(
    ("before", "after", "whole", "expected"),
    [
        ({"a": "1.0"}, {"a": "1.0"}, True, ()),
        ({"a": "1.0"}, {"a": "1.0.0"}, True, ()),
        ({"a": "1.0", "b": "2"}, {"a": "1.1"}, True, ("a 1.0 → 1.1", "b 2 → none")),
        ({"a": "1.0"}, {"a": "1.0", "c": "1"}, True, ("c none → 1",)),
        ({"a": "1.0"}, {"a": "1.0", "c": "1"}, False, ()),
        ({"a": "1.0"}, {"c": "1"}, False, ("a 1.0 → none",)),
        ({"a": "of old"}, {"a": "1.0"}, True, ("a of old → 1.0",)),
        ({"a": "1.0+shop"}, {"a": "1.0"}, True, ("a 1.0+shop → 1.0",)),
    ],
)
def test_what_differs_is_named(
    before: dict[str, str], after: dict[str, str], whole: bool, expected: tuple[str, ...]
) -> None:
    assert differences(before, after, whole=whole) == expected
    assert differences(before, after, whole=whole, except_for=[*before, *after]) == ()
