"""The faults can fail: with any step of the protocol left out, one of them shows what the step is for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.mutations import MUTATIONS, Ground, Mutation
from tests.faults.powercut import require_power_cuts
from tests.faults.scenes import Scenes
from tests.faults.tally import CAUGHT
from tests.support.commands import HOUSE


@pytest.mark.turns(9)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.sentence)
def test_law_08_a_step_that_is_left_out_is_missed(
    mutation: Mutation, scenes: Scenes, place: Path, record_property: Callable[[str, object], None], every_point: bool
) -> None:
    require_power_cuts()
    for name in ("with", "without"):
        (place / name).mkdir()
    if every_point:
        assert mutation.trial(Ground(scenes, place / "with", HOUSE)) == [], "the fault does harm with the step, too"
    broken = mutation.trial(Ground(scenes, place / "without", mutation.apply(place)))
    assert broken, f"nothing shows that releaser lacks this: {mutation.sentence}"
    record_property(CAUGHT, f"{mutation.sentence}: {broken[0].splitlines()[0][:160]}")
