"""What others have damaged is told, and state files and the ledger are put right again."""

import json
import os
import shutil
from dataclasses import is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.capabilities import state_files
from releaser.core.follow_up import Pending
from releaser.pipelines.recovery import KEPT_LOGS, _delete_old_logs
from releaser.pipelines.repair import diagnose, repair, replace_unreadable, restore_blocks
from releaser.releases.approvals import APPROVALS, Approvals, read_approvals
from releaser.releases.blocks import Blocks, block_candidate, change_blocks, read_blocks
from releaser.releases.journal import JOURNAL
from releaser.releases.pause import PAUSE, read_pause
from releaser.releases.release import EMPTY_LEDGER, LEDGER
from releaser.releases.store import ReleaseStore
from releaser.releases.venv import Interpreter
from releaser.site.project import Project
from releaser.site.site import Site
from releaser.system import files
from releaser.system.files import load_state, put_aside, write_state
from releaser.system.frozen import replace
from releaser.system.state_files import StateFile
from tests.releases.makers import a_manifest, live, tell
from tests.support.logs import a_log

FIRST, SECOND = a_manifest(1).id, a_manifest(2).id


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Make a store of two good releases."""
    (tmp_path / "site").mkdir()
    (tmp_path / "state").mkdir()
    made = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / "site" / ".venv")
    for number, name in ((1, FIRST), (2, SECOND)):
        python = str(made.path(name) / "venv" / "bin" / "python")
        known = Interpreter(executable=python, version="3.11.7", implementation="cpython", abi="", build="", seen={})
        live(made, number, interpreter=known)
    return made


@pytest.fixture
def site(store: ReleaseStore) -> Site:
    project = SimpleNamespace(state_dir=store.state_dir, venv=store.link)
    return cast("Site", SimpleNamespace(project=project, state_dir=store.state_dir, asks=True))


def problems(store: ReleaseStore) -> list[str]:
    return [one.message for one in diagnose(store)]


REPLACED = [one.name for one in state_files() if is_dataclass(one.type) and one is not JOURNAL]


@pytest.mark.parametrize("name", REPLACED)
def test_a_state_file_that_cannot_be_read_is_told_and_put_aside(store: ReleaseStore, site: Site, name: str) -> None:
    assert problems(store) == []
    before, log = store.ledger(), a_log()
    (store.state_dir / name).write_text("{", encoding="utf-8")
    (found,) = problems(store)
    assert f"{name} cannot be read" in found
    replace_unreadable(site, log)
    assert f"{name} could not be read" in log.findings[0].message
    assert (store.state_dir / f"{name}.unreadable-1").exists()
    assert problems(store) == []
    assert load_state(store.state_dir / LEDGER, EMPTY_LEDGER).activations == before.activations
    if name == "pending.json":
        assert load_state(store.state_dir / name, Pending()).push
    if name == "notes.json":
        assert "make the work tree unclean" in log.findings[-1].advice


@pytest.mark.parametrize("is_directory", [False, True])
def test_an_unreadable_pause_keeps_its_name_until_its_substitute_has_it(
    store: ReleaseStore, site: Site, is_directory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed between the two would leave no pause; only for a directory there is no other way."""
    path, had = store.state_dir / PAUSE, []

    def write(to: Path, content: object) -> None:
        had.append(to.exists())
        write_state(to, content)

    path.mkdir() if is_directory else path.write_text("{", encoding="utf-8")
    monkeypatch.setattr(files, "write_state", write)
    replace_unreadable(site, a_log())
    assert had == [not is_directory]
    assert read_pause(store.state_dir) == PAUSE.substitute
    assert os.path.lexists(store.state_dir / f"{PAUSE}.unreadable-1")


@pytest.mark.parametrize("file", [PAUSE, APPROVALS], ids=str)
def test_a_file_that_this_user_cannot_read_is_put_aside(store: ReleaseStore, site: Site, file: StateFile) -> None:
    """A symlink to itself: an error of the system, also for root."""
    (store.state_dir / file).symlink_to(file.name)
    assert "Too many levels" in problems(store)[0]
    assert read_approvals(store.state_dir) == Approvals()
    replace_unreadable(site, a_log())
    assert (problems(store), os.path.lexists(store.state_dir / f"{file}.unreadable-1")) == ([], True)


def test_a_ledger_that_is_gone_is_made_again(store: ReleaseStore, site: Site) -> None:
    before, log = store.ledger(), a_log()
    (store.state_dir / "ledger.json").unlink()
    replace_unreadable(site, log)
    assert load_state(store.state_dir / LEDGER, EMPTY_LEDGER) == before
    assert [one.message for one in log.findings] == ["ledger.json was lost; it was rebuilt from the releases"]


@pytest.mark.parametrize("python", ["3.11.7", "3.11.9"])
def test_no_update_is_said_to_rebuild_a_damaged_release_if_the_same_has_failed(
    store: ReleaseStore, python: str
) -> None:
    damaged = store.live()
    assert damaged is not None
    (damaged.venv / "bin" / "python").unlink()

    def advice() -> list[str]:
        return [one.advice for one in diagnose(store) if "the live release" in one.message]

    assert advice() == ["The next `releaser update` rebuilds it."]
    failed = block_candidate(replace(damaged.key, python=python), "20261127T201846Z", "rolled back")
    change_blocks(store.state_dir, lambda blocks: blocks.with_new(failed))
    assert "`releaser rebuild`" in advice()[0]
    change_blocks(store.state_dir, lambda _: Blocks(entries=(replace(failed, key=replace(damaged.key, code_key="x")),)))
    assert advice() == ["The next `releaser update` rebuilds it."]


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_what_was_rolled_back_stays_out_though_the_quarantine_of_an_earlier_version_is_damaged(
    store: ReleaseStore, site: Site, is_cut_off: bool
) -> None:
    """Beside it lies a file of holds, which stay. A run that put the quarantine aside may have been cut off then."""
    tell(store, "live 3, go 2, withdraw 3")
    log = a_log()
    hold = {"name": "gamma", "by": "person", "reason": "wait", "at": "2026-11-20T06:00:00+00:00"}
    (store.state_dir / "holds.json").write_text(json.dumps({"version": 2, "entries": [hold]}), encoding="utf-8")
    (store.state_dir / "quarantine.json").write_text("{", encoding="utf-8")
    if is_cut_off:
        put_aside(store.state_dir / "quarantine.json")
        restore_blocks(site, log)
    else:
        replace_unreadable(site, log)
    blocks = read_blocks(store.state_dir)
    assert [(one.name, one.version) for one in blocks.failed] == [("alpha", "1.1")]
    assert [one.release for one in blocks.candidates] == [a_manifest(3).id]
    assert [one.name for one in blocks.held] == ["gamma"]
    assert "rolled back releases was lost; it was rebuilt from the releases" in log.findings[-1].message
    assert (store.state_dir / "quarantine.json.unreadable-1").exists()


@pytest.mark.parametrize(("name", "told"), [("holds.json", "`releaser hold`"), ("acceptance.json", "what to accept")])
def test_a_lost_file_of_an_earlier_version_tells_what_is_gone_with_it(
    store: ReleaseStore, site: Site, name: str, told: str
) -> None:
    log = a_log()
    (store.state_dir / name).write_text("{", encoding="utf-8")
    replace_unreadable(site, log)
    assert log.findings[-1].message.startswith(f"{name} was lost: the ")
    assert told in log.findings[-1].advice


def test_an_unreadable_journal_is_told_and_left_to_recovery(store: ReleaseStore, site: Site) -> None:
    log = a_log()
    (store.state_dir / "journal.json").write_text("{", encoding="utf-8")
    replace_unreadable(site, log)
    assert log.findings == []
    assert "journal.json cannot be read" in problems(store)[0]


def test_a_release_that_is_gone_is_told_and_forgotten(store: ReleaseStore, site: Site) -> None:
    log, gone = a_log(), FIRST
    shutil.rmtree(store.path(gone))
    assert problems(store) == [f"release {gone} is gone from {store.directory}"]
    repair(site, log)
    assert [one.message for one in log.findings] == [f"release {gone} is gone from {store.directory}"]
    assert problems(store) == []
    assert gone not in load_state(store.state_dir / LEDGER, EMPTY_LEDGER).named


def test_what_a_person_may_mean_is_told_and_left_alone(store: ReleaseStore, site: Site) -> None:
    log = a_log()
    store.link.unlink()
    store.link.symlink_to(store.path(FIRST) / "venv")
    shutil.rmtree(store.path(SECOND))
    assert "it was moved by hand" in problems(store)[0]
    repair(site, log)
    assert log.findings == []
    assert store.live_id() == FIRST


def test_a_missing_link_and_a_lost_manifest_are_told(store: ReleaseStore) -> None:
    (store.path(FIRST) / "manifest.json").unlink()
    store.link.unlink()
    lost = f"the manifest of release {FIRST} is gone, or cannot be read"
    assert problems(store) == [f"{store.link} is missing", lost]


@pytest.mark.parametrize("has_releases", [False, True])
def test_old_logs_are_deleted_unless_their_runs_made_a_release(tmp_path: Path, *, has_releases: bool) -> None:
    """A project whose runs never made any release has no directory of releases."""
    project = cast("Project", SimpleNamespace(logs=tmp_path / "logs", releases=tmp_path / "releases"))
    project.logs.mkdir()
    for number in range(KEPT_LOGS + 2):
        log = project.logs / f"20200101T00{number:02}00Z-1.log"
        log.touch()
        ended = 1_577_836_800 + number * 60 + 20
        os.utime(log, (ended, ended))
    if has_releases:
        (project.releases / "20200101T000105Z").mkdir(parents=True)
    (project.logs / "20191231T000000Z-1.log").symlink_to("gone")
    os.utime(project.logs / "20191231T000000Z-1.log", (1_577_750_400, 1_577_750_400), follow_symlinks=False)
    assert _delete_old_logs(project) == (2 if has_releases else 3)
    assert (project.logs / "20200101T000100Z-1.log").exists() == has_releases
