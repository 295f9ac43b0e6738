"""What lies between two locks, and how big a step it is."""

import pytest

from releaser.locks.changes import Change, bump_size, changes_between, list_introduced

BUMPS = [
    # the three parts
    ("1.0.0", "2.0.0", "major"),
    ("1.0.0", "1.1.0", "minor"),
    ("1.0.0", "1.0.1", "patch"),
    ("1", "1.0.1", "patch"),
    # the same under another spelling, and what lies behind the third part
    ("1.0", "1.0.0", "other"),
    ("1.0.0.1", "1.0.0.2", "other"),
    ("1.2.3.4", "1.2.4", "patch"),
    ("1.0.post1", "1.0.post2", "other"),
    ("1.0+local.1", "1.0+local.2", "other"),
    # before the release
    ("2.0rc1", "2.0", "other"),
    ("1.0", "2.0rc1", "major"),
    ("1.0", "1.1.dev5", "minor"),
    # calendar versions
    ("2025.11.12", "2026.1.4", "major"),
    ("20251112", "20260104", "major"),
    # epochs
    ("2026.1", "1!1.0", "other"),
    ("1!1.0", "1!2.0", "major"),
    # steps back
    ("2.0", "1.0", "major"),
    ("1.1.0", "1.0.9", "minor"),
    ("1.0", "1.0rc1", "other"),
    # no versions
    ("1.0, 2.0", "1.0, 3.0", "other"),
    ("1.0 (0123abcde)", "1.1 (123abcdef)", "other"),
    # coming and going
    (None, "1.0", "added"),
    ("1.0", None, "removed"),
]


@pytest.mark.parametrize(("old", "new", "expected"), BUMPS)
def test_a_step_is_as_big_as_the_first_part_that_differs(old: str | None, new: str | None, expected: str) -> None:
    assert bump_size(old, new) == expected


def test_a_difference_names_what_changed_in_the_order_of_the_names() -> None:
    old = {"beta": "1.0", "alpha": "1.0", "gone": "1.0", "same": "1.0"}
    new = {"beta": "1.1", "alpha": "2.0", "new": "1.0", "same": "1.0"}
    diff = changes_between(old, new)
    assert diff == (
        Change(name="alpha", old="1.0", new="2.0", bump="major"),
        Change(name="beta", old="1.0", new="1.1", bump="minor"),
        Change(name="gone", old="1.0", new=None, bump="removed"),
        Change(name="new", old=None, new="1.0", bump="added"),
    )
    assert changes_between(new, new) == ()
    assert list_introduced(diff) == {"alpha": "2.0", "beta": "1.1", "new": "1.0"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1", "2", "2"),
        (None, "2", "2"),
        ("1", None, ""),
        ("1, 2", "2, 3", "3"),
        ("1, 2", "1", ""),
        ("1", "1, 2, 3", "2, 3"),
    ],
)
def test_a_change_brings_what_was_not_there(old: str | None, new: str | None, expected: str) -> None:
    assert Change(name="alpha", old=old, new=new, bump="other").introduced == expected
