"""The rows of `releaser list`."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from releaser.releases import listing
from releaser.releases.store import ReleaseStore
from releaser.system import files
from releaser.system.files import plain
from tests.releases.makers import NOW, a_manifest, built, live, tell

MOST_CALLS = 16  # system calls that find a file, for each release


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    (tmp_path / "site").mkdir()
    (tmp_path / "state").mkdir()
    return ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / "site" / ".venv")


def rows(store: ReleaseStore) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(json.dumps(listing.rows(store), default=plain))
    return found


def states(store: ReleaseStore) -> list[str]:
    return [row["state"] for row in rows(store)]


def test_a_row_has_all_that_programs_rely_on(store: ReleaseStore) -> None:
    assert rows(store) == []
    release = live(store, 1, commit="c" * 40, subject="Add a page")
    assert rows(store) == [
        {
            "id": release.id,
            "state": "live",
            "live": True,
            "pinned": False,
            "created_at": "2026-11-21T06:12:00+00:00",
            "python": "3.11.7",
            "commit": "c" * 40,
            "subject": "Add a page",
            "bundle": None,
            "lock_sha256": release.manifest.lock_sha256,
            "changes": [
                {
                    "name": "alpha", "old": "1.0", "new": "1.1", "bump": "minor", "direct": None, "through": [],
                    "released": None, "link": None, "fixes": [], "dragged_by": [],
                }
            ],
            "size_bytes": 1000,
            "own_bytes": 400,
            "in_use_by": [],
            "processes": [],
            "path": str(release.venv),
            "broken": False,
            "damage": None,
            "remarks": [],
            "lock_differences": [],
        }
    ]  # fmt: skip


def test_what_is_no_release_is_no_row(store: ReleaseStore) -> None:
    tell(store, "live 1, live 2, live 3, live 4, withdraw 2, pin 1, failed 5, built 6, go 3")
    assert states(store) == ["candidate", "failed", "good", "live", "rolled-back", "previous"]
    (store.directory / "notes").touch()
    (store.directory / "empty").mkdir()
    store.path(a_manifest(1).id).rename(store.directory / ".doomed-x")
    store.path(a_manifest(2).id).rename(store.path("copy"))
    assert states(store) == ["candidate", "failed", "good", "live"]


@pytest.mark.parametrize("with_ledger", [True, False])
def test_what_tries_an_override_is_a_candidate_for_ever(store: ReleaseStore, with_ledger: bool) -> None:
    live(store, 1)
    built(store, 7, origin="override", overrides=("alpha @ file:///srv/alpha",))
    if not with_ledger:
        (store.state_dir / "ledger.json").unlink()
    assert states(store) == ["candidate", "live"]


def test_a_candidate_that_is_being_built_comes_first(store: ReleaseStore) -> None:
    live(store, 1)
    name, _ = store.begin(NOW)
    (store.path(name) / "venv").mkdir()
    first, second = rows(store)
    assert (first["id"], first["state"], first["created_at"]) == (name, "candidate", "2026-11-20T06:12:00+00:00")
    assert (first["changes"], first["size_bytes"], first["live"]) == ([], None, False)
    assert second["live"]


def test_a_renamed_directory_without_a_manifest_has_the_time_of_the_directory(store: ReleaseStore) -> None:
    venv = store.directory / "copy" / "venv"
    venv.mkdir(parents=True)
    os.utime(venv.parent, (NOW.timestamp(), NOW.timestamp()))
    assert [(row["id"], row["created_at"]) for row in rows(store)] == [("copy", NOW.isoformat())]


def test_people_get_short_cells(store: ReleaseStore) -> None:
    tell(store, "live 1, failed 2, pin 2")
    now = a_manifest(2).created_at.timestamp() + 90
    assert [row.cells(now) for row in listing.rows(store)] == [
        ["", "20261122T061200Z", "failed, pinned", "1 min", "3.11.7", "1", "1 KB", "400 B", "-", "-"],
        ["*", "20261121T061200Z", "live", "1 d", "3.11.7", "1", "1 KB", "400 B", "-", "-"],
    ]


def test_people_are_told_what_is_broken(store: ReleaseStore) -> None:
    live(store, 1)
    release = live(store, 2)
    shutil.rmtree(release.venv / "bin")
    found = listing.rows(store)
    assert [row.cells(0)[2] for row in found] == ["live, broken", "previous"]
    assert listing.notes(found) == [f"{release.id} is broken: its interpreter is gone ({release.venv}/bin/python)"]


def test_each_release_is_judged_by_the_interpreter_that_it_has(store: ReleaseStore, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    pythons = [live(store, number).venv / "bin" / "python" for number in (1, 2, 3)]
    first.touch()
    second.touch()
    for link, target in zip(pythons, (first, first, second), strict=True):
        link.unlink()
        link.symlink_to(target)
        seen = {str(target): f"0 {target.stat().st_mtime_ns}"}
        said = {"version": "3.11.7", "implementation": "cpython", "abi": "", "build": ""}
        interpreter = {"executable": str(target), "seen": seen, **said}
        manifest = link.parents[2] / "manifest.json"
        stored = json.loads(manifest.read_text(encoding="utf-8"))
        manifest.write_text(json.dumps({**stored, "interpreter": interpreter}), encoding="utf-8")
    quick = replace(store, asks=False)
    assert [row.broken for row in listing.rows(quick)] == [False] * 3
    second.write_text("changed", encoding="utf-8")
    pythons[1].unlink()
    pythons[1].symlink_to(second)
    assert [row.broken for row in listing.rows(quick)] == [True, True, False]


def test_a_list_reads_each_manifest_once(store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        live(store, number)
    opened, open_file = list[str](), files._open_file

    def opening(path: Path | str, flags: int) -> tuple[int, os.stat_result]:
        opened.append(os.path.basename(path))
        return open_file(path, flags)

    monkeypatch.setattr(files, "_known", {})
    monkeypatch.setattr(files, "_open_file", opening)
    assert len(rows(store)) == 3
    assert opened.count("manifest.json") == 3


def test_a_list_looks_at_few_files_of_each_release(store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    above = {*map(str, store.state_dir.parents)}

    def count(releases: int) -> int:
        calls.clear()
        assert len(rows(store)) == releases
        return len(calls)

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(place: Any, *words: Any, **options: Any) -> Any:
            if str(place) not in above:  # there are as many as the directory of the tests is deep
                calls.append(call.__name__)
            return call(place, *words, **options)

        return counted

    for name in ("stat", "lstat", "open", "readlink", "listdir", "scandir"):
        monkeypatch.setattr(os, name, counting(getattr(os, name)))
    live(store, 1)
    few = count(1)
    for number in range(2, 12):
        live(store, number)
    assert (count(11) - few) / 10 <= MOST_CALLS
