"""What may come in: decisions alone. The cases of the bump policy are in `upgrade_cases.txt`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.locks.blocks import Block
from releaser.locks.limits import bound_held, exclude_newer, find_never_built, first_bounds, without_limits
from releaser.locks.rules import Rules, explain
from releaser.locks.versions import LEVELS, Age, Level, Upgrade, Uploads, is_older, look_up, normalize_name, permits
from tests.support.rules import make_rules

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
DAY = 86400.0
WEEK = Age(least=7 * DAY, now=NOW)
HELD = Block(name="alpha", by="person", reason="waits for the printer", since="2026-11-01T00:00:00+00:00")
PATCH = Upgrade(level="patch")


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
def test_a_resolver_within_the_bounds_takes_the_right_version_and_each_is_judged_alike(
    locked: str, available: list[str], level: Level, expected: str
) -> None:
    rules = make_rules(locked={"alpha": locked}, upgrade=Upgrade(level=level))
    versions = sorted(map(Version, available))
    free = next((one for one in reversed(versions) if not one.is_prerelease), versions[-1])
    bound = rules.specifiers({"alpha": str(free)}, Uploads())["alpha"]
    assert bound is not None
    assert str(max(SpecifierSet(bound).filter(versions))) == expected
    for version in available:
        newer = not is_older(version, locked)
        withheld = rules.find_holds({"alpha": version}, Uploads()).get("alpha")
        if not newer:
            assert withheld is not None
            assert withheld.by == "downgrade"
        else:
            assert (withheld is None) == permits(locked, version, level)
        if version == expected:
            assert withheld is None
        elif newer and Version(version) > Version(expected) and not Version(version).is_prerelease:
            assert withheld is not None
            assert withheld.by == "policy"
            assert withheld.reason.startswith(f'`upgrade = "{level}"` excludes it')


def failed(*versions: str, by: str = "tests") -> tuple[Block, ...]:
    return tuple(Block(name="alpha", version=one, by=by, reason="red", since="then") for one in versions)


def ago(days: float, *, later: bool = False) -> datetime:
    """Return when it was so many days before now, or a second later, so that what came then is in reach."""
    return NOW - timedelta(days=days) + timedelta(seconds=later)


def uploads(**ages: float | None) -> Uploads:
    """Return when versions were uploaded, by name and version (`alpha_1_0`), in days before now."""
    times: dict[tuple[str, str], datetime | None] = {}
    for key, days in ages.items():
        name, _, version = key.partition("_")
        times[name, version.replace("_", ".")] = None if days is None else ago(days)
    return Uploads(times=times, last=times)


def holds(rules: Rules, known: Uploads | None = None, /, **found: str) -> dict[str, str]:
    """Return by what each package is kept from the version that was found."""
    return {name: one.by for name, one in rules.find_holds(found, known or Uploads()).items()}


def test_a_package_of_its_own_name_counts_before_patterns_and_these_in_their_order() -> None:
    table = (("django-*", 1), ("*", 2), ("django-filter", 3))
    assert [look_up(name, table, 0) for name in ("django-filter", "django-x", "celery")] == [3, 1, 2]
    assert look_up("celery", (("django", 1),), 0) == 0
    assert normalize_name("Django_Filter.x--Y ") == "django-filter-x-y"


SEVERAL = {"locked": {"several": "1.0.0, 2.0.0", "git": "1.0.0 (aaaaaaaaa)"}, "upgrade": PATCH}
LIVE: dict[str, Any] = {"locked": {"alpha": "1.1"}, "live": {"alpha": "1.0"}, "held": (HELD,)}
IGNORED = {"locked": {"alpha": "1.0", "beta": "1.0"}, "ignored": ("alph*",)}
LEVELLED = {"locked": {"alpha": "1.0", "beta": "1.0"}, "upgrade": Upgrade(level="patch", packages=(("beta", "all"),))}
LOCAL = {"locked": {"shop": "1.0"}, "local": frozenset({"shop"}), "ignored": ("*",), "upgrade": PATCH}
FORKED = {"locked": {"alpha": "1.0, 2.0"}, "failed": failed("1.2")}
FROM_GIT = {"locked": {"alpha": "1.0 (aaaaaaaaa)"}, "failed": failed("1.0 (bbbbbbbbb)")}


@pytest.mark.parametrize(
    ("given", "found", "by", "bounds"),
    [
        # The level of a package is its own.
        (LEVELLED, {"alpha": "2.0", "beta": "2.0"}, "alpha policy", {"alpha": ">=1.0,<1.1", "beta": ">=1.0"}),
        # New packages, those of several versions, and those from git are judged too.
        (SEVERAL, {"fresh": "9.0"}, "", None),
        (SEVERAL, {"several": "1.0.1, 2.0.1", "git": "1.0.1 (bbbbbbbbb)"}, "", None),
        (
            SEVERAL,
            {"several": "1.0.1, 3.0.0", "fresh": "1.0"},
            "several policy",
            {"several": ">=1.0.0,<2.1", "fresh": ""},
        ),
        (SEVERAL, {"git": "1.1.0 (bbbbbbbbb)"}, "git policy", {"git": None}),
        # What is part of the checkout is no matter of rules.
        (LOCAL, {"shop": "2.0"}, "", {}),
        # What a person holds stays at what is live, and what is ignored as it is locked, if it is.
        (LIVE, {"alpha": "1.0"}, "", None),
        (LIVE, {"alpha": "1.1"}, "alpha person", {"alpha": "==1.0"}),
        (IGNORED, {"alpha": "1.1", "beta": "1.1"}, "alpha ignore", {"alpha": "==1.0", "beta": ">=1.0"}),
        (IGNORED, {"alphabet": "1.0"}, "", None),
        # Of several versions, none may go down, or be one that failed.
        (FORKED, {"alpha": "1.0, 2.1"}, "", None),
        (FORKED, {"alpha": "2.1"}, "", None),
        (FORKED, {"alpha": "1.0"}, "alpha downgrade", None),
        (FORKED, {"alpha": "0.9, 2.1"}, "alpha downgrade", None),
        (FORKED, {"alpha": "1.3, 1.9"}, "alpha downgrade", None),
        (FORKED, {"alpha": "1.2, 2.0"}, "alpha tests", {"alpha": ">=1.0,!=1.2"}),
        (FORKED, {"alpha": "1.1, 2.0"}, "", None),
        (FORKED, {"alpha": "1.2.1, 2.0"}, "", None),
        (FORKED, {"alpha": "1.3, 2.1"}, "", {"alpha": ">=1.0,!=1.2"}),
        # A package from git that failed stays at the commit that is locked.
        (FROM_GIT, {"alpha": "1.0 (bbbbbbbbb)"}, "alpha tests", {"alpha": None}),
    ],
)
def test_what_is_found_is_judged_and_what_may_come_in_is_bounded(
    given: dict[str, Any], found: dict[str, str], by: str, bounds: dict[str, str | None] | None
) -> None:
    rules = make_rules(**{"live": given["locked"], **given})
    assert " ".join(f"{name} {rule}" for name, rule in holds(rules, **found).items()) == by
    if bounds is not None:
        specifiers = rules.specifiers(found, Uploads())
        assert {name: one for name, one in specifiers.items() if name in found} == bounds


def test_a_hold_is_told_as_the_person_gave_it() -> None:
    (withheld,) = make_rules(**LIVE).find_holds({"alpha": "1.1"}, Uploads()).values()
    assert (withheld.reason, withheld.since) == (HELD.reason, HELD.since)


# What failed before


@pytest.mark.parametrize(
    ("by", "locked", "live", "bad", "found", "bound"),
    [  # the bound on what comes instead; none if it may come in
        ("tests", "1.0", "1.0", "2.0.4", "2.1", ""),
        ("tests", "1.0", "1.0", "2.0.4", "1.0", ""),
        ("tests", "1.0", "1.0", "2.0.4", "1.9.7", ""),  # nobody has said anything about a lower series
        ("tests", "1.0", "1.0", "2.0.4", "2.0.5", ""),
        ("tests", "1.0", "1.0", "2.0.4", "2.0.4", "<2.0"),
        ("tests", "1.0", "1.0", "2.0.4", "2.0.3", "<2.0"),
        ("tests", "4.2.1", "4.2.1", "6.0.2", "6.0.1", "<6.0"),
        ("tests", "4.2.1", "4.2.1", "6.0.2", "5.2.9", ""),
        ("tests", "4.2.1", "4.2.1", "6.0.2 5.2.9", "5.2.9", "<5.2"),
        ("tests", "4.2.1", "4.2.1", "6.0.2 5.2.9", "5.2.8", "<5.2"),
        ("tests", "4.2.1", "4.2.1", "6.0.2 5.2.9", "5.1.3", ""),
        ("tests", "4.2.1", "4.2.1", "6.0.2 5.2.9", "4.2.7", ""),
        # Nothing is below the live series, so that the version just older than the first that failed gets one try.
        ("tests", "4.2.1", "4.2.1", "6.0.2 4.2.7", "4.2.7", "<4.2.7"),
        ("tests", "4.2.1", "4.2.1", "6.0.2 4.2.7", "4.2.6", ""),
        ("tests", "4.2.1", "4.2.1", "4.2.7 4.2.6", "4.2.6", "==4.2.1"),
        ("tests", "4.2.1", "4.2.1", "4.2.7 4.2.6", "4.2.5", "==4.2.1"),
        ("tests", "4.2.5", "4.2.5", "4.2.7 4.2.4", "4.2.7", "<4.2.7"),  # what failed before it went live is nothing
        # What is newer than all that failed comes in at once, and so does what is newer in its series.
        ("tests", "4.2.1", "4.2.1", "6.0.2 5.2.9", "6.0.3", ""),
        ("tests", "4.2.1", "4.2.1", "6.0.2 5.2.9", "5.2.10", ""),
        ("tests", "4.2.1", "4.2.1", "4.2.7 4.2.6", "4.2.8", ""),
        # After a rollback, a package stays until something newer appears.
        ("rollback", "4.2.1", "4.2.1", "6.0", "6.0", "==4.2.1"),
        ("rollback", "4.2.1", "4.2.1", "6.0", "5.2.9", "==4.2.1"),
        ("rollback", "4.2.1", "4.2.1", "6.0", "4.2.9", "==4.2.1"),
        ("rollback", "4.2.1", "4.2.1", "6.0", "6.0.1", ""),
        ("rollback", "4.2.1", "4.2.1", "6.0", "6.1", ""),
        # A developer may lock what was not rolled back.
        ("rollback", "5.2.9", "4.2.1", "6.0", "5.2.9", ""),
        ("rollback", "6.0", "4.2.1", "6.0", "6.0", "==4.2.1"),
        ("rollback", "6.1", "4.2.1", "6.0", "6.1", ""),
    ],
)
def test_which_version_comes_in_where_some_failed(
    by: str, locked: str, live: str, bad: str, found: str, bound: str
) -> None:
    rules = make_rules(locked={"alpha": locked}, live={"alpha": live}, failed=failed(*bad.split(), by=by))
    assert holds(rules, alpha=found) == ({"alpha": by} if bound else {})
    specifiers = (rules.specifiers({"alpha": found}, Uploads())["alpha"] or "").split(",")
    if bound.startswith("=="):
        assert specifiers == [bound]
        return
    unwanted = {f"!={one}" for one in bad.split()}
    assert {f">={locked}", *unwanted} | ({bound} if bound else set()) == {*specifiers}


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
        (["2.0"], None, "!=2.0"),  # a new package
    ],
)
def test_bounds_keep_from_what_failed_and_never_force_a_step_back(bad: list[str], live: str | None, bound: str) -> None:
    versions = {"alpha": live} if live else {}
    rules = make_rules(locked=versions, live=versions, failed=failed(*bad))
    assert rules.specifiers({"alpha": "9!9.9"}, Uploads(), strictness="no_downgrade") == {"alpha": bound}


# Age


@pytest.mark.parametrize(
    ("days", "objection"),
    [
        (7.0, ""),
        (8, ""),
        (6.9, "it is 6 days old, and updates skip it until 2026-11-20 08:24 UTC"),
        (1, "it is 1 day old, and updates skip it until 2026-11-26 06:00 UTC"),
        (0.1, "it is 2 hours old, and updates skip it until 2026-11-27 03:36 UTC"),
        (0, "it is 0 seconds old, and updates skip it until 2026-11-27 06:00 UTC"),
        (-1, "it is 0 seconds old, and updates skip it until 2026-11-28 06:00 UTC"),
        (None, "its index does not say when it was uploaded"),
    ],
)
def test_a_version_has_to_be_old_enough(days: float | None, objection: str) -> None:
    rules = make_rules(locked={"alpha": "1.0"}, age=replace(WEEK, unknown="refuse"))
    withheld = rules.find_holds({"alpha": "1.1"}, uploads(alpha_1_1=days)).get("alpha")
    assert (withheld.reason if withheld else "") == objection
    taking = make_rules(rules, age=replace(WEEK, unknown="take"))
    assert (holds(taking, uploads(alpha_1_1=days), alpha="1.1") == {}) == (days is None or not objection)


def test_exceptions_are_made_by_package_and_what_is_from_elsewhere_has_no_age() -> None:
    age = replace(WEEK, packages=(("beta", 0.0), ("gamma*", 30 * DAY)))
    rules = make_rules(locked={"alpha": "1.0", "beta": "1.0", "gammax": "1.0"}, age=age)
    known = uploads(alpha_1_1=3, beta_1_1=3, gammax_1_1=20, fresh_1_0=1)
    found = holds(rules, known, alpha="1.1", beta="1.1", gammax="1.1", fresh="1.0", git="1.0 (aaaaaaaaa)")
    assert found == dict.fromkeys(("alpha", "gammax", "fresh"), "age")


YOUNG = {"alpha_1_0": 2, "alpha_1_1": 1, "beta_1_0": 90, "beta_1_1": 1}
OLD = uploads(alpha_1_0=90, alpha_1_1=1, beta_1_0=90, beta_1_1=1)


@pytest.mark.parametrize(
    ("age", "known", "limits"),
    [  # what is locked, each package in 1.0, stays in reach
        (WEEK, uploads(**YOUNG), {"*": ago(7), "alpha": ago(2, later=True), "beta": ago(7)}),
        # The limits of the project itself are not widened.
        (WEEK, replace(OLD, limit=ago(30), limits={"beta": None}), {"*": ago(30), "alpha": ago(30), "beta": ago(7)}),
        # No age asks for nothing.
        (Age(now=NOW), uploads(**YOUNG), {}),
        # Where no time is known, there is no limit, unless such versions are refused.
        (WEEK, uploads(alpha_1_0=None), {}),
        (replace(WEEK, unknown="refuse"), uploads(alpha_1_0=None), {"*": ago(7), "alpha": None}),
        # A newer version without a time is in reach if such are taken.
        (WEEK, uploads(alpha_1_0=90, alpha_1_1=None, new_2_0=None), {"*": ago(7), "alpha": None, "new": None}),
        (WEEK, uploads(alpha_1_0=90, alpha_0_9=None), {"*": ago(7), "alpha": ago(7)}),
        # A file of a version may have come later than the version.
        (
            WEEK,
            replace(uploads(alpha_1_0=90), last={("alpha", "1.0"): ago(1)}),
            {"*": ago(7), "alpha": ago(1, later=True)},
        ),
    ],
)
def test_uv_gets_limits_by_age(age: Age, known: Uploads, limits: dict[str, datetime | None]) -> None:
    rules = make_rules(locked={name: version for name, version in known.times if version == "1.0"}, age=age)
    assert exclude_newer(rules, (), known) == limits
    assert rules.policy.age.matters == bool(age.least)
    assert holds(rules, known, alpha="1.0") == {}, "what is locked is old enough"


def test_of_several_versions_all_stay_in_reach_however_young() -> None:
    rules = make_rules(locked={"alpha": "1.0, 2.0"}, age=WEEK)
    known = uploads(alpha_1_0=90, alpha_2_0=2, alpha_2_1=1)
    assert exclude_newer(rules, {"alpha": "1.0, 2.1"}, known) == {"*": ago(7), "alpha": ago(2, later=True)}
    assert exclude_newer(rules, {"alpha": "1.0, 2.1"}, uploads(alpha_1_0=90, alpha_2_0=None))["alpha"] is None


def test_what_stays_is_not_built_in_another_version() -> None:
    names = ("alpha", "beta", "gamma", "delta")
    rules = make_rules(
        locked=dict.fromkeys(names, "1.0"), held=(HELD,), ignored=("beta",),
        upgrade=Upgrade(packages=(("gamma", "minor"),)), sources=frozenset({"alpha", "gamma"}),
    )  # fmt: skip
    assert find_never_built(rules, Uploads()) == {"beta"}
    assert first_bounds(rules, Uploads()) == {"alpha": "==1.0", "beta": "", "gamma": "<2", "delta": ""}
    assert bound_held(rules) == ({"alpha": "==1.0"}, frozenset())
    wheels = make_rules(rules, sources=frozenset())
    assert find_never_built(wheels, Uploads()) == {"alpha", "beta"}
    assert bound_held(wheels) == ({}, frozenset({"alpha"}))
    assert first_bounds(wheels, Uploads()) == {"alpha": "", "beta": "", "gamma": "<2", "delta": ""}
    assert first_bounds(make_rules(rules, upgrade=Upgrade(), sources=frozenset({"delta"})), Uploads()) == {}
    refusing = make_rules(
        locked={"alpha": "1.0"}, sources=frozenset({"alpha"}), age=Age(least=DAY, unknown="refuse", now=NOW)
    )
    assert first_bounds(refusing, uploads(alpha_1_0=None)) == {"alpha": None}


@pytest.mark.parametrize("kept", ['prerelease-mode = "allow"\n', ""])
def test_a_lock_loses_the_times_and_nothing_else(kept: str) -> None:
    text = f"""version = 1

[options]
{kept}exclude-newer = "2026-11-20T01:39:11Z"
exclude-newer-span = "P1D"

[options.exclude-newer-package]
alpha = false
beta = "2026-11-20T01:39:11Z"

[[package]]
name = "exclude-newer"
"""
    options = f"[options]\n{kept}\n" if kept else ""
    assert without_limits(text) == f'version = 1\n\n{options}[[package]]\nname = "exclude-newer"\n'


# Fixes of vulnerabilities


def test_a_fix_has_an_age_of_its_own() -> None:
    rules = make_rules(locked={"alpha": "1.0"}, age=replace(WEEK, fixes=DAY), fixes={"alpha": "1.1"})
    assert holds(rules, uploads(alpha_1_1=0.5), alpha="1.1") == {"alpha": "age"}
    assert holds(rules, uploads(alpha_1_1=1.5), alpha="1.1") == {}
    assert exclude_newer(rules, [], uploads(alpha_1_0=90))["alpha"] == ago(1)


def test_a_fix_passes_policy_and_age_but_not_what_people_say() -> None:
    known = uploads(alpha_1_0=90, alpha_2_0_1=1, alpha_2_1=1)
    rules = make_rules(locked={"alpha": "1.0"}, upgrade=PATCH, age=WEEK, fixes={"alpha": "2.0.1"})
    assert holds(rules, known, alpha="2.0.1") == {}
    assert holds(make_rules(rules, fixes={"alpha": "2.0.1.0"}), known, alpha="2.0.1") == {}
    assert holds(rules, known, alpha="2.1") == {"alpha": "policy"}
    assert rules.specifiers({"alpha": "2.1"}, known) == {"alpha": "==2.0.1"}
    assert exclude_newer(rules, {"alpha": "2.1"}, known)["alpha"] is None
    held = make_rules(locked={"alpha": "1.0"}, held=(HELD,), fixes={"alpha": "2.0.1"})
    assert holds(held, known, alpha="2.0.1") == {"alpha": "person"}


def test_everything_that_keeps_a_version_out_is_told() -> None:
    rules = make_rules(
        locked={"alpha": "1.0"}, held=(HELD,), ignored=("alpha",), failed=failed("2.1"), upgrade=PATCH, age=WEEK
    )
    found = explain(rules, "alpha", "2.1", uploads(alpha_1_0=90, alpha_2_1=1))
    assert [one.by for one in found] == ["person", "tests", "ignore", "policy", "age"]
    assert [one.by for one in explain(rules, "alpha", "0.9", Uploads())] == ["person", "ignore"]
