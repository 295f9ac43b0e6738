"""Which releases are kept, and why the others go."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from releaser.releases.policy import KeepPolicy, Verdict, judge
from tests.releases.makers import NOW, a_manifest, on_paper

if TYPE_CHECKING:
    from releaser.releases.release import Release, State

STATES: dict[str, State] = {"L": "live", "g": "good", "b": "bad", "f": "failed", "c": "candidate"}


def releases(text: str) -> list[Release]:
    """Make releases, newest first, from words such as `g40p`: state, age in days, `p`inned."""
    found = []
    words = text.split()
    for place, word in enumerate(words):
        number = len(words) - place
        age = float(word[1:].rstrip("ptuj") or 0)
        manifest = a_manifest(number, created_at=NOW - timedelta(days=age))
        found.append(on_paper(Path("/releases"), manifest, state=STATES[word[0]], pinned="p" in word))
    return found


def verdicts(text: str, *, keep: int, within: float, failed: int) -> tuple[Verdict, ...]:
    """Judge releases; a `t` marks the one that a rollback goes to, `j` the one just left, `u` those in use."""
    there = releases(text)
    marks = dict(zip(text.split(), there, strict=True)) if len(set(text.split())) == len(there) else {}
    return judge(
        there,
        KeepPolicy(keep=keep, keep_within=timedelta(days=within), keep_failed=failed),
        now=NOW,
        rollback_target=next((one.id for word, one in marks.items() if "t" in word), None),
        just_left=next((one.id for word, one in marks.items() if "j" in word), None),
        in_use=frozenset(one.id for word, one in marks.items() if "u" in word),
    )


# What there is (newest first), keep, keep_within in days, keep_failed, and what is kept (+) or goes (-).
TABLE = [
    ("", 5, 30, 2, ""),
    ("L0", 5, 30, 2, "+"),
    ("L0", 0, 0, 0, "+"),
    ("L900", 0, 0, 0, "+"),
    # as many good ones as `keep` says, beside the live one
    ("L0 g40 g41 g42", 2, 30, 2, "+++-"),
    ("L0 g40 g41 g42", 3, 30, 2, "++++"),
    ("L0 g40 g41 g42", 1, 30, 2, "++--"),
    ("L0 g40 g41 g42", 0, 30, 2, "+---"),
    ("L0 g40 g41 g42 g43 g44 g45 g46", 5, 30, 2, "++++++--"),
    ("g40 g41 g42", 1, 0, 0, "+--"),
    # and whatever is young enough
    ("L0 g1 g2 g3", 0, 30, 2, "++++"),
    ("L0 g1 g29 g30 g31", 0, 30, 2, "++++-"),
    ("L0 g30.001", 0, 30, 2, "+-"),
    ("L0 g1 g2 g3", 1, 0, 2, "++--"),
    ("L0 g0", 0, 0, 2, "++"),
    ("L0 g0.5", 0, 0.5, 2, "++"),
    ("L0 g-3", 0, 30, 2, "++"),  # made before the clock was set back
    ("L0 g40 g1", 1, 30, 2, "+++"),  # the order is the record's, whatever the clock says
    ("L0 g40 g1 g41", 2, 30, 2, "+++-"),
    # failed and backed-out ones take no place of the good ones, and have their own
    ("L0 f1 g40", 1, 30, 2, "+++"),
    ("L0 f1 f2 f3 g40 g41", 1, 30, 2, "+++-+-"),
    ("L0 b1 b2 b3 g40 g41", 1, 30, 2, "+++-+-"),
    ("L0 f1 f2 f3", 5, 30, 2, "+++-"),
    ("L0 f1 f2 f3", 5, 30, 0, "+---"),
    ("L0 f1 f2 f3", 5, 30, 1, "++--"),
    ("L0 b1 b2 b3", 5, 30, 2, "+++-"),
    ("L0 b1 f2 b3 f4 b5 f6", 5, 30, 2, "+++++--"),
    ("L0 f900 b901", 5, 30, 1, "+++"),  # age makes no difference to them
    ("L0 f1", 5, 30, 0, "+-"),
    ("f1 L2 g40", 1, 0, 1, "+++"),
    ("b1 L2 g40", 1, 0, 0, "-++"),  # after a rollback
    ("b1 b2 L3 g40 g41", 1, 0, 1, "+-++-"),
    ("g1 L40 g41", 1, 0, 0, "++-"),  # after going back by name, with nothing bad
    # sealed, but it never went live
    ("L0 c1", 5, 30, 2, "+-"),
    ("c0 L1 c2 g3", 5, 30, 2, "-+-+"),
    ("L0 c1p", 5, 30, 2, "++"),
    ("L0 c1u", 5, 30, 2, "++"),
    ("L0 c1 g40", 1, 30, 2, "+-+"),
    # what is never taken away
    ("L0 g40 g41p", 1, 0, 2, "+++"),
    ("L0 g40 g41p g42 g43p", 1, 0, 2, "+++-+"),
    ("L0 g40p g41 g42", 1, 0, 2, "++--"),  # a pinned one counts as one of the newest
    ("L0 f1p f2 f3", 0, 0, 1, "++--"),
    ("L0 b1p b2", 0, 0, 0, "++-"),
    ("L0p g1", 0, 0, 0, "+-"),
    ("L0 g40 g41t", 0, 0, 2, "+-+"),
    ("L0 g40t g41", 0, 0, 2, "++-"),
    ("L0 g40 g41t g42", 1, 0, 2, "+++-"),
    ("L0 g40 g41u g42", 1, 0, 2, "+++-"),
    ("L0 f1u f2", 0, 0, 0, "++-"),
    ("L0 b1u", 0, 0, 0, "++"),
    ("L0 g40t g41p g42u g43", 0, 0, 0, "++++-"),
    ("b1j L2 g40t", 0, 0, 0, "+++"),
    ("b1j b2 L3", 0, 0, 1, "+-+"),
    ("L0 g40j g41", 0, 0, 0, "++-"),
    ("L0 c1j", 0, 0, 0, "++"),
]


@pytest.mark.parametrize(("there", "keep", "within", "failed", "expected"), TABLE)
def test_the_policy_keeps_what_it_says(there: str, keep: int, within: float, failed: int, expected: str) -> None:
    decided = verdicts(there, keep=keep, within=within, failed=failed)
    assert "".join("+" if verdict.kept else "-" for verdict in decided) == expected
    assert [verdict.release for verdict in decided] == releases(there)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("L0", "live"),
        ("L0 g90p", "pinned"),
        ("L0 g90t", "the release that a rollback goes to"),
        ("L0 g90u", "in use"),
        ("L0 b90j", "was live until the last flip"),
        ("L0 g90jt", "the release that a rollback goes to"),
        ("L0 g90", "one of the 1 newest good ones"),
        ("L0 g90 g1", "younger than 30 days"),
        ("L0 f90", "one of the 2 newest failed ones"),
        ("L0 b90", "one of the 2 newest bad ones"),
        ("L0 g90 g91", "good, but not one of the 1 newest, and older than 30 days"),
        ("L0 f1 f2 f3", "failed, and not one of the 2 newest failed ones"),
        ("L0 b1 b2 b3", "bad, and not one of the 2 newest bad ones"),
        ("L0 c1", "sealed, but it never went live"),
        ("L0 g90 g91pt", "pinned"),
        ("L0p", "live"),
    ],
)
def test_there_is_a_reason_for_each(there: str, expected: str) -> None:
    assert verdicts(there, keep=1, within=30, failed=2)[-1].reason == expected


@pytest.mark.parametrize(("days", "words"), [(1, "1 day"), (30, "30 days"), (0.5, "0.5 days"), (0, "0 days")])
def test_lengths_of_time_are_written_in_days(days: float, words: str) -> None:
    assert verdicts("L0 g90", keep=0, within=days, failed=0)[-1].reason.endswith(f"older than {words}")
