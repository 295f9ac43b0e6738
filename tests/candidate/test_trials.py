"""What is said of packages with which a trial has failed, and what counts as a failure to build."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate import build_and_test
from releaser.candidate.build_and_test import Builder
from releaser.candidate.trials import Trial, TrialResult
from releaser.errors import BuildError

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


def test_what_goes_wrong_after_the_build_is_not_taken_for_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(*_: object) -> None:
        message = "it cannot be described"
        raise BuildError(message)

    monkeypatch.setattr(build_and_test, "try_to_build", lambda *_: SimpleNamespace(venv=None, lock=None))
    monkeypatch.setattr(build_and_test, "describe_changes_of", describe)
    self: Any = SimpleNamespace(site=SimpleNamespace(settings=SimpleNamespace(test_groups=())))
    resolution: Any = None
    with pytest.raises(BuildError, match="cannot be described"):
        Builder.build(self, resolution)
