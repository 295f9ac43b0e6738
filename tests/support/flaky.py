"""A pytest plugin that repeats each failed test once, alone, after all others have ended.

A test that passes then is flaky: it is reported, and does not fail the run. A test that fails twice does, and so do
more than `MOST_FLAKY` flaky tests. With FLAKY_TESTS=FILE the runs that name the same file count theirs together.

Use: `python -m pytest -p tests.support.flaky`, with or without pytest-xdist. The repeat is a pytest of its own with the
same arguments, which leaves all tests but one out, so that options and parameters mean the same in it.
"""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

MOST_FLAKY = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--only-test", metavar="NODEID", help="run this test alone; fail unless it passes")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the workers of pytest-xdist need nothing
        only = config.getoption("--only-test")
        config.pluginmanager.register(Alone(only) if only else Repeat(config))


class Alone:
    """Runs one test. The status is 0 if the test passed, and was not skipped."""

    def __init__(self, nodeid: str) -> None:
        self._nodeid = nodeid
        self._has_passed = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid == self._nodeid]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._has_passed |= report.passed and report.when == "call"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self._has_passed:
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


class Repeat:
    """Notes which tests failed, repeats them at the end, and corrects the status of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._arguments = [str(argument) for argument in config.invocation_params.args]
        self._failed: list[str] = []
        self._is_conclusive = True  # False: something failed that a repeat of tests cannot judge

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._is_conclusive &= report.when in ("setup", "call", "teardown")  # else a worker crashed
            if report.nodeid not in self._failed:
                self._failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._is_conclusive &= not report.failed

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        yield  # pytest prints its summary
        stopped_early = session.shouldfail or session.shouldstop
        if session.exitstatus != pytest.ExitCode.TESTS_FAILED or not self._is_conclusive or stopped_early:
            return
        if len(self._failed) > MOST_FLAKY:
            print(f"\n{len(self._failed)} tests failed: too many to be flaky, none is repeated.", flush=True)
            return
        flaky = [nodeid for nodeid in self._failed if self._passes_alone(nodeid)]
        total = count(flaky)
        lines = [f"flaky: {nodeid}" if nodeid in flaky else f"failed twice: {nodeid}" for nodeid in self._failed]
        print("", *lines, f"{total} flaky so far; more than {MOST_FLAKY} fail the run.", sep="\n", flush=True)
        if flaky == self._failed and total <= MOST_FLAKY:
            session.exitstatus = pytest.ExitCode.OK

    def _passes_alone(self, nodeid: str) -> bool:
        print(f"\nonce more, alone: {nodeid}", flush=True)
        # The last of two options wins.
        serial = ["--numprocesses=0"] if "xdist" in sys.modules else []
        command = [sys.executable, "-m", "pytest", *self._arguments, "--only-test", nodeid, *serial]
        return subprocess.run(command).returncode == 0


def count(flaky: list[str]) -> int:
    """Return the number of flaky tests of this run and of the earlier ones that share the file FLAKY_TESTS."""
    file = os.environ.get("FLAKY_TESTS")
    if not file:
        return len(flaky)
    with Path(file).open("a+", encoding="utf-8") as stream:
        stream.writelines(f"{nodeid}\n" for nodeid in flaky)
        stream.seek(0)
        return len(stream.readlines())
