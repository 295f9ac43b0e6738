"""How much there is to download, by what a lock says."""

from __future__ import annotations

import pytest

from releaser.locking.builds import tags_of
from releaser.locking.downloads import download_sizes
from releaser.locking.installed import Pin
from releaser.locking.lockfile import EMPTY, LockFile

LOCK = LockFile.parse(b"""\
version = 1

[[package]]
name = "site"
source = { editable = "." }

[[package]]
name = "alpha"
version = "1.0"
sdist = { url = "https://example.org/alpha.tar.gz", size = 900 }
wheels = [
    { url = "https://example.org/alpha-1.0-cp312-cp312-win_amd64.whl", size = 500 },
    { url = "https://example.org/alpha-1.0-cp312-cp312-linux_x86_64.whl", size = 120 },
    { url = "https://example.org/alpha-1.0-cp311-cp311-linux_x86_64.whl" },
]

[[package]]
name = "beta"
version = "1.0"
sdist = { url = "https://example.org/beta.tar.gz", size = 30 }

[[package]]
name = "gamma"
version = "1.0"
wheels = [{ path = "gamma.whl" }]

[[package]]
name = "odd"
version = "1.0"
sdist = "none"
wheels = "none"
""")


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        ([], {}),
        (["alpha"], {"alpha": 120}),
        (["beta", "gamma"], {"beta": 30, "gamma": 0}),
        (["odd", "gone"], {"odd": 0}),
    ],
)
def test_what_is_to_be_downloaded_is_the_wheel_for_here_or_else_the_source(
    names: list[str], sizes: dict[str, int]
) -> None:
    pins = [Pin(name, "1.0") for name in names]
    assert download_sizes(LOCK, pins, tags_of("3.12", platforms=["linux_x86_64"])) == sizes


def test_where_no_wheel_is_for_here_the_source_is_downloaded() -> None:
    assert download_sizes(LOCK, [Pin("alpha", "1.0")], tags_of("3.13", platforms=["linux_x86_64"])) == {"alpha": 900}


def test_where_nothing_is_known_of_the_python_it_is_the_largest_wheel() -> None:
    assert download_sizes(LOCK, [Pin("alpha", "1.0")], frozenset()) == {"alpha": 500}


def test_another_version_is_not_meant() -> None:
    assert download_sizes(LOCK, [Pin("alpha", "2.0")], frozenset()) == {}


def test_of_no_lock_there_is_nothing_to_download() -> None:
    assert download_sizes(EMPTY, [Pin("alpha", "1.0")], frozenset()) == {}
