"""Fixtures of the faults: a place in memory, scenes, strace, disks; and the table of figures."""

import compileall
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import releaser
from tests.faults.scenes import Scenes
from tests.faults.tally import every_point, pytest_addoption, pytest_terminal_summary, tally  # noqa: F401
from tests.faults.tracing import require_strace
from tests.support.sites import Templates

MEMORY = Path("/dev/shm")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of all that lies here."""
    config.addinivalue_line("markers", "faults: makes faults; `make faults` and, a share of them, CI run it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Write the byte code of releaser: in a fresh clone, the first run writes it, and has other calls than the next."""
    compileall.compile_dir(Path(releaser.__file__).parent, quiet=1)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Scenes:
    """The scenes of this session."""
    return Scenes(tmp_path_factory.mktemp("scenes"), templates)


@pytest.fixture
def strace() -> None:
    """Skip the test where there is no strace."""
    require_strace()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory if possible, since thousands of sites are made and deleted."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="faults-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
