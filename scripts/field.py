"""Play what people met, and print a table: what, the public reports, the result, and the seconds of its tests.

A test is a case by `@pytest.mark.met("what people met", "repository #1", …)`. Exit 1 unless each one ran and passed.
"""

import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

WORST = ("failed", "skipped", "passed")  # of the tests of one case, the worst result counts


class Cases:
    """Collects the results of marked tests as pytest reports them, by what people met."""

    def __init__(self) -> None:
        self.where: dict[str, dict[str, None]] = defaultdict(dict)
        self.results: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase of a test: if it passed, only its call is a result."""
        for _, words in report.user_properties:
            met, *where = str(words).splitlines()
            self.where[met].update(dict.fromkeys(where))
            self.seconds[met] += report.duration
            if report.when == "call" or not report.passed:
                self.results[met].add(report.outcome)

    def find_result(self, met: str) -> str:
        """Return the worst result of the tests of a case."""
        return next((word for word in WORST if word in self.results[met]), "did not run")

    def print_table(self) -> None:
        """Print a row for each case."""
        print("\n| people met | where | result | seconds |\n|---|---|---|---|")
        for met, where in sorted(self.where.items()):
            print(f"| {met} | {', '.join(where) or '-'} | {self.find_result(met)} | {self.seconds[met]:.0f} |")


def main() -> int:
    """Run the marked tests, and print the table."""
    os.chdir(Path(__file__).resolve().parents[1])
    os.environ.pop("CI", None)  # under which a part of each table is tried
    cases = Cases()
    words = ["tests/e2e", "-m", "met", "-q", "-n", "2", "--dist", "worksteal", *sys.argv[1:]]
    status = pytest.main(words, plugins=[cases])
    cases.print_table()
    left = [met for met in cases.where if cases.find_result(met) != "passed"]
    print(f"{len(cases.where)} cases, of which {len(left)} did not pass")
    return 1 if left or status != pytest.ExitCode.OK else 0


if __name__ == "__main__":
    sys.exit(main())
