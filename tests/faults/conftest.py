"""Fixtures of the faults: a place in memory, scenes, strace, disks; and the table of figures."""

import compileall
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import releaser
from tests.faults.scenes import Scenes
from tests.faults.tally import every_point, pytest_addoption, pytest_terminal_summary, tally, turn  # noqa: F401
from tests.support.sites import Templates
from tests.support.smtp import mail_server

MEMORY = Path("/dev/shm")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup, so that no run that ends would hear it
    config.addinivalue_line("markers", "faults: makes faults; `make faults` and, a share of them, CI run it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark all tests here, and leave out those of other turns: of faults alone, other tables are tried whole."""
    numbers: Counter[str] = Counter()
    for item in list(items):
        if not item.path.is_relative_to(Path(__file__).parent):
            continue
        item.add_marker(pytest.mark.faults)
        marker, name = item.get_closest_marker("turns"), item.nodeid.partition("[")[0]
        numbers[name] += 1
        share = marker.args[0] if marker else 3 if "[" in item.nodeid else 1  # of other tables, a third
        if not config.getoption("--every-point", False) and (numbers[name] - turn()) % share:
            items.remove(item)


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Write the byte code of releaser: in a fresh clone, the first run writes it, and has other calls than the next."""
    compileall.compile_dir(Path(releaser.__file__).parent, quiet=1)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[Scenes]:
    """The scenes of this session, and the server for their mails."""
    with mail_server() as server:
        yield Scenes(tmp_path_factory.mktemp("scenes"), templates, server)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory if possible, since thousands of sites are made and deleted."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="faults-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
