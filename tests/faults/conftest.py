"""What the faults share: disks of their own, a place in memory, strace; and which fault caught each mutation."""

import compileall
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import releaser
from tests.faults.powercut import Disks
from tests.faults.scenes import Scenes
from tests.faults.tracing import require_strace

MEMORY = Path("/dev/shm")

CAUGHT = "mutation, and the fault that caught it"


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Write the byte code of releaser: in a fresh clone, the first run that comes by a module would write it."""
    compileall.compile_dir(Path(releaser.__file__).parent, quiet=1)


@pytest.fixture
def strace() -> None:
    """Skip where there is no strace."""
    require_strace()


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory, scenes: Scenes) -> Disks:
    """Give sites on disks of their own."""
    return Disks(tmp_path_factory.mktemp("disks"), scenes)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a directory in memory, if there is such a thing, as thousands of sites are made and thrown away."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="faults-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line a mutation."""
    passed: Iterable[pytest.TestReport] = terminalreporter.stats.get("passed", [])
    lines = [str(value) for report in passed for name, value in report.user_properties if name == CAUGHT]
    if lines:
        terminalreporter.write_sep("=", CAUGHT)
        for line in sorted(lines):
            terminalreporter.write_line(line)
