"""Fixtures for tests without a site on disk."""

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from releaser.site.paths import Paths
from tests.unit.samples import SHOP


@pytest.fixture
def paths(fs: FakeFilesystem) -> Paths:
    """The paths of a site in a file system in memory."""
    fs.create_dir("/srv/shop/.git")
    fs.create_file("/srv/shop/pyproject.toml")
    fs.create_dir("/srv/.releaser/shop/releases")
    return SHOP
