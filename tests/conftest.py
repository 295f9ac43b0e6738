"""Fixtures for all tests."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.sites import SiteFactory
from tests.support.templates import Templates
from tests.support.wheels import LocalIndex

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = [
    "tests.support.smtp",
    "tests.support.guards",
    "tests.support.real_django",
    "tests.faults.tally",
    "tests.faults.scenes",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the golden file of nights be written."""
    parser.addoption("--write-nights", action="store_true", help="rewrite tests/e2e/nights.txt")


def pytest_configure() -> None:
    """Let programs that tests start be interruptible, also where who started pytest ignores Ctrl-C, or a hang-up."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def uv_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's cache; the workers of pytest-xdist share one."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if hasattr(request.config, "workerinput") else base) / "uv-cache"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Templates:
    """What sites are copied from."""
    return Templates(tmp_path_factory.mktemp("templates"), uv_cache)


@pytest.fixture
def index(tmp_path: Path) -> LocalIndex:
    """An empty index of wheels; a site has its own, `site.index`."""
    return LocalIndex(tmp_path / "index")


@pytest.fixture
def make_site(tmp_path: Path, templates: Templates) -> SiteFactory:
    """Makes sites: `make_site("shop", kind="packaged", packages={"alpha": "1.0.0"}, venv=True)`."""
    return SiteFactory(tmp_path, templates)
