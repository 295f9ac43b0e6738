"""What is noted of what releases take, and when it does not hold any more."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from releaser.releases import cost, disk_use, listing
from releaser.releases.disk_use import Noted, note, note_again, read_disk_use, together
from releaser.releases.store import ReleaseStore
from tests.releases.makers import a_manifest, built, live

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 300_000


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Make a store of two releases, each noted as it was sealed, which have a file of two names in common."""
    (tmp_path / "site").mkdir()
    (tmp_path / "state").mkdir()
    made = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / "site" / ".venv")
    for number in (1, 2):
        release = live(made, number)
        if number == 1:
            (release.venv / "common").write_bytes(b"x" * SIZE)
        else:
            os.link(made.path(a_manifest(1).id) / "venv" / "common", release.venv / "common")
        note(made, release.id, cost.measure(release.directory), saved=SIZE, like=a_manifest(1).id)
    return made


def rows(store: ReleaseStore) -> dict[str, Any]:
    found = listing.rows(str(store.state_dir), str(store.link))
    return {str(row["id"]): row["own_bytes"] for row in found}


def own(store: ReleaseStore) -> dict[str, int]:
    return {name: one.own_bytes for name, one in disk_use.disk_use(store).items()}


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid to look at files."""

    def measure(directory: Path) -> cost.Cost:
        message = f"looks at {directory}"
        raise AssertionError(message)

    monkeypatch.setattr(disk_use, "measure", measure)
    monkeypatch.setattr(cost, "measure", measure)


def test_what_is_noted_is_believed(store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    never(monkeypatch)
    first, second = a_manifest(1).id, a_manifest(2).id
    noted = read_disk_use(store.state_dir)
    assert set(noted) == {first, second}
    assert noted[first].shared_bytes >= SIZE > noted[first].own_bytes, "the release that it was shared with, too"
    assert noted[second].shared_bytes >= SIZE > noted[second].own_bytes
    assert noted[second].peak_bytes == noted[second].own_bytes + SIZE
    assert noted[second].among == (first, second)
    assert rows(store) == own(store) == {name: one.own_bytes for name, one in noted.items()}


def test_what_was_shared_with_a_release_that_is_gone_is_found_out(store: ReleaseStore) -> None:
    before = read_disk_use(store.state_dir)[a_manifest(2).id]
    store.remove(a_manifest(1).id)
    assert rows(store) == own(store) == {a_manifest(2).id: before.own_bytes + before.shared_bytes}


def test_after_a_deletion_it_is_noted_again(store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    peak = read_disk_use(store.state_dir)[a_manifest(2).id].peak_bytes
    store.remove(a_manifest(1).id)
    note_again(store)
    never(monkeypatch)
    (noted,) = read_disk_use(store.state_dir).values()
    assert noted.own_bytes >= SIZE
    assert (noted.shared_bytes, noted.peak_bytes, noted.among) == (0, peak, (a_manifest(2).id,))
    assert rows(store) == own(store) == {a_manifest(2).id: noted.own_bytes}


def test_nothing_is_written_if_nothing_was_shared(store: ReleaseStore) -> None:
    store.remove(a_manifest(1).id)
    note_again(store)
    third = built(store, 3)
    note(store, third.id, cost.measure(third.directory))
    before = (store.state_dir / "disk-use.json").stat().st_ino
    store.remove(third.id)
    note_again(store)
    assert (store.state_dir / "disk-use.json").stat().st_ino == before
    assert set(own(store)) == {a_manifest(2).id}


def test_what_others_share_stays_when_a_release_comes(store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before, third = read_disk_use(store.state_dir), built(store, 3)
    measured = cost.measure(third.directory)
    never(monkeypatch)
    note(store, third.id, measured)
    after = read_disk_use(store.state_dir)
    assert {name: after[name] for name in before} == before
    new = Noted.of(measured, among=[*before, third.id], peak_bytes=measured.own_bytes)
    assert after[third.id] == new


@pytest.mark.parametrize(
    "content",
    [
        "", "garbage", "[]", '{"version": 1}', '{"version": 1, "releases": []}', '{"version": 2, "releases": {}}',
        '{"version": 1, "releases": {"%s": {}}}', '{"version": 1, "releases": {"%s": {"own_bytes": "x"}}}',
        '{"version": 1, "releases": {"%s": '
        '{"own_bytes": 1, "shared_bytes": 1, "inodes": 1, "peak_bytes": 1, "among": [[]]}}}',
    ],
)  # fmt: skip
def test_a_damaged_note_counts_as_none(store: ReleaseStore, content: str) -> None:
    before = own(store)
    (store.state_dir / "disk-use.json").write_text(content.replace("%s", a_manifest(1).id), encoding="utf-8")
    assert rows(store) == own(store) == before
    note_again(store)
    note(store, a_manifest(2).id, cost.measure(store.path(a_manifest(2).id)))
    assert set(json.loads((store.state_dir / "disk-use.json").read_text(encoding="utf-8"))["releases"]) == set(before)


def test_that_nothing_can_be_noted_is_no_failure(store: ReleaseStore) -> None:
    before = own(store)
    (store.state_dir / "disk-use.json").unlink()
    (store.state_dir / "disk-use.json" / "deep").mkdir(parents=True)
    note(store, a_manifest(2).id, cost.measure(store.path(a_manifest(2).id)))
    note_again(store)
    assert rows(store) == own(store) == before
    assert not [name for name in os.listdir(store.state_dir) if name.endswith(".new")]


def test_what_is_shared_counts_once_together() -> None:
    def noted(own_bytes: int, shared_bytes: int) -> Noted:
        return Noted(own_bytes=own_bytes, shared_bytes=shared_bytes, inodes=1, peak_bytes=1)

    assert together([]) == 0
    assert together([noted(3, 0), noted(4, 0)]) == 7
    assert together([noted(3, 100), noted(4, 120), noted(5, 0)]) == 132
