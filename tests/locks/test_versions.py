"""The order of versions."""

import pytest
from packaging.version import Version

from releaser.locks.versions import is_older

VERSIONS = [
    "0", "1", "1.0", "1.0.0", "1.0.1", "1.1", "1.10", "1.9", "2026.01", "2026.1.1",
    "1.0rc1", "1.0.post1", "2!0.1", "1.0+local",
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_older_as_packaging_says(version: str) -> None:
    assert [is_older(version, other) for other in VERSIONS] == [Version(version) < Version(other) for other in VERSIONS]


@pytest.mark.parametrize(("version", "than"), [("1.0 (abc)", "2.0"), ("1.0", "main"), ("", "1.0"), ("١.٠", "x")])
def test_what_is_no_version_is_not_older(version: str, than: str) -> None:
    assert not is_older(version, than)


def test_several_versions_are_older_if_the_lowest_or_the_highest_is() -> None:
    assert is_older("1.0, 2.0", "1.0, 2.1")
    assert is_older("1.0, 2.0", "1.1, 2.0")
    assert not is_older("1.0, 2.0", "1.0, 2.0")
