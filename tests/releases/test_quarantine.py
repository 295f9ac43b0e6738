"""What is not tried again, or not now: candidates, versions, and holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from releaser.releases.key import ReleaseKey
from releaser.releases.quarantine import (
    HOLDS,
    QUARANTINE,
    Constraints,
    FailedCandidate,
    Hold,
    Holds,
    Quarantine,
    change_holds,
    change_quarantine,
    read_holds,
    read_quarantine,
)
from releaser.system.files import UnreadableStateError, read_state

if TYPE_CHECKING:
    from pathlib import Path

KEY = ReleaseKey(lock_sha256="l", code_key="c", python="3.11.7", group="prod")


def failed(release: str, **changes: str | None) -> FailedCandidate:
    fields = {"lock_sha256": "l", "code_key": "c", "python": "3.11.7", "group": "prod", **changes}
    return FailedCandidate(key=ReleaseKey(**fields), release=release, reason="red", at="now")  # type: ignore[arg-type]


def with_versions(**bad: str) -> Quarantine:
    """Make a quarantine of versions; `alpha="1|2"` are two versions of alpha, brought one after the other."""
    found = Quarantine()
    for name, versions in bad.items():
        for number, version in enumerate(versions.split("|")):
            found = found.with_versions({name: version}, release=f"R{number}", reason="ill", at="now")
    return found


@pytest.mark.parametrize(
    "change", [{"lock_sha256": "x"}, {"code_key": "x"}, {"python": "3.12.0"}, {"group": None}, {"group": "staging"}]
)
def test_a_candidate_is_the_same_only_if_all_of_it_is(change: dict[str, str | None]) -> None:
    quarantine = Quarantine().with_candidate(failed("A"))
    assert quarantine.candidate(KEY) == failed("A")
    assert quarantine.candidate(failed("A", **change).key) is None


def test_a_candidate_that_fails_again_is_listed_once_as_the_last() -> None:
    quarantine = Quarantine()
    for entry in (failed("A"), failed("B", group=None), failed("C")):
        quarantine = quarantine.with_candidate(entry)
    assert [entry.release for entry in quarantine.candidates] == ["B", "C"]


def test_every_version_that_a_release_brought_is_kept_out_for_its_first_reason() -> None:
    quarantine = Quarantine().with_versions({"beta": "2", "alpha": "1"}, release="A", reason="ill", at="now")
    quarantine = quarantine.with_versions({"alpha": "1"}, release="B", reason="again", at="later")
    told = [(entry.name, entry.version, entry.release, entry.reason) for entry in quarantine.versions]
    assert told == [("alpha", "1", "A", "ill"), ("beta", "2", "A", "ill")]


def test_what_runs_well_after_all_is_lifted() -> None:
    quarantine = (
        with_versions(alpha="1|2", beta="1").with_candidate(failed("A")).with_candidate(failed("B", group=None))
    )
    lifted = quarantine.without({"alpha": "2", "beta": "3", "gamma": "1"}, KEY)
    assert [(entry.name, entry.version) for entry in lifted.versions] == [("alpha", "1"), ("beta", "1")]
    assert [entry.release for entry in lifted.candidates] == ["B"]


def test_one_of_several_locked_versions_is_lifted_alone() -> None:
    lifted = with_versions(alpha="2.0, 3.0").without({"alpha": "1.0, 3.0"}, KEY)
    assert [entry.version for entry in lifted.versions] == ["2.0"]


PERSON = Hold(name="alpha", by="person", reason="waits for the printer", at="2026-11-20T06:00:00+00:00")
TESTS = Hold(
    name="alpha", by="tests", reason="the tests fail", at="2026-11-20T06:00:00+00:00", version="2.0",
    release="20261120T060000Z", python="3.11.7", output="AssertionError", tests=("test_price",), together=("beta 2.0",),
    code="c",
)  # fmt: skip


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert (read_quarantine(tmp_path), read_holds(tmp_path)) == (Quarantine(), Holds())
    quarantine = with_versions(alpha="1|2").with_candidate(failed("A")).with_candidate(failed("B", group=None))
    holds = Holds().with_new([PERSON, TESTS])
    change_quarantine(tmp_path, lambda _: quarantine)
    change_holds(tmp_path, lambda _: holds)
    assert (read_quarantine(tmp_path), read_holds(tmp_path)) == (quarantine, holds)


def test_a_newer_hold_of_the_same_by_the_same_takes_the_place_of_the_older() -> None:
    newer = Hold(name="alpha", by="tests", reason="again", at="later", version="2.0")
    assert Holds().with_new([PERSON, TESTS]).with_new([newer]).entries == (PERSON, newer)


def test_what_is_lifted_is_all_that_is_held_of_a_package() -> None:
    holds = Holds().with_new([PERSON, TESTS])
    assert holds.without(["alpha"]).entries == ()
    assert holds.without(["beta"]).entries == (PERSON, TESTS)


def test_each_version_that_failed_is_kept() -> None:
    newer = replace(TESTS, version="2.1", at="later")
    assert Holds().with_new([PERSON, TESTS]).with_new([newer]).entries == (PERSON, TESTS, newer)
    assert Holds().with_new([PERSON, TESTS, newer]).by_tests == (TESTS, newer)


def test_what_was_tried_again_rests_for_a_week() -> None:
    rest = replace(TESTS, tried_at="2026-11-20T06:00:00+00:00").rests_until()
    assert rest is not None
    assert rest.isoformat() == "2026-11-27T06:00:00+00:00"
    assert TESTS.rests_until() is None


def test_what_the_search_over_nights_of_earlier_versions_wrote_keeps_nothing_out(tmp_path: Path) -> None:
    """A candidate in whose search it was interrupted has to be tried again, and a person's holds are kept."""
    undecided = replace(TESTS, by="undecided", tests=(), output="")
    change_holds(tmp_path, lambda _: Holds(entries=(PERSON, undecided, TESTS)))
    file = tmp_path / HOLDS
    file.write_text(
        file.read_text(encoding="utf-8").replace('"tried_at"', '"live": "1.0", "tried_at"'), encoding="utf-8"
    )
    assert '"live": "1.0"' in file.read_text(encoding="utf-8")
    assert read_holds(tmp_path) == Holds(entries=(PERSON, TESTS))
    unfinished = replace(failed("A"), unfinished=True)
    change_quarantine(tmp_path, lambda _: Quarantine(candidates=(unfinished, failed("B", group=None))))
    assert [one.release for one in read_quarantine(tmp_path).candidates] == ["B"]


def test_what_is_live_and_good_is_no_more_held_by_the_tests() -> None:
    holds = Holds().with_new([PERSON, TESTS])
    assert holds.without_live({"alpha": "1.0"}) == holds
    assert holds.without_live({"alpha": "1.0, 2.0"}).entries == (PERSON,)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (str(QUARANTINE), '"versions": [{"name": "alpha"}]'),
        (str(HOLDS), '"entries": [{"name": "a", "by": "nobody", "reason": "", "at": ""}]'),
        (str(HOLDS), '"entries": [{"name": "a", "by": "tests", "reason": "", "at": "", "tried_at": "one day"}]'),
    ],
)
def test_what_cannot_be_read_counts_as_empty(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(f'{{"version": 2, {content}}}', encoding="utf-8")
    kinds = {str(QUARANTINE): Quarantine, str(HOLDS): Holds}
    with pytest.raises(UnreadableStateError, match=name):
        read_state(tmp_path / name, kinds[name])
    assert (read_quarantine(tmp_path), read_holds(tmp_path)) == (Quarantine(), Holds())


def test_of_two_files_the_one_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert Constraints.read(tmp_path) == Constraints()
    holds = Holds(entries=(Hold(name="alpha", by="person", reason="", at="now"),))
    change_holds(tmp_path, lambda _: holds)
    change_quarantine(tmp_path, lambda _: with_versions(beta="2.0"))
    assert Constraints.read(tmp_path) == Constraints(holds=holds, quarantine=with_versions(beta="2.0"))
    (tmp_path / HOLDS).write_text("{", encoding="utf-8")
    assert Constraints.read(tmp_path) == Constraints(quarantine=with_versions(beta="2.0"))


@pytest.mark.parametrize("content", ['{"version": 2}', '{"version": 2, "hold": []}'])
def test_a_file_without_its_list_is_unreadable(tmp_path: Path, content: str) -> None:
    """It is kept for a person to look at, instead of being taken for an empty one and written over."""
    (tmp_path / HOLDS).write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableStateError, match="none of entries is in it"):
        read_state(tmp_path / HOLDS, Holds)
