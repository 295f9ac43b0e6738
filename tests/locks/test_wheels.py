"""Packages that have nothing to install for some Python."""

import pytest
import tomlkit

from releaser.locks.installed import find_unbuildable, has_build, tags_of
from releaser.locks.lock import LockFile
from releaser.tools.uv import uninstallable_packages

PLATFORMS = ("manylinux_2_17_x86_64", "linux_x86_64")
PURE = "pkg-1.0-py3-none-any.whl"


def lock_with(**package: object) -> LockFile:
    entry = {"name": "pkg", "version": "1.0", "source": {"registry": "https://index.example.org/simple"}, **package}
    return LockFile.parse(tomlkit.dumps({"version": 1, "package": [entry]}).encode())


def lacks(lock: LockFile, python: str) -> bool:
    (package,) = lock.packages
    return not has_build(package, tags_of(python, platforms=PLATFORMS))


@pytest.mark.parametrize(
    ("wheels", "fits"),
    [
        ([PURE], True),
        (["pkg-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"], True),
        (["pkg-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"], False),
        (["pkg-1.0-cp39-abi3-manylinux_2_17_x86_64.whl"], True),
        (["pkg-1.0-cp313-cp313t-manylinux_2_17_x86_64.whl"], False),
        (["pkg-1.0-cp312-cp312-manylinux_2_17_aarch64.whl"], False),
        (["pkg-1.0-cp311-cp311-linux_x86_64.whl", "pkg-1.0-cp312-cp312-linux_x86_64.whl"], True),
        (["pkg-1.0-py2-none-any.whl"], False),
        (["pkg-1.0%2Blocal-py3-none-any.whl"], True),
        (["not a wheel.txt"], True),  # uv may know better
    ],
)
def test_a_wheel_fits_by_its_tags(wheels: list[str], fits: bool) -> None:
    urls = [{"url": f"https://files.example.org/ab/{name}#sha256=0"} for name in wheels]
    paths = [{"path": f"../index/{name}"} for name in wheels]
    assert lacks(lock_with(wheels=urls), "3.12.1") is not fits
    assert lacks(lock_with(wheels=paths), "3.12.1") is not fits


@pytest.mark.parametrize(
    "package",
    [
        {"sdist": {"path": "pkg-1.0.tar.gz"}, "wheels": [{"path": "pkg-1.0-py2-none-any.whl"}]},
        {"source": {"git": "https://git.example.org/pkg#0123"}},
        {"wheels": []},
    ],
)
def test_what_has_a_source_can_be_had(package: dict[str, object]) -> None:
    assert not lacks(lock_with(**package), "3.12.1")


def test_what_is_installed_and_has_none_is_named() -> None:
    def unbuildable(python: str, **package: object) -> tuple[str, ...]:
        lock = lock_with(wheels=[{"path": "pkg-1.0-py2-none-any.whl"}], **package)
        return find_unbuildable(lock, group=None, default_groups=(), python=python)

    assert unbuildable("3.12.1") == ("pkg 1.0",)
    assert (unbuildable("unknown"), tags_of("unknown")) == ((), frozenset())
    assert unbuildable("3.12.1", source={"editable": "."}) == ()  # it is the project itself


def test_uv_says_what_cannot_be_built() -> None:
    said = """\
  x Failed to build `beta==2.0`
  error: Distribution `gamma==1.0 @ registry+../index` can't be installed because it doesn't have a source distribution
  x Failed to download and build `delta==3.1`
  x Failed to build `beta==2.0`
"""
    assert uninstallable_packages(said) == ("beta 2.0", "delta 3.1", "gamma 1.0")
    assert uninstallable_packages("error: the index is away") == ()
