"""Play what people met, and print a table: what, the public reports, the result and the seconds of all its tests.

A test is a case by `@pytest.mark.met("what people met", "repository #1", …)`. Exit 1 unless each one ran and passed.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORST = ("failed", "skipped", "passed")  # of the tests of one case, the worst result counts


class Cases:
    """Collects the results of marked tests as pytest reports them."""

    def __init__(self) -> None:
        self.where: dict[str, dict[str, None]] = {}
        self.results: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = {}
        self.failures: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for _, (what, *where) in report.user_properties:
            self.where.setdefault(what, {}).update(dict.fromkeys(where))
            self.seconds[what] = self.seconds.get(what, 0.0) + report.duration
            if report.when == "call" or not report.passed:
                self.results.setdefault(what, []).append(report.outcome)
        if not report.passed and report.user_properties:
            self.failures.append(f"{report.outcome}: {report.nodeid}\n{report.longreprtext}")
        print(f"\r{len(self.results)} cases", end="", file=sys.stderr, flush=True)

    def result(self, what: str) -> str:
        """Return the worst result of the tests of a case."""
        return next((word for word in WORST if word in self.results.get(what, [])), "did not run")

    def print_table(self) -> None:
        """Print a row for each case."""
        print("\n| people met | where | result | seconds |\n|---|---|---|---|")
        for what in sorted(self.where):
            print(f"| {what} | {', '.join(self.where[what]) or '-'} | {self.result(what)} | {self.seconds[what]:.0f} |")


def main() -> int:
    """Run the marked tests; print what failed or was skipped, and the table."""
    os.chdir(ROOT)
    os.environ.pop("CI", None)  # which tries a part of each table
    cases, output = Cases(), io.StringIO()
    words = ["-m", "met", "-q", "-n", "2", "--dist", "worksteal", "tests", *sys.argv[1:]]
    with contextlib.redirect_stdout(output):
        status = pytest.main(words, plugins=[cases])
    print(*cases.failures, sep="\n\n")
    cases.print_table()
    bad = [what for what in cases.where if cases.result(what) != "passed"]
    print(f"{len(cases.where)} cases, {len(bad)} not passed")
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        print(output.getvalue())
    return 1 if bad or status else 0


if __name__ == "__main__":
    sys.exit(main())
