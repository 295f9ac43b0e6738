"""The division of an upgrade into proposals, with a resolver that knows a table of packages; and their messages."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.pipelines.proposal_message import quote
from releaser.pipelines.proposal_parts import split
from releaser.pipelines.propose import branch_of
from releaser.releases.proposal import Proposal
from releaser.releases.proposal_settings import ProposalSettings
from tests.candidate.test_partial_locks import A_NEEDS_B, PLAIN, Index, make_locks

EACH_OTHER: Index = {**A_NEEDS_B, "b": {"1.0": {}, "1.1": {"a": "1.1"}}}
CHAIN: Index = {**A_NEEDS_B, "b": {"1.0": {}, "1.1": {"c": "1.1"}}}


@pytest.mark.parametrize(
    ("index", "groups", "expected"),
    [
        (PLAIN, (), {"a": "a", "b": "b", "c": "c"}),
        (PLAIN, (("rest", ("[bc]",)),), {"a": "a", "rest": "bc"}),
        (PLAIN, (("first", ("a", "b")), ("second", ("*",))), {"first": "ab", "second": "c"}),
        (PLAIN, (("second", ("*",)), ("first", ("a",))), {"first": "a", "second": "bc"}),  # by its exact name
        (A_NEEDS_B, (), {"a": "ab", "c": "c"}),
        (EACH_OTHER, (), {"a": "ab", "c": "c"}),
        (CHAIN, (), {"a": "abc"}),
        (A_NEEDS_B, (("web", ("b", "c")),), {"web": "abc"}),
    ],
)  # fmt: skip
def test_upgrades_that_cannot_be_installed_alone_are_proposed_together(
    tmp_path: Path, index: Index, groups: Any, expected: dict[str, str]
) -> None:
    settings = ProposalSettings(propose="package", propose_groups=groups)
    found = split(make_locks(tmp_path, index), settings.group_of, named=[name for name, _ in groups])
    assert {one.name: "".join(sorted(one.packages)) for one in found} == expected
    for one in found:
        assert one.lock.versions == {name: "1.1" if name in one.packages else "1.0" for name in "abc"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("    Fixes #12, closes GH-7, thanks @ada", "    Fixes # 12, closes GH- 7, thanks @ ada"),
        (
            "see https://example.org/@ada/x#5 and ada@example.org",
            "see https://example.org/@ada/x#5 and ada@example.org",
        ),
        ("[skip ci] [ci skip] [no ci] [1.0]", "[ skip ci] [ ci skip] [ no ci] [1.0]"),
        ("a\x1b[31m\tb", "a b"),
    ],
)
def test_no_forge_acts_on_a_changelog(line: str, expected: str) -> None:
    assert quote(line) == expected


@pytest.mark.parametrize(
    ("project", "branch"),
    [("top", "releaser/update-lock"), ("top/sites/a b", "releaser/update-sites-a-b--lock")],  # as `.lock` is no name
)
def test_each_package_has_a_branch_that_git_permits(project: str, branch: str, tmp_path: Path) -> None:
    git = SimpleNamespace(layout=SimpleNamespace(top=tmp_path / "top"))
    outside = SimpleNamespace(project=SimpleNamespace(root=tmp_path / project), git=git)
    site: Any = SimpleNamespace(outside=outside)
    assert branch_of(site, "lock") == branch


MADE = Proposal(name="a", remote="origin", branch="releaser/update-a", commit="1" * 40, versions={"a": "1.1"})


@pytest.mark.parametrize(
    ("live", "is_merged"),
    [({"a": "1.1"}, True), ({"a": "1.2"}, True), ({"a": "1.0"}, False), ({}, False), ({"a": "1.1 (abc)"}, False)],
)
def test_a_proposal_is_merged_once_the_live_release_has_its_versions_or_newer_ones(
    live: dict[str, str], is_merged: bool
) -> None:
    release: Any = SimpleNamespace(key=SimpleNamespace(lock_sha256="other"))
    assert MADE.is_merged_into(release, live) == is_merged
    assert not MADE.is_merged_into(None, live)


def test_a_place_of_the_limit_is_free_once_a_proposal_is_declined() -> None:
    settings = ProposalSettings(propose_limit=2)
    assert [settings.allows(count) for count in (1, 2)] == [True, False]
    assert ProposalSettings(propose_limit=0).allows(100)
    assert MADE.is_open
