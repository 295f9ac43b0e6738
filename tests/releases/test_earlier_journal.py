"""A change that an earlier version began is finished or undone by this one, from what that version wrote."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from releaser.releases.journal import Flip, Journal
from releaser.system.files import UnreadableStateError

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


def written(tmp_path: Path, **changes: object) -> Journal:
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
            replace(FLIP, goes_back=True, stays=True, reason="ill", not_the_release=True),
            {"checkout", "collectstatic", "restart"},
        ),
        ({**UNUSED, "phase": "building", "collected": True}, None, {"collectstatic"}),
        ({**UNUSED, "phase": "pulling"}, None, {"checkout"}),
        ({**UNUSED, "phase": "reporting"}, None, set()),
    ],
)
def test_it_says_the_same(tmp_path: Path, changes: dict[str, Any], flip: Flip | None, actions: set[str]) -> None:
    journal = written(tmp_path, **changes)
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
    entry = written(tmp_path, was_used=False, start=[]).read()
    assert entry is not None
    assert entry.actions["restart"] == {"was_used": False}


def test_what_no_version_wrote_stays_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableStateError, match=r"journal\.json"):
        written(tmp_path, phase="flipping").read()
