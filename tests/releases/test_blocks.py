"""What is not tried again, or not now: candidates, versions, and holds."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from releaser.locks.origins import Deviation
from releaser.releases.blocks import (
    BLOCKS,
    Blocks,
    StoredBlock,
    block_candidate,
    change_blocks,
    read_blocks,
)
from releaser.releases.key import ReleaseKey
from releaser.system.files import UnreadableStateError, read_state, write_state

KEY = ReleaseKey(lock_sha256="l", code_key="c", python="3.11.7", group="prod")
AT = "2026-11-20T06:00:00+00:00"


def failed(release: str, **changes: str | None) -> StoredBlock:
    fields: dict[str, Any] = {"lock_sha256": "l", "code_key": "c", "python": "3.11.7", "group": "prod", **changes}
    return replace(block_candidate(ReleaseKey(**fields), release, "red"), since=AT)


@pytest.mark.parametrize(
    "change", [{"lock_sha256": "x"}, {"code_key": "x"}, {"python": "3.12.0"}, {"group": None}, {"group": "staging"}]
)
def test_a_candidate_is_the_same_only_if_all_of_it_is(change: dict[str, str | None]) -> None:
    blocks = Blocks().with_new(failed("A"))
    assert blocks.candidate(KEY) == failed("A")
    assert blocks.candidate(failed("A", **change).key or KEY) is None


def test_a_candidate_that_fails_again_is_listed_once_as_the_last() -> None:
    blocks = Blocks().with_new(failed("A")).with_new(failed("B", group=None)).with_new(failed("C"))
    assert [one.release for one in blocks.candidates] == ["B", "C"]


def test_every_version_that_a_release_brought_is_kept_out_for_its_first_reason() -> None:
    blocks = Blocks().with_versions({"beta": "2", "alpha": "1"}, release="A", reason="ill", since=AT)
    blocks = blocks.with_versions({"alpha": "1"}, release="B", reason="again", since="later")
    told = [(one.name, one.version, one.release, one.reason) for one in blocks.by("rollback")]
    assert told == [("alpha", "1", "A", "ill"), ("beta", "2", "A", "ill")]


def test_a_rollback_here_counts_more_than_one_on_another_host_and_that_no_more_than_an_earlier_one() -> None:
    theirs = Blocks().with_commit_that_lowers([("alpha", "1")], commit="c", reason="went back")
    (own,) = theirs.with_versions({"alpha": "1"}, release="A", reason="ill", since=AT).entries
    assert (own.commit, own.reason) == ("", "ill")
    assert Blocks(entries=(own,)).with_commit_that_lowers([("alpha", "1")], commit="c", reason="").entries == (own,)
    assert theirs.without_followed({"alpha": "1"}) == Blocks()
    assert Blocks(entries=(own,)).without_followed({"alpha": "1"}).entries == (own,)


def test_one_of_several_locked_versions_is_lifted_alone() -> None:
    blocks = Blocks().with_versions({"alpha": "2.0"}, release="A", reason="ill", since=AT)
    blocks = blocks.with_versions({"alpha": "3.0"}, release="B", reason="ill", since=AT)
    assert [one.version for one in blocks.without(lambda one: one.is_in({"alpha": "1.0, 3.0"})).entries] == ["2.0"]


PERSON = StoredBlock(name="alpha", by="person", reason="waits for the printer", since=AT)
TESTS = StoredBlock(
    name="alpha", by="tests", reason="the tests fail", since=AT, version="2.0", release="20261120T060000Z",
    python="3.11.7", output="AssertionError", tests=("test_price",), together=("beta 2.0",), code_key="c",
)  # fmt: skip
COMMIT = StoredBlock(what="commit", name="abc", commit="abcdef", code_key="c", subject="Fix", reason="red", since=AT)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert read_blocks(tmp_path) == Blocks()
    change_blocks(tmp_path, lambda blocks: blocks)  # one that is missing is made from the releases
    assert (tmp_path / BLOCKS).exists()
    retried = replace(TESTS, version="2.1", until=datetime(2026, 11, 27, 6, tzinfo=UTC))
    blocks = Blocks().with_new(failed("A"), failed("B", group=None), PERSON, TESTS, retried, COMMIT)
    blocks = blocks.with_versions({"alpha": "1"}, release="A", reason="ill", since=AT)
    change_blocks(tmp_path, lambda _: blocks)
    assert read_blocks(tmp_path) == blocks


NEWER = replace(TESTS, reason="again", since="later")
ANOTHER = replace(COMMIT, name="other", commit="other")


@pytest.mark.parametrize(
    ("new", "entries"),
    [
        ((PERSON, TESTS, NEWER), (PERSON, NEWER)),
        ((COMMIT, PERSON, ANOTHER), (PERSON, ANOTHER)),
        ((PERSON, TESTS, replace(NEWER, version="2.1")), (PERSON, TESTS, replace(NEWER, version="2.1"))),
    ],
    ids=["the same version by the same", "a commit", "each version that failed is kept"],
)
def test_a_newer_block_takes_the_place_of_the_older(
    new: tuple[StoredBlock, ...], entries: tuple[StoredBlock, ...]
) -> None:
    blocks = Blocks()
    for one in new:
        blocks = blocks.with_new(one)
    assert blocks.entries == entries


def test_of_a_version_that_is_live_nothing_but_the_hold_of_a_person_is_left() -> None:
    blocks = Blocks().with_new(PERSON, TESTS)
    assert [one.is_in({"alpha": "1.0"}) for one in blocks.entries] == [False, False]
    assert blocks.without(lambda one: one.is_in({"alpha": "1.0, 2.0"})).entries == (PERSON,)


def test_what_a_person_holds_counts_more_than_what_others_took_back() -> None:
    theirs = Blocks().with_commit_that_lowers([("alpha", "3"), ("beta", "3")], commit="c", reason="went back")
    found = [(one.name, one.by) for one in theirs.with_new(PERSON, TESTS).without_held().entries]
    assert found == [("beta", "rollback"), ("alpha", "person"), ("alpha", "tests")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('"entries": [{"name": "alpha"}]', BLOCKS.name),
        ('"entries": [{"name": "a", "by": "nobody", "reason": ""}]', BLOCKS.name),
        ('"entries": [{"name": "a", "by": "tests", "reason": "", "until": "one day"}]', BLOCKS.name),
        ('"hold": []', "none of accepted, asked, entries is in it"),
    ],
)
def test_what_cannot_be_read_counts_as_empty_and_is_kept_for_a_person_to_look_at(
    tmp_path: Path, content: str, why: str
) -> None:
    (tmp_path / BLOCKS).write_text(f'{{"version": 2, {content}}}', encoding="utf-8")
    with pytest.raises(UnreadableStateError, match=why):
        read_state(tmp_path / BLOCKS, Blocks)
    assert read_blocks(tmp_path) == Blocks()


# The three files of earlier versions


EARLIER_KEY = {"lock_sha256": "l", "code_key": "c", "python": "3.11.7", "group": "prod", "included": ""}
HOLD = {"name": "alpha", "by": "tests", "reason": "the tests fail", "at": AT, "version": "2.0", "release": "R"}
ROLLED_BACK = {"name": "beta", "by": "rollback", "reason": "ill", "at": AT, "version": "1.0", "commit": "c"}
WAITING = {"key": EARLIER_KEY, "release": "W", "reason": "not applied", "at": AT, "migrations": ["a.0002"]}
FAILED = {"key": {**EARLIER_KEY, "group": None}, "release": "F", "reason": "red", "at": AT, "sick": True}
BY_FAILURES = {"commit": "abcdefabcdefabcdef", "code_key": "k", "subject": "Fix", "reason": "red", "at": AT}


def write_earlier(state_dir: Path, name: str, **content: object) -> None:
    (state_dir / name).write_text(json.dumps({"version": 2, **content}), encoding="utf-8")


def test_what_an_earlier_version_has_written_is_read_and_goes_into_the_table(tmp_path: Path) -> None:
    """What its search over nights wrote keeps nothing out: a candidate that it was interrupted in is tried again.

    So is one that waited for migrations.
    """
    unfinished, undecided = {**FAILED, "unfinished": True}, {**HOLD, "by": "undecided", "live": "1.0"}
    person = {"name": "gamma", "by": "person", "reason": "wait", "at": AT, "tried_at": "", "tests": []}
    retried = {**HOLD, "code": "k", "python": "3.11.7", "tests": ["t"], "together": ["b 2"], "tried_at": AT}
    candidates = [unfinished, WAITING, FAILED]
    write_earlier(tmp_path, "quarantine.json", candidates=candidates, versions=[ROLLED_BACK], commits=[BY_FAILURES])
    write_earlier(tmp_path, "holds.json", entries=[person, undecided, retried])
    key = ReleaseKey(**EARLIER_KEY)
    expected = Blocks(
        entries=(
            StoredBlock(name="beta", by="rollback", reason="ill", since=AT, version="1.0", commit="c"),
            replace(COMMIT, name="abcdefabcdef", commit="abcdefabcdefabcdef", code_key="k"),
            replace(block_candidate(replace(key, group=None), "F", "red", sick=True), since=AT),
            StoredBlock(name="gamma", by="person", reason="wait", since=AT),
            StoredBlock(
                name="alpha", by="tests", reason="the tests fail", since=AT, version="2.0", release="R", code_key="k",
                python="3.11.7", tests=("t",), together=("b 2",), until=datetime(2026, 11, 27, 6, tzinfo=UTC),
            ),
        )
    )  # fmt: skip
    deviation: dict[str, Any] = {"version": "1", "what": "index", "old": "a", "new": "b"}
    asked = {"name": "alpha", **deviation, "file": "", "why": "", "since": AT}
    write_earlier(tmp_path, "acceptance.json", asked=[asked], accepted=[{**asked, "name": "beta"}])
    alpha, beta = (Deviation(name=name, **deviation) for name in ("alpha", "beta"))
    expected = replace(expected, asked=(alpha,), accepted=(beta,))
    assert read_blocks(tmp_path) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acceptance.json", "holds.json", "quarantine.json"]
    change_blocks(tmp_path, lambda blocks: blocks)
    assert read_blocks(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == [BLOCKS.name]


def test_of_two_files_the_one_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    write_earlier(tmp_path, "quarantine.json", candidates=[], versions=[ROLLED_BACK], commits=[])
    write_earlier(tmp_path, "holds.json", entries=[{**HOLD, "tried_at": "x"}])
    assert names(tmp_path) == ["beta"]
    (tmp_path / "holds.json").write_text("{", encoding="utf-8")
    assert names(tmp_path) == ["beta"]


PERSON_BEFORE = {"name": "gamma", "by": "person", "reason": "wait", "at": AT}


def names(state_dir: Path) -> list[str]:
    return [one.name for one in read_blocks(state_dir).entries]


def test_what_an_earlier_version_holds_after_a_downgrade_goes_into_the_table_that_is_there(tmp_path: Path) -> None:
    asked, known = (Deviation(name=name, version="1", what="index", old="a", new="b") for name in ("alpha", "beta"))
    change_blocks(tmp_path, lambda _: Blocks(entries=(TESTS,), accepted=(known,)))
    write_earlier(tmp_path, "holds.json", entries=[PERSON_BEFORE])
    write_earlier(tmp_path, "quarantine.json", candidates=[], versions=[ROLLED_BACK], commits=[])
    rows = [{name: getattr(one, name) for name in ("name", "version", "what", "old", "new")} for one in (asked, known)]
    write_earlier(tmp_path, "acceptance.json", asked=rows, accepted=[])
    for _ in range(2):
        assert names(tmp_path) == ["alpha", "beta", "gamma"]
        assert (read_blocks(tmp_path).asked, read_blocks(tmp_path).accepted) == ((asked,), (known,))
        change_blocks(tmp_path, lambda blocks: blocks)
        assert [path.name for path in tmp_path.iterdir()] == [BLOCKS.name]


class Killed(BaseException):
    """The end of a run, at any place."""


@pytest.mark.parametrize("is_upgraded", [False, True])
def test_what_is_lifted_does_not_come_back_in_part_wherever_the_run_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_upgraded: bool
) -> None:
    """The change is made as a whole or not at all, and what it does not concern is there, once."""
    seen, left = [], 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def stop_or_call(*given: object, **named: object) -> object:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            return function(*given, **named)

        return stop_or_call

    for end in range(20):
        directory, left = tmp_path / f"{end}", end
        directory.mkdir()
        if is_upgraded:
            change_blocks(directory, lambda _: Blocks(entries=(TESTS,)))
        write_earlier(directory, "quarantine.json", candidates=[], versions=[ROLLED_BACK], commits=[])
        write_earlier(directory, "holds.json", entries=[PERSON_BEFORE, {**PERSON_BEFORE, "name": "delta"}])
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr("releaser.releases.blocks.write_state", counted(write_state))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            change_blocks(directory, lambda blocks: blocks.without(lambda one: one.name in ("beta", "gamma")))
        seen.append(names(directory))
        change_blocks(directory, lambda blocks: blocks)
        assert names(directory) == seen[-1], end
        if left:
            break
    others = ["alpha"] * is_upgraded
    before, after = [*others, "beta", "gamma", "delta"], [*others, "delta"]
    assert seen == [*[before] * (len(seen) - 2), after, after]
