"""Which host a bundle fits, and which packages of it are other builds than the live ones."""

import pytest

from releaser.bundles.bundle import Manifest, Member
from releaser.bundles.host import Tags, find_changed, find_misfit
from releaser.packages.lock import Lock

DEBIAN: Tags = ("cp311", "linux_x86_64", "glibc-2.36")
PURE, MANY, OWN = "a-1-py3-none-any.whl", "a-1-cp311-cp311-manylinux2014_x86_64.whl", "a-1-cp311-cp311-linux_x86_64.whl"


def manifest(*wheels: str, tags: Tags = DEBIAN, digest: str = "0") -> Manifest:
    members = {f"wheels/{wheel}": Member(sha256=digest * 64, size=1) for wheel in wheels}
    return Manifest(
        project="shop",
        release="r",
        commit="0" * 40,
        branch="main",
        python="3.11.4",
        tags=tags,
        lock_sha256="0" * 64,
        members=members,
        packages=(),
    )


@pytest.mark.parametrize(
    ("python", "tags", "wheel", "words"),
    [
        ("3.11.2", DEBIAN, OWN, ()),
        ("3.11.9", ("cp311", "linux_x86_64", "glibc-2.41"), OWN, ()),
        ("3.12.1", ("cp312", "linux_x86_64", "glibc-2.36"), PURE, ("CPython 3.11.4", "CPython 3.12.1")),
        ("3.11.4", ("cp311", "linux_aarch64", "glibc-2.36"), PURE, ("linux_x86_64", "linux_aarch64")),
        ("3.11.4", ("cp311", "linux_x86_64", "musl"), PURE, ("glibc-2.36", "musl")),
        ("3.11.4", ("cp311", "linux_x86_64", "glibc-2.31"), PURE, ()),
        ("3.11.4", ("cp311", "linux_x86_64", "glibc-2.31"), MANY, ()),
        ("3.11.4", ("cp311", "linux_x86_64", "glibc-2.31"), OWN, ("too old", OWN)),
    ],
)
def test_a_bundle_fits_the_same_minor_python_on_a_platform_that_is_not_older(
    python: str, tags: Tags, wheel: str, words: tuple[str, ...]
) -> None:
    problems = find_misfit(manifest(wheel), python, tags)
    assert bool(problems) == bool(words)
    assert all(word in problems[0].message for word in words)


def test_a_package_is_another_build_if_its_wheel_has_another_hash() -> None:
    lock = Lock((), "")
    assert find_changed(manifest(PURE), lock, manifest(PURE), None) == frozenset()
    assert find_changed(manifest(PURE, digest="1"), lock, manifest(PURE), None) == {"a"}
