"""Which differences of two locks keep the one from taking the place of the other; decisions alone."""

from collections.abc import Mapping

import pytest

from releaser.locks.blocks import Block
from releaser.locks.differences import excludes, find_differences, find_reverted_versions
from releaser.locks.lock import LockFile

ROLLED_BACK = (Block(name="alpha", version="1.1", reason="ill"),)
BY_YOU = (Block(name="alpha", by="person", reason="wait"),)
NONE: tuple[Block, ...] = ()


KEPT = "kept as it was when the site moved to another Python"


def lock(*packages: str, wants: Mapping[str, str] | None = None) -> LockFile:
    """Return a lock of these packages, of a project that wants some of them in some versions."""
    lines = ["version = 1", 'requires-python = ">=3.11"', "[[package]]", 'name = "site"', 'source = { virtual = "." }']
    asked = ", ".join(f'{{ name = "{name}", specifier = "{of}" }}' for name, of in (wants or {}).items())
    lines += ["[package.metadata]", f"requires-dist = [{asked}]"]
    for package in packages:
        name, version, *commit = package.split()
        source = f'git = "https://example.org/x#{commit[0]}"' if commit else 'registry = "https://example.org/simple"'
        lines += ["[[package]]", f'name = "{name}"', f'version = "{version}"', f"source = {{ {source} }}"]
    return LockFile.parse("\n".join(lines).encode())


COMMIT = (Block(name="alpha", version="1.0 (bbbbbbbbb)", reason="ill"),)


@pytest.mark.parametrize(
    ("committed", "live", "holds", "reason"),
    [
        ("alpha 1.0", "alpha 1.1", NONE, ""),  # an upgrade
        ("alpha 1.0", "alpha 1.1", ROLLED_BACK, ""),  # by `--force`
        ("alpha 1.1", "alpha 1.0", ROLLED_BACK, "on hold by a rollback"),
        ("alpha 1.1", "alpha 1.0", NONE, "the committed version is newer"),
        ("alpha 1.1, beta 1.0", "alpha 1.0, beta 1.1", ROLLED_BACK, "on hold by a rollback"),
        ("alpha 1.1", "alpha 1.0", BY_YOU, "on hold by you"),
        ("alpha 1.1", "alpha 1.0", (*BY_YOU, *ROLLED_BACK), "on hold by you"),
        ("alpha 1.0", "alpha 1.1", BY_YOU, "on hold by you"),  # another host went back
        ("alpha 1.1, alpha 2.0", "alpha 1.0, alpha 2.0", NONE, "the committed version is newer"),
        ("alpha 1.0, alpha 2.0", "alpha 1.0", NONE, KEPT),
        ("alpha 1.0, alpha 2.0", "alpha 1.0, alpha 1.1", NONE, KEPT),
        ("alpha 1.0, alpha 2.0", "alpha 1.0", BY_YOU, "on hold by you"),
        ("alpha 1.1", "beta 1.0", NONE, ""),  # a package that came, and one that went
        ("alpha 1.0 bbbbbbbbb", "alpha 1.0 aaaaaaaaa", NONE, ""),  # nobody can tell which is newer
        ("alpha 1.0 bbbbbbbbb", "alpha 1.0 aaaaaaaaa", COMMIT, "on hold by a rollback"),
    ],
)
def test_what_is_on_hold_on_one_host_never_lowers_the_committed_lock(
    committed: str, live: str, holds: tuple[Block, ...], reason: str
) -> None:
    found = find_differences(lock(*committed.split(", ")), lock(*live.split(", ")), holds)
    assert [one.reason for one in found] == [reason] * bool(reason)


@pytest.mark.parametrize(
    ("before", "after", "holds", "found"),
    [
        ({}, {"alpha": "<1.1"}, ROLLED_BACK, []),  # a developer asks for what is older
        ({"alpha": ""}, {"alpha": ">=1"}, ROLLED_BACK, ["alpha"]),  # and here for something else
        ({}, {"beta": "<2"}, NONE, []),  # which may lower what it needs
        ({}, {"alpha": "<1.1"}, BY_YOU, ["alpha"]),
    ],
)
def test_the_project_itself_may_lower_it(
    before: dict[str, str], after: dict[str, str], holds: tuple[Block, ...], found: list[str]
) -> None:
    committed, live = lock("alpha 1.1", "beta 1.0", wants=before), lock("alpha 1.0", "beta 1.0", wants=after)
    assert [one.name for one in find_differences(committed, live, holds)] == found


def test_a_constraint_of_the_project_may_lower_it() -> None:
    assert find_differences(lock("alpha 1.1", "beta 1.1"), lock("alpha 1.0", "beta 1.0"), NONE, limited={"alpha"}) == ()


def test_a_rollback_goes_back_from_what_was_live_here_alone() -> None:
    committed, live = lock("alpha 1.1", "beta 1.1"), lock("alpha 1.0", "beta 1.0")
    assert find_differences(committed, live, ROLLED_BACK, left={"alpha": "1.1", "beta": "1.1"}) == ()
    (one,) = find_differences(committed, live, ROLLED_BACK, left={"alpha": "1.0", "beta": "1.1"})
    assert str(one) == "alpha 1.0 is live here, 1.1 is committed (on hold by a rollback)"


def test_a_commit_takes_back_what_it_lowers_unless_the_project_asks_for_that() -> None:
    before = lock("alpha 1.1", "beta 1.1", "gamma 1.0 bbbbbbbbb", "delta 1.0")
    after = lock("alpha 1.0", "beta 1.0", "gamma 1.0 aaaaaaaaa", "delta 1.1", wants={"beta": "<1.1"})
    assert list(find_reverted_versions(before, after)) == [("alpha", "1.1")]
    every = list(find_reverted_versions(before, after, all_changes=True))
    assert every == [("alpha", "1.1"), ("delta", "1.0"), ("gamma", "1.0 (bbbbbbbbb)")]
    assert list(find_reverted_versions(lock("alpha 1.0", "alpha 2.1"), lock("alpha 1.0", "alpha 2.0"))) == [
        ("alpha", "2.1")
    ]


def test_what_a_project_excludes_stands_in_its_lock() -> None:
    found = lock("alpha 1.0", wants={"alpha": "<1.1", "beta": "no specifier"})
    assert [excludes(found, name, "1.1") for name in ("alpha", "beta", "gamma")] == [True, False, False]
