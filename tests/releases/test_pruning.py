"""Pruning: what is deleted, who keeps a release from it, what a deletion that fails does, and how little it reads."""

import collections
import contextlib
import os
import tempfile
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.listener import Gauge
from releaser.releases import leases, retention, store
from releaser.releases.contents import DiskUsage
from releaser.releases.release import LEDGER, Ledger
from releaser.releases.retention import (
    UNSEEN,
    RetentionDecision,
    decide_retention,
    failures,
    prune,
    removals,
    remove_unsealed,
)
from releaser.releases.retention_settings import RetentionSettings
from releaser.releases.store import ReleaseStore
from releaser.system import files
from releaser.system.files import encode_state, link_text, remove_tree, write_state
from tests.releases.makers import LOCK, NOW, a_manifest, go_to, tell, user
from tests.support.guards import require
from tests.support.logs import a_log

NOTHING = RetentionSettings(keep=0, keep_within=0, keep_failed=0, keep_at_least=0)
LATER = NOW + timedelta(days=3650)


@pytest.fixture
def releases(tmp_path: Path) -> ReleaseStore:
    """Make five releases: a live one, the way back, and three that are to go."""
    found = empty(tmp_path)
    tell(found, "live 1, live 2, live 3, live 4, live 5")
    return found


def empty(directory: Path) -> ReleaseStore:
    (directory / "state").mkdir()
    return ReleaseStore(state_dir=directory / "state", link=directory / ".venv")


def ids(found: ReleaseStore) -> list[str]:
    return [one.id for one in found.all()]


def pruned(found: ReleaseStore) -> dict[str, RetentionDecision]:
    return {one.id: one for one in prune(NOTHING, found, now=LATER)}


# What is deleted


def test_what_is_not_kept_is_gone_and_forgotten_and_to_look_writes_nothing(releases: ReleaseStore) -> None:
    def seen() -> list[tuple[str, int, int]]:
        places = [releases.state_dir, *releases.state_dir.rglob("*")]
        return sorted((str(place), place.lstat().st_mtime_ns, place.lstat().st_ctime_ns) for place in places)

    before, (r5, r4, *others) = seen(), ids(releases)
    decided = decide_retention(NOTHING, releases, now=LATER)
    assert [one.action for one in decided] == ["keep", "keep", "remove", "remove", "remove"]
    assert seen() == before
    assert {name for name, verdict in pruned(releases).items() if not verdict.kept} == set(others)
    assert sorted(os.listdir(releases.directory)) == sorted([r4, r5])
    assert releases.ledger().named == {r4, r5}


# Who uses a release


@pytest.mark.spawns
def test_a_release_in_use_is_kept_and_its_users_are_named(releases: ReleaseStore) -> None:
    r1 = ids(releases)[-1]
    with user(releases.path(r1)) as one, user(releases.path(r1)) as two:
        reason = pruned(releases)[r1].reason
        assert reason.startswith("in use by processes ")
        assert all(f"{process.pid} (" in reason for process in (one, two))
    assert ids(releases)[-1] == r1
    assert not pruned(releases)[r1].kept


@pytest.mark.spawns
def test_a_user_that_cannot_be_seen_keeps_a_release_as_well(
    releases: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, whose processes are not in the process table, nor their locks in /proc/locks."""
    monkeypatch.setattr(leases, "read_file_locks", dict)
    r1 = ids(releases)[-1]
    with user(releases.path(r1)):
        (looked_at,) = [one for one in decide_retention(NOTHING, releases, now=LATER) if one.id == r1]
        assert (looked_at.kept, looked_at.reason) == (True, UNSEEN)
        assert pruned(releases)[r1] == looked_at
    assert ids(releases)[-1] == r1


@pytest.mark.spawns
def test_a_release_that_comes_into_use_at_the_last_moment_is_kept_after_all_which_is_said(
    releases: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, r2, r1 = ids(releases)
    with contextlib.ExitStack() as stack:

        def decide_and_begin(*args: Any, **options: Any) -> tuple[RetentionDecision, ...]:
            decided = decide_retention(*args, **options)
            assert not next(one for one in decided if one.id == r1).kept
            stack.enter_context(user(releases.path(r1)))
            return decided

        monkeypatch.setattr(retention, "decide_retention", decide_and_begin)
        fared = pruned(releases)
    assert (fared[r1].action, fared[r1].reason[:18]) == ("keep", "in use by process ")
    assert fared[r2].action == "remove"
    assert ids(releases)[-1] == r1


# What cannot be deleted


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give a set of the names of files that resist deletion."""
    unlink = os.unlink
    names: set[str] = set()

    def refuse(path: Any, *, dir_fd: int | None = None) -> None:
        if os.path.basename(path) in names:
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    return names


def test_who_watches_sees_the_bytes_that_are_gone(releases: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gauges: list[Gauge] = []
    seen: list[int] = []
    size = DiskUsage.of(a_manifest(1)).size_bytes

    def look(path: Path, *, last: str) -> None:
        seen.append(gauges[0].read())
        assert (path / last).is_file()
        remove_tree(path)

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete_directory", look)
        prune(NOTHING, releases, now=LATER, measure=gauges.append)
    (gauge,) = gauges
    assert (gauge.total, gauge.read(), seen) == (3 * size, 3 * size, [0, size, 2 * size])
    prune(NOTHING, releases, now=LATER, measure=gauges.append)
    assert len(gauges) == 1


def test_what_cannot_be_deleted_is_named_keeps_no_other_and_is_tried_again(
    releases: ReleaseStore, stuck: set[str]
) -> None:
    r5, r4, r3, r2, r1 = ids(releases)
    for name in ("a", "obstinate", "z"):
        (releases.path(r2) / "venv" / "z" / name).mkdir(parents=True)
        (releases.path(r2) / "venv" / "z" / name / name).touch()
    stuck.add("obstinate")
    decided = prune(NOTHING, releases, now=LATER)
    assert [one.id for one in removals(decided)] == [r3, r1]
    (failed,) = failures(decided)
    place = releases.directory / f".doomed-{r2}" / "venv" / "z" / "obstinate" / "obstinate"
    why = f"could not be deleted: Operation not permitted ({place})"
    assert (failed.id, failed.error) == (r2, f"Operation not permitted ({place})")
    assert failed.reason == f"good, and no good releases are kept; {why}"
    assert ids(releases) == [r5, r4]  # it is no release any more, under whatever name
    assert releases.half_removed() == (r2,)
    left = [path for path in (releases.directory / f".doomed-{r2}").rglob("*") if not path.is_dir()]
    assert {path.name for path in left} == {".releaser", place.name}  # all else is gone, for the room that it took
    assert releases.ledger().named == {r5, r4}
    assert pruned(releases)[r2].reason == f"partly deleted by an earlier run; {why}"
    stuck.clear()
    assert not pruned(releases)[r2].error
    assert releases.half_removed() == ()


def test_a_release_that_cannot_even_be_renamed_stays_what_it_is(
    releases: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, r2, r1 = ids(releases)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == r1:
            raise PermissionError(1, "Operation not permitted", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    fared = pruned(releases)
    assert fared[r1].error == f"Operation not permitted ({releases.path(r1)})"
    assert not fared[r2].error
    found = releases.get(r1)
    assert found is not None
    assert (found.state, found.works()) == ("good", True)


def test_what_is_discarded_half_way_is_no_candidate_any_more(
    releases: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mark is deleted last."""
    name, _ = releases.begin(LATER)
    (releases.path(name) / "file").touch()

    def resist(place: Path, *, last: str) -> None:
        assert (place / last).exists()
        raise PermissionError(13, "Permission denied", str(place))

    site: Any = SimpleNamespace(state_dir=releases.state_dir, project=SimpleNamespace(venv=releases.link), asks=True)
    with monkeypatch.context() as patched:
        patched.setattr(store, "delete_directory", resist)
        with pytest.raises(PermissionError):
            remove_unsealed(site, a_log(), releases.path(name))
    assert (releases.incomplete(), releases.foreign(), releases.half_removed()) == ((), (), (name,))
    assert releases.finish_removal(name) == {}
    assert releases.half_removed() == ()


def test_files_of_another_user() -> None:
    """The site has written into a release, as its own user, where the user of releaser may not delete."""
    require(os.geteuid() == 0, "only root can be two users")
    anybody, site = 65534, 12345
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        releases = empty(Path(name))
        tell(releases, "live 1, live 2, live 3, live 4")
        *_, r2, r1 = ids(releases)
        foreign = releases.path(r2) / "venv" / "cache"
        foreign.mkdir()
        (foreign / "file").touch()
        for place in [Path(name), *Path(name).rglob("*")]:
            os.chown(place, site if foreign in (place, place.parent) else anybody, -1, follow_symlinks=False)
        os.seteuid(anybody)
        try:
            fared = pruned(releases)
        finally:
            os.seteuid(0)
        assert fared[r2].error
        assert not fared[r1].error
        assert releases.half_removed() == (r2,)
        assert r1 not in os.listdir(releases.directory)


# How little is read and written


@pytest.mark.parametrize("number", [20, 100])
def test_the_work_grows_with_the_number_of_releases_and_no_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    releases = many(tmp_path, number)
    monkeypatch.setattr(retention, "AT_ONCE", 30)
    done: collections.Counter[str] = collections.Counter()

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            done[name] += 1
            return function(*args, **options)

        monkeypatch.setattr(module, name, call)

    for name in ("load_state", "write_state", "sync_directory"):
        count(store, name)
    count(files, "_share")
    count(leases, "read_file_locks")
    files._known.clear()
    decided = prune(NOTHING, releases, now=LATER)
    assert len(removals(decided)) == number - 2
    batches = -(-(number - 2) // retention.AT_ONCE)
    assert done["_share"] == number + 1 + batches  # each once, and the ledger after each batch
    assert done["read_file_locks"] == 0  # none is in use
    assert (done["write_state"], done["sync_directory"]) == (batches, batches)  # the ledger
    assert done["load_state"] == 1 + 3 * batches
    assert len(os.listdir(releases.directory)) == 2


def many(directory: Path, number: int) -> ReleaseStore:
    """Make the records of many releases that were all live once."""
    releases = empty(directory)
    names = []
    for one in range(1, number + 1):
        manifest = a_manifest(one)
        place = releases.path(manifest.id)
        (place / "venv" / "bin").mkdir(parents=True)
        (place / "venv" / "bin" / "python").touch()
        (place / "uv.lock").write_bytes(LOCK)
        (place / "manifest.json").write_bytes(encode_state(manifest))
        names.append(manifest.id)
    known = Ledger(marks=dict.fromkeys(names, "good"), activations=tuple(names), last_sequence=number)
    write_state(releases.state_dir / LEDGER, known)
    go_to(releases, names[-1])
    return releases


def test_no_more_files_are_open_at_once_than_a_process_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = many(tmp_path, 30)
    monkeypatch.setattr(retention, "AT_ONCE", 10)
    most = 0
    remove = ReleaseStore.remove

    def opened() -> int:
        return sum(str(tmp_path) in (link_text(one) or "") for one in Path("/proc/self/fd").iterdir())

    def look(self: ReleaseStore, *names: str) -> dict[str, OSError]:
        nonlocal most
        most = max(most, opened())
        return remove(self, *names)

    monkeypatch.setattr(ReleaseStore, "remove", look)
    assert len(removals(prune(NOTHING, releases, now=LATER))) == 28
    assert most == 10
    assert opened() == 0
