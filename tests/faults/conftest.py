"""Prints which fault caught each mutation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

CAUGHT = "mutation, and the fault that caught it"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line a mutation."""
    lines = [
        str(value)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == CAUGHT
    ]
    if lines:
        terminalreporter.write_sep("=", CAUGHT)
        for line in sorted(lines):
            terminalreporter.write_line(line)
