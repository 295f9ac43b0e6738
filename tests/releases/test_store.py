"""The releases on disk: what there is, what is live, where a rollback goes, what a crash or damage leaves."""

import contextlib
import dataclasses
import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import NoSuchReleaseError
from releaser.releases.lifecycle import Lifecycle, digest_of
from releaser.releases.release import Ledger, Manifest, write_manifest
from releaser.releases.store import ReleaseStore
from releaser.system.files import remove_tree, write_state
from tests.releases.makers import NOW, a_manifest, as_stored, built, go_to, live

ReadOnly = Callable[[], contextlib.AbstractContextManager[None]]


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


# What there is


def test_before_anything_was_built_there_is_nothing(store: ReleaseStore) -> None:
    assert store.all() == ()
    snapshot = store.snapshot()
    assert (store.live_id(), snapshot.live, snapshot.rollback_target(), snapshot.newest_good()) == (None,) * 4
    assert store.incomplete() == ()
    assert store.next_sequence() == 1


def test_releases_are_listed_newest_first_with_their_facts(store: ReleaseStore) -> None:
    for number in (1, 2, 3):
        built(store, number)
    assert listed(store) == ids(3, 2, 1)
    newest = store.all()[0]
    assert newest.manifest == a_manifest(3)
    assert (newest.venv, newest.lock) == (newest.directory / "venv", newest.directory / "uv.lock")
    assert newest.works()


def test_the_order_is_that_of_the_record_even_if_the_clock_was_set_back(store: ReleaseStore) -> None:
    for sequence, day in enumerate((5, 9, 2, 7), start=1):
        live(store, day, sequence=sequence)
        os.utime(store.path(a_manifest(day).id), (day, day))
    assert listed(store) == ids(7, 2, 9, 5)
    assert store.snapshot().rollback_target() == store.get(ids(2)[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"version": 3}',
        '{"version": 2}',
        json.dumps({**as_stored(a_manifest(1)), "created_at": "yesterday"}),
        json.dumps({**as_stored(a_manifest(1)), "changes": [{"name": "alpha"}]}),
        json.dumps(as_stored(a_manifest(2))),
        json.dumps({key: value for key, value in as_stored(a_manifest(1)).items() if key != "python"}),
    ],
)
def test_a_damaged_manifest_costs_one_release_and_not_the_others(store: ReleaseStore, text: str) -> None:
    for number in (1, 2):
        live(store, number)
    store.path(ids(1)[0]).joinpath("manifest.json").write_text(text, encoding="utf-8")
    assert listed(store) == ids(2)
    assert store.snapshot().rollback_target() is None
    assert store.incomplete() == ()  # a person may want to look at it


def test_it_is_said_what_is_wrong_with_a_damaged_manifest(store: ReleaseStore) -> None:
    first, second = built(store, 1), built(store, 2)
    store.path(first.id).joinpath("manifest.json").write_text("{", encoding="utf-8")
    write_manifest(second.directory, first.manifest)
    damaged = store.snapshot().damaged
    assert damaged[first.id].startswith("cannot be read: not JSON")
    assert damaged[second.id] == f"is that of {first.id}"


def test_stray_things_beside_the_releases_are_passed_over(store: ReleaseStore) -> None:
    built(store, 1)
    (store.directory / "notes.txt").touch()
    (store.directory / "lost+found").mkdir()
    (store.directory / "20200101T000000Z").symlink_to(store.path(ids(1)[0]))
    assert listed(store) == ids(1)
    assert store.incomplete() == ()


@pytest.mark.parametrize(
    ("mark", "tests", "expected"),
    [
        (None, "passed", "candidate"),
        (None, "failed", "failed"),
        ("good", "passed", "good"),
        ("bad", "passed", "rolled-back"),
        ("good", "failed", "failed"),
        ("good", "not run", "good"),
    ],
)
def test_the_state_is_what_the_record_says(store: ReleaseStore, mark: str | None, tests: str, expected: str) -> None:
    name = built(store, 1, tests=tests).id
    if mark is not None:
        store.record_live(store.find(name))
    if mark == "bad":
        store.record_withdrawn(store.find(name))
    assert [release.state for release in store.all()] == [expected]


def test_live_is_what_the_link_says_whatever_the_record_does(store: ReleaseStore) -> None:
    first, second = live(store, 1), live(store, 2)
    store.record_withdrawn(store.find(first.id))
    store.pin(store.find(second.id), on=True)
    store.link.unlink()
    store.link.symlink_to(first.venv)
    assert [(release.id, release.state) for release in store.all()] == [(second.id, "good"), (first.id, "live")]
    assert [(release.live, release.pinned) for release in store.all()] == [(False, True), (True, False)]


# Finding one


@pytest.mark.parametrize("start", ["20261121T061200Z", "20261121T06", "20261121", "20261121T061200Z-2"])
def test_a_release_is_found_by_an_unmistakable_beginning(store: ReleaseStore, start: str) -> None:
    built(store, 1)
    if start.endswith("-2"):
        built(store, 2, id=start)
    else:
        built(store, 2)
    found = start if start.endswith("-2") else "20261121T061200Z"
    assert store.find(start).id == store.find(found).id == found  # a whole id wins over a beginning
    assert store.get(found) is not None
    assert (store.get(found[:-1]), store.get(None)) == (None, None)


def test_releases_have_names_for_people(store: ReleaseStore) -> None:
    one, two, three = (live(store, number).id for number in (1, 2, 3))
    names = {"live": three, "previous": two, "@0": three, "@1": two, "@2": one}
    assert {name: store.find(name).id for name in names} == names


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
    for number in (1, 2):
        built(store, number)
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
        ("live 1, live 2, live 3, bad 3, go 2", 1),  # a second rollback goes further back
        ("live 1, live 2, live 3, bad 3, go 2, bad 2, go 1", None),
        ("live 1, live 2, live 3, go 1", None),  # two back at once; it never goes forward
        ("live 1, live 2, go 1, go 2", 1),
        ("live 1, live 2, live 3, bad 2", 1),
        ("live 1, built 2, live 3", 1),  # what never went live
        ("live 1, broken 2, live 3", 1),
        ("live 1, live 2, live 3, remove 2", 1),
        ("live 1, live 2, unlink 2", 2),  # without a live release, to the last that was
    ],
)
def test_where_a_rollback_goes(store: ReleaseStore, story: str, target: int | None) -> None:
    for act, number in (one.split() for one in story.split(", ")):
        (name,) = ids(int(number))
        match act:
            case "live" | "broken":
                live(store, int(number), works=act == "live")
            case "built":
                built(store, int(number))
            case "go":
                go_to(store, name)
            case "remove":
                remove_tree(store.path(name))
            case "unlink":
                store.link.unlink()
            case _:
                store.record_withdrawn(store.find(name))
    assert store.snapshot().rollback_target() == (store.get(ids(target)[0]) if target else None)


def test_the_newest_good_one_is_the_last_that_went_live_and_works(store: ReleaseStore) -> None:
    live(store, 1)
    live(store, 2)
    live(store, 3, works=False)
    built(store, 4)
    live(store, 5)
    store.record_withdrawn(store.find(ids(5)[0]))
    store.link.unlink()
    assert store.snapshot().newest_good() == store.get(ids(2)[0])


# Making


def test_an_id_that_the_record_still_knows_is_not_given_again(store: ReleaseStore) -> None:
    store.record(lambda ledger: ledger.with_flip_to("20261120T061200Z"))
    assert store.begin(NOW)[0] == "20261120T061200Z-2"


def test_numbers_only_go_up(store: ReleaseStore) -> None:
    for number in (1, 2, 3):
        live(store, number)
    built(store, 4)
    store.remove(ids(4)[0])
    assert store.begin(NOW)[1] == 5
    (store.state_dir / "ledger.json").unlink()
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
    assert [release.state for release in store.all()] == ["candidate"]
    assert store.snapshot().newest_good() is None


# What is left over


def test_what_has_no_manifest_is_incomplete(store: ReleaseStore) -> None:
    built(store, 1)
    name, _ = store.begin(NOW)
    (store.directory / ".doomed-20200101T000000Z").mkdir()
    (store.directory / ".doomed-20200101T000000Z" / "manifest.json").touch()
    assert store.half_removed() == ()
    (store.directory / ".doomed-20200101T000000Z" / ".releaser").touch()
    assert [place.name for place in store.incomplete()] == [name]
    assert store.half_removed() == ("20200101T000000Z",)
    assert listed(store) == ids(1)


def test_what_a_run_leaves_that_is_cut_off_is_its_own_however_far_it_came(store: ReleaseStore) -> None:
    names = [store.begin(NOW)[0] for _ in range(4)]
    for name in names[1:]:
        (store.path(name) / ".releaser").unlink()
    (store.path(names[1]) / "..releaser.new").touch()  # it was about to be marked
    (store.path(names[2]) / "venv").mkdir()  # of somebody
    (store.path(names[2]) / "venv" / "pyvenv.cfg").touch()
    (store.path(names[3]) / "notes.txt").touch()
    assert [place.name for place in store.incomplete()] == names[:2]
    assert store.foreign() == tuple(names[2:])


def test_a_directory_that_is_deleted_meanwhile_is_nobody_elses(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = store.begin(NOW)
    (store.path(name) / ".releaser").unlink()
    monkeypatch.setattr(ReleaseStore, "_names", lambda *_, **__: [name])
    store.path(name).rmdir()
    assert store.foreign() == ()


def test_the_live_release_is_never_rubbish(store: ReleaseStore) -> None:
    release = live(store, 1)
    (release.directory / "manifest.json").unlink()
    assert store.incomplete() == ()


# Removing


def test_a_removed_release_is_gone_and_forgotten(store: ReleaseStore) -> None:
    for number in (1, 2):
        live(store, number)
    store.pin(store.find(ids(1)[0]), on=True)
    store.remove(ids(1)[0])
    assert sorted(entry.name for entry in store.directory.iterdir()) == ids(2)
    ledger = store.ledger()
    assert (list(ledger.activations), sorted(ledger.named)) == (ids(2), ids(2))
    store.remove(ids(1)[0])  # once more, after a crash in between
    assert listed(store) == ids(2)


def test_the_live_release_is_not_removed(store: ReleaseStore) -> None:
    release = live(store, 1)
    assert str(store.remove(release.id)[release.id]).endswith(f"it is live: '{release.id}'")
    assert store.live_id() == release.id
    assert store.get(release.id) is not None


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

    live(store, 2)
    name = built(store, 1).id
    with monkeypatch.context() as patched:
        patched.setattr("releaser.releases.store.delete_directory", crash)
        with pytest.raises(KeyboardInterrupt):
            store.remove(name)
    assert listed(store) == ids(2)
    assert store.half_removed() == (name,)
    assert name not in store.ledger().named
    assert store.finish_removal(name) == {}
    assert [entry.name for entry in store.directory.iterdir()] == ids(2)


# The ledger lost


@pytest.mark.parametrize("text", [None, "garbage", '{"version": 2}', '{"version": 7, "marks": {}}', "\xff\xfe"])
def test_without_a_readable_ledger_the_manifests_tell(store: ReleaseStore, text: str | None) -> None:
    for number in (1, 2, 3):
        live(store, number)
    built(store, 4, tests="failed")
    path = store.state_dir / "ledger.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="latin-1")
    assert [(release.id, release.state) for release in store.all()] == list(
        zip(ids(4, 3, 2, 1), ["failed", "live", "good", "good"], strict=True)
    )
    assert store.snapshot().rollback_target() == store.get(ids(2)[0])
    assert store.ledger().last_sequence == store.next_sequence() - 1 == 4


@pytest.mark.parametrize("lost", ["ledger", "records", "both"])
def test_what_was_never_live_does_not_become_good_when_records_are_lost(store: ReleaseStore, lost: str) -> None:
    live(store, 1)
    waiting = built(store, 2)  # tested, as a proposal is, and not yet live
    live(store, 3)
    withdrawn = live(store, 4)
    store.record_withdrawn(store.find(withdrawn.id))
    go_to(store, ids(3)[0])
    if lost in ("ledger", "both"):
        (store.state_dir / "ledger.json").unlink()
    if lost in ("records", "both"):
        for name in (waiting.id, ids(1)[0]):
            (store.path(name) / "state.json").unlink()
    assert (lost == "ledger") == (dict(store.restore_records()) == {})
    states = {release.id: release.state for release in store.all()}
    assert states[waiting.id] == "candidate"
    assert states[withdrawn.id] == "rolled-back"
    assert states[ids(3)[0]] == "live"
    assert states[ids(1)[0]] == ("candidate" if lost == "both" else "good")
    assert [one.id for one in store.all() if one.pinned] == ([] if lost == "ledger" else [waiting.id, ids(1)[0]])
    store.link.unlink()
    assert store.snapshot().newest_good() == store.get(ids(3)[0])


def test_a_lost_ledger_has_the_order_in_which_releases_went_live(store: ReleaseStore) -> None:
    for number in (1, 2, 3):
        live(store, number)
    for number in (1, 3, 1):
        go_to(store, ids(number)[0])
    (store.state_dir / "ledger.json").unlink()
    assert list(store.ledger().activations) == ids(2, 3, 1)
    assert store.ledger().next_flip == 7
    go_to(store, ids(2)[0])
    live(store, 4)
    flips = [store.snapshot().lifecycles[name].flip for name in ids(3, 1, 2, 4)]
    assert flips == sorted(set(flips)), "none is given twice"
    (store.state_dir / "ledger.json").unlink()
    store.link.unlink()
    assert list(store.ledger().activations) == ids(3, 1, 2, 4)


def test_the_records_of_an_earlier_version_are_taken_over(store: ReleaseStore) -> None:
    for number in range(1, 6):
        built(store, number, tests="failed" if number == 4 else "passed")
        (store.path(ids(number)[0]) / "state.json").unlink()
    one, two, three, four, five = ids(1, 2, 3, 4, 5)
    text = (
        f'{{\n "version": 2,\n "marks": {{"{one}": "good", "{two}": "bad", "{three}": "good", "{four}": "failed"}},\n'
        f' "activations": ["{one}", "{two}", "{one}", "{three}"],\n "pins": ["{one}"],\n "last_sequence": 5\n}}\n'
    )
    (store.state_dir / "ledger.json").write_text(text, encoding="ascii")
    store.link.symlink_to(store.path(three) / "venv")
    expected = {five: "candidate", four: "failed", three: "live", two: "rolled-back", one: "good"}
    before = store.snapshot()
    assert {release.id: release.state for release in before.releases} == expected
    assert (store.state_dir / "ledger.json").read_text(encoding="ascii") == text, "reading changes nothing"
    assert [*store.restore_records()] == []
    after = store.snapshot()
    assert (after.releases, after.lifecycles) == (before.releases, before.lifecycles)
    assert [release.id for release in after.releases if release.pinned] == [one]
    assert after.rollback_target() == before.rollback_target() == store.get(one)
    ledger = store.ledger()
    assert (ledger.marks, ledger.pins, ledger.flips, ledger.last_sequence) == ({}, frozenset(), 4, 5)
    assert [*store.restore_records()] == []


def as_earlier(store: ReleaseStore, **ledger: Any) -> None:
    """Put the records into the form of an earlier version, which had all of them in the ledger."""
    for place in store.directory.iterdir():
        (place / "state.json").unlink()
    write_state(store.state_dir / "ledger.json", Ledger(**ledger))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_what_cannot_be_written_yet_stays_in_the_ledger(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    one, two, three = (live(store, number).id for number in (1, 2, 3))
    as_earlier(
        store, marks={one: "good", two: "bad", three: "good"}, activations=(one, two, three), pins=frozenset({one})
    )
    before = [(release.id, release.state, release.pinned) for release in store.all()]

    def refuse(*_: object) -> None:
        raise OSError(error, "no")

    with monkeypatch.context() as patched:
        patched.setattr(Lifecycle, "write", refuse)
        assert [*store.restore_records()] == []
    assert [(release.id, release.state, release.pinned) for release in store.all()] == before
    assert [*store.restore_records()] == []
    assert [(release.id, release.state, release.pinned) for release in store.all()] == before
    assert (store.ledger().marks, store.ledger().pins) == ({}, frozenset())


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> ReadOnly:
    """Let nobody write in the directories of releases, as where they belong to another user."""

    @contextlib.contextmanager
    def refusing() -> Iterator[None]:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, "no")

        with monkeypatch.context() as patched:
            patched.setattr(Lifecycle, "write", refuse)
            yield

    return refusing


def known(store: ReleaseStore) -> list[tuple[str, bool]]:
    """Return state and pin of each release, the oldest first; `get` has to say the same of the state."""
    every = store.all()[::-1]
    assert [store.get(one.id) for one in every] == list(every)
    return [(one.state, one.pinned) for one in every]


def test_in_the_directory_of_another_user_the_ledger_has_it(store: ReleaseStore, read_only: ReadOnly) -> None:
    first, second, third = live(store, 1), live(store, 2), built(store, 3)
    with read_only():
        store.record_withdrawn(second)
        store.pin(first, on=True)
        store.pin(third, on=True)
        go_to(store, third.id)
        go_to(store, first.id)
    for _ in range(2):
        assert known(store) == [("live", True), ("rolled-back", False), ("good", True)]
        assert [*store.restore_records()] == []
    assert store.ledger().records == {}
    with read_only():
        store.pin(third, on=False)
    assert known(store)[2] == ("good", False)
    store.pin(third, on=True)  # by who may write there
    assert [*store.restore_records()] == []
    assert known(store)[2] == ("good", True)
    assert list(store.ledger().activations) == ids(1, 2, 3, 1)


def test_a_pin_that_cannot_be_noted_hides_no_loss_elsewhere(store: ReleaseStore, read_only: ReadOnly) -> None:
    first, second, third = live(store, 1), live(store, 2), live(store, 3)
    store.pin(first, on=True)
    with read_only():
        store.pin(third, on=True)
    for release in (first, second):
        (release.directory / "state.json").unlink()
    assert known(store) == [("good", True), ("good", True), ("live", True)]
    assert [name for name, _ in store.restore_records()] == [first.id, second.id]
    assert known(store) == [("good", True), ("good", True), ("live", True)]


def test_a_record_that_leads_to_itself_is_reported_and_its_release_is_kept(store: ReleaseStore) -> None:
    _, two, _ = (live(store, number).id for number in (1, 2, 3))
    store.pin(store.find(two), on=True)
    path = store.path(two) / "state.json"
    path.unlink()
    path.symlink_to("state.json")
    assert known(store) == [("good", False), ("good", True), ("live", False)]
    assert [error.path for error in store.find_unreadable_records()] == [path]
    assert [name for name, _ in store.restore_records()] == [two]
    assert known(store) == [("good", False), ("good", True), ("live", False)]
    assert [*store.find_unreadable_records()] == []
    assert [*store.restore_records()] == []


def test_flips_keep_their_order_after_pruning_and_a_restored_record(store: ReleaseStore, read_only: ReadOnly) -> None:
    for number in range(1, 6):
        live(store, number)
    store.remove(*ids(1, 2, 3))
    with read_only():
        store.pin(store.find(ids(5)[0]), on=True)
    (store.path(ids(4)[0]) / "state.json").unlink()
    assert [name for name, _ in store.restore_records()] == ids(4)
    (store.state_dir / "ledger.json").unlink()
    store.link.unlink()
    assert list(store.ledger().activations) == ids(4, 5)


def test_what_a_release_says_of_itself_counts_if_the_ledger_could_not_be_written(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch, read_only: ReadOnly
) -> None:
    first, _ = live(store, 1), live(store, 2)
    with read_only():
        store.pin(first, on=True)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no")

    with monkeypatch.context() as patched:
        patched.setattr("releaser.releases.store.write_state", refuse)
        with pytest.raises(OSError, match="no"):
            store.pin(first, on=False)
    for _ in range(2):
        assert known(store) == [("good", False), ("live", False)]
        assert [*store.restore_records()] == []


def test_an_earlier_version_that_has_lost_its_ledger_keeps_what_was_live(store: ReleaseStore) -> None:
    names = [a_manifest(number).id for number in (1, 2, 3, 4)]
    for number, previous in ((1, None), (2, names[0]), (3, names[1]), (4, names[1])):
        built(store, number, previous=previous)
    as_earlier(store)
    (store.state_dir / "ledger.json").unlink()
    store.link.symlink_to(store.path(names[3]) / "venv")
    assert list(store.ledger().activations) == [names[0], names[1], names[3]]
    assert sorted(name for name, _ in store.restore_records()) == names
    assert [(one.state, one.pinned) for one in store.all()] == [
        ("live", True), ("candidate", True), ("good", True), ("good", True)
    ]  # fmt: skip


def test_a_manifest_that_cannot_be_read_just_now_loses_neither_mark_nor_pin(store: ReleaseStore) -> None:
    one, two, three = (live(store, number).id for number in (1, 2, 3))
    as_earlier(
        store, marks={one: "good", two: "bad", three: "good"}, activations=(one, two, three), pins=frozenset({one})
    )
    kept = {name: (store.path(name) / "manifest.json").read_bytes() for name in (one, two)}
    for name in kept:
        (store.path(name) / "manifest.json").write_text("garbage", encoding="ascii")
    assert [*store.restore_records()] == []
    for name, data in kept.items():
        (store.path(name) / "manifest.json").write_bytes(data)
    assert {release.id: (release.state, release.pinned) for release in store.all()} == {
        one: ("good", True), two: ("rolled-back", False), three: ("live", False)
    }  # fmt: skip


def test_a_release_that_waits_is_taken_only_if_it_is_newer(store: ReleaseStore) -> None:
    live(store, 1)
    ready, configuration = built(store, 2), {"settings.toml": b"x = 1"}
    key, lock = ready.key, ready.locked.data
    assert store.snapshot().find_ready(key, lock, configuration) is None  # nobody knows what it was tested with
    Lifecycle(stage="ready", since="", configuration=digest_of(configuration, ready.id)).write(store.path(ready.id))
    assert store.snapshot().find_ready(key, lock, configuration) == ready
    for other in ({"settings.toml": b"x = 2"}, {"settings.toml": None}, {}, {**configuration, "more": b""}, None):
        assert store.snapshot().find_ready(key, lock, other) is None
    live(store, 3)
    assert store.snapshot().find_ready(key, lock, configuration) is None


@pytest.mark.parametrize("text", ["", "garbage", "[]", '{"version": 9}'])
def test_a_record_that_cannot_be_read_is_one_that_is_lost(store: ReleaseStore, text: str) -> None:
    for number in (1, 2):
        live(store, number)
    path = store.path(ids(1)[0]) / "state.json"
    path.write_text(text, encoding="ascii")
    assert [release.state for release in store.all()] == ["live", "good"]
    assert [error.path for error in store.find_unreadable_records()] == [path]
    assert [(name, error is not None) for name, error in store.restore_records()] == [(ids(1)[0], True)]
    assert path.with_name("state.json.unreadable-1").read_text(encoding="ascii") == text
    assert [*store.find_unreadable_records()] == []


def test_a_release_that_has_lost_its_manifest_keeps_its_record(store: ReleaseStore) -> None:
    release = live(store, 1)
    store.pin(store.find(release.id), on=True)
    before = store.snapshot().lifecycles[release.id]
    (store.path(release.id) / "manifest.json").unlink()
    assert store.complete(release.manifest).pinned
    assert store.snapshot().lifecycles[release.id] == before


def test_the_next_record_makes_a_lost_ledger_good_again(store: ReleaseStore) -> None:
    for number in (1, 2):
        live(store, number)
    before = store.ledger()
    (store.state_dir / "ledger.json").write_text("garbage", encoding="utf-8")
    store.record(lambda ledger: ledger.numbered(7))
    assert store.ledger() == dataclasses.replace(before, last_sequence=7)
