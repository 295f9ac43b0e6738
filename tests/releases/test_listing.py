"""The rows of `releaser list`, which are read without the store and must say the same."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from releaser.releases import listing
from releaser.releases.cost import Cost
from releaser.releases.disk_use import disk_use, note
from releaser.releases.ledger import EMPTY_LEDGER, write_ledger
from releaser.releases.release import Manifest
from releaser.releases.soundness import damage
from releaser.releases.store import ReleaseStore
from tests.releases.makers import NOW, a_manifest, built, go_to, live

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Which manifests of an earlier releaser do not have.
LATER = ("fingerprint", "overrides", "interpreter", "replaces", "link_mode")


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    (tmp_path / "site").mkdir()
    (tmp_path / "state").mkdir()
    return ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / "site" / ".venv")


def rows(store: ReleaseStore) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(listing.as_json(listing.rows(str(store.state_dir), str(store.link))))
    return found


def in_the_store(store: ReleaseStore) -> list[dict[str, Any]]:
    """Return what `list --json` should print, from the store."""
    taken = disk_use(store)
    found = [
        {
            "id": release.id,
            "state": release.state,
            "live": release.live,
            "pinned": release.pinned,
            "created_at": release.manifest.created_at.isoformat(),
            "python": release.manifest.python,
            "commit": release.manifest.commit,
            "subject": release.manifest.subject,
            "lock_sha256": release.manifest.lock_sha256,
            "changes": json.loads(json.dumps([dataclasses.asdict(change) for change in release.manifest.changes])),
            "size_bytes": release.manifest.size_bytes,
            "own_bytes": taken[release.id].own_bytes,
            "in_use_by": [],
            "processes": [],
            "path": str(release.venv),
            "broken": (found := damage(release)) is not None,
            "damage": str(found) if found else None,
        }
        for release in store.all()
    ]
    printed: list[dict[str, Any]] = json.loads(json.dumps(found))
    return printed


def nothing(_: ReleaseStore) -> None:
    """Leave the store empty."""


def one_live(store: ReleaseStore) -> None:
    live(store, 1)


def every_state(store: ReleaseStore) -> None:
    for number in (1, 2, 3, 4):
        live(store, number)
    store.record(lambda ledger: ledger.marked(a_manifest(2).id, "bad").pinned(a_manifest(1).id, on=True))
    built(store, 5, tests="failed", changes=())
    built(store, 6, works=False)
    go_to(store, a_manifest(3).id)


def clock_set_back(store: ReleaseStore) -> None:
    for sequence, day in enumerate((5, 9, 2, 7), start=1):
        live(store, day, sequence=sequence)


def no_ledger(store: ReleaseStore) -> None:
    every_state(store)
    (store.state_dir / "ledger.json").unlink()


def garbage_ledger(store: ReleaseStore) -> None:
    every_state(store)
    (store.state_dir / "ledger.json").write_text("garbage", encoding="utf-8")


def newer_ledger(store: ReleaseStore) -> None:
    every_state(store)
    _change(store.state_dir / "ledger.json", version=2)


def half_a_ledger(store: ReleaseStore) -> None:
    every_state(store)
    _change(store.state_dir / "ledger.json", activations=None)


def override(store: ReleaseStore) -> None:
    every_state(store)
    built(store, 7, origin="override", overrides=("alpha @ file:///srv/alpha",))


def override_without_ledger(store: ReleaseStore) -> None:
    override(store)
    (store.state_dir / "ledger.json").unlink()


def newer_manifest(store: ReleaseStore) -> None:
    every_state(store)
    _change(store.path(a_manifest(2).id) / "manifest.json", version=2)


def half_a_manifest(store: ReleaseStore) -> None:
    every_state(store)
    _change(store.path(a_manifest(2).id) / "manifest.json", changes=None)


def stranger(store: ReleaseStore) -> None:
    every_state(store)
    store.path(a_manifest(1).id).rename(store.path("copy"))


def dangling_link(store: ReleaseStore) -> None:
    every_state(store)
    store.link.unlink()
    store.link.symlink_to(store.path("gone") / "venv")


def real_directory(store: ReleaseStore) -> None:
    every_state(store)
    store.link.unlink()
    store.link.mkdir()


def half_deleted(store: ReleaseStore) -> None:
    every_state(store)
    store.path(a_manifest(1).id).rename(store.directory / ".doomed-x")


def stray_things(store: ReleaseStore) -> None:
    every_state(store)
    (store.directory / "notes").touch()
    (store.directory / "empty").mkdir()


def empty_ledger(store: ReleaseStore) -> None:
    every_state(store)
    write_ledger(store.state_dir, EMPTY_LEDGER)


def garbage_manifest(store: ReleaseStore) -> None:
    every_state(store)
    (store.path(a_manifest(2).id) / "manifest.json").write_text("garbage", encoding="utf-8")


def _change(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    "prepare",
    [
        nothing, one_live, every_state, clock_set_back, no_ledger, garbage_ledger, newer_ledger, half_a_ledger,
        empty_ledger, garbage_manifest, newer_manifest, half_a_manifest, stranger, dangling_link, real_directory,
        half_deleted, stray_things, override, override_without_ledger,
    ],
)  # fmt: skip
def test_the_list_says_what_the_store_says(store: ReleaseStore, prepare: Callable[[ReleaseStore], None]) -> None:
    prepare(store)
    assert rows(store) == in_the_store(store)


def test_all_states_occur(store: ReleaseStore) -> None:
    every_state(store)
    assert [row["state"] for row in rows(store)] == ["candidate", "failed", "good", "live", "bad", "good"]


@pytest.mark.parametrize("prepare", [override, override_without_ledger])
def test_what_tries_an_override_is_a_candidate_for_ever(
    store: ReleaseStore, prepare: Callable[[ReleaseStore], None]
) -> None:
    prepare(store)
    assert rows(store)[0]["state"] == "candidate"


def test_a_candidate_that_is_being_built_comes_first(store: ReleaseStore) -> None:
    live(store, 1)
    name, _ = store.begin(NOW)
    (store.path(name) / "venv").mkdir()
    first, second = rows(store)
    assert (first["id"], first["state"], first["created_at"]) == (name, "candidate", "2026-11-20T06:12:00+00:00")
    assert (first["changes"], first["size_bytes"], first["live"]) == ([], None, False)
    assert second["live"]


def test_people_get_aligned_columns(store: ReleaseStore) -> None:
    live(store, 1)
    built(store, 2, tests="failed")
    store.record(lambda ledger: ledger.pinned(a_manifest(2).id, on=True))
    for number in (1, 2):
        note(store, a_manifest(number).id, Cost(own_bytes=400, shared_bytes=0, inodes=5))
    now = a_manifest(2).created_at.timestamp() + 90
    assert listing.as_text(listing.rows(str(store.state_dir), str(store.link)), now).splitlines() == [
        "   RELEASE           STATE           AGE    PYTHON  CHANGES  SIZE  OWN    IN USE BY  COMMIT",
        "   20261122T061200Z  failed, pinned  1 min  3.11.7  1        1 KB  400 B  -          -",
        "*  20261121T061200Z  live            1 d    3.11.7  1        1 KB  400 B  -          -",
    ]


def test_people_are_told_what_is_broken(store: ReleaseStore) -> None:
    live(store, 1)
    release = live(store, 2)
    shutil.rmtree(release.venv / "bin")
    lines = listing.as_text(listing.rows(str(store.state_dir), str(store.link)), 0).splitlines()
    assert lines[1].split()[2:4] == ["live,", "broken"]
    assert lines[2].split()[1] == "good"
    assert lines[3:] == [f"{release.id} is broken: its interpreter is gone ({release.venv}/bin/python)"]


@pytest.mark.parametrize("interpreter", [{}, {"executable": "/x", "seen": 3}, {"executable": "/x", "seen": [3]}])
def test_a_manifest_with_half_an_interpreter_breaks_no_list(store: ReleaseStore, interpreter: dict[str, Any]) -> None:
    _change(live(store, 1).directory / "manifest.json", interpreter=interpreter)
    assert [row["damage"] for row in rows(store)] == [None]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-100, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86399, "23 h"),
        (86400, "1 d"), (400 * 86400, "400 d"),
    ],
)  # fmt: skip
def test_ages_are_told_in_one_unit(seconds: float, words: str) -> None:
    assert listing.age(NOW.isoformat(), NOW.timestamp() + seconds) == words


@pytest.mark.parametrize("text", ["None", "", "yesterday"])
def test_what_is_no_time_has_no_age(text: str) -> None:
    assert listing.age(text, 0) == "-"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1 KB"), (186_000_000, "186 MB"), (1_500_000_000, "1.5 GB"),
        (None, "-"), ("many", "-"),
    ],
)  # fmt: skip
def test_sizes_are_told_in_one_unit(size: object, words: str) -> None:
    assert listing.size(size) == words


@pytest.mark.parametrize("key", [key for key in Manifest.__dataclass_fields__ if key not in LATER])
def test_a_manifest_that_lacks_anything_is_left_out(store: ReleaseStore, key: str) -> None:
    live(store, 1)
    path = store.path(live(store, 2).id) / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[key]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert rows(store) == in_the_store(store)
    assert len(rows(store)) == 1
