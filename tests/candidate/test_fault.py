"""What is said of packages with which a trial has failed."""

from __future__ import annotations

import pytest

from releaser.candidate.testing import Trial, Tried

TESTS = Trial(step="test", command=("python", "manage.py", "test"), name="the tests", plural=True)
CHECK = Trial(step="django check", command=("python", "manage.py"), name="`manage.py check`", plural=False)


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (
            Tried(trial=TESTS, reason="exit status 1", output="ValueError: no\n"),
            "the tests fail with it: ValueError: no",
        ),
        (Tried(trial=CHECK, reason="exit status 1", output=""), "`manage.py check` fails with it"),
        (
            Tried(trial=TESTS, reason="the tests did not end within 2 s", output="KeyError: a\n", timed_out=True),
            "the tests did not end within 2 s with it",
        ),
        (
            Tried(trial=TESTS, reason="not a single test was run", output="", proves_nothing=True),
            "not a single test was run with it",
        ),
    ],
)
def test_a_fault_is_told_in_a_few_words(tried: Tried, words: str) -> None:
    assert tried.fault == words
