"""Prints which fault caught each mutation; and sees to it that calls are numbered in every run as in the first."""

import compileall
from collections.abc import Iterable
from pathlib import Path

import pytest

import releaser

CAUGHT = "mutation, and the fault that caught it"


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Write the byte code of releaser: in a fresh clone, the first run that comes by a module would write it."""
    compileall.compile_dir(Path(releaser.__file__).parent, quiet=1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line a mutation."""
    passed: Iterable[pytest.TestReport] = terminalreporter.stats.get("passed", [])
    lines = [str(value) for report in passed for name, value in report.user_properties if name == CAUGHT]
    if lines:
        terminalreporter.write_sep("=", CAUGHT)
        for line in sorted(lines):
            terminalreporter.write_line(line)
