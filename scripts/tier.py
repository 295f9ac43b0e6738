"""Run a tier of the tests with pytest, and run each test that failed once more, alone, after all others have ended.

A test that passes alone is flaky: it is reported, and does not fail the tier. A test that fails again does. So do a
worker that crashed, an error of collection, an interrupt, and a run that stopped early: a second run of the tests that
failed cannot judge those. More than five flaky tests fail the tier, too; with FLAKY_TESTS=FILE, all tiers of one run of
CI count theirs together in this file.

Plugins that run a test again do so at once, in the same worker, while the machine is as busy as before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_FLAKY = 5
# With more failures than this, the machine or the change is at fault, and to try all of them again takes too long.
MOST_TRIED = 20
ALONE = "--only="
SHOWN = 200  # characters of a reason


class Recorder:
    """A pytest plugin: notes which tests failed and why, and whether their second run can tell all."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self.passed: set[str] = set()
        self.is_conclusive = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure of a test or of its fixtures. What ends a worker has no phase of a test."""
        if report.failed:
            self.failed.setdefault(report.nodeid, reason_of(report))
            self.is_conclusive &= report.when in ("setup", "call", "teardown")
        elif report.passed and report.when == "call":
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that tests could not be collected."""
        self.is_conclusive &= not report.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Note that the run stopped early, as it does with -x."""
        self.is_conclusive &= not (session.shouldfail or session.shouldstop)


class Only:
    """A pytest plugin: leaves one test."""

    def __init__(self, nodeid: str) -> None:
        self._nodeid = nodeid

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop all other tests."""
        items[:] = [item for item in items if item.nodeid == self._nodeid]


def reason_of(report: pytest.TestReport) -> str:
    """Return the first line of what made a test fail."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr).strip()
    return text.partition("\n")[0][:SHOWN]


def run_tier(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the tier, then what failed; return the exit status."""
    recorder = Recorder()
    status = int(pytest.main([*arguments], plugins=[recorder]))
    if status != pytest.ExitCode.TESTS_FAILED:
        return status
    if not recorder.is_conclusive or not recorder.failed:
        print("No failure can count as flaky: a worker crashed, or the run was not complete.", flush=True)
        return status
    if len(recorder.failed) > MOST_TRIED:
        print(f"{len(recorder.failed)} tests failed, too many to run each of them again.", flush=True)
        return status
    flaky = {nodeid: reason for nodeid, reason in recorder.failed.items() if passes_alone(nodeid, arguments)}
    total = count(flaky, environ.get("FLAKY_TESTS"))
    show(flaky, failed_twice=sorted(recorder.failed.keys() - flaky.keys()), total=total)
    return status if total > MOST_FLAKY or len(flaky) < len(recorder.failed) else 0


def passes_alone(nodeid: str, arguments: Sequence[str]) -> bool:
    """Run one test in a process of its own."""
    print(f"\nOnce more, alone: {nodeid}", flush=True)
    # As the last of them, these win.
    words = [sys.executable, __file__, ALONE + nodeid, *arguments, "--numprocesses=0", "--quiet"]
    return subprocess.run(words, check=False).returncode == 0


def run_alone(nodeid: str, arguments: Sequence[str]) -> int:
    """Run this test and no other; return 0 if it passed, and was not skipped."""
    recorder = Recorder()
    status = pytest.main([*arguments], plugins=[recorder, Only(nodeid)])
    return 0 if status == pytest.ExitCode.OK and recorder.passed == {nodeid} else 1


def count(flaky: Mapping[str, str], file: str | None) -> int:
    """Return the number of flaky tests of this tier and of those before it that wrote to the same file."""
    if not file:
        return len(flaky)
    with Path(file).open("a+", encoding="utf-8") as known:
        known.writelines(line_of(nodeid, reason) + "\n" for nodeid, reason in flaky.items())
        known.seek(0)
        return len(known.readlines())


def line_of(nodeid: str, reason: str) -> str:
    """Return the line that reports a flaky test."""
    return f"FLAKY: {nodeid}, {reason}"


def show(flaky: Mapping[str, str], *, failed_twice: Sequence[str], total: int) -> None:
    """Print the block at the end."""
    print("\n======== flaky tests ========")
    for nodeid in failed_twice:
        print(f"FAILED TWICE: {nodeid}")
    for nodeid, reason in flaky.items():
        print(line_of(nodeid, reason))
    print(f"{len(flaky)} flaky in this tier, {total} in this run; more than {MOST_FLAKY} fail it.", flush=True)


def main(words: Sequence[str]) -> int:
    """Run a tier, or one test of it."""
    # As `python -m pytest` has it, and so that a test imports nothing of scripts/ by accident.
    sys.path[0] = str(Path.cwd())
    if words and words[0].startswith(ALONE):
        return run_alone(words[0].removeprefix(ALONE), words[1:])
    return run_tier(words, os.environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
