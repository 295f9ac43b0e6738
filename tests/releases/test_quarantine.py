"""What is not tried again: candidates and versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from releaser.durable import UnreadableStateError
from releaser.releases.quarantine import (
    CandidateKey,
    FailedCandidate,
    Quarantine,
    RefusedPython,
    read_quarantine,
    write_quarantine,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY = CandidateKey(lock_sha256="l", code_key="c", python="3.11.7", group="prod")


def failed(release: str, **changes: str | None) -> FailedCandidate:
    fields = {"lock_sha256": "l", "code_key": "c", "python": "3.11.7", "group": "prod", **changes}
    return FailedCandidate(key=CandidateKey(**fields), release=release, reason="red", at="now")  # type: ignore[arg-type]


def refused(version: str, *, reason: str = "red") -> RefusedPython:
    return RefusedPython(version=version, reason=reason, at="now")


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


def test_every_version_that_a_release_brought_is_kept_out() -> None:
    quarantine = Quarantine().with_versions({"beta": "2", "alpha": "1"}, release="A", reason="ill", at="now")
    assert [(entry.name, entry.version) for entry in quarantine.versions] == [("alpha", "1"), ("beta", "2")]


def test_the_first_reason_for_a_version_stays() -> None:
    quarantine = with_versions(alpha="1").with_versions({"alpha": "1"}, release="B", reason="again", at="later")
    assert [(entry.release, entry.reason) for entry in quarantine.versions] == [("R0", "ill")]


def test_what_runs_well_after_all_is_lifted() -> None:
    quarantine = (
        with_versions(alpha="1|2", beta="1").with_candidate(failed("A")).with_candidate(failed("B", group=None))
    )
    lifted = quarantine.without({"alpha": "2", "beta": "3", "gamma": "1"}, KEY)
    assert [(entry.name, entry.version) for entry in lifted.versions] == [("alpha", "1"), ("beta", "1")]
    assert [entry.release for entry in lifted.candidates] == ["B"]


def test_a_python_is_refused_until_the_site_runs_on_it() -> None:
    quarantine = Quarantine().with_python(refused("3.12.1", reason="slow")).with_python(refused("3.13.0"))
    quarantine = quarantine.with_python(refused("3.12.1"))
    assert quarantine.pythons == (refused("3.13.0"), refused("3.12.1"))
    assert quarantine.python("3.13.0") == refused("3.13.0")
    assert quarantine.python("3.13.1") is None
    assert quarantine.without({}, KEY) == quarantine
    assert quarantine.without({}, failed("A", python="3.13.0").key).pythons == (refused("3.12.1"),)


def test_one_of_several_locked_versions_is_lifted_alone() -> None:
    lifted = with_versions(alpha="2.0, 3.0").without({"alpha": "1.0, 3.0"}, KEY)
    assert [entry.version for entry in lifted.versions] == ["2.0"]


def test_a_quarantine_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_quarantine(tmp_path) == Quarantine()
    quarantine = with_versions(alpha="1|2").with_candidate(failed("A")).with_candidate(failed("B", group=None))
    quarantine = quarantine.with_python(refused("3.13.0"))
    write_quarantine(tmp_path, quarantine)
    assert read_quarantine(tmp_path) == quarantine


@pytest.mark.parametrize(
    "content",
    [
        {"version": 1},
        {"version": 1, "candidates": [], "versions": None},
        {"version": 1, "candidates": [], "versions": ["alpha"]},
        {"version": 1, "candidates": [{}], "versions": []},
        {"version": 1, "candidates": [{"key": {}}], "versions": []},
        {"version": 1, "candidates": [], "versions": [{"name": "alpha"}]},
        {"version": 1, "candidates": [], "versions": [], "pythons": [{"version": "3.13.0"}]},
        {"version": 2, "candidates": [], "versions": []},
        [],
    ],
)
def test_what_is_no_quarantine_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "quarantine.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnreadableStateError, match=r"quarantine\.json"):
        read_quarantine(tmp_path)
