"""kill -9 of git alone, at every call of it that writes in the checkout; releaser lives on, and has to go on."""

import re
from pathlib import Path

import pytest

from tests.faults.invariants import unless
from tests.faults.scenes import Scenes
from tests.faults.shims import GitShim
from tests.faults.stage import Stage, chosen, evenly
from tests.faults.tally import Tallies, turn

#: Updates find the candidate ready. An ill one goes back: the same git, in both directions.
PARTS = {"update": 4, "update, ill": 4, "rollback": 2, "install": 2}
ENDS = {0, 3, 4, 6, 7}  # every end but a bug, a wrong command, and a release that does not exist


@pytest.mark.turns(5)
@pytest.mark.parametrize(("name", "part"), [(name, part) for name in PARTS for part in range(PARTS[name])])
def test_law_04_08_09_a_git_that_is_killed_alone_leaves_one_whole_release(
    name: str, part: int, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    stage, points, shim = Stage(scenes, name, place), tally("kill -9 of git alone"), GitShim(place / "shim")
    if name.startswith("update"):
        stage.site.push_from_elsewhere({"shop.py": "EDITION = 2\nBROKEN = False\n", "photos/new.md": "new\n"})
        stage.keep(stage.command)
        stage.make_ready()
    stage.bring_back()
    stage.site.releaser(stage.command, env=shim.record(stage.site), check=stage.scene.code)
    calls = shim.calls(stage.site.path)
    faults = [(call, fault) for call in calls for fault in call.faults(chosen(call.writes, 0, every_point=True))]
    numbers = range(1, len(faults) + 1) if every_point else evenly(len(faults), 2 * PARTS[name], turn())
    for number in list(numbers)[part :: PARTS[name]]:
        call, (point, kill) = faults[number - 1]
        stage.bring_back()
        finished = stage.site.releaser(stage.command, env=shim.install(stage.site, at=call.number, kill=kill))
        broken = unless(finished.returncode in ENDS, f"it ended wrongly: {finished}")
        points.add(name, f"git {call.words[:60]}, {point}", broken + stage.eyewitness.aftermath(number))
    points.check()


#: Kills a git that moves the checkout in one direction, as it is about to replace the index, some times.
_KILLER = """\
#!/bin/sh
case "$*" in *read-tree*HEAD*) ;; *) exec "$@";; esac
{test} readlink .venv | grep -q {live} || exec "$@"
[ $(wc -l < {count}) -lt {times} ] || exec "$@"
echo >> {count}
exec strace -qq -o /dev/null -e trace=rename -e inject=rename:signal=KILL:when=1 "$@"
"""


def kill_moving_git(stage: Stage, live: str, *, times: int, back: bool = False) -> list[str]:
    """Run the command with a git that is killed, once it has moved the files; name what does not hold right then."""
    place = stage.site.base / "shim"
    place.mkdir()
    (place / "count").write_text("")
    killer = _KILLER.format(test="!" if back else "", live=live, count=place / "count", times=times)
    (place / "killer").write_text(killer)
    (place / "killer").chmod(0o755)
    finished = stage.site.releaser(stage.command, env=GitShim(place).install(stage.site, start=str(place / "killer")))
    broken = unless(finished.returncode in ENDS, f"it ended wrongly: {finished}")
    broken += unless((place / "count").read_text(), "no git was killed")
    return broken + unless(
        "rolled back" not in finished.stderr or times < 2, f"it says that it has gone back: {finished}"
    )


def test_law_04_08_a_way_back_that_git_stops_is_finished_by_the_next_run(scenes: Scenes, place: Path) -> None:
    stage = Stage(scenes, "update, ill", place)
    site, live, head = stage.site, stage.site.live(), stage.site.head()
    assert kill_moving_git(stage, live, times=9, back=True) == []
    failed = site.live()
    assert (failed != live, site.version("alpha")) == (True, "1.2.0"), "no half of the way back was called one"
    assert not list((site.path / ".git").glob("*.lock"))
    site.releaser("prune", check=7)
    assert (site.live(), site.head(), site.status()) == (live, head, "")
    assert re.search(r"alpha", str(site.json("status", check=10)["on_hold"]))
    assert stage.eyewitness.aftermath() == []
