"""How much there is to download, by what a lock says."""

from __future__ import annotations

import pytest

from releaser.locking.downloads import download_bytes
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
    { url = "https://example.org/alpha-win.whl", size = 100 },
    { url = "https://example.org/alpha-linux.whl", size = 120 },
    { url = "https://example.org/alpha-old.whl" },
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
    ("names", "size"),
    [(None, 150), ([], 0), (["alpha"], 120), (["beta", "gamma"], 30), (["site", "odd", "gone"], 0)],
)
def test_what_is_to_be_downloaded_is_the_largest_wheel_or_else_the_source(names: list[str] | None, size: int) -> None:
    assert download_bytes(LOCK, names) == size


def test_of_no_lock_there_is_nothing_to_download() -> None:
    assert download_bytes(EMPTY) == 0
