"""The rules for packages that wait for their window or for a review."""

from typing import Any

import pytest

from releaser.locks.blocks import PackageWait
from releaser.locks.versions import Uploads
from tests.support.rules import make_rules

WAITING = {
    "locked": {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"},
    "waits": (PackageWait(packages="alpha"), PackageWait(packages="alph*", reason="closed"),
              PackageWait(packages="*", reason="reviewed", by="publish"), PackageWait(packages="gamma")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "found", "by", "bounds"),
    [
        # Of packages that wait, the exact name counts first, and then the first pattern; new ones do not wait.
        (
            WAITING,
            {"alpha": "1.1", "gamma": "1.1", "alphabet": "1.0"},
            "",
            {"alpha": ">=1.0", "gamma": ">=1.0", "alphabet": ""},
        ),
        (WAITING, {"beta": "1.1"}, "beta publish", {"beta": "==1.0"}),
        ({**WAITING, "locked": {"alphabet": "1.0"}}, {"alphabet": "1.1"}, "alphabet window", {"alphabet": "==1.0"}),
        ({**WAITING, "locked": {"beta": "1.1"}, "live": {"beta": "1.0"}}, {"beta": "1.1"}, "", None),  # it is committed
    ],
)
def test_the_exact_name_counts_first_and_then_the_first_pattern(
    given: dict[str, Any], found: dict[str, str], by: str, bounds: dict[str, str | None] | None
) -> None:
    rules = make_rules(**{"live": given["locked"], **given})
    holds = rules.find_holds(found, Uploads())
    assert " ".join(f"{name} {hold.by}" for name, hold in holds.items()) == by
    if bounds is not None:
        specifiers = rules.specifiers(found, Uploads())
        assert {name: one for name, one in specifiers.items() if name in found} == bounds


def test_a_fix_of_a_vulnerability_waits_too() -> None:
    waits = (PackageWait(packages="*", reason="closed"),)
    rules = make_rules(locked={"alpha": "1.0"}, fixes={"alpha": "1.1"}, waits=waits)
    assert rules.specifiers({"alpha": "1.1"}, Uploads()) == {"alpha": "==1.0"}
    assert [hold.by for hold in rules.find_holds({"alpha": "1.1"}, Uploads()).values()] == ["window"]
