"""The order of versions."""

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.locks import versions
from releaser.locks.versions import admits_plainly, is_newer, is_older, is_prerelease, newest

VERSIONS = [
    "0", "1", "1.0", "1.0.0", "1.0.1", "1.1", "1.10", "1.9", "2026.01", "2026.1.1",
    "1.0rc1", "1.0.post1", "1.0.0.post0", "1.0.post10", "1.0.post1.dev1", "2!0.1", "1.0+local",
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_older_as_packaging_says(version: str) -> None:
    assert [is_older(version, other) for other in VERSIONS] == [Version(version) < Version(other) for other in VERSIONS]
    assert [is_newer(version, other) for other in VERSIONS] == [Version(version) > Version(other) for other in VERSIONS]
    assert is_prerelease(version) is Version(version).is_prerelease


def test_most_versions_need_no_packaging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "parse_version", None)
    assert is_newer("2.9.0.post0", "2.9")
    assert is_older("2.9.0.post0", "2.9.0.post1")
    assert newest(["2.9", "2.9.0.post0"]) == "2.9.0.post0"
    assert not is_prerelease("2.9.0.post0")


@pytest.mark.parametrize(("version", "than"), [("1.0 (abc)", "2.0"), ("1.0", "main"), ("", "1.0"), ("١.٠", "x")])
def test_what_is_no_version_is_not_older(version: str, than: str) -> None:
    assert not is_older(version, than)


def test_several_versions_are_older_if_the_lowest_or_the_highest_is() -> None:
    assert is_older("1.0, 2.0", "1.0, 2.1")
    assert is_older("1.0, 2.0", "1.1, 2.0")
    assert not is_older("1.0, 2.0", "1.0, 2.0")


_VERSIONS = (
    "0",
    "1",
    "1.0",
    "1.0.0",
    "1.2",
    "1.10",
    "2.9.0",
    "3.11.7",
    "2.9.0.post0",
    "2.0rc1",
    "1!1",
    "1.0+local",
    "x",
)


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!=", "~=", "==="])
@pytest.mark.parametrize("bound", [*_VERSIONS, "1.*"])
def test_what_a_range_plainly_admits_is_what_packaging_says(sign: str, bound: str) -> None:
    for text in ("", f"{sign}{bound}", f" >= 1.0 , {sign} {bound} ", f"{sign}{bound},", f">=1,{sign}{bound},!=1.2"):
        for version in _VERSIONS:
            found = admits_plainly(text, version)
            assert found is None or SpecifierSet(text).contains(version, prereleases=True) is found, (text, version)


@pytest.mark.parametrize(
    ("text", "admitted"), [("", True), (">=1.0, <3", True), ("==2.0", True), ("==1.9.0.post0", False), ("!=2", False)]
)
def test_common_ranges_need_no_packaging(text: str, *, admitted: bool) -> None:
    assert admits_plainly(text, "2.0.0") is admitted


def test_the_newest_of_plain_versions_is_found_as_that_of_all() -> None:
    plain = ["1.9", "1.10.0", "1.10", "0.99"]
    assert newest(plain) == newest([*plain, "1.0rc1"]) == "1.10.0"
    assert newest(["2.0rc1"]) == "2.0rc1"
