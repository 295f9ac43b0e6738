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


def failing_step(recorder: RunLog, name: str, error: BaseException) -> None:
    with recorder.step(name) as step:
        step.says("half done")
        raise error


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
def test_an_error_makes_a_step_a_failed_one_and_goes_on_its_way(error: BaseException, detail: str) -> None:
    recorder = a_log(Silence())
    with pytest.raises(type(error)):
        failing_step(recorder, "build", error)
    assert summary(recorder) == [("build", "failed", detail)]


def test_steps_inside_a_step_end_first() -> None:
    witness = Witness()
    recorder = a_log(witness)
    with recorder.step("outer"), recorder.step("inner"):
        pass
    assert witness.heard == ["outer begins", "inner begins", "inner ok", "outer ok"]
    assert [outcome.step for outcome in recorder.outcomes] == ["inner", "outer"]


def test_whoever_listens_hears_of_each_step_when_it_happens() -> None:
    witness = Witness()
    recorder = a_log(witness)
    with recorder.step("build"):
        assert witness.heard == ["build begins"]
    with pytest.raises(BuildError):
        failing_step(recorder, "test", BuildError("red"))
    assert witness.heard == ["build begins", "build ok", "test begins", "test failed"]
