"""Reads the output of tests: the number of tests, the failed ones, and the last error."""

from __future__ import annotations

import itertools
import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from releaser.errors import Finding, error_line, how_to_set
from releaser.system.sections import Facts
from releaser.system.words import one_line, strip_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.releases.release import Manifest


class TestFacts(Facts):
    """The tests of a release."""

    __test__ = False  # for pytest

    #: How many tests ran; None if unknown.
    tests_run: int | None = None


TEST = "test"  # the step of the project's own tests
NONE_RUN = "no tests ran"
CUT_SHORT = "the tests ended with exit status 0, but without the last line of their runner"
ADD_TESTS = f"Add a test, or {how_to_set('test_command', 'COMMAND')}. `releaser check --tests` runs the tests once."
ADVICE = "Check that `test_command` runs the tests, and that nothing stops it before they finish."
# Django's runner is that of unittest. Its number includes skipped tests.
_UNITTEST = r"(?m)^Ran (\d+) tests? in [\d.]+s$(?:\s+^[A-Z ]+ \((?:.*?, )?skipped=(\d+))?"
_PYTEST = r"(?m)^=*[ ]?((?:\d+ [a-z ]+(?:, )?)+) in [\d.]+s\b"
_SUGAR = r"(?m)^Results \([\d.]+m?s\):\n((?:[ \t]+\d+ \w+\n?)+)"  # of the plugin pytest-sugar
_NOTHING = r"(?m)^(?:=+ )?(?:no tests ran\b|collected 0 items)"
_FAILED = (
    r"(?m)^(?:FAIL|ERROR): (\S+ \(.*?|(?:test|setUp|tearDown)\w*)\s*$|^(?:FAILED|ERROR) (\S+?::.+?|\S+\.py)(?= - |\s*$)"
)
_LONGEST = 200  # characters of the name of a test
_MOST = 200  # names
_RAN = r"(\d+) (?:passed|failed|errors?|xfailed|xpassed)\b"  # others were skipped, or not chosen


def count_tests(output: str) -> int | None:
    """Count the tests that ran, from the last lines of unittest, Django and pytest; None without such a line."""
    text = strip_control(output)
    counts = [int(ran) - int(skipped or 0) for ran, skipped in re.findall(_UNITTEST, text)]
    ends = [*re.findall(_PYTEST, text), *re.findall(_SUGAR, text)]
    counts += [sum(map(int, re.findall(_RAN, end))) for end in ends]
    if not counts:
        return 0 if re.search(_NOTHING, text) else None
    return sum(counts)


def failing_tests(output: str) -> tuple[str, ...]:
    """Name the tests that failed, in alphabetical order, as unittest, Django and pytest name them."""
    text = strip_control(output)
    found = {one_line(first or second, limit=_LONGEST) for first, second in re.findall(_FAILED, text)}
    return tuple(sorted(found)[:_MOST])


def names_runner(command: Sequence[str]) -> bool:
    """True if a command starts a known runner, whose output must end with a known line."""
    names = [PurePath(word).name for word in command]
    arguments = [word for word in names if not word.startswith("-")]
    if any(words in (("-m", "pytest"), ("-m", "unittest")) for words in itertools.pairwise(names)):
        return True
    if names[0] in ("pytest", "py.test") or ("pytest" in arguments[:3] and "run" in names[:2]):  # `uv run pytest`
        return True
    found = {"manage.py", "django-admin", "django"}.intersection(arguments)
    return any(arguments[arguments.index(name) + 1 :][:1] == ["test"] for name in found)


def find_output_flaw(command: Sequence[str], output: str) -> str:
    """Explain why tests that ended with exit status 0 prove nothing; empty if they ran to the end."""
    count = count_tests(output)
    if count == 0:
        return NONE_RUN
    return CUT_SHORT if count is None and names_runner(command) else ""


def fewer_tests(now: Manifest, before: Manifest | None) -> Finding | None:
    """Return a finding if fewer tests ran than with the previous release; None if not, or if a number is unknown."""
    ran, ran_before = TestFacts.of(now).tests_run, TestFacts.of(before).tests_run
    if before is None or ran is None or ran_before is None or ran >= ran_before:
        return None
    count = f"{ran} {'test was' if ran == 1 else 'tests were'} run with {now.id}"
    message = f"{count}, but {ran_before} with {before.id}, the previous release"
    return Finding(
        "fewer-tests",
        message,
        "Check that no tests are missing: skipped tests, or tests that are not found, do not fail.",
    )


_ERROR = r"(?:E\s+)?((?:\w+\.)*\w*(?:Error|Exception|Failed|Failure|Warning)\b(?:: .*)?)\s*$"
_RAISED = r"((?:\w+\.)*\w+(?:: .*)?)\s*$"  # below the indented lines of a traceback
_LONGEST_SUSPECTS = 200  # characters


def complaint(output: str) -> str:
    """Return the last error in the output of tests, shortened, after a colon; empty without one."""
    lines = ["", *output.splitlines()]
    errors = [
        found
        for above, line in itertools.pairwise(lines)
        if (found := re.match(_ERROR, line) or (above.startswith("    ") and re.match(_RAISED, line)))
    ]
    last_line = errors[-1].group(1) if errors else error_line(output)
    return f": {one_line(last_line, limit=_LONGEST_SUSPECTS)}" if last_line else ""
