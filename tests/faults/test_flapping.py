"""The same bad candidate, night after night: tried once, told once, and the site is left in peace."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from tests.e2e.scenes import silent
from tests.faults.clock import at_another_time
from tests.faults.invariants import Witness, unless
from tests.faults.scenes import Scenes
from tests.faults.tally import Tallies
from tests.support.commands import Finished
from tests.support.sites import SampleSite, SiteFactory

NIGHTS, SPREAD = 30, 3
# A health check that fails on one version, and notes each time that it looks.
HEALTH = """\
import pathlib, sys
import alpha
with open(sys.argv[1], "a") as notes:
    notes.write(alpha.__version__ + "\\n")
sys.exit(alpha.__version__ == "1.2.0")
"""


def on_night(number: int, site: SampleSite) -> Finished:
    return at_another_time(site, timedelta(days=number), "update")


def link_as_it_is(site: SampleSite) -> tuple[str, int, int]:
    """Describe the link so that any flip shows, one to the same place included."""
    status = os.lstat(site.link)
    return os.readlink(site.link), status.st_ino, status.st_mtime_ns


def test_a_candidate_that_fails_its_tests(scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool) -> None:
    points, site = tally("flapping: tests fail"), scenes.copy("update, tests fail", tmp_path / "site")
    witness, link = Witness.of(site), link_as_it_is(site)
    finished = on_night(0, site)
    assert finished.returncode == 5, str(finished)
    for night in range(1, NIGHTS if all_points else SPREAD):
        finished = on_night(night, site)
        silent(finished)
        tested = [run.versions["alpha"] for run in site.manage_runs("test")]
        broken = witness.after_update(finished, told="tests fail", versions={"alpha": "1.0.0"})
        broken += unless(tested.count("1.2.0") == 1, f"the candidate was tested on {tested}")
        broken += unless(link_as_it_is(site) == link, "the link was moved")
        points.add("update", f"night {night}", broken)
    points.check()


def test_a_candidate_that_fails_its_health_check(
    make_site: SiteFactory, tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    """One flip and one flip back in the first night, then nothing."""
    points, notes = tally("flapping: health check fails"), tmp_path / "notes"
    check = f"python health.py {notes}"
    site = make_site(venv=True, settings={"health_check": check, "health_retries": 0}, files={"health.py": HEALTH})
    site.releaser("init", check=0)
    notes.unlink()  # init asks as well
    site.publish("alpha", "1.2.0")
    witness = Witness.of(site)
    finished = on_night(0, site)
    assert finished.returncode == 6, str(finished)
    link, restarted = link_as_it_is(site), site.restarted_at()
    assert notes.read_text(encoding="utf-8").split() == ["1.0.0", "1.2.0", "1.0.0"]
    for night in range(1, NIGHTS if all_points else SPREAD):
        finished = on_night(night, site)
        silent(finished)
        broken = witness.after_update(finished, told="health check failed", versions={"alpha": "1.0.0"})
        broken += unless(link_as_it_is(site) == link, "the link was moved")
        broken += unless(site.restarted_at() == restarted, "the site was restarted")
        points.add("update", f"night {night}", broken)
    assert notes.read_text(encoding="utf-8").split() == ["1.0.0", "1.2.0", "1.0.0"]
    points.check()


def test_the_nights_are_nights(scenes: Scenes, tmp_path: Path) -> None:
    """Without a clock that moves, the tests above would show less than they say."""
    site = scenes.copy("update", tmp_path / "site")
    site.releaser("update", check=0)
    site.publish("alpha", "1.2.0")
    on_night(40, site)
    newest, earlier = (datetime.fromisoformat(row["created_at"]) for row in site.json("list")[:2])
    assert round((newest - earlier) / timedelta(days=1)) == 40
