"""What may come in: decisions alone. The cases of the bump policy are in `upgrade_cases.txt`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.locks.blocks import Block
from releaser.locks.limits import bound_held, exclude_newer, find_never_built, first_bounds, without_limits
from releaser.locks.rules import explain
from releaser.locks.versions import LEVELS, Age, Level, Upgrade, Uploads, is_older, look_up, normalize_name, permits
from tests.support.rules import make_rules

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


def test_a_package_of_its_own_name_counts_before_patterns_and_these_in_their_order() -> None:
    table = (("django-*", 1), ("*", 2), ("django-filter", 3))
    assert [look_up(name, table, 0) for name in ("django-filter", "django-x", "celery")] == [3, 1, 2]
    assert look_up("celery", (("django", 1),), 0) == 0
    assert normalize_name("Django_Filter.x--Y ") == "django-filter-x-y"


def test_the_level_of_a_package_is_its_own() -> None:
    rules = make_rules(
        locked={"alpha": "1.0.0", "beta": "1.0.0"}, upgrade=Upgrade(level="patch", packages=(("beta", "all"),))
    )
    assert set(rules.find_holds({"alpha": "2.0.0", "beta": "2.0.0"}, Uploads())) == {"alpha"}


def test_packages_that_are_new_or_of_several_versions_or_from_git_are_judged_too() -> None:
    rules = make_rules(locked={"several": "1.0.0, 2.0.0", "git": "1.0.0 (aaaaaaaaa)"}, upgrade=Upgrade(level="patch"))
    assert rules.find_holds({"fresh": "9.0"}, Uploads()) == {}
    assert rules.find_holds({"several": "1.0.1, 2.0.1", "git": "1.0.1 (bbbbbbbbb)"}, Uploads()) == {}
    found = {"several": "1.0.1, 3.0.0", "git": "1.1.0 (bbbbbbbbb)", "fresh": "1.0"}
    assert set(rules.find_holds(found, Uploads())) == {"several", "git"}
    assert rules.specifiers(found, Uploads()) == {"several": ">=1.0.0,<2.1", "git": None, "fresh": ""}


def test_of_several_versions_none_may_go_down_or_be_one_that_failed() -> None:
    rules = make_rules(locked={"alpha": "1.0, 2.0"}, live={"alpha": "1.0, 2.0"}, failed=failed("1.2"))
    for found, by in (
        ("1.0, 2.1", None), ("2.1", None), ("1.0", "downgrade"), ("0.9, 2.1", "downgrade"), ("1.3, 1.9", "downgrade"),
        ("1.2, 2.0", "tests"), ("1.0, 2.0", None), ("1.1, 2.0", None), ("1.2.1, 2.0", None), ("1.3, 2.0", None),
    ):  # fmt: skip
        withheld = rules.find_holds({"alpha": found}, Uploads()).get("alpha")
        assert (withheld and withheld.by) == by, found
    assert rules.specifiers({"alpha": "1.2, 2.0"}, Uploads()) == {"alpha": ">=1.0,!=1.2"}
    assert rules.specifiers({"alpha": "1.3, 2.1"}, Uploads()) == {"alpha": ">=1.0,!=1.2"}


def test_of_several_versions_all_stay_in_reach_however_young() -> None:
    rules = make_rules(locked={"alpha": "1.0, 2.0"}, age=WEEK)
    known = uploads(alpha_1_0=90, alpha_2_0=2, alpha_2_1=1)
    limits = {"*": NOW - timedelta(days=7), "alpha": NOW - timedelta(days=2) + timedelta(seconds=1)}
    assert exclude_newer(rules, {"alpha": "1.0, 2.1"}, known) == limits
    assert exclude_newer(rules, {"alpha": "1.0, 2.1"}, uploads(alpha_1_0=90, alpha_2_0=None))["alpha"] is None


def test_what_is_part_of_the_checkout_is_no_matter_of_rules() -> None:
    rules = make_rules(
        locked={"shop": "1.0"}, local=frozenset({"shop"}), ignored=("*",), upgrade=Upgrade(level="patch")
    )
    assert rules.find_holds({"shop": "2.0"}, Uploads()) == {}
    assert rules.specifiers({"shop": "2.0"}, Uploads()) == {}


HELD = Block(name="alpha", by="person", reason="waits for the printer", since="2026-11-01T00:00:00+00:00")


def test_what_a_person_holds_stays_at_what_is_live() -> None:
    rules = make_rules(locked={"alpha": "1.1"}, live={"alpha": "1.0"}, held=(HELD,))
    assert rules.find_holds({"alpha": "1.0"}, Uploads()) == {}
    (withheld,) = rules.find_holds({"alpha": "1.1"}, Uploads()).values()
    assert (withheld.by, withheld.reason, withheld.since) == ("person", HELD.reason, HELD.since)
    assert rules.specifiers({"alpha": "1.1"}, Uploads()) == {"alpha": "==1.0"}


def test_what_is_ignored_stays_as_it_is_locked() -> None:
    rules = make_rules(locked={"alpha": "1.0", "beta": "1.0"}, ignored=("alph*",))
    (withheld,) = rules.find_holds({"alpha": "1.1", "beta": "1.1"}, Uploads()).values()
    assert (withheld.name, withheld.by) == ("alpha", "ignore")
    assert rules.specifiers({"alpha": "1.1", "beta": "1.1"}, Uploads()) == {"alpha": "==1.0", "beta": ">=1.0"}
    assert rules.find_holds({"alphabet": "1.0"}, Uploads()) == {}, "what is not locked cannot be left as it is"


# What failed before


def failed(*versions: str) -> tuple[Block, ...]:
    return tuple(Block(name="alpha", version=one, by="tests", reason="red", since="then") for one in versions)


def test_a_package_from_git_that_failed_stays_at_the_commit_that_is_locked() -> None:
    rules = make_rules(
        locked={"alpha": "1.0 (aaaaaaaaa)"}, live={"alpha": "1.0 (aaaaaaaaa)"}, failed=failed("1.0 (bbbbbbbbb)")
    )
    assert rules.specifiers({"alpha": "1.0 (bbbbbbbbb)"}, Uploads()) == {"alpha": None}


@pytest.mark.parametrize(
    ("found", "bound"),
    [
        ("2.1", ">=1.0,!=2.0.4"), ("1.0", ">=1.0,!=2.0.4"), ("1.9.7", ">=1.0,!=2.0.4"), ("2.0.5", ">=1.0,!=2.0.4"),
        ("2.0.4", ">=1.0,<2.0,!=2.0.4"), ("2.0.3", ">=1.0,<2.0,!=2.0.4"),
    ],
)  # fmt: skip
def test_what_failed_is_kept_out_and_what_is_just_older(found: str, bound: str) -> None:
    """Nobody has said anything about a lower series."""
    rules = make_rules(locked={"alpha": "1.0"}, live={"alpha": "1.0"}, failed=failed("2.0.4"))
    assert rules.specifiers({"alpha": found}, Uploads()) == {"alpha": bound}
    assert ("alpha" in rules.find_holds({"alpha": found}, Uploads())) == ("<" in bound)


LOWER = (  # live, what failed, what is found: the bound on what comes instead; None if it may come in
    ("4.2.1", ["6.0.2"], "6.0.1", "<6.0"),
    ("4.2.1", ["6.0.2"], "5.2.9", None),
    ("4.2.1", ["6.0.2", "5.2.9"], "5.2.9", "<5.2"),
    ("4.2.1", ["6.0.2", "5.2.9"], "5.2.8", "<5.2"),
    ("4.2.1", ["6.0.2", "5.2.9"], "5.1.3", None),
    ("4.2.1", ["6.0.2", "5.2.9"], "4.2.7", None),
    # Nothing is below the live series, so that the version just older than the first that failed gets one try.
    ("4.2.1", ["6.0.2", "4.2.7"], "4.2.7", "<4.2.7"),
    ("4.2.1", ["6.0.2", "4.2.7"], "4.2.6", None),
    ("4.2.1", ["4.2.7", "4.2.6"], "4.2.6", "==4.2.1"),
    ("4.2.1", ["4.2.7", "4.2.6"], "4.2.5", "==4.2.1"),
    ("4.2.5", ["4.2.7", "4.2.4"], "4.2.7", "<4.2.7"),  # what failed before it went live does not count
    # What is newer than all that failed comes in at once, and so does what is newer in its series.
    ("4.2.1", ["6.0.2", "5.2.9"], "6.0.3", None),
    ("4.2.1", ["6.0.2", "5.2.9"], "5.2.10", None),
    ("4.2.1", ["4.2.7", "4.2.6"], "4.2.8", None),
)


@pytest.mark.parametrize(("live", "bad", "found", "bound"), LOWER)
def test_which_version_comes_in_next_where_some_failed(
    live: str, bad: list[str], found: str, bound: str | None
) -> None:
    rules = make_rules(locked={"alpha": live}, live={"alpha": live}, failed=failed(*bad))
    assert ("alpha" in rules.find_holds({"alpha": found}, Uploads())) == (bound is not None)
    specifiers = (rules.specifiers({"alpha": found}, Uploads())["alpha"] or "").split(",")
    assert [one for one in specifiers if one[0] in "<=" and one[:2] != ">="] == ([bound] if bound else [])


@pytest.mark.parametrize(
    ("found", "withheld"), [("6.0", True), ("5.2.9", True), ("4.2.9", True), ("6.0.1", False), ("6.1", False)]
)
def test_after_a_rollback_a_package_stays_until_something_newer_appears(found: str, *, withheld: bool) -> None:
    (one,) = failed("6.0")
    rules = make_rules(locked={"alpha": "4.2.1"}, live={"alpha": "4.2.1"}, failed=(replace(one, by="rollback"),))
    assert ("alpha" in rules.find_holds({"alpha": found}, Uploads())) == withheld
    assert rules.specifiers({"alpha": "6.0"}, Uploads()) == {"alpha": "==4.2.1"}
    if withheld:
        assert rules.specifiers({"alpha": found}, Uploads()) == {"alpha": "==4.2.1"}


@pytest.mark.parametrize(
    ("locked", "bound"),
    [
        ("5.2.9", ">=5.2.9,!=6.0"),  # a developer has chosen it
        ("6.0", "==4.2.1"),  # which was rolled back here
        ("6.1", ">=6.1,!=6.0"),
    ],
)
def test_after_a_rollback_a_developer_may_lock_what_was_not_rolled_back(locked: str, bound: str) -> None:
    (one,) = failed("6.0")
    rules = make_rules(locked={"alpha": locked}, live={"alpha": "4.2.1"}, failed=(replace(one, by="rollback"),))
    assert ("alpha" in rules.find_holds({"alpha": locked}, Uploads())) == bound.startswith("==")
    assert rules.specifiers({"alpha": locked}, Uploads()) == {"alpha": bound}


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
    rules = make_rules(locked={"alpha": live}, live={"alpha": live}, failed=failed(*bad))
    assert rules.specifiers({"alpha": "9!9.9"}, Uploads(), strictness="no_downgrade") == {"alpha": bound}


def test_a_new_package_is_kept_from_what_failed_alone() -> None:
    assert make_rules(locked={}, failed=failed("2.0")).specifiers({"alpha": "2.0"}, Uploads()) == {"alpha": "!=2.0"}


# Age


def uploads(**ages: float | None) -> Uploads:
    """Return when versions were uploaded, by name and version (`alpha_1_0`), in days before now."""
    times: dict[tuple[str, str], datetime | None] = {}
    for key, days in ages.items():
        name, _, version = key.partition("_")
        times[name, version.replace("_", ".")] = None if days is None else NOW - timedelta(days=days)
    return Uploads(times=times, last=times)


WEEK = Age(least=7 * DAY, packages=(("beta", 0.0), ("gamma*", 30 * DAY)), now=NOW)


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


def test_exceptions_are_made_by_package() -> None:
    rules = make_rules(locked={"alpha": "1.0", "beta": "1.0", "gamma-x": "1.0"}, age=WEEK)
    known = Uploads(times={(name, "1.1"): NOW - timedelta(days=3) for name in ("alpha", "beta")})
    known = known.merge(Uploads(times={("gamma-x", "1.1"): NOW - timedelta(days=20)}))
    assert set(rules.find_holds(dict.fromkeys(rules.packages.locked, "1.1"), known)) == {"alpha", "gamma-x"}


def test_new_packages_have_to_be_old_enough_and_what_is_from_elsewhere_has_no_age() -> None:
    known = uploads(fresh_1_0=1)
    assert set(make_rules(locked={}, age=WEEK).find_holds({"fresh": "1.0", "git": "1.0 (aaaaaaaaa)"}, known)) == {
        "fresh"
    }


def test_without_a_time_a_version_is_treated_as_the_setting_says() -> None:
    known = uploads(alpha_1_0=None, alpha_1_1=None)
    for unknown, kept in (("refuse", {"alpha"}), ("take", set())):
        age = Age(least=DAY, unknown="take" if unknown == "take" else "refuse", now=NOW)
        rules = make_rules(locked={"alpha": "1.0"}, age=age)
        assert set(rules.find_holds({"alpha": "1.1"}, known)) == kept
        assert exclude_newer(rules, {"alpha": "1.1"}, known).get("alpha") is None, "it would be out of reach as locked"


def test_what_is_locked_stays_in_reach_however_young() -> None:
    rules = make_rules(locked={"alpha": "1.0", "beta": "1.0"}, age=Age(least=7 * DAY, now=NOW))
    cuts = exclude_newer(
        rules, {"alpha": "1.1", "beta": "1.1"}, uploads(alpha_1_0=2, alpha_1_1=1, beta_1_0=90, beta_1_1=1)
    )
    week = NOW - timedelta(days=7)
    assert cuts == {"*": week, "alpha": NOW - timedelta(days=2) + timedelta(seconds=1), "beta": week}
    assert rules.find_holds({"alpha": "1.0"}, uploads(alpha_1_0=2)) == {}


def test_the_limits_of_the_project_itself_are_not_widened() -> None:
    rules = make_rules(locked={"alpha": "1.0", "beta": "1.0"}, age=Age(least=7 * DAY, now=NOW))
    ages = {"alpha_1_0": 90, "alpha_1_1": 1, "beta_1_0": 90, "beta_1_1": 1}
    own = NOW - timedelta(days=30)
    known = replace(uploads(**ages), limit=own, limits={"beta": None})
    assert exclude_newer(rules, {"alpha": "1.1", "beta": "1.1"}, known) == {
        "*": own,
        "alpha": own,
        "beta": NOW - timedelta(days=7),
    }


def test_no_age_asks_for_nothing() -> None:
    rules = make_rules(locked={"alpha": "1.0"}, age=Age(now=NOW))
    assert not rules.policy.age.matters
    assert exclude_newer(rules, {"alpha": "1.1"}, uploads(alpha_1_0=2, alpha_1_1=0)) == {}
    assert Age(packages=(("alpha", DAY),), now=NOW).matters


def test_where_no_time_is_known_there_is_no_limit() -> None:
    rules = make_rules(locked={"alpha": "1.0"}, age=WEEK)
    assert exclude_newer(rules, ["alpha"], uploads(alpha_1_0=None)) == {}
    refusing = make_rules(rules, age=replace(WEEK, unknown="refuse"))
    assert exclude_newer(refusing, ["alpha"], uploads(alpha_1_0=None)) == {"*": NOW - timedelta(days=7), "alpha": None}


def test_a_newer_version_without_a_time_is_in_reach_if_such_are_taken() -> None:
    rules, known = make_rules(locked={"alpha": "1.0"}, age=WEEK), uploads(alpha_1_0=90, alpha_1_1=None, new_1_0=None)
    assert exclude_newer(rules, [], known) == {"*": NOW - timedelta(days=7), "alpha": None, "new": None}
    older = uploads(alpha_1_0=90, alpha_0_9=None)
    assert exclude_newer(rules, [], older)["alpha"] == NOW - timedelta(days=7)


def test_a_file_that_is_locked_stays_in_reach_though_it_came_later_than_its_version() -> None:
    known = replace(uploads(alpha_1_0=90), last={("alpha", "1.0"): NOW - timedelta(days=1)})
    rules = make_rules(locked={"alpha": "1.0"}, age=WEEK)
    assert exclude_newer(rules, [], known)["alpha"] == NOW - timedelta(days=1) + timedelta(seconds=1)


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


def test_a_lock_loses_the_times_and_nothing_else() -> None:
    text = """version = 1

[options]
prerelease-mode = "allow"
exclude-newer = "2026-11-20T01:39:11Z"
exclude-newer-span = "P1D"

[options.exclude-newer-package]
alpha = false
beta = "2026-11-20T01:39:11Z"

[[package]]
name = "exclude-newer"
"""
    kept = 'version = 1\n\n[options]\nprerelease-mode = "allow"\n\n[[package]]\nname = "exclude-newer"\n'
    assert without_limits(text) == kept
    alone = text.replace('prerelease-mode = "allow"\n', "")
    assert without_limits(alone) == 'version = 1\n\n[[package]]\nname = "exclude-newer"\n'


# Fixes of vulnerabilities


def test_a_fix_has_an_age_of_its_own() -> None:
    rules = make_rules(locked={"alpha": "1.0"}, age=replace(WEEK, fixes=DAY), fixes={"alpha": "1.1"})
    assert rules.find_holds({"alpha": "1.1"}, uploads(alpha_1_1=0.5))["alpha"].by == "age"
    assert rules.find_holds({"alpha": "1.1"}, uploads(alpha_1_1=1.5)) == {}
    assert exclude_newer(rules, [], uploads(alpha_1_0=90))["alpha"] == NOW - timedelta(days=1)


def test_a_fix_passes_policy_and_age_but_not_what_people_say() -> None:
    upgrade, known = Upgrade(level="patch"), uploads(alpha_1_0=90, alpha_2_0_1=1, alpha_2_1=1)
    rules = make_rules(locked={"alpha": "1.0"}, upgrade=upgrade, age=WEEK, fixes={"alpha": "2.0.1"})
    assert rules.find_holds({"alpha": "2.0.1"}, known) == {}
    assert make_rules(rules, fixes={"alpha": "2.0.1.0"}).find_holds({"alpha": "2.0.1"}, known) == {}
    assert rules.find_holds({"alpha": "2.1"}, known)["alpha"].by == "policy"
    assert rules.specifiers({"alpha": "2.1"}, known) == {"alpha": "==2.0.1"}
    assert exclude_newer(rules, {"alpha": "2.1"}, known)["alpha"] is None
    held = make_rules(locked={"alpha": "1.0"}, held=(HELD,), fixes={"alpha": "2.0.1"})
    assert held.find_holds({"alpha": "2.0.1"}, known)["alpha"].by == "person"


def test_everything_that_keeps_a_version_out_is_told() -> None:
    rules = make_rules(
        locked={"alpha": "1.0"},
        held=(HELD,),
        ignored=("alpha",),
        failed=failed("2.1"),
        upgrade=Upgrade(level="patch"),
        age=WEEK,
    )
    found = explain(rules, "alpha", "2.1", uploads(alpha_1_0=90, alpha_2_1=1))
    assert [one.by for one in found] == ["person", "tests", "ignore", "policy", "age"]
    assert [one.by for one in explain(rules, "alpha", "0.9", Uploads())] == ["person", "ignore"]
