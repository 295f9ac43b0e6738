"""Fixtures for all tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Identity, copy_for_every_user, reachable_python, require
from tests.support.sites import SampleSite, SiteFactory, Templates, user_directory

ORDINARY = 61234  # a number that no user has


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let reports, also those of the workers of pytest-xdist, tell what a test plays: `scripts/field.py` shows it."""
    item.user_properties += [(mark.name, "\n".join(mark.args)) for mark in item.iter_markers("met")]


@pytest.fixture(scope="session")
def templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """The sites that others are copied from; the workers of pytest-xdist share them, and uv's cache."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    for name in ("templates", "uv-cache"):
        (shared / name).mkdir(exist_ok=True)
    return Templates(shared / "templates", shared / "uv-cache")


@pytest.fixture
def make_site(tmp_path: Path, templates: Templates) -> SiteFactory:
    """Make sites: `make_site()` has no venv; `make_site.live("1.1.0", due="1.2.0")` has releases."""
    return SiteFactory(tmp_path, templates)


@pytest.fixture
def fresh(make_site: SiteFactory) -> SampleSite:
    """A site without a venv."""
    return make_site()


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with a live release."""
    return make_site.live()


@pytest.fixture(scope="session")
def programs_for_every_user() -> Iterator[Path]:
    """A directory with `releaser` and `uv` that every user may start."""
    with user_directory() as place:
        place.chmod(0o755)
        copy_for_every_user(place)
        yield place / "bin"


@pytest.fixture
def ordinary_user(request: pytest.FixtureRequest) -> Identity | None:
    """An ordinary user for the programs of a test; None if the tests do not run as root."""
    if os.geteuid() != 0:
        return None
    able = shutil.which("setpriv") and reachable_python().exists()
    require(able, "setpriv and an interpreter that every user may start are needed")
    programs = request.getfixturevalue("programs_for_every_user")
    return Identity(user=ORDINARY, group=ORDINARY, programs=programs)


@pytest.fixture
def user_site(make_site: SiteFactory, ordinary_user: Identity | None) -> Iterator[SampleSite]:
    """A site with a live release that belongs to an ordinary user, for whom releases are clones by hard links."""
    if ordinary_user is None:
        yield make_site.live()
        return
    with user_directory() as base:
        yield make_site.of_user(ordinary_user, base)
