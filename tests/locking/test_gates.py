"""What may come in: decisions alone. The cases of the bump policy are in `upgrade_cases.txt`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.locking.age import Age
from releaser.locking.gates import Barred, Gates, Held
from releaser.locking.policy import LEVELS, Level, Upgrade, chosen, is_older, normalized, permits
from releaser.locking.uploads import Uploads

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
DAY = 86400.0


def upgrade_cases() -> list[tuple[str, list[str], Level, str]]:
    """Read the golden cases."""
    lines = Path(__file__).with_name("upgrade_cases.txt").read_text(encoding="utf-8").splitlines()
    cases: list[tuple[str, list[str], Level, str]] = []
    for line in lines:
        if not line.startswith("#"):
            locked, available, policy, expected = (part.strip() for part in line.split("|"))
            (level,) = (one for one in LEVELS if one == policy)
            cases.append((locked, available.split(), level, expected))
    return cases


CASES = upgrade_cases()


def test_there_are_cases_enough() -> None:
    assert len(CASES) >= 60
    assert {level for _, _, level, _ in CASES} == set(LEVELS)


@pytest.mark.parametrize(("locked", "available", "level", "expected"), CASES)
def test_a_resolver_within_the_bounds_takes_the_right_version(
    locked: str, available: list[str], level: Level, expected: str
) -> None:
    gates = Gates(locked={"alpha": locked}, upgrade=Upgrade(level=level))
    versions = sorted(map(Version, available))
    free = next((one for one in reversed(versions) if not one.is_prerelease), versions[-1])
    bound = gates.bounds({"alpha": str(free)}, Uploads())["alpha"]
    assert bound is not None
    assert str(max(SpecifierSet(bound).filter(versions))) == expected


@pytest.mark.parametrize(("locked", "available", "level", "expected"), CASES)
def test_the_judgement_of_each_version_agrees_with_the_bounds(
    locked: str, available: list[str], level: Level, expected: str
) -> None:
    gates = Gates(locked={"alpha": locked}, upgrade=Upgrade(level=level))
    for version in available:
        newer = not is_older(version, locked)
        fault = gates.faults({"alpha": version}, Uploads()).get("alpha")
        if not newer:
            assert fault is not None
            assert fault.by == "downgrade"
        else:
            assert (fault is None) == permits(locked, version, level)
        if version == expected:
            assert fault is None
        elif newer and Version(version) > Version(expected) and not Version(version).is_prerelease:
            assert fault is not None
            assert fault.by == "policy"
            assert fault.reason.startswith(f'`upgrade = "{level}"` keeps it out')


def test_a_package_of_its_own_name_counts_before_patterns_and_these_in_their_order() -> None:
    table = (("django-*", 1), ("*", 2), ("django-filter", 3))
    assert [chosen(name, table, 0) for name in ("django-filter", "django-x", "celery")] == [3, 1, 2]
    assert chosen("celery", (("django", 1),), 0) == 0
    assert normalized("Django_Filter.x--Y ") == "django-filter-x-y"


def test_the_level_of_a_package_is_its_own() -> None:
    gates = Gates(
        locked={"alpha": "1.0.0", "beta": "1.0.0"}, upgrade=Upgrade(level="patch", packages=(("beta", "all"),))
    )
    assert set(gates.faults({"alpha": "2.0.0", "beta": "2.0.0"}, Uploads())) == {"alpha"}


def test_packages_that_are_new_or_of_several_versions_or_from_git_are_judged_too() -> None:
    gates = Gates(locked={"several": "1.0.0, 2.0.0", "git": "1.0.0 (aaaaaaaaa)"}, upgrade=Upgrade(level="patch"))
    assert gates.faults({"fresh": "9.0"}, Uploads()) == {}
    assert gates.faults({"several": "1.0.1, 2.0.1", "git": "1.0.1 (bbbbbbbbb)"}, Uploads()) == {}
    found = {"several": "1.0.1, 3.0.0", "git": "1.1.0 (bbbbbbbbb)", "fresh": "1.0"}
    assert set(gates.faults(found, Uploads())) == {"several", "git"}
    assert gates.bounds(found, Uploads()) == {"several": ">=1.0.0,<2.1", "git": None, "fresh": ""}


def test_of_several_versions_none_may_go_down_or_be_one_that_failed() -> None:
    gates = Gates(locked={"alpha": "1.0, 2.0"}, live={"alpha": "1.0, 2.0"}, barred=barred("1.2"))
    for found, by in (
        ("1.0, 2.1", None), ("2.1", None), ("1.0", "downgrade"), ("0.9, 2.1", "downgrade"), ("1.3, 1.9", "downgrade"),
        ("1.2, 2.0", "tests"), ("1.0, 2.0", None), ("1.1, 2.0", None), ("1.2.1, 2.0", None), ("1.3, 2.0", None),
    ):  # fmt: skip
        fault = gates.faults({"alpha": found}, Uploads()).get("alpha")
        assert (fault and fault.by) == by, found
    assert gates.bounds({"alpha": "1.2, 2.0"}, Uploads()) == {"alpha": ">=1.0,!=1.2"}
    assert gates.bounds({"alpha": "1.3, 2.1"}, Uploads()) == {"alpha": ">=1.0,!=1.2"}


def test_of_several_versions_all_stay_in_reach_however_young() -> None:
    gates = Gates(locked={"alpha": "1.0, 2.0"}, age=WEEK)
    known = uploads(alpha_1_0=90, alpha_2_0=2, alpha_2_1=1)
    assert gates.cuts({"alpha": "1.0, 2.1"}, known) == {"alpha": NOW - timedelta(days=2) + timedelta(seconds=1)}
    assert gates.cuts({"alpha": "1.0, 2.1"}, uploads(alpha_1_0=90, alpha_2_0=None)) == {}


def test_what_is_part_of_the_checkout_is_no_matter_of_gates() -> None:
    gates = Gates(locked={"shop": "1.0"}, local=frozenset({"shop"}), ignored=("*",), upgrade=Upgrade(level="patch"))
    assert gates.faults({"shop": "2.0"}, Uploads()) == {}
    assert gates.bounds({"shop": "2.0"}, Uploads()) == {}


HELD = Held(name="alpha", reason="waits for the printer", since="2026-11-01T00:00:00+00:00")


def test_what_a_person_holds_stays_at_what_is_live() -> None:
    gates = Gates(locked={"alpha": "1.1"}, live={"alpha": "1.0"}, held=(HELD,))
    assert gates.faults({"alpha": "1.0"}, Uploads()) == {}
    (fault,) = gates.faults({"alpha": "1.1"}, Uploads()).values()
    assert (fault.by, fault.reason, fault.since) == ("person", HELD.reason, HELD.since)
    assert gates.bounds({"alpha": "1.1"}, Uploads()) == {"alpha": "==1.0"}


def test_what_is_ignored_stays_as_it_is_locked() -> None:
    gates = Gates(locked={"alpha": "1.0", "beta": "1.0"}, ignored=("alph*",))
    (fault,) = gates.faults({"alpha": "1.1", "beta": "1.1"}, Uploads()).values()
    assert (fault.name, fault.by) == ("alpha", "ignore")
    assert gates.bounds({"alpha": "1.1", "beta": "1.1"}, Uploads()) == {"alpha": "==1.0", "beta": ">=1.0"}
    assert gates.faults({"alphabet": "1.0"}, Uploads()) == {}, "what is not locked cannot be left as it is"


# What failed before


def barred(*versions: str) -> tuple[Barred, ...]:
    return tuple(Barred(name="alpha", version=one, by="tests", reason="red", since="then") for one in versions)


def test_a_package_from_git_that_failed_stays_at_the_commit_that_is_locked() -> None:
    gates = Gates(
        locked={"alpha": "1.0 (aaaaaaaaa)"}, live={"alpha": "1.0 (aaaaaaaaa)"}, barred=barred("1.0 (bbbbbbbbb)")
    )
    assert gates.bounds({"alpha": "1.0 (bbbbbbbbb)"}, Uploads()) == {"alpha": None}


@pytest.mark.parametrize(
    ("found", "bound"),
    [
        ("2.1", ">=1.0,!=2.0.4"), ("1.0", ">=1.0,!=2.0.4"), ("1.9.7", ">=1.0,!=2.0.4"), ("2.0.5", ">=1.0,!=2.0.4"),
        ("2.0.4", ">=1.0,<2.0,!=2.0.4"), ("2.0.3", ">=1.0,<2.0,!=2.0.4"),
    ],
)  # fmt: skip
def test_what_failed_is_kept_out_and_what_is_just_older(found: str, bound: str) -> None:
    """Nobody has said anything about a lower series."""
    gates = Gates(locked={"alpha": "1.0"}, live={"alpha": "1.0"}, barred=barred("2.0.4"))
    assert gates.bounds({"alpha": found}, Uploads()) == {"alpha": bound}
    assert ("alpha" in gates.faults({"alpha": found}, Uploads())) == ("<" in bound)


def test_below_what_failed_in_the_live_series_nothing_comes_in_unless_it_is_wanted() -> None:
    gates = Gates(locked={"alpha": "2.0.1"}, live={"alpha": "2.0.1"}, barred=barred("2.0.4"))
    assert gates.bounds({"alpha": "2.0.4"}, Uploads()) == {"alpha": "==2.0.1"}
    near = replace(gates, near=frozenset({"alpha"}))
    assert near.bounds({"alpha": "2.0.4"}, Uploads()) == {"alpha": ">=2.0.1,<2.0.4,!=2.0.4"}
    assert near.faults({"alpha": "2.0.3"}, Uploads()) == {}


def test_what_is_to_stay_stays() -> None:
    gates = Gates(locked={"alpha": "1.0"}, live={"alpha": "1.0"}, barred=barred("2.0"), stay={"alpha": "1.0"})
    assert gates.bounds({"alpha": "1.5"}, Uploads()) == {"alpha": "==1.0"}


@pytest.mark.parametrize(
    ("found", "fault"), [("6.0", True), ("5.2.9", True), ("4.2.9", False), ("6.0.1", False), ("6.1", False)]
)
def test_after_a_version_was_backed_out_the_live_series_alone_comes_in_below_it(found: str, *, fault: bool) -> None:
    (bar,) = barred("6.0")
    gates = Gates(
        locked={"alpha": "4.2.1"}, live={"alpha": "4.2.1"}, barred=(replace(bar, by="activation", reason="sick"),)
    )
    assert ("alpha" in gates.faults({"alpha": found}, Uploads())) == fault
    bounds = gates.bounds({"alpha": "6.0"}, Uploads())
    assert bounds == {"alpha": ">=4.2.1,<4.3,!=6.0"}


def test_a_newer_version_than_two_that_failed_waits_for_its_turn() -> None:
    bars = tuple(replace(one, newer_from="2026-11-27T06:00:00+00:00") for one in barred("5.2.3", "6.0"))
    gates = Gates(locked={"alpha": "4.2.1"}, live={"alpha": "4.2.1"}, barred=bars)
    faults = {version: gates.faults({"alpha": version}, Uploads()) for version in ("6.1", "6.0.1", "5.2.4", "5.1.9")}
    assert [version for version, found in faults.items() if not found] == ["5.1.9"]
    assert "the next try is from 2026-11-27 on" in faults["6.1"]["alpha"].reason


@pytest.mark.parametrize(
    ("bad", "live", "bound"),
    [
        (["2.0"], "3.0", ">=3.0,!=2.0"),
        (["2.0"], "2.0", "!=2.0"),  # what is live is bad itself: any other will do
        (["2!1.0"], "1!1.0", ">=1!1.0,!=2!1.0"),
        (["2.0rc1"], "1.0.post1", ">=1.0.post1,!=2.0rc1"),
        (["2.0"], "1.0, 1.5", ">=1.0,!=2.0"),  # for several versions, the floor is that of the lowest
        (["2.0"], "1.0 (0123abcde)", ""),
        (["2.0", "3.0"], "1.0", ">=1.0,!=2.0,!=3.0"),
        (["1.0 (0123abcde)"], "1.0", ">=1.0"),  # no index has it
        (["unknown"], "1.0", ">=1.0"),
    ],
)
def test_bounds_keep_from_what_failed_and_never_force_a_step_back(bad: list[str], live: str, bound: str) -> None:
    gates = Gates(locked={"alpha": live}, live={"alpha": live}, barred=barred(*bad))
    assert gates.bounds({"alpha": "9!9.9"}, Uploads(), strictness="floor") == {"alpha": bound}


def test_a_new_package_is_kept_from_what_failed_alone() -> None:
    assert Gates(locked={}, barred=barred("2.0")).bounds({"alpha": "2.0"}, Uploads()) == {"alpha": "!=2.0"}


# Age


def uploads(**ages: float | None) -> Uploads:
    """Return when versions were uploaded, by name and version (`alpha_1_0`), in days before now."""
    times: dict[tuple[str, str], datetime | None] = {}
    for key, days in ages.items():
        name, _, version = key.partition("_")
        times[name, version.replace("_", ".")] = None if days is None else NOW - timedelta(days=days)
    return Uploads(times=times)


WEEK = Age(least=7 * DAY, packages=(("beta", 0.0), ("gamma*", 30 * DAY)), now=NOW)


@pytest.mark.parametrize(
    ("days", "objection"),
    [
        (7.0, ""),
        (8, ""),
        (6.9, "it is 6 days old, and may come in from 2026-11-20 08:24 UTC"),
        (1, "it is 1 day old, and may come in from 2026-11-26 06:00 UTC"),
        (0.1, "it is 2 hours old, and may come in from 2026-11-27 03:36 UTC"),
        (0, "it is less than a minute old, and may come in from 2026-11-27 06:00 UTC"),
        (-1, "it is less than a minute old, and may come in from 2026-11-28 06:00 UTC"),
        (None, "its index does not tell when it was uploaded"),
    ],
)
def test_a_version_has_to_be_old_enough(days: float | None, objection: str) -> None:
    gates = Gates(locked={"alpha": "1.0"}, age=WEEK)
    fault = gates.faults({"alpha": "1.1"}, uploads(alpha_1_1=days)).get("alpha")
    assert (fault.reason if fault else "") == objection


def test_exceptions_are_made_by_package() -> None:
    gates = Gates(locked={"alpha": "1.0", "beta": "1.0", "gamma-x": "1.0"}, age=WEEK)
    known = Uploads(times={(name, "1.1"): NOW - timedelta(days=3) for name in ("alpha", "beta")})
    known = known.beside(Uploads(times={("gamma-x", "1.1"): NOW - timedelta(days=20)}))
    assert set(gates.faults(dict.fromkeys(gates.locked, "1.1"), known)) == {"alpha", "gamma-x"}


def test_new_packages_have_to_be_old_enough_and_what_is_from_elsewhere_has_no_age() -> None:
    known = uploads(fresh_1_0=1)
    assert set(Gates(locked={}, age=WEEK).faults({"fresh": "1.0", "git": "1.0 (aaaaaaaaa)"}, known)) == {"fresh"}


def test_without_a_time_a_version_is_treated_as_the_setting_says() -> None:
    known = uploads(alpha_1_0=None, alpha_1_1=None)
    for unknown, kept in (("refuse", {"alpha"}), ("take", set())):
        age = Age(least=DAY, unknown="take" if unknown == "take" else "refuse", now=NOW)
        gates = Gates(locked={"alpha": "1.0"}, age=age)
        assert set(gates.faults({"alpha": "1.1"}, known)) == kept
        assert gates.cuts({"alpha": "1.1"}, known) == {}, "the locked version would be out of reach"


def test_what_is_locked_stays_in_reach_however_young() -> None:
    gates = Gates(locked={"alpha": "1.0", "beta": "1.0"}, age=Age(least=7 * DAY, now=NOW))
    cuts = gates.cuts({"alpha": "1.1", "beta": "1.1"}, uploads(alpha_1_0=2, alpha_1_1=1, beta_1_0=90, beta_1_1=1))
    assert cuts == {"alpha": NOW - timedelta(days=2) + timedelta(seconds=1), "beta": NOW - timedelta(days=7)}
    assert gates.faults({"alpha": "1.0"}, uploads(alpha_1_0=2)) == {}


def test_the_limits_of_the_project_itself_are_not_widened() -> None:
    gates = Gates(locked={"alpha": "1.0", "beta": "1.0"}, age=Age(least=7 * DAY, now=NOW))
    ages = {"alpha_1_0": 90, "alpha_1_1": 1, "beta_1_0": 90, "beta_1_1": 1}
    own = NOW - timedelta(days=30)
    known = Uploads(times=uploads(**ages).times, limit=own, limits={"beta": None})
    assert gates.cuts({"alpha": "1.1", "beta": "1.1"}, known) == {"alpha": own, "beta": NOW - timedelta(days=7)}


def test_no_age_asks_for_nothing() -> None:
    gates = Gates(locked={"alpha": "1.0"}, age=Age(now=NOW))
    assert not gates.age.matters
    assert gates.cuts({"alpha": "1.1"}, uploads(alpha_1_0=2, alpha_1_1=0)) == {}
    assert Age(packages=(("alpha", DAY),), now=NOW).matters


# Fixes of vulnerabilities


def test_a_fix_passes_policy_and_age_but_not_what_people_say() -> None:
    upgrade, known = Upgrade(level="patch"), uploads(alpha_1_0=90, alpha_2_0_1=1, alpha_2_1=1)
    gates = Gates(locked={"alpha": "1.0"}, upgrade=upgrade, age=WEEK, early={"alpha": "2.0.1"})
    assert gates.faults({"alpha": "2.0.1"}, known) == {}
    assert gates.faults({"alpha": "2.1"}, known)["alpha"].by == "policy"
    assert gates.bounds({"alpha": "2.1"}, known) == {"alpha": ">=2.0.1,<2.1"}
    assert gates.cuts({"alpha": "2.1"}, known) == {}
    held = Gates(locked={"alpha": "1.0"}, held=(HELD,), early={"alpha": "2.0.1"})
    assert held.faults({"alpha": "2.0.1"}, known)["alpha"].by == "person"
