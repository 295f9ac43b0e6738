"""What `verify` prints is grouped by kind, and long lists are cut short unless all is asked for."""

from __future__ import annotations

from typing import Any, get_args

from releaser.releases.finding import Finding, Kind
from releaser.report.verification import sound_text, verified_text


def answer(*findings: Finding) -> dict[str, Any]:
    return {"release": "R", "problems": [one.as_json() for one in findings], "files": 3, "seconds": 0.25}


def gone(number: int) -> Finding:
    return Finding(kind="missing", path=f"lib/python3.11/site-packages/alpha/{number}.py", message="it is gone")


def test_problems_are_grouped_by_kind() -> None:
    package = Finding(kind="package", package="beta", message="it is 1.1, and the lock says 1.0")
    start = Finding(kind="start", message="it does not\nstart")
    assert verified_text(answer(gone(1), package, gone(2), start), whole=False) == [
        "R: 4 problems",
        "  start (1):",
        "    it does not start",
        "  packages (1):",
        "    beta: it is 1.1, and the lock says 1.0",
        "  missing (2):",
        "    alpha/1.py: it is gone",
        "    alpha/2.py: it is gone",
    ]


def test_a_long_list_is_cut_short_unless_all_is_asked_for() -> None:
    many = answer(*map(gone, range(12)))
    assert verified_text(many, whole=False)[-2:] == ["    alpha/9.py: it is gone", "    and 2 more; -v shows all"]
    assert len(verified_text(many, whole=True)) == 14


def test_every_kind_can_be_told() -> None:
    for kind in get_args(Kind):
        assert verified_text(answer(Finding(kind=kind, message="it is so")), whole=True)[0] == "R: 1 problem"


def test_what_is_sound_is_said_in_a_line() -> None:
    assert sound_text(answer()) == "R is what was sealed: 3 files read in 0.2 s"
