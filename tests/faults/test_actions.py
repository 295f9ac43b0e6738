"""Each action of a change, and each program that releaser starts, kills releaser: before its work, and after it."""

from pathlib import Path

import pytest

from tests.faults.invariants import unless
from tests.faults.scenes import Scenes
from tests.faults.shims import KILL_PARENT, Shims
from tests.faults.stage import Stage, evenly
from tests.faults.tally import Tallies, turn
from tests.faults.test_kill import KILLED

WORK = {"restart": "sh restart.sh", "health_check": "python health.py"}
# Scene, action, and its number in the run: in a change that goes back, the second restart and health check are those of
# the way back; a rollback asks for the health before it begins.
CASES = [
    ("update", "restart", 1),
    ("update", "health_check", 1),
    ("update", "health_check", 2),
    ("update, ill", "restart", 1),
    ("update, ill", "restart", 2),
    ("update, ill", "health_check", 1),
    ("update, ill", "health_check", 2),
    ("install", "restart", 1),
    ("install", "health_check", 2),
    ("rollback", "restart", 1),
    ("rollback", "health_check", 1),
    ("rollback", "health_check", 2),
    ("init, fresh", "restart", 1),
    ("init, fresh", "health_check", 1),
]


def killing_action(site_base: Path, action: str, nth: int, when: str) -> dict[str, str]:
    """Return the setting with which an action does its work, and kills releaser the `nth` time, before or after it."""
    counter, script = site_base / "counter", site_base / "action.sh"
    counter.write_text("")
    kill, work = f"[ $(wc -l < '{counter}') = {nth} ] && {KILL_PARENT}", WORK[action]
    lines = [f"echo >> '{counter}'", *([kill, work] if when == "before" else [work, "status=$?", kill, "exit $status"])]
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {f"RELEASER_{action.upper()}": f"sh '{script}'"}


@pytest.mark.turns(6)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("name", "action", "nth"), CASES)
def test_law_04_08_an_action_whose_run_is_killed_is_undone_or_repeated(
    name: str, action: str, nth: int, when: str, scenes: Scenes, place: Path, tally: Tallies
) -> None:
    stage, points = Stage(scenes, name, place), tally(f"kill -9 {when} an action's work")
    setting = killing_action(stage.site.base, action, nth, when)
    finished = stage.site.releaser(stage.command, env=setting)
    counted = len((stage.site.base / "counter").read_text().splitlines())
    if counted < nth and finished.returncode == stage.scene.code:
        pytest.skip(f"{action} is called {counted} times")
    broken = unless(finished.returncode == KILLED, f"nothing was killed: {finished}")
    points.add(name, f"{action} #{nth}", broken + stage.eyewitness.aftermath(nth))
    points.check()


@pytest.mark.parametrize("name", ["update", "update, ill", "rollback", "init, fresh", "init, adopt", "install"])
def test_law_08_a_kill_right_after_any_program_that_releaser_starts(
    name: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    stage, points, shims = Stage(scenes, name, place), tally("kill -9 after a program's end"), Shims(place / "shims")
    stage.site.releaser(stage.command, env=shims.install(stage.site), check=stage.scene.code)
    programs = shims.calls()
    for at in range(1, len(programs) + 1) if every_point else evenly(len(programs), 2, turn()):
        stage.bring_back()
        env = shims.install(stage.site, at=at, action=KILL_PARENT)
        finished = stage.site.releaser(stage.command, env=env)
        broken = unless(finished.returncode == KILLED, f"nothing was killed: {finished}")
        points.add(name, f"{at} of {len(programs)}, {programs[at - 1][:100]}", broken + stage.eyewitness.aftermath(at))
    points.check()


def test_law_08_15_a_commit_right_before_a_kill_is_pushed_by_the_next_run(scenes: Scenes, place: Path) -> None:
    stage, shims = Stage(scenes, "update", place), Shims(place / "shims")
    stage.site.releaser("update", env=shims.install(stage.site))
    (number,) = [number for number, words in enumerate(shims.calls(), 1) if "commit: Update" in words]
    stage.bring_back()
    stage.site.releaser("update", env=shims.install(stage.site, at=number, action=KILL_PARENT), check=KILLED)
    stage.site.releaser("update")
    assert stage.site.remote_head() == stage.site.head()
