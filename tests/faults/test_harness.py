"""The harness itself: without a fault everything holds, and harm is seen."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import invariants
from tests.faults.invariants import Witness, unless
from tests.faults.scenes import SCENES, Eyewitness, Scenes
from tests.faults.tally import Tallies
from tests.support.sites import SampleSite


@pytest.mark.parametrize("name", SCENES)
def test_without_a_fault_everything_holds(name: str, scenes: Scenes, place: Path, tally: Tallies) -> None:
    site, points = scenes.copy(name, place), tally("none")
    seen = Eyewitness.of(site, name)
    broken = seen.witness.at_once()
    finished = site.releaser(seen.scene.command.format(outer=site.outer))
    broken += unless(finished.returncode == seen.scene.code, f"it should end with {seen.scene.code}: {finished}")
    broken += seen.witness.after_command() + seen.aftermath()
    points.add(name, "end", broken)
    points.check()


@pytest.fixture
def site(scenes: Scenes, place: Path) -> SampleSite:
    """A site that was updated."""
    return scenes.copy("rollback", place)


def change_a_module(site: SampleSite) -> None:
    module = next(site.link.resolve().glob("lib/*/site-packages/alpha/__init__.py"))
    module.chmod(0o644)
    module.write_text("changed", encoding="utf-8")


def empty_the_interpreter(site: SampleSite) -> None:
    python = site.link.resolve() / "bin" / "python"
    python.unlink()
    python.touch(0o755)


def leave_the_tests_out(site: SampleSite) -> None:
    copy = site.state / "releases" / "20200101T000000Z"
    shutil.copytree(site.link.resolve().parent, copy, symlinks=True)
    (copy / "venv" / "extra").touch()
    lead_to(site, os.path.relpath(copy / "venv", site.path))


def lead_to(site: SampleSite, text: str) -> None:
    site.link.unlink()
    site.link.symlink_to(text)


def lose_a_release(site: SampleSite) -> None:
    (good,) = (name for name, state in site.states().items() if state == "previous")
    shutil.rmtree(site.state / "releases" / good)


def forget_a_change(site: SampleSite) -> None:
    site.update_to("1.1.5")
    (site.state / "history.jsonl").unlink()


def break_an_object(site: SampleSite) -> None:
    head = site.head()
    path = site.path / ".git" / "objects" / head[:2] / head[2:]
    path.chmod(0o644)
    path.write_bytes(b"")


HARMS: dict[str, tuple[Callable[[SampleSite], object], str]] = {  # the harm, and the invariant that does not hold then
    "a changed module": (change_a_module, "I1"),
    "an empty interpreter": (empty_the_interpreter, "I1"),
    "an untested release": (leave_the_tests_out, "I1"),
    "a dangling link": (lambda site: lead_to(site, "nowhere"), "I1"),
    "no restart": (lambda site: (site.outer / "served").write_text("another"), "I1"),
    "another lock": (lambda site: site.replace("uv.lock", 'version = "1.1.0"', 'version = "1.0.0"'), "I2"),
    "a commit that no release has": (lambda site: site.commit("More", {"more.txt": "more"}), "I2"),
    "a changed file": (lambda site: site.edit("shop.py", "edited"), "I3"),
    "a broken repository": (break_an_object, "I3"),
    "a lost release": (lose_a_release, "I4"),
    "a file beside the checkout": (lambda site: (site.outer / "new").mkdir(), "I4"),
    "a temporary file in the state": (lambda site: (site.state / ".journal.json.new").touch(), "I4"),
    "a half-built release": (lambda site: (site.state / "releases" / ".doomed-x").mkdir(), "I4"),
    "a file in a release": (lambda site: (site.release() / ".state.json.new").touch(), "I4"),
    "a change without news": (forget_a_change, "I7"),
    "a lock of git": (lambda site: (site.path / ".git" / "index.lock").touch(), "I4"),
}


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_seen(site: SampleSite, name: str) -> None:
    harm, invariant = HARMS[name]
    witness = Witness.of(site)
    harm(site)
    broken = witness.at_once() if name == "a broken repository" else witness.after_command()
    assert invariant in [sentence.partition(":")[0] for sentence in broken]


def test_a_process_that_is_left_is_seen(site: SampleSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "_DYING", 0.1)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=site.path, stdin=subprocess.PIPE) as process:
        try:
            assert any("is left" in sentence for sentence in Witness.of(site).at_once())
        finally:
            process.kill()
    assert Witness.of(site).at_once() == []


def test_points_that_do_not_hold_fail_the_test(tally: Tallies) -> None:
    points = tally("a fault that is not in the table")
    with pytest.raises(pytest.fail.Exception, match="no point was tried"):
        points.check()
    points.add("update", "first", ["I1: bad"])
    with pytest.raises(pytest.fail.Exception, match="1 of 1 points did not hold"):
        points.check()
    points.tried.clear()  # it is no row of the table
