"""Fixtures for tests without a site on disk."""

from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from releaser.site.paths import Paths, make_paths


@pytest.fixture
def paths(fs: FakeFilesystem) -> Paths:
    """The paths of a site in a file system in memory."""
    fs.create_dir("/srv/shop/.git")
    fs.create_file("/srv/shop/pyproject.toml")
    fs.create_dir("/srv/.releaser/shop/releases")
    # Made here: since Python 3.13 a path of the file system in memory lies in none from outside of it.
    return make_paths(Path("/srv/shop"), Path("/srv/shop"), Path("/srv/shop/.venv"), Path("/srv/.releaser/shop"))
