"""The journal of a change in progress."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, get_args

import pytest

from releaser.releases.journal import Entry, Journal, Phase
from releaser.system.files import UnreadableStateError

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = Entry(
    command="update",
    run_id="20261120T061200Z-42",
    phase="committing",
    origin="A",
    origin_link="../.releaser/site/releases/A/venv",
    target="B",
    head_before="0" * 40,
    head_after="1" * 40,
    done=("collectstatic", "restart"),
    reason="",
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(state_dir=tmp_path)


def test_without_a_change_in_progress_there_is_no_journal(journal: Journal) -> None:
    assert journal.read() is None
    journal.drop()
    assert journal.read() is None


@pytest.mark.parametrize("phase", get_args(Phase))
def test_an_entry_is_read_as_it_was_written(journal: Journal, phase: Phase) -> None:
    entry = dataclasses.replace(ENTRY, phase=phase)
    assert journal.write(entry) == entry
    assert journal.read() == entry
    journal.drop()
    assert list(journal.state_dir.iterdir()) == []


def test_a_link_of_any_bytes_is_read_as_it_was_written(journal: Journal) -> None:
    entry = dataclasses.replace(ENTRY, origin_link="/srv/caf\udce9/größe")
    journal.write(entry)
    assert journal.read() == entry


def test_a_later_phase_keeps_what_the_change_is_about() -> None:
    later = ENTRY.moved("reverting", done=(), reason="the site is ill")
    assert (later.phase, later.done, later.reason) == ("reverting", (), "the site is ill")
    assert (later.origin, later.target, later.head_before) == (ENTRY.origin, ENTRY.target, ENTRY.head_before)


def written(**changes: object) -> str:
    content = {"version": 2, **dataclasses.asdict(ENTRY), **changes}
    return json.dumps({key: value for key, value in content.items() if value != "(left out)"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[1]",
        "\0" * 4096,
        written(version=3),
        written(version="(left out)"),
        written(phase="flipping"),
        written(phase=None),
        written(phase="(left out)"),
        written(command="(left out)"),
        written(done=5),
        written()[:-20],
    ],
)
def test_what_is_no_entry_is_unreadable_and_can_be_put_aside(journal: Journal, text: str) -> None:
    journal.path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableStateError):
        journal.read()
    aside = journal.put_aside()
    assert (aside.name, aside.read_text(encoding="utf-8")) == ("journal.json.unreadable-1", text)
    assert journal.read() is None
