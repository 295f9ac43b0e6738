"""The journal of a change in progress."""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from releaser.locks.blocks import Block
from releaser.releases.blocks import read_blocks
from releaser.releases.journal import Entry, Flip, Journal, Phase, read_history, read_notes
from releaser.system.files import UnreadableStateError, put_aside
from releaser.system.reserve import FILES, INODES, RESERVE, SIZE, keep_reserve
from tests.support.guards import require

ENTRY = Entry(
    command="update",
    run_id="20261120T061200Z-42",
    phase="committing",
    actions={"checkout": {"before": "0" * 40, "after": "1" * 40}, "restart": {"was_used": True}},
    release="B",
    flip=Flip(previous="A", previous_link="../.releaser/site/releases/A/venv", at=1.5, boot="one"),
    done=("collectstatic", "restart"),
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(state_dir=tmp_path)


def test_without_a_change_in_progress_there_is_no_journal(journal: Journal) -> None:
    assert journal.read() is None
    journal.drop()
    assert journal.read() is None


def test_an_entry_is_read_as_it_was_written(journal: Journal) -> None:
    """In each phase, and with a link of any bytes."""
    for phase in get_args(Phase):
        flip = Flip(previous_link="/srv/caf\udce9/größe")
        entry = dataclasses.replace(ENTRY, phase=phase, flip=flip)
        assert journal.write(entry) == entry
        assert journal.read() == entry
    journal.drop()
    assert list(journal.state_dir.iterdir()) == []


def written(**changes: object) -> str:
    content = {"version": 2, **dataclasses.asdict(ENTRY), **changes}
    return json.dumps({key: value for key, value in content.items() if value != "(left out)"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        written(version=3),
        written(phase="flipping"),
        written(phase="(left out)"),
        written(command="(left out)"),
        written()[:-20],
    ],
)
def test_what_is_no_entry_is_unreadable_and_can_be_put_aside(journal: Journal, text: str) -> None:
    journal.path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableStateError):
        journal.read()
    aside = put_aside(journal.path)
    assert (aside.name, aside.read_text(encoding="utf-8")) == ("journal.json.unreadable-1", text)
    assert journal.read() is None


# On a full disk it is replaced whole, with the room that was kept for it


@pytest.fixture(params=["bytes", "inodes"])
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A state directory with a journal and its reserve, on a file system that is full then."""
    require(os.geteuid() == 0 and shutil.which("mount"), "only root can mount")
    options = "size=2m" if request.param == "bytes" else "size=4m,nr_inodes=100"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "releaser-test", tmp_path], check=True)
    try:
        Journal(state_dir=tmp_path).write(ENTRY)
        keep_reserve(tmp_path)
        with pytest.raises(OSError, match="No space left"):
            fill(tmp_path)
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(directory: Path) -> None:
    for number in range(1000):
        with (directory / f"filler-{number}").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096) and file.tell() < 64 * 1024:
                pass


@pytest.mark.spawns
def test_what_must_be_recorded_is_and_never_in_place(full_disk: Path) -> None:
    journal, number = Journal(state_dir=full_disk), (full_disk / "journal.json").stat().st_ino
    reverting = ENTRY.moved("reverting", done=())
    with pytest.raises(OSError, match="No space left"):
        journal.write(reverting)
    assert journal.read() == ENTRY
    journal.write_on_full_disk(reverting)
    assert journal.read() == reverting
    assert journal.path.stat().st_ino != number
    for step in ("collectstatic", "restart", "health check"):
        reverting = dataclasses.replace(reverting, done=(*reverting.done, step))
        journal.write_on_full_disk(reverting)
        assert journal.read() == reverting
    assert not (full_disk / RESERVE).exists()
    assert not (full_disk / INODES).exists()
    keep_reserve(full_disk)  # as far as there is room
    assert journal.read() == reverting
    with contextlib.suppress(FileNotFoundError):
        for filler in full_disk.glob("filler-*"):
            filler.unlink()
    keep_reserve(full_disk)
    assert (full_disk / RESERVE).stat().st_size == SIZE
    assert len(list((full_disk / INODES).iterdir())) == FILES
    assert list(full_disk.glob(".*")) == []


def test_without_a_reserve_the_earlier_entry_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(state_dir=tmp_path)
    journal.write(ENTRY)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("releaser.system.files.os.fsync", refuse)
    with pytest.raises(OSError, match="broken"):
        journal.write_on_full_disk(ENTRY.moved("reverting"))
    assert journal.read() == ENTRY


# What an earlier version has written

# Exactly the fields that the earlier version always wrote, in its order.
EARLIER: dict[str, Any] = {
    "version": 2,
    "command": "update",
    "run_id": "20261120T061200Z-42",
    "phase": "committing",
    "origin": "A",
    "origin_link": "../.releaser/site/releases/A/venv",
    "target": "B",
    "head_before": "0" * 40,
    "head_after": "1" * 40,
    "done": ["collectstatic"],
    "reason": "",
    "not_the_release": False,
    "creates_pyproject": False,
    "flipped_at": 17.5,
    "boot": "a start",
    "was_used": True,
    "stays": False,
    "collected": True,
    "start": ["systemctl", "start", "site"],
    "unreported": ["Something."],
}


def written_before(tmp_path: Path, **changes: object) -> Journal:
    journal = Journal(state_dir=tmp_path)
    journal.path.write_text(f"{json.dumps({**EARLIER, **changes}, indent=1)}\n", encoding="utf-8")
    return journal


FLIP = Flip(previous="A", previous_link="../.releaser/site/releases/A/venv", at=17.5, boot="a start")
UNUSED: dict[str, Any] = {"collected": False, "start": [], "was_used": False}


@pytest.mark.parametrize(
    ("changes", "flip", "actions"),
    [
        ({}, FLIP, {"checkout", "collectstatic", "restart"}),
        (
            {"phase": "reverting", "reason": "ill", "not_the_release": True, "command": "rollback", "stays": True},
            dataclasses.replace(FLIP, goes_back=True, stays=True, reason="ill", not_the_release=True),
            {"checkout", "collectstatic", "restart"},
        ),
        ({**UNUSED, "phase": "building", "collected": True}, None, {"collectstatic"}),
        ({**UNUSED, "phase": "pulling"}, None, {"checkout"}),
        ({**UNUSED, "phase": "reporting"}, None, set()),
    ],
)
def test_it_says_the_same(tmp_path: Path, changes: dict[str, Any], flip: Flip | None, actions: set[str]) -> None:
    journal = written_before(tmp_path, **changes)
    entry, was = journal.read(), {**EARLIER, **changes}
    assert entry is not None
    assert (entry.command, entry.run_id, entry.phase) == (was["command"], was["run_id"], was["phase"])
    assert (entry.release, entry.done, entry.unreported) == ("B", ("collectstatic",), ("Something.",))
    assert (entry.flip, set(entry.actions)) == (flip, actions)
    if "checkout" in actions:
        checkout = entry.actions["checkout"]
        assert (checkout["before"], checkout["after"], checkout["boot"]) == ("0" * 40, "1" * 40, "a start")
        assert checkout["files"] is (was["phase"] != "pulling")
    if "restart" in actions:
        stopped = {"stopped": True, "start": ("systemctl", "start", "site"), "since": 17.5}
        assert entry.actions["restart"] == {"was_used": True, **stopped}
    journal.write(entry)
    assert journal.read() is not None


def test_that_nobody_used_the_earlier_release_is_known(tmp_path: Path) -> None:
    """Else it would be looked for processes of the release that is live, which may have begun since."""
    entry = written_before(tmp_path, was_used=False, start=[]).read()
    assert entry is not None
    assert entry.actions["restart"] == {"was_used": False}


def test_what_no_version_wrote_stays_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableStateError, match=r"journal\.json"):
        written_before(tmp_path, phase="flipping").read()


@pytest.mark.parametrize(
    ("earlier", "result"),
    [
        ({"command": "update", "result": "activated"}, "updated"),
        ({"command": "rollback", "result": "activated"}, "rolled-back"),
        ({"command": "update", "result": "rolled_back"}, "rolled-back"),
        ({"command": "update", "result": "unchanged"}, "no-changes"),
        ({"command": "update", "result": "failed"}, "failed"),
        ({"result": "failed", "exit_code": 4}, "failed"),
        ({"result": "failed", "exit_code": 5}, "refused"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"held_back": "a", "rejected_commits": "b"}])
def test_the_history_of_an_earlier_version_is_read_in_the_words_of_now(
    tmp_path: Path, earlier: dict[str, object], more: dict[str, str], result: str
) -> None:
    (tmp_path / "history.jsonl").write_text(json.dumps({**earlier, **more}) + "\n", encoding="utf-8")
    now = {"on_hold": "a", "commits_on_hold": "b"} if more else {}
    assert read_history(tmp_path) == [{**earlier, "result": result, **now}]


def test_a_block_and_a_thread_of_an_earlier_version_are_those_of_a_rollback(tmp_path: Path) -> None:
    at = "2026-11-20T06:00:00+00:00"
    entry = {"name": "alpha", "by": "activation", "reason": "ill", "since": at, "version": "1.0"}
    (tmp_path / "blocks.json").write_text(json.dumps({"version": 2, "entries": [entry]}), encoding="utf-8")
    thread = {"problem": "activation", "message_id": "<a@b>", "since": at}
    (tmp_path / "notes.json").write_text(json.dumps({"version": 2, "threads": [thread]}), encoding="utf-8")
    assert Block(name="alpha", reason="ill", by="activation").by == "rollback"
    assert [one.by for one in read_blocks(tmp_path).entries] == ["rollback"]
    assert [one.problem for one in read_notes(tmp_path).threads] == ["rollback"]
