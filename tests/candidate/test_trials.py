"""What is said of packages with which a trial has failed."""

from __future__ import annotations

import pytest

from releaser.candidate.trials import Trial, TrialResult

TESTS = Trial(step="test", command=("python", "manage.py", "test"), name="the tests")
CHECK = Trial(step="django check", command=("python", "manage.py"), name="`manage.py check`")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            TrialResult(trial=TESTS, reason="exit status 1", output="ValueError: no\n"),
            "the tests failed with it: ValueError: no",
        ),
        (TrialResult(trial=CHECK, reason="exit status 1", output=""), "`manage.py check` failed with it"),
        (
            TrialResult(trial=TESTS, reason="the tests did not end within 2 s", output="KeyError: a\n", timed_out=True),
            "the tests did not end within 2 s with it",
        ),
        (
            TrialResult(trial=TESTS, reason="not a single test was run", output="", proves_nothing=True),
            "not a single test was run with it",
        ),
    ],
)
def test_a_fault_is_told_in_a_few_words(result: TrialResult, words: str) -> None:
    assert result.fault == words
