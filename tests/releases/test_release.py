"""One release: its name, its manifest, what it tells of itself."""

import json
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest

from releaser.releases.release import EMPTY_LEDGER, MANIFEST, Ledger, manifest_type, new_id, write_manifest
from releaser.system.files import read_state
from tests.releases.makers import NOW, a_manifest, on_paper


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ((), "20261120T061200Z"),
        (("20261120T061159Z",), "20261120T061200Z"),
        (("20261120T061200Z",), "20261120T061200Z-2"),
        (("20261120T061200Z", "20261120T061200Z-2"), "20261120T061200Z-3"),
        (("20261120T061200Z", "20261120T061200Z-3"), "20261120T061200Z-2"),
        (("20261120T061200Z-2",), "20261120T061200Z"),
    ],
)
def test_an_id_is_the_time_in_utc_and_a_number_if_need_be(taken: tuple[str, ...], expected: str) -> None:
    for zone in (UTC, timezone(timedelta(hours=-5))):
        assert new_id(NOW.astimezone(zone), frozenset(taken)) == expected


def test_times_are_written_in_utc(tmp_path: Path) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    write_manifest(tmp_path, a_manifest(created_at=there))
    assert json.loads((tmp_path / "manifest.json").read_bytes())["created_at"] == "2026-11-20T06:12:00+00:00"
    found = read_state(tmp_path / MANIFEST, manifest_type())
    assert found is not None
    assert found.created_at == NOW
    assert found.created_at.tzinfo == UTC


def test_a_release_tells_of_its_tests_and_its_interpreter(tmp_path: Path) -> None:
    release = on_paper(tmp_path, a_manifest())
    assert (release.test_output, release.works()) == ("", False)
    (release.venv / "bin").mkdir(parents=True)
    (release.directory / "test-output.txt").write_bytes(b"caf\xe9 OK\n")
    (release.venv / "bin" / "python").symlink_to("/nowhere/python3")
    assert (release.test_output, release.works()) == ("caf\ufffd OK\n", False)
    (release.venv / "bin" / "python").unlink()
    (release.venv / "bin" / "python").touch()
    assert release.works()


# What became of the releases

FULL = Ledger(
    marks={"A": "good", "B": "bad", "C": "failed"}, activations=("A", "B", "A"), pins=frozenset({"A"}), last_sequence=7
)


def test_the_number_of_a_flip_is_given_once() -> None:
    changed = EMPTY_LEDGER.with_flip_to("A").with_flip_to("B").forgotten("A", "B")
    assert (changed.activations, changed.next_flip) == ((), 3)
    assert FULL.next_flip == 4, "of an earlier version, which did not count"


def test_going_live_twice_in_a_row_is_going_live_once() -> None:
    changed = EMPTY_LEDGER
    for name in ("A", "A", "B", "A"):
        changed = changed.with_flip_to(name)
    assert changed.activations == ("A", "B", "A")


def test_a_release_that_is_gone_is_forgotten_everywhere() -> None:
    left = Ledger(marks={"B": "bad", "C": "failed"}, activations=("B",), last_sequence=7, flips=3)
    assert FULL.forgotten("A") == left
    assert FULL.forgotten("X").named == FULL.named
