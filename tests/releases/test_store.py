"""The releases on disk: what there is, what is live, where a rollback goes, what a crash or damage leaves."""

import contextlib
import dataclasses
import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from releaser.errors import NoSuchReleaseError
from releaser.releases.lifecycle import Lifecycle, digest_of
from releaser.releases.release import Manifest, write_manifest
from releaser.releases.retention import decide_retention
from releaser.releases.retention_settings import RetentionSettings
from releaser.releases.store import ReleaseStore
from releaser.system.files import remove_tree
from tests.releases.makers import NOW, WRITE_RECORD, a_manifest, as_stored, built, go_to, live, refusing, tell


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Make an empty store."""
    for name in ("site", ".releaser/site"):
        (tmp_path / name).mkdir(parents=True)
    return ReleaseStore(state_dir=tmp_path / ".releaser" / "site", link=tmp_path / "site" / ".venv")


def ids(*numbers: int) -> list[str]:
    return [a_manifest(number).id for number in numbers]


def listed(store: ReleaseStore) -> list[str]:
    return [release.id for release in store.all()]


def known(store: ReleaseStore) -> str:
    """Return the state of each release, the oldest first, with a star for its pin; `get` has to say the same."""
    every = store.all()[::-1]
    assert [store.get(one.id) for one in every] == list(every)
    return ", ".join(f"{one.state}{'*' * one.pinned}" for one in every)


def restored(store: ReleaseStore) -> list[str]:
    return [name for name, _ in store.restore_records()]


# What there is


def test_before_anything_was_built_there_is_nothing(store: ReleaseStore) -> None:
    assert store.all() == ()
    snapshot = store.snapshot()
    assert (store.live_id(), snapshot.live, snapshot.rollback_target(), snapshot.newest_good()) == (None,) * 4
    assert store.incomplete() == ()
    assert store.next_sequence() == 1


def test_releases_are_listed_newest_first_by_the_record_even_if_the_clock_was_set_back(store: ReleaseStore) -> None:
    for sequence, day in enumerate((5, 9, 2, 7), start=1):
        live(store, day, sequence=sequence)
        os.utime(store.path(a_manifest(day).id), (day, day))
    assert listed(store) == ids(7, 2, 9, 5)
    assert store.snapshot().rollback_target() == store.get(ids(2)[0])
    newest = store.all()[0]
    assert newest.manifest == a_manifest(7, sequence=4)
    assert (newest.venv, newest.lock) == (newest.directory / "venv", newest.directory / "uv.lock")
    assert newest.works()


FIRST = as_stored(a_manifest(1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read: not JSON"),
        ("{", "cannot be read: not JSON"),
        ('{"version": 3}', "cannot be read"),
        ('{"version": 2}', "cannot be read"),
        (json.dumps({**FIRST, "created_at": "yesterday"}), "cannot be read"),
        (json.dumps({**FIRST, "changes": [{"name": "alpha"}]}), "cannot be read"),
        (json.dumps({key: value for key, value in FIRST.items() if key != "python"}), "cannot be read"),
        (json.dumps(as_stored(a_manifest(2))), f"is that of {ids(2)[0]}"),
    ],
)
def test_a_damaged_manifest_costs_one_release_and_not_the_others(store: ReleaseStore, text: str, reason: str) -> None:
    tell(store, "live 1, live 2")
    store.path(ids(1)[0]).joinpath("manifest.json").write_text(text, encoding="utf-8")
    assert listed(store) == ids(2)
    snapshot = store.snapshot()
    assert snapshot.rollback_target() is None
    assert [*snapshot.damaged] == ids(1)
    assert snapshot.damaged[ids(1)[0]].startswith(reason)
    assert store.incomplete() == ()  # a person may want to look at it


@pytest.mark.parametrize(
    ("story", "state"),
    [
        ("built 1", "candidate"),
        ("failed 1", "failed"),
        ("live 1, unlink", "good"),
        ("adopted 1, unlink", "good"),
        ("live 1, withdraw 1, unlink", "rolled-back"),
        ("failed 1, go 1, unlink", "failed"),
        ("live 1, live 2, withdraw 1, pin 2, go 1", "live, good*"),
        ("live 1, live 2, withdraw 1, pin 2", "rolled-back, live*"),
    ],
)
def test_the_state_is_what_the_record_says_and_live_is_what_the_link_says(
    store: ReleaseStore, story: str, state: str
) -> None:
    tell(store, story)
    assert known(store) == state
    assert [one.live for one in store.all()[::-1]] == ["live" in one for one in state.split(", ")]


# Finding one


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("20261121T061200Z", "20261121T061200Z"),  # a whole id wins over a beginning
        ("20261121T061200Z-", "20261121T061200Z-2"),
        ("20261121T061200Z-2", "20261121T061200Z-2"),
        ("20261122", "20261122T061200Z"),
        ("20261122T06", "20261122T061200Z"),
        ("live", "20261122T061200Z"),
        ("previous", "20261121T061200Z-2"),
        ("@0", "20261122T061200Z"),
        ("@1", "20261121T061200Z-2"),
        ("@2", "20261121T061200Z"),
    ],
)
def test_a_release_is_found_by_its_name_for_people_or_an_unmistakable_beginning(
    store: ReleaseStore, start: str, expected: str
) -> None:
    live(store, 1)
    live(store, 2, id="20261121T061200Z-2")
    live(store, 3, id="20261122T061200Z")
    assert store.find(start).id == expected
    assert store.get(expected) is not None
    assert (store.get(expected[:-1]) is not None) == (expected[:-1] in listed(store))


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("2026", "'2026' matches several releases: 20261122T061200Z, 20261121T061200Z"),
        ("2025", "there is no release '2025' in "),
        ("", "there is no release '' in "),
        ("@2", "there is no release '@2'"),
        ("@", "there is no release '@'"),
        (f"@{'1' * 5000}", "there is no release '@1"),
        ("live", "there is no release 'live'"),
        ("previous", "no release 'previous'"),
    ],
)
def test_what_is_not_one_release_is_refused(store: ReleaseStore, start: str, words: str) -> None:
    tell(store, "built 1, built 2")
    with pytest.raises(NoSuchReleaseError, match=re.escape(words)) as caught:
        store.find(start)
    assert f"`{start}`" not in caught.value.advice


# The link


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("../.releaser/site/releases/A/venv", "A"),
        ("{}/A/venv", "A"),
        ("../site/../.releaser/site/releases/A/venv/", "A"),
        ("../.releaser/site/releases/A/venv2", None),
        ("../.releaser/site/releases/A", None),
        ("../.releaser/site/releases/A/venv/bin", None),
        ("../.releaser/other/releases/A/venv", None),
        ("/opt/venv", None),
    ],
)
def test_the_link_names_a_release_only_if_it_leads_into_the_store_and_a_directory_names_none(
    store: ReleaseStore, text: str, expected: str | None
) -> None:
    store.link.symlink_to(text.format(store.directory))
    assert store.live_id() == expected
    assert store.live() is None  # it is not there
    store.link.unlink()
    store.link.mkdir()
    assert store.live_id() is None


# Where a rollback goes


@pytest.mark.parametrize(
    ("story", "target"),
    [
        ("live 1", None),
        ("live 1, live 2, live 3", 2),
        ("live 1, live 2, live 3, withdraw 3, go 2", 1),  # a second rollback goes further back
        ("live 1, live 2, live 3, withdraw 3, go 2, withdraw 2, go 1", None),
        ("live 1, live 2, live 3, go 1", None),  # two back at once; it never goes forward
        ("live 1, live 2, go 1, go 2", 1),
        ("live 1, live 2, live 3, withdraw 2", 1),
        ("live 1, built 2, live 3", 1),  # what never went live
        ("live 1, broken 2, live 3", 1),
        ("live 1, live 2, live 3, delete 2", 1),
        ("live 1, live 2, unlink", 2),  # without a live release, to the last that was
        ("live 1, live 2, broken 3, built 4, live 5, withdraw 5, unlink", 2),
    ],
)
def test_where_a_rollback_goes(store: ReleaseStore, story: str, target: int | None) -> None:
    tell(store, story)
    snapshot, expected = store.snapshot(), store.get(ids(target)[0]) if target else None
    assert snapshot.rollback_target() == expected
    if snapshot.live_id is None:
        assert snapshot.newest_good() == expected


# Making


def test_ids_and_numbers_are_given_once(store: ReleaseStore) -> None:
    tell(store, "live 1, live 2, live 3, built 4, remove 4")
    store.record(lambda ledger: ledger.with_flip_to("20261120T061200Z"))
    assert store.begin(NOW) == ("20261120T061200Z-2", 5)
    tell(store, "lose ledger")
    assert store.next_sequence() == 4  # of those that are still there


def test_the_very_first_release_is_a_candidate_until_it_went_live(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a crash hits right after its manifest: a lost ledger would make it a good one."""

    def crash(directory: Path, manifest: Manifest) -> None:
        write_manifest(directory, manifest)
        raise KeyboardInterrupt

    monkeypatch.setattr("releaser.releases.store.write_manifest", crash)
    with pytest.raises(KeyboardInterrupt):
        built(store, 1)
    assert known(store) == "candidate"
    assert store.snapshot().newest_good() is None


@pytest.mark.parametrize(
    ("later", "configuration", "is_taken"),
    [
        ("restore", {"settings.toml": b"x = 1"}, True),
        ("restore", {"settings.toml": b"x = 2"}, False),
        ("restore", {"settings.toml": None}, False),
        ("restore", {}, False),
        ("restore", {"settings.toml": b"x = 1", "more": b""}, False),
        ("restore", None, False),
        ("live 3", {"settings.toml": b"x = 1"}, False),
    ],
)
def test_a_release_that_waits_is_taken_if_it_was_tested_with_the_same_and_is_newer_than_the_live_one(
    store: ReleaseStore, later: str, configuration: dict[str, bytes | None] | None, is_taken: bool
) -> None:
    tell(store, "live 1, built 2")
    ready = store.find(ids(2)[0])
    key, lock = ready.key, ready.locked.data
    assert store.snapshot().find_ready(key, lock, configuration) is None  # nobody knows what it was tested with
    tested_with = digest_of({"settings.toml": b"x = 1"}, ready.id)
    Lifecycle(stage="ready", since="", configuration=tested_with).write(ready.directory)
    tell(store, later)
    assert store.snapshot().find_ready(key, lock, configuration) == (ready if is_taken else None)


def test_no_update_takes_up_a_release_that_waits_for_a_person(store: ReleaseStore) -> None:
    live(store, 1)
    other, newer = built(store, 2), built(store, 3, python="3.13.1")
    store.record_waiting(other, "it needs approval", keeps=True)
    store.record_waiting(newer, "its tests passed", keeps=True, request="releaser rebuild --python 3.13")

    def found() -> tuple[str | None, ...]:
        snapshot = store.snapshot()
        return tuple(one.id if one else None for one in (snapshot.find_waiting(), snapshot.find_requestable()))

    assert found() == (other.id, newer.id)
    live(store, 4)  # on the present Python: the person may still want the other one, which is then built again
    assert found() == (None, newer.id)
    live(store, 5, python="3.13.1")
    assert found() == (None, None)
    go_to(store, newer.id)
    assert not store.snapshot().lifecycles[newer.id].request


@pytest.mark.parametrize(("days", "is_kept"), [(29, True), (30, False)])
def test_a_release_that_waits_for_a_person_is_kept_for_a_month(store: ReleaseStore, days: int, is_kept: bool) -> None:
    live(store, 1)
    ready = built(store, 2, python="3.13.1")
    store.record_waiting(ready, "its tests passed", keeps=True, request="releaser rebuild --python 3.13")
    decided = decide_retention(RetentionSettings(), store, now=ready.manifest.created_at + timedelta(days=days))
    reason = "ready, and waits for `releaser rebuild --python 3.13`" if is_kept else "sealed, but it never went live"
    assert [(one.kept, one.reasons) for one in decided if one.id == ready.id] == [(is_kept, (reason,))]


# What is left over


def test_each_thing_among_the_releases_is_known_for_what_it_is(store: ReleaseStore) -> None:
    built(store, 1)
    names = [store.begin(NOW)[0] for _ in range(5)]
    for name in names[1:]:  # a run was cut off before it had marked them
        (store.path(name) / ".releaser").unlink()
    (store.path(names[2]) / "..releaser.new").touch()  # it was about to be
    (store.path(names[3]) / "venv").mkdir()  # of somebody
    (store.path(names[3]) / "venv" / "pyvenv.cfg").touch()
    (store.path(names[4]) / "notes.txt").touch()
    (store.directory / "notes.txt").touch()
    (store.directory / "lost+found").mkdir()
    (store.directory / "20200101T000000Z").symlink_to(store.path(ids(1)[0]))
    doomed = store.directory / ".doomed-20200102T000000Z"
    doomed.mkdir()
    (doomed / "manifest.json").touch()
    strange = ("20200101T000000Z", *names[3:], "lost+found", "notes.txt")
    assert (listed(store), [place.name for place in store.incomplete()]) == (ids(1), names[:3])
    assert (store.half_removed(), store.foreign()) == ((), (doomed.name, *strange))
    (doomed / ".releaser").touch()
    assert (store.half_removed(), store.foreign()) == (("20200102T000000Z",), strange)


def test_a_directory_that_is_deleted_meanwhile_is_nobody_elses(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = store.begin(NOW)
    monkeypatch.setattr(ReleaseStore, "_names", lambda *_, **__: [name])
    remove_tree(store.path(name))
    assert store.foreign() == ()


# Removing


def test_a_removed_release_is_gone_and_forgotten_and_the_live_one_is_not_removed(store: ReleaseStore) -> None:
    tell(store, "live 1, live 2, pin 1")
    (two,) = ids(2)
    for _ in range(2):  # once more, after a crash in between
        assert str(store.remove(*ids(1, 2))[two]).endswith(f"it is live: '{two}'")
        assert sorted(entry.name for entry in store.directory.iterdir()) == [two]
        assert (list(store.ledger().activations), sorted(store.ledger().named)) == ([two], [two])
    assert known(store) == "live"


def test_a_venv_adopted_from_elsewhere_stays_where_it_is(store: ReleaseStore, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "pyvenv.cfg").touch()
    live(store, 2)
    store.path("A").mkdir()
    (store.path("A") / "venv").symlink_to(tmp_path / "opt")
    store.complete(a_manifest(1, id="A"))
    store.remove("A")
    assert listed(store) == ids(2)
    assert (tmp_path / "opt" / "pyvenv.cfg").exists()


def test_a_deletion_that_was_cut_off_leaves_no_release(store: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: Path, *, last: str) -> None:
        assert last == ".releaser"
        raise KeyboardInterrupt

    tell(store, "live 2, built 1")
    with monkeypatch.context() as patched:
        patched.setattr("releaser.releases.store.delete_directory", crash)
        with pytest.raises(KeyboardInterrupt):
            store.remove(*ids(1))
    assert listed(store) == ids(2)
    assert store.half_removed() == tuple(ids(1))
    assert store.ledger().named == {*ids(2)}
    assert store.finish_removal(*ids(1)) == {}
    assert [entry.name for entry in store.directory.iterdir()] == ids(2)


def test_a_release_in_the_image_of_a_container_is_removed_where_it_lies(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, _: Path) -> Path:  # as overlayfs does, for a directory of a lower layer
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))

    def crash(_: Path, *, last: str) -> None:
        raise KeyboardInterrupt

    tell(store, "live 1, live 2")
    monkeypatch.setattr(Path, "rename", refuse)
    with monkeypatch.context() as patched:
        patched.setattr("releaser.releases.store.delete_directory", crash)
        with pytest.raises(KeyboardInterrupt):
            store.remove(*ids(1))
    assert (listed(store), [place.name for place in store.incomplete()]) == (ids(2), ids(1))  # the next run deletes it
    assert store.remove(*ids(1)) == {}
    assert [entry.name for entry in store.directory.iterdir()] == ids(2)


# Records lost


@pytest.mark.parametrize("text", [None, "garbage", '{"version": 2}', '{"version": 7, "marks": {}}', "\xff\xfe"])
def test_without_a_readable_ledger_the_manifests_tell_until_the_next_record(
    store: ReleaseStore, text: str | None
) -> None:
    tell(store, "live 1, live 2, live 3, failed 4")
    before, path = store.ledger(), store.state_dir / "ledger.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="latin-1")
    assert known(store) == "good, good, live, failed"
    assert store.snapshot().rollback_target() == store.get(ids(2)[0])
    assert store.ledger() == before
    assert store.next_sequence() == 5
    store.record(lambda ledger: ledger.numbered(7))
    assert store.ledger() == dataclasses.replace(before, last_sequence=7)


NEVER_LIVE = "live 1, built 2, live 3, live 4, withdraw 4, go 3"  # the second is tested, as a proposal is
BY_ANOTHER_USER = "live 1, live 2, built 3, ~withdraw 2, ~pin 1, ~pin 3, ~go 3, ~go 1"


@pytest.mark.parametrize(
    ("story", "state", "lost"),
    [
        (f"{NEVER_LIVE}, lose ledger", "good, candidate, live, rolled-back", []),
        (f"{NEVER_LIVE}, lose record 1, lose record 2", "good*, candidate*, live, rolled-back", [1, 2]),
        (
            f"{NEVER_LIVE}, lose ledger, lose record 1, lose record 2",
            "candidate*, candidate*, live, rolled-back",
            [1, 2],
        ),
        (BY_ANOTHER_USER, "live*, rolled-back, good*", []),
        (f"{BY_ANOTHER_USER}, restore, ~unpin 3", "live*, rolled-back, good", []),
        (f"{BY_ANOTHER_USER}, restore, ~unpin 3, pin 3", "live*, rolled-back, good*", []),
        ("live 1, live 2, live 3, pin 1, ~pin 3, lose record 1, lose record 2", "good*, good*, live*", [1, 2]),
        ("live 1, live 2, ~pin 1, !unpin 1", "good, live", []),  # it counts what the release says of itself
    ],
)
def test_what_was_recorded_is_known_and_what_was_lost_is_told_and_pinned(
    store: ReleaseStore, story: str, state: str, lost: list[int]
) -> None:
    tell(store, story)
    assert known(store) == state
    assert restored(store) == ids(*lost)
    assert known(store) == state
    assert store.ledger().records == {}
    assert restored(store) == []
    was_live = store.live_id()
    store.link.unlink()
    assert store.snapshot().newest_good() == store.get(was_live)


@pytest.mark.parametrize(
    ("story", "order"),
    [
        ("live 1, live 2, live 3, go 1, go 3, go 1, lose ledger", [2, 3, 1]),
        ("live 1, live 2, live 3, go 1, go 3, go 1, lose ledger, go 2, live 4, lose ledger, unlink", [3, 1, 2, 4]),
        (f"{BY_ANOTHER_USER}, restore, ~unpin 3, pin 3, restore", [1, 2, 3, 1]),
        (
            "live 1, live 2, live 3, live 4, live 5, remove 1, remove 2, remove 3, ~pin 5, lose record 4, restore,"
            " lose ledger, unlink",
            [4, 5],
        ),
    ],
)
def test_the_order_in_which_releases_went_live_outlives_the_ledger(
    store: ReleaseStore, story: str, order: list[int]
) -> None:
    tell(store, story)
    assert list(store.ledger().activations) == ids(*order)
    lifecycles = store.snapshot().lifecycles
    flips = [lifecycles[name].flip for name in dict.fromkeys(ids(*order[::-1]))]
    assert flips == sorted(set(flips), reverse=True), "none is given twice"
    assert store.ledger().next_flip == flips[0] + 1


@pytest.mark.parametrize("text", ["", "garbage", "[]", '{"version": 9}', None])
def test_a_record_that_cannot_be_read_is_one_that_is_lost(store: ReleaseStore, text: str | None) -> None:
    tell(store, "live 1, live 2, pin 1")
    path = store.path(ids(1)[0]) / "state.json"
    path.unlink()
    if text is None:
        path.symlink_to("state.json")  # it leads to itself
    else:
        path.write_text(text, encoding="ascii")
    assert known(store) == "good*, live"
    assert [error.path for error in store.find_unreadable_records()] == [path]
    assert [(name, error is not None) for name, error in store.restore_records()] == [(ids(1)[0], True)]
    aside = path.with_name("state.json.unreadable-1")
    assert aside.is_symlink() if text is None else aside.read_text(encoding="ascii") == text
    assert known(store) == "good*, live"
    assert ([*store.find_unreadable_records()], restored(store)) == ([], [])


def test_a_live_release_that_has_lost_its_manifest_is_no_rubbish_and_keeps_its_record(store: ReleaseStore) -> None:
    tell(store, "live 1, pin 1")
    release, before = store.find("live"), store.snapshot().lifecycles
    (release.directory / "manifest.json").unlink()
    assert store.incomplete() == ()
    assert store.complete(release.manifest).pinned
    assert store.snapshot().lifecycles == before


# The records of an earlier version, which had all of them in the ledger


@contextlib.contextmanager
def unreadable_manifests(store: ReleaseStore) -> Iterator[None]:
    """Let the manifests of releases that the ledger names be unreadable for a while."""
    kept = {place: place.read_bytes() for place in (store.path(name) / "manifest.json" for name in ids(1, 2))}
    for place in kept:
        place.write_text("garbage", encoding="ascii")
    yield
    for place, data in kept.items():
        place.write_bytes(data)


def undated(lifecycle: Lifecycle) -> Lifecycle:
    """Return a record without its date, which only a manifest that can be read tells."""
    return dataclasses.replace(lifecycle, since="")


@pytest.mark.parametrize(
    "hindrance",
    [
        lambda _: contextlib.nullcontext(),
        lambda _: refusing(WRITE_RECORD, errno.ENOSPC),
        lambda _: refusing(WRITE_RECORD, errno.EACCES),
        unreadable_manifests,
    ],
    ids=["at once", "after a full disk", "after a refusal", "after unreadable manifests"],
)
def test_they_are_taken_over_as_soon_as_they_can_be(
    store: ReleaseStore, hindrance: Callable[[ReleaseStore], contextlib.AbstractContextManager[None]]
) -> None:
    tell(store, "built 1, built 2, built 3, failed 4, built 5")
    one, two, three, four, _ = ids(1, 2, 3, 4, 5)
    text = (
        f'{{\n "version": 2,\n "marks": {{"{one}": "good", "{two}": "bad", "{three}": "good", "{four}": "failed"}},\n'
        f' "activations": ["{one}", "{two}", "{one}", "{three}"],\n "pins": ["{one}"],\n "last_sequence": 5\n}}\n'
    )
    (store.state_dir / "ledger.json").write_text(text, encoding="ascii")
    for place in store.directory.glob("*/state.json"):
        place.unlink()
    store.link.symlink_to(store.path(three) / "venv")
    expected, before = "good*, rolled-back, live, failed, candidate", store.snapshot()
    assert known(store) == expected
    assert (store.state_dir / "ledger.json").read_text(encoding="ascii") == text, "reading changes nothing"
    with hindrance(store):
        assert restored(store) == []
    assert known(store) == expected
    assert restored(store) == []
    assert known(store) == expected
    after, ledger = store.snapshot(), store.ledger()
    assert [*map(undated, after.lifecycles.values())] == [*map(undated, before.lifecycles.values())]
    assert after.rollback_target() == before.rollback_target() == store.get(one)
    assert (ledger.marks, ledger.pins, ledger.flips, ledger.last_sequence) == ({}, frozenset(), 4, 5)
    assert ledger.records == {}


def test_without_its_ledger_what_was_live_is_kept(store: ReleaseStore) -> None:
    one, two, _, four = ids(1, 2, 3, 4)
    for number, previous in ((1, None), (2, one), (3, two), (4, two)):
        built(store, number, previous=previous)
    for place in store.directory.glob("*/state.json"):
        place.unlink()
    tell(store, "lose ledger")
    store.link.symlink_to(store.path(four) / "venv")
    assert list(store.ledger().activations) == [one, two, four]
    assert sorted(restored(store)) == ids(1, 2, 3, 4)
    assert known(store) == "good*, good*, candidate*, live*"
