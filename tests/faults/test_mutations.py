"""The harness can fail: each step of the protocol is left out once, and a fault then shows what it was for."""

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.faults.aftermath import Eyewitness
from tests.faults.conftest import CAUGHT
from tests.faults.invariants import as_adopted
from tests.faults.mutations import MUTATIONS, RELEASE, STATE
from tests.faults.observed import END, Fault, How, Point, run_observed
from tests.faults.powercut import Disk, Disks, can_cut, cut_at
from tests.faults.scenes import SCENES, Scenes
from tests.support.commands import Finished
from tests.support.guards import require
from tests.support.sites import SampleSite

Check = Callable[[SampleSite, Eyewitness], list[str]]

PLACES_LOCK = Point(event=f"write {STATE}/.uv.lock.new")  # the first thing after the flip
AT_END = Point(event=END)


def nothing(_: SampleSite) -> None:
    """Prepare nothing."""


def all_well(_: SampleSite, seen: Eyewitness) -> list[str]:
    """Look at what every fault must leave."""
    return seen.broken()


def well_after_prune(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the next command mends what is not as it should be, whatever command that is."""
    site.releaser("prune")
    return seen.witness.after_command() + seen.broken()


def done_and_well(_: SampleSite, seen: Eyewitness) -> list[str]:
    """See also that what a command had finished holds without another command."""
    return seen.witness.after_command() + seen.broken()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A fault at a point of a scene's command, or of another one, and how to see what it did.

    `cut` is the power cut on a real file system, with directories written. `next_one` is the command that
    comes after the fault and must deal with what is left: then the step is left out of that one.
    """

    scene: str
    how: How | Literal["cut"]
    at: Point = AT_END
    command: tuple[str, ...] = ()
    prepare: Callable[[SampleSite], None] = nothing
    check: Check = all_well
    next_one: str = ""

    def __str__(self) -> str:
        when = "at the end" if self.at.event == END else f"before `{self.at.event}`"
        number = f" no. {self.at.number}" if self.at.number > 1 else ""
        then = f"; then `{self.next_one}`" if self.next_one else ""
        return f"{_NAMES[self.how]}: {self.command[0] if self.command else self.scene}, {when}{number}{then}"


_NAMES = {
    "cut": "power cut, ext4",
    "forget": "power cut, unsynced data lost",
    "reorder": "power cut, oldest unsynced change lost",
    "newest lasts": "power cut, all unsynced data lost but the newest",
    "SIGKILL": "kill -9",
    "": "none",
}


# Preparations


def without_static(site: SampleSite) -> None:
    """Collect no static files: the file system is synced after that."""
    site.write_dotenv({"RELEASER_COLLECTSTATIC": "off"})


def no_commit(site: SampleSite) -> None:
    """Take the new commit back: the file system is synced after the checkout has moved."""
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", site.head())


def same_packages(site: SampleSite) -> None:
    """Let there be a new commit, but no new package, so that the lock stays."""
    without_static(site)
    site.withdraw("alpha", "1.1.0")


def ill_from_the_start(site: SampleSite) -> None:
    """Let the first release be taken back."""
    site.write_dotenv({"RELEASER_HEALTH_CHECK": "false", "RELEASER_COLLECTSTATIC": "off"})


def fresh_venv(site: SampleSite) -> None:
    """Let the venv be one that was just made, and is not on the disk yet."""
    shutil.copytree(site.link, site.path / "fresh", symlinks=True)
    shutil.rmtree(site.link)
    (site.path / "fresh").rename(site.link)


def refused_push(site: SampleSite) -> None:
    """Let the remote refuse what is pushed."""
    without_static(site)
    hook = site.remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)


def no_remote(site: SampleSite) -> None:
    """Let the remote be out of reach."""
    site.remote.rename(site.remote.with_name("gone.git"))


def garbage(site: SampleSite) -> None:
    """Leave a journal that cannot be read."""
    (site.state_dir / "journal.json").write_bytes(b"\0" * 64)


def leaves_a_service(site: SampleSite) -> None:
    """Let the restart leave a service behind that inherits what it can."""
    script = site.outer / "serve"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! >> {site.outer}/services\n", encoding="utf-8")
    script.chmod(0o755)
    site.write_dotenv({"RELEASER_RESTART": str(script)})


# What to look at beside the invariants


def candidate_gone(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the next command removes the release that never went live."""
    site.releaser("init")
    found = [row["state"] for row in site.json("list")]
    return ([] if found == ["live"] else [f"the states of releases: {found}"]) + seen.broken()


def not_tried_again(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that what was about to be taken back does not go live once more."""
    finished = site.releaser("update")
    broken = ["what was backed out went live again"] if finished.returncode else []
    return broken + seen.witness.after_update(finished, told=seen.scene.told, versions=seen.scene.versions)


def undamaged(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that no state file is found damaged."""
    return seen.broken() + _damaged(site)


def _damaged(site: SampleSite) -> list[str]:
    return [f"{path.name} was damaged" for path in site.state_dir.glob("*.unreadable-*")]


def told_at_all(site: SampleSite, _: Eyewitness) -> list[str]:
    """See that the mail about a run that failed is there."""
    return [] if site.outbox_mails() else ["nobody is told"]


def newest_is_live(site: SampleSite, _: Eyewitness) -> list[str]:
    """See that the release that was made is still live."""
    rows = site.json("list")
    return [] if rows[0]["live"] else ["what was reported as live is not live any more"]


def no_link(site: SampleSite, _: Eyewitness) -> list[str]:
    """See that there is no link to what was taken back."""
    return ["a release that was taken back is live"] if os.path.lexists(site.link) else []


def pinned(site: SampleSite, _: Eyewitness) -> list[str]:
    """See that the pin is there, and that it was read."""
    unreadable = [one for one in site.json("status")["problems"] if "state.json cannot be read" in one]
    return unreadable or ([] if any(row["pinned"] for row in site.json("list")) else ["the pin is lost"])


def remembered(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the last run is in the history."""
    runs = site.json("history")
    last = runs[0]["command"] if runs else "none"
    return [] if last == seen.scene.command else [f"the last run in the history is {last}"]


def pushed(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the commit that was refused is pushed once it can be."""
    (site.remote / "hooks" / "pre-receive").unlink()
    broken = seen.broken()
    return broken + _damaged(site) + ([] if site.head() == site.remote_head() else ["a commit is never pushed"])


def told_once(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the unreadable journal is told once."""
    finished = site.releaser("update")
    for file in site.state_dir.glob("journal.json.unreadable-*"):
        file.unlink()
    return seen.witness.after_update(finished, told="journal could not be read")


def clean_tree(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the checkout is as committed."""
    return seen.witness.after_update(site.releaser("update"))


def code_taken_back(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the next command takes the pulled commits back."""
    site.releaser("prune")
    kept = ["the pulled commits stay"] if (site.path / "notes.txt").exists() else []
    return kept + seen.broken()


def venv_kept(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the adopted venv is still there after the next command."""
    site.releaser("init")
    live = as_adopted(site.link.resolve()) if site.link.exists() else None
    return [] if live == seen.witness.live else ["the venv is lost"]


def restarted_once(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the site is not restarted again by the one who finishes the update."""
    before = site.restarted_at()
    broken = seen.broken()
    return broken + ([] if site.restarted_at() == before else ["the site was restarted again"])


def not_kept_out(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that no run is kept out by a service that a killed one has started."""
    finished, services = site.releaser("update"), site.outer / "services"
    for pid in services.read_text(encoding="utf-8").split():
        os.kill(int(pid), signal.SIGKILL)
    services.unlink()
    kept_out = ["the next run is kept out"] if finished.returncode == 8 else []
    return kept_out + seen.witness.after_update(finished, told=seen.scene.told, versions=seen.scene.versions)


TRIALS: dict[str, Trial] = {
    "syncfs of a built release": Trial(scene="update", how="cut", at=PLACES_LOCK, prepare=no_commit),
    "syncfs of an adopted venv": Trial(scene="init", how="cut", prepare=fresh_venv),
    "fsync of the manifest": Trial(scene="update", how="forget", at=PLACES_LOCK, prepare=no_commit),
    "fsync of the directory with the manifest": Trial(scene="update", how="forget", at=PLACES_LOCK, prepare=no_commit),
    "fsync of the journal": Trial(scene="update", how="forget", at=PLACES_LOCK, prepare=no_commit),
    "fsync of the directory with the journal": Trial(scene="update", how="forget", at=PLACES_LOCK, prepare=no_commit),
    "fsync of the lock in the checkout": Trial(
        scene="update", how="forget", prepare=without_static, check=well_after_prune
    ),
    "fsync of the directory with the lock in the checkout": Trial(
        scene="update", how="forget", prepare=without_static, check=well_after_prune
    ),
    "fsync of the ledger": Trial(scene="rollback", how="forget", prepare=without_static, check=undamaged),
    "fsync of the record of a release": Trial(scene="rollback", how="forget", command=("pin",), check=pinned),
    "fsync of the directory with the record of a release": Trial(
        scene="rollback", how="forget", command=("pin",), check=pinned
    ),
    "fsync of the table of blocks": Trial(scene="rollback", how="forget", prepare=without_static, check=undamaged),
    "fsync of the note of what is to be pushed": Trial(
        scene="update", how="forget", prepare=refused_push, check=pushed
    ),
    "fsync of the lock before the flip": Trial(
        scene="update, package taken back", how="forget", at=Point(event=PLACES_LOCK.event, number=2)
    ),
    "fsync of the directory after the flip": Trial(
        scene="update", how="forget", prepare=same_packages, check=newest_is_live
    ),
    "fsync of the directory after the link is taken away": Trial(
        scene="init without a venv", how="forget", prepare=ill_from_the_start, check=no_link
    ),
    "fsync of the directory after the journal is dropped": Trial(scene="rollback", how="forget", check=done_and_well),
    "fsync of the directory with a journal put aside": Trial(
        scene="rollback",
        how="forget",
        at=Point(event=f"write {STATE}/.notes.json.new"),
        command=("prune",),
        prepare=garbage,
        check=told_once,
    ),
    "fsync of a mail": Trial(scene="update", how="forget"),
    "fsync of the directory with a mail": Trial(scene="update", how="forget"),
    "fsync of the directory with the outbox's own": Trial(scene="update", how="forget"),
    "fsync of the directory with a new state directory": Trial(
        scene="init", how="forget", command=("update",), prepare=no_remote, check=told_at_all
    ),
    "fsync of the history": Trial(scene="rollback", how="forget", check=remembered),
    "fsync of the directory with the history": Trial(scene="init", how="forget", check=remembered),
    "fsync of the directory with a release on its way out": Trial(
        scene="prune",
        how="newest lasts",
        at=Point(event=f"remove {STATE}/releases/.doomed-<release>/venv/<file>", number=3),
    ),
    "core.fsync=all for git": Trial(scene="update", how="cut", at=Point(event="after git commit")),
    "syncfs after git moved the checkout": Trial(scene="update", how="cut", prepare=same_packages, check=clean_tree),
    "syncfs after collectstatic": Trial(scene="update", how="cut"),
    "journal: building": Trial(
        scene="update",
        how="SIGKILL",
        at=Point(event=f"write {STATE}/.lock-before.new"),
        check=candidate_gone,
    ),
    "journal: adopting": Trial(scene="init", how="SIGKILL", at=Point(event="symlink site/.venv"), check=venv_kept),
    "journal: committing": Trial(
        scene="update", how="SIGKILL", at=Point(event="after git merge"), check=code_taken_back
    ),
    "journal: what is done after the flip": Trial(
        scene="update", how="SIGKILL", at=Point(event="start python check", number=2), check=restarted_once
    ),
    "journal: reverting": Trial(
        scene="update, taken back", how="SIGKILL", at=Point(event=PLACES_LOCK.event, number=2), check=not_tried_again
    ),
    "journal: reporting": Trial(scene="update", how="SIGKILL", at=Point(event=f"write {STATE}/outbox/tmp/<mail>")),
    "journal dropped at the end": Trial(scene="update", how="", check=done_and_well),
    "state files by rename": Trial(scene="update", how="SIGKILL", at=Point(event=f"sync-data {RELEASE}/manifest.json")),
    "the journal by rename": Trial(
        scene="update", how="SIGKILL", at=Point(event=f"sync-data {STATE}/journal.json", number=3), check=undamaged
    ),
    "the flip by rename": Trial(scene="update", how="SIGKILL", at=Point(event="symlink site/.venv")),
    "adoption by exchange": Trial(scene="init", how="SIGKILL", at=Point(event="symlink site/.venv")),
    "unlink of a stale temporary link": Trial(
        scene="update, taken back", how="SIGKILL", at=Point(event="rename site/.venv", number=2), next_one="update"
    ),
    "unlink of a stale temporary file": Trial(
        scene="update", how="SIGKILL", at=Point(event=f"rename {STATE}/ledger.json", number=2), next_one="update"
    ),
    "sweep of what is half-made": Trial(
        scene="update", how="SIGKILL", at=Point(event="rename site/.venv"), next_one="prune"
    ),
    "the project lock kept from what is started": Trial(
        scene="update",
        how="SIGKILL",
        at=Point(event=f"write {STATE}/outbox/tmp/<mail>"),
        prepare=leaves_a_service,
        check=not_kept_out,
    ),
}


def test_every_mutation_has_its_fault() -> None:
    assert sorted(TRIALS) == sorted(one.name for one in MUTATIONS)


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory, scenes: Scenes) -> Disks:
    """Give sites on disks of their own."""
    return Disks(tmp_path_factory.mktemp("disks"), scenes)


@pytest.mark.parametrize("mutation", list(TRIALS))
def test_what_is_left_out_is_missed(
    mutation: str,
    scenes: Scenes,
    disks: Disks,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    trial = TRIALS[mutation]
    require(trial.how != "cut" or can_cut(), "power cuts need root, loop devices and mkfs.ext4")
    missed = broken_by(trial, mutation, scenes, disks, tmp_path / "without")
    assert missed, f"nothing tells that releaser lacks: {mutation}"
    record_property(CAUGHT, f"{mutation:<56} {trial}: {missed[0].splitlines()[0]}")
    # With nothing left out, trials that differ in their mutation alone are one.
    parts = (trial.scene, trial, trial.prepare.__name__, trial.check.__name__)
    key = hashlib.sha256(repr([*map(str, parts)]).encode()).hexdigest()
    assert scenes.once(f"trial {key}", lambda: broken_by(trial, "", scenes, disks, tmp_path / "with")) == []


def broken_by(trial: Trial, without: str, scenes: Scenes, disks: Disks, base: Path) -> list[str]:
    """Make the fault with a step left out, or with none; name what does not hold then."""
    if trial.how == "cut":
        with disks.site(trial.scene, base) as (site, disk):
            return _broken(trial, without, site, disk)
    base.mkdir()
    return _broken(trial, without, scenes.copy(trial.scene, base), None)


def _broken(trial: Trial, without: str, site: SampleSite, disk: Disk | None) -> list[str]:
    trial.prepare(site)
    seen, scene = Eyewitness.of(site, trial.scene), SCENES[trial.scene]
    words = trial.command or (scene.command,)
    if words == ("pin",):
        words = ("pin", site.live_id())
    meanwhile = "" if trial.next_one else without
    if disk is not None:
        cut_at(site, disk, *words, at=trial.at, entries_written=True, without=meanwhile)
    else:
        assert trial.how != "cut"
        ended = run_observed(site, *words, fault=Fault(at=trial.at, how=trial.how, without=meanwhile))
        came = ended.returncode == -signal.SIGKILL or not trial.how
        assert came or not without, f"{trial.at} did not come: {ended}"
    if trial.next_one:
        return _after(trial.next_one, site, seen, without)
    try:
        return trial.check(site, seen)
    except pytest.fail.Exception as error:
        return [str(error)]


def _after(command: str, site: SampleSite, seen: Eyewitness, without: str) -> list[str]:
    def act() -> Finished:
        ended = run_observed(site, command, fault=Fault(without=without))
        return Finished(returncode=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)

    if command == "update":
        return seen.broken(act)
    act()
    return seen.witness.after_command()
