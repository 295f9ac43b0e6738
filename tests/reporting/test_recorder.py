"""Steps, recorded as they happen."""

import pytest

from releaser.errors import BuildError, Interrupted
from releaser.listener import Silence
from releaser.report import Outcome, RunLog
from tests.support.logs import a_log


class Witness(Silence):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self, step: str) -> None:
        self.heard.append(f"{step} begins")

    def ended(self, outcome: Outcome) -> None:
        self.heard.append(f"{outcome.step} {outcome.status}")


def summary(recorder: RunLog) -> list[tuple[str, str, str]]:
    return [(outcome.step, outcome.status, outcome.detail) for outcome in recorder.outcomes]


def test_a_step_went_well_unless_it_says_otherwise() -> None:
    recorder = a_log(Silence())
    with recorder.step("one"):
        pass
    with recorder.step("two") as step:
        step.says("in detail")
    with recorder.step("three") as step:
        step.skip("nothing to do")
    with recorder.step("four") as step:
        step.warns("not so well")
    assert summary(recorder) == [
        ("one", "ok", ""),
        ("two", "ok", "in detail"),
        ("three", "skipped", "nothing to do"),
        ("four", "warning", "not so well"),
    ]
    assert all(outcome.seconds >= 0 for outcome in recorder.outcomes)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (BuildError("no space"), "no space"),
        (ValueError("a secret detail"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Interrupted(15), "Interrupted"),
    ],
)
def test_an_error_makes_each_step_that_it_ends_a_failed_one_and_who_listens_hears_it(
    error: BaseException, detail: str
) -> None:
    witness = Witness()
    recorder = a_log(witness)

    def run() -> None:
        with recorder.step("outer"):
            with recorder.step("well"):
                assert witness.heard == ["outer begins", "well begins"]
            with recorder.step("build") as step:
                step.says("half done")
                raise error

    with pytest.raises(type(error)):
        run()
    assert summary(recorder) == [("well", "ok", ""), ("build", "failed", detail), ("outer", "failed", detail)]
    assert witness.heard[2:] == ["well ok", "build begins", "build failed", "outer failed"]
