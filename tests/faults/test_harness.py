"""The harness itself: without a fault everything holds, and whatever does not hold is seen."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.aftermath import Eyewitness
from tests.faults.invariants import Witness
from tests.faults.scenes import SCENES, Scenes
from tests.faults.tally import Tallies
from tests.support.sites import SampleSite


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", SCENES)
def test_without_a_fault_everything_holds(name: str, scenes: Scenes, tmp_path: Path, tally: Tallies) -> None:
    scene, site = SCENES[name], scenes.copy(name, tmp_path)
    witness = Eyewitness.of(site, name).witness
    assert witness.at_once() == []
    site.releaser(scene.command.format(outer=site.outer), check=scene.code)
    assert witness.at_once() == []
    assert witness.after_command() == []
    points, finished = tally("none"), site.releaser("update")
    points.add(scene.command, "-", witness.after_update(finished, told=scene.told, versions=scene.versions))
    points.check()


@pytest.fixture
def site(scenes: Scenes, tmp_path: Path) -> SampleSite:
    """Copy a site that has been updated."""
    return scenes.copy("rollback", tmp_path)


def live_file(site: SampleSite, pattern: str) -> Path:
    return next(site.link.resolve().glob(pattern))


def change_a_module(site: SampleSite) -> None:
    live_file(site, "lib/*/site-packages/alpha/__init__.py").write_text("changed", encoding="utf-8")


def empty_the_interpreter(site: SampleSite) -> None:
    python = live_file(site, "bin/python")
    python.unlink()
    python.touch(0o755)


def leave_the_tests_out(site: SampleSite) -> None:
    copy = site.state_dir / "releases" / "20200101T000000Z"
    shutil.copytree(site.link.resolve().parent, copy, symlinks=True)
    (copy / "venv" / "extra").touch()
    lead_to(site, os.path.relpath(copy / "venv", site.path))


def lead_to(site: SampleSite, target: str) -> None:
    site.link.unlink()
    site.link.symlink_to(target)


def lock_otherwise(site: SampleSite) -> None:
    site.edit("uv.lock", site.lock_text().replace('version = "1.1.0"', 'version = "1.0.0"'))


def lose_a_release(site: SampleSite) -> None:
    (good,) = (row["id"] for row in site.json("list") if row["state"] == "previous")
    shutil.rmtree(site.state_dir / "releases" / good)


def break_an_object(site: SampleSite) -> None:
    head = site.head()
    path = site.path / ".git" / "objects" / head[:2] / head[2:]
    path.chmod(0o644)
    path.write_bytes(b"")


HARMS: dict[str, tuple[Callable[[SampleSite], object], str]] = {  # what is done, and what is seen not to hold
    "a changed module": (change_a_module, "I1"),
    "an empty interpreter": (empty_the_interpreter, "I1"),
    "an untested release": (leave_the_tests_out, "I1"),
    "a dangling link": (lambda site: lead_to(site, "nowhere"), "I1"),
    "another lock": (lock_otherwise, "I2"),
    "an unclean tree": (lambda site: site.edit("manage.py", "edited"), "I3"),
    "a broken repository": (break_an_object, "I3"),
    "a lost release": (lose_a_release, "I4"),
    "what is left beside the checkout": (lambda site: (site.outer / ".uv.lock.new").mkdir(), "I4"),
    "what is left in the checkout": (lambda site: (site.path / ".uv.lock.new").mkdir(), "I4"),
    "what is left in the state": (lambda site: (site.state_dir / ".uv.lock.new").mkdir(), "I4"),
    "what is left among releases": (lambda site: (site.state_dir / "releases" / ".uv.lock.new").mkdir(), "I4"),
}


def invariants_of(sentences: list[str]) -> list[str]:
    return [sentence.partition(":")[0] for sentence in sentences]


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", HARMS)
def test_harm_is_seen(site: SampleSite, name: str) -> None:
    harm, invariant = HARMS[name]
    witness = Witness.of(site)
    assert witness.after_command() == []
    harm(site)
    assert invariant in invariants_of(witness.at_once() if name == "a broken repository" else witness.after_command())


def test_a_process_that_is_left_is_seen(site: SampleSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.invariants._DYING", 0.1)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=site.path, stdin=subprocess.PIPE) as process:
        try:
            assert any("is left" in sentence for sentence in Witness.of(site).at_once())
        finally:
            process.kill()
    assert Witness.of(site).at_once() == []


def test_telling_twice_or_nothing_and_a_version_that_did_not_come_are_seen(site: SampleSite) -> None:
    witness = Witness.of(site)
    site.publish("alpha", "1.1.1")
    finished = site.releaser("update", check=0)
    assert witness.after_update(finished, told=r"1\.1\.1") == []
    assert invariants_of(witness.after_update(finished, told=r"1\.1\.1", versions={"alpha": "9"})) == ["I6"]
    (mail,) = [path for path in (site.state_dir / "outbox" / "new").iterdir() if "1.1.1" in path.read_text()]
    mail.with_name("twice").write_text(mail.read_text().replace("Message-ID: <", "Message-ID: <another-"))
    assert invariants_of(witness.after_update(finished, told=r"1\.1\.1")) == ["I5", "I5"]
    shutil.rmtree(site.state_dir / "outbox")
    assert invariants_of(witness.after_update(finished, told=r"1\.1\.1")) == ["I5"]


def test_a_failed_update_is_seen(site: SampleSite) -> None:
    witness = Witness.of(site)
    site.edit("manage.py", "edited")
    finished = site.releaser("update", check=3)
    site.git("checkout", "--", ".")
    assert "I6" in invariants_of(witness.after_update(finished))


def test_points_that_do_not_hold_fail_the_test(tally: Tallies) -> None:
    points = tally("a fault that is not in the table")
    points.add("update", "first", ["I1: bad"])
    with pytest.raises(pytest.fail.Exception, match="1 of 1 points did not hold"):
        points.check()
    points.tried.clear()  # it is no row of the table


def test_a_fault_without_points_fails_the_test(tally: Tallies) -> None:
    with pytest.raises(pytest.fail.Exception, match="no point was tried"):
        tally("nothing").check()
