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

from tests.e2e.scenes import make_hook
from tests.faults.aftermath import Eyewitness
from tests.faults.conftest import CAUGHT
from tests.faults.invariants import as_adopted, unless
from tests.faults.mutations import MUTATIONS, RELEASE, STATE
from tests.faults.observed import END, Fault, How, Point, run_observed
from tests.faults.powercut import Disk, Disks, can_cut, cut_at
from tests.faults.scenes import SCENES, Scenes
from tests.support.guards import require
from tests.support.sites import SampleSite

Check = Callable[[SampleSite, Eyewitness], list[str]]

PLACES_LOCK = Point(f"write {STATE}/.uv.lock.new")  # the first thing after the flip
PLACES_IT_AGAIN = Point(PLACES_LOCK.event, 2)
AT_END = Point(END)
FLIPS = Point("symlink site/.venv")


# Preparations


def nothing(_: SampleSite) -> None:
    """Prepare nothing."""


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
    without_static(site)
    make_hook(site.remote, "pre-receive")


def no_remote(site: SampleSite) -> None:
    site.remote.rename(site.remote.with_name("gone.git"))


def unreadable_journal(site: SampleSite) -> None:
    (site.state_dir / "journal.json").write_bytes(b"\0" * 64)


def leaves_a_service(site: SampleSite) -> None:
    """Let the restart leave a service behind that inherits what it can."""
    script = site.outer / "serve"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! >> {site.outer}/services\n", encoding="utf-8")
    script.chmod(0o755)
    site.write_dotenv({"RELEASER_RESTART": str(script)})


# What to look at


def all_well(_: SampleSite, seen: Eyewitness) -> list[str]:
    """Look at what every fault must leave."""
    return seen.broken()


def well_after_prune(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the next command mends what is not as it should be, whatever command that is."""
    site.releaser("prune")
    return done_and_well(site, seen)


def done_and_well(_: SampleSite, seen: Eyewitness) -> list[str]:
    """See also that what a command had finished holds without another command."""
    return seen.witness.after_command() + seen.broken()


def candidate_gone(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the next command removes the release that never went live."""
    site.releaser("init")
    found = [row["state"] for row in site.json("list")]
    return unless(found == ["live"], f"the states of releases: {found}") + seen.broken()


def not_tried_again(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that what was about to be taken back does not go live once more."""
    finished = site.releaser("update")
    broken = unless(finished.returncode == 0, "what was backed out went live again")
    return broken + seen.witness.after_update(finished, told=seen.scene.told, versions=seen.scene.versions)


def undamaged(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that no state file is found damaged."""
    return seen.broken() + [f"{path.name} was damaged" for path in site.state_dir.glob("*.unreadable-*")]


def told_at_all(site: SampleSite, _: Eyewitness) -> list[str]:
    return unless(site.outbox_mails(), "no mail tells of the run that failed")


def newest_is_live(site: SampleSite, _: Eyewitness) -> list[str]:
    return unless(site.json("list")[0]["live"], "what was reported as live is not live any more")


def no_link(site: SampleSite, _: Eyewitness) -> list[str]:
    return unless(not os.path.lexists(site.link), "a release that was taken back is live")


def pinned(site: SampleSite, _: Eyewitness) -> list[str]:
    """See that the pin is there, and that it was read."""
    unreadable = [one for one in site.json("status")["problems"] if "state.json cannot be read" in one]
    return unreadable or unless(any(row["pinned"] for row in site.json("list")), "the pin is lost")


def remembered(site: SampleSite, seen: Eyewitness) -> list[str]:
    runs = [run["command"] for run in site.json("history")]
    return unless(runs[:1] == [seen.scene.command], f"the last run is not in the history: {runs}")


def pushed(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the commit that was refused is pushed once it can be."""
    (site.remote / "hooks" / "pre-receive").unlink()
    return undamaged(site, seen) + unless(site.head() == site.remote_head(), "a commit is never pushed")


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
    return unless(not (site.path / "notes.txt").exists(), "the pulled commits stay") + seen.broken()


def venv_kept(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the adopted venv is still there after the next command."""
    site.releaser("init")
    live = as_adopted(site.link.resolve()) if site.link.exists() else None
    return unless(live == seen.witness.live, "the venv is lost")


def restarted_once(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that the run that finishes the update does not restart the site again."""
    before = site.restarted_at()
    return seen.broken() + unless(site.restarted_at() == before, "the site was restarted again")


def not_kept_out(site: SampleSite, seen: Eyewitness) -> list[str]:
    """See that no run is kept out by a service that a killed one has started."""
    finished, services = site.releaser("update"), site.outer / "services"
    for pid in services.read_text(encoding="utf-8").split():
        os.kill(int(pid), signal.SIGKILL)
    services.unlink()
    kept_out = unless(finished.returncode != 8, "the next run is kept out")
    return kept_out + seen.witness.after_update(finished, told=seen.scene.told, versions=seen.scene.versions)


# The table

HOW = {
    "cut": "power cut, ext4",
    "forget": "power cut, unsynced data lost",
    "reorder": "power cut, oldest unsynced change lost",
    "newest lasts": "power cut, all unsynced data lost but the newest",
    "SIGKILL": "kill -9",
    "": "none",
}


@dataclass(frozen=True)
class Trial:
    """A fault at a point of a scene's command, or of another one, and how to see what it did.

    `cut` is the power cut on a real file system, with directories written. `next_one` is the command that
    comes after the fault and must deal with what is left: then the step is left out of that one.
    """

    scene: str
    how: How | Literal["cut"]
    at: Point = AT_END
    prepare: Callable[[SampleSite], None] = nothing
    check: Check = all_well
    command: str = ""
    next_one: str = ""

    def __str__(self) -> str:
        when = "at the end" if self.at.event == END else f"before `{self.at.event}`"
        number = f" no. {self.at.number}" if self.at.number > 1 else ""
        then = f"; then `{self.next_one}`" if self.next_one else ""
        return f"{HOW[self.how]}: {self.command or self.scene}, {when}{number}{then}"


BUILT = Trial("update", "forget", PLACES_LOCK, no_commit)
LOCKED = Trial("update", "forget", AT_END, without_static, well_after_prune)
GONE_BACK = Trial("rollback", "forget", AT_END, without_static, undamaged)
PINNED = Trial("rollback", "forget", AT_END, check=pinned, command="pin")
MAILED = Trial("update", "forget")
MAILS = Point(f"write {STATE}/outbox/tmp/<mail>")
REMOVES_THIRD_FILE = Point(f"remove {STATE}/releases/.doomed-<release>/venv/<file>", 3)

TRIALS: dict[str, Trial] = {
    "syncfs of a built release": Trial("update", "cut", PLACES_LOCK, no_commit),
    "syncfs of an adopted venv": Trial("init", "cut", AT_END, fresh_venv),
    "fsync of the manifest": BUILT,
    "fsync of the directory with the manifest": BUILT,
    "fsync of the journal": BUILT,
    "fsync of the directory with the journal": BUILT,
    "fsync of the lock in the checkout": LOCKED,
    "fsync of the directory with the lock in the checkout": LOCKED,
    "fsync of the ledger": GONE_BACK,
    "fsync of the record of a release": PINNED,
    "fsync of the directory with the record of a release": PINNED,
    "fsync of the table of blocks": GONE_BACK,
    "fsync of the note of what is to be pushed": Trial("update", "forget", AT_END, refused_push, pushed),
    "fsync of the lock before the flip": Trial("update, package taken back", "forget", PLACES_IT_AGAIN),
    "fsync of the directory after the flip": Trial("update", "forget", AT_END, same_packages, newest_is_live),
    "fsync of the directory after the link is taken away": Trial(
        "init without a venv", "forget", AT_END, ill_from_the_start, no_link
    ),
    "fsync of the directory after the journal is dropped": Trial("rollback", "forget", check=done_and_well),
    "fsync of the directory with a journal put aside": Trial(
        "rollback", "forget", Point(f"write {STATE}/.notes.json.new"), unreadable_journal, told_once, command="prune"
    ),
    "fsync of a mail": MAILED,
    "fsync of the directory with a mail": MAILED,
    "fsync of the directory with the outbox's own": MAILED,
    "fsync of the directory with a new state directory": Trial(
        "init", "forget", AT_END, no_remote, told_at_all, command="update"
    ),
    "fsync of the history": Trial("rollback", "forget", check=remembered),
    "fsync of the directory with the history": Trial("init", "forget", check=remembered),
    "fsync of the directory with a release on its way out": Trial("prune", "newest lasts", REMOVES_THIRD_FILE),
    "core.fsync=all for git": Trial("update", "cut", Point("after git commit")),
    "syncfs after git moved the checkout": Trial("update", "cut", AT_END, same_packages, clean_tree),
    "syncfs after collectstatic": Trial("update", "cut"),
    "journal: building": Trial("update", "SIGKILL", Point(f"write {STATE}/.lock-before.new"), check=candidate_gone),
    "journal: adopting": Trial("init", "SIGKILL", FLIPS, check=venv_kept),
    "journal: committing": Trial("update", "SIGKILL", Point("after git merge"), check=code_taken_back),
    "journal: what is done after the flip": Trial(
        "update", "SIGKILL", Point("start python check", 2), check=restarted_once
    ),
    "journal: reverting": Trial("update, taken back", "SIGKILL", PLACES_IT_AGAIN, check=not_tried_again),
    "journal: reporting": Trial("update", "SIGKILL", MAILS),
    "journal dropped at the end": Trial("update", "", check=done_and_well),
    "state files by rename": Trial("update", "SIGKILL", Point(f"sync-data {RELEASE}/manifest.json")),
    "the journal by rename": Trial("update", "SIGKILL", Point(f"sync-data {STATE}/journal.json", 3), check=undamaged),
    "the flip by rename": Trial("update", "SIGKILL", FLIPS),
    "adoption by exchange": Trial("init", "SIGKILL", FLIPS),
    "unlink of a stale temporary link": Trial(
        "update, taken back", "SIGKILL", Point("rename site/.venv", 2), next_one="update"
    ),
    "unlink of a stale temporary file": Trial(
        "update", "SIGKILL", Point(f"rename {STATE}/ledger.json", 2), next_one="update"
    ),
    "sweep of what is half-made": Trial("update", "SIGKILL", Point("rename site/.venv"), next_one="prune"),
    "the project lock kept from what is started": Trial("update", "SIGKILL", MAILS, leaves_a_service, not_kept_out),
}


def test_every_mutation_has_its_fault() -> None:
    assert sorted(TRIALS) == sorted(one.name for one in MUTATIONS)


@pytest.mark.spread(8)
@pytest.mark.parametrize("mutation", list(TRIALS))
def test_what_is_left_out_is_missed(
    mutation: str, scenes: Scenes, disks: Disks, tmp_path: Path, record_property: Callable[[str, object], None]
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
    seen = Eyewitness.of(site, trial.scene)
    words = ("pin", site.live_id()) if trial.command == "pin" else (trial.command or SCENES[trial.scene].command,)
    meanwhile = "" if trial.next_one else without
    if disk is not None:
        cut_at(site, disk, *words, at=trial.at, entries_written=True, without=meanwhile)
    else:
        assert trial.how != "cut"
        ended = run_observed(site, *words, fault=Fault(at=trial.at, how=trial.how, without=meanwhile))
        came = ended.returncode == -signal.SIGKILL or not trial.how
        assert came or not without, f"{trial.at} did not come: {ended}"
    try:
        if not trial.next_one:
            return trial.check(site, seen)
        if trial.next_one == "update":
            return seen.broken(lambda: run_observed(site, "update", fault=Fault(without=without)))
        run_observed(site, trial.next_one, fault=Fault(without=without))
        return seen.witness.after_command()
    except pytest.fail.Exception as error:
        return [str(error)]
