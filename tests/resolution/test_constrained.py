"""How versions are kept out of a resolution: the driving alone, with a resolver made of a table."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.errors import ResolutionError, ToolError
from releaser.locks.blocks import Block
from releaser.locks.rules import Limit
from releaser.locks.versions import LEVELS, Age, Level, Upgrade, Uploads
from releaser.resolution.constrained import Resolved, resolve_within_rules
from releaser.tools.uv import NoSolution
from tests.support.rules import make_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.tools.uv_arguments import ExcludeNewer, Specifiers

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
DAY = 86400.0


@dataclass
class Table:
    """Resolves each package to the newest version that fits, of those offered; `ages` are in days.

    `needs` maps a package and version to what it asks of others. Left as it is locked, a package stays if it may.
    """

    offered: Mapping[str, str]
    locked: Mapping[str, str]
    project: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ages: Mapping[str, float | None] = field(default_factory=dict)
    asked: list[tuple[dict[str, str | None], dict[str, datetime | None]]] = field(default_factory=list)
    unbuilt: list[frozenset[str]] = field(default_factory=list)
    result: dict[str, str] = field(default_factory=dict)
    #: What uv itself takes nothing after, and what the resolver believes of that.
    limit: datetime | None = None
    believed: datetime | None = None

    def resolve(
        self, specifiers: Specifiers, exclude_newer: ExcludeNewer, no_build: frozenset[str] = frozenset()
    ) -> Mapping[str, str] | NoSolution:
        self.asked.append((dict(specifiers), dict(exclude_newer)))
        self.unbuilt.append(no_build)
        choices = [self._choices(name, specifiers, exclude_newer) for name in self.offered]
        for versions in itertools.product(*choices):
            found = dict(zip(self.offered, versions, strict=True))
            if all(self._goes_with(name, version, found) for name, version in found.items()):
                self.result = found
                return found
        kept = [f"`{name}` was filtered by `exclude-newer`" for name in self.offered if exclude_newer]
        return NoSolution(output="; ".join(["no solution", *kept]))

    def _choices(self, name: str, specifiers: Specifiers, exclude_newer: ExcludeNewer) -> list[str]:
        allowed = SpecifierSet(",".join(filter(None, [specifiers.get(name), self.project.get(name)])))
        fitting = [
            one
            for one in self.offered[name].split()
            if Version(one) in allowed and self._in_reach(name, one, exclude_newer)
        ]
        fitting.sort(key=Version, reverse=True)
        if name in specifiers and specifiers[name] is None:
            fitting.sort(key=lambda one: one != self.locked.get(name))
        return fitting

    def _goes_with(self, name: str, version: str, found: Mapping[str, str]) -> bool:
        asked = self.needs.get(f"{name} {version}", {})
        return all(Version(found[other]) in SpecifierSet(wanted) for other, wanted in asked.items())

    def _in_reach(self, name: str, version: str, exclude_newer: ExcludeNewer) -> bool:
        time = self.uploads().times.get((name, version), NOW)
        limit = exclude_newer.get(name, exclude_newer.get("*"))
        return limit is None or (time is not None and time < limit)

    def uploads(self) -> Uploads:
        times: dict[tuple[str, str], datetime | None] = {}
        for key, days in self.ages.items():
            name, version = key.split()
            times[name, version] = None if days is None else NOW - timedelta(days=days)
        return Uploads(times=times, last=times, limit=self.believed)

    def newest(self) -> tuple[Mapping[str, str], Uploads]:
        versions = {name: max(offered.split(), key=Version) for name, offered in self.offered.items()}
        fits = {name: one for name, one in versions.items() if Version(one) in SpecifierSet(self.project.get(name, ""))}
        return fits, self.uploads()

    def drop_time_limits(self) -> Mapping[str, str] | NoSolution:
        self.asked.append(({}, {}))
        return self.result

    def own_limits(self) -> Uploads:
        return Uploads(limit=self.limit)


def within(
    table: Table, live: Mapping[str, str] | None = None, fixes: Mapping[str, str] | None = None, **rules: Any
) -> Resolved:
    """Resolve from the lock of the table, which is what is live unless it is said otherwise."""
    live = table.locked if live is None else live
    made = make_rules(locked=table.locked, live=live, **rules)
    found = resolve_within_rules(table, lambda: made, locked=table.locked, live=live, find_fixes=lambda: fixes or {})
    assert not isinstance(found, NoSolution), found.output
    return found


def failed(**versions: str) -> tuple[Block, ...]:
    """Return what failed, comma-separated where a package has several."""
    return tuple(
        Block(name=name, version=version, reason="ill", since="2026-01-01T00:00:00+00:00")
        for name, several in versions.items()
        for version in several.split(", ")
        if several
    )


@pytest.mark.parametrize(
    ("offered", "bad", "live", "expected"),
    [
        ("1.0 2.0", "", "1.0", "2.0"),
        ("1.0 2.0", "2.0", "1.0", "1.0"),
        ("1.0 2.0 2.1", "2.0", "1.0", "2.1"),
        ("1.0 1.5 2.0", "2.0", "1.0", "1.0"),  # nobody has ever seen 1.5 at work
        ("1.0 1.5", "2.0", "1.0", "1.0"),  # 2.0 was withdrawn
        ("1.0 2.0 2.1 3.0", "2.0, 2.1", "1.0", "3.0"),
        ("1.5 2.0", "2.0", "1.0", "1.5"),  # the project has no use for 1.0 any more
        ("0.9", "2.0", "1.0", "0.9"),  # the project asks for the step back
    ],
)
def test_a_package_goes_beyond_its_bad_versions_or_stays(offered: str, bad: str, live: str, expected: str) -> None:
    table = Table(offered={"alpha": offered}, locked={"alpha": live})
    assert within(table, failed=failed(alpha=bad)).versions["alpha"] == expected


BOTH = {"alpha": "1.0", "beta": "1.0"}


@pytest.mark.parametrize(
    ("offered", "locked", "live", "versions"),
    [
        ({"alpha": "1.0 2.0", "beta": "1.0 1.1"}, BOTH, BOTH, {"alpha": "1.0", "beta": "1.1"}),  # all else comes in
        ({"alpha": "1.0 2.0"}, {}, {}, {"alpha": "1.0"}),  # it is not live: it is bounded by what is bad alone
        ({"alpha": "1.0 2.0"}, {"alpha": "2.0"}, {"alpha": "1.0"}, {"alpha": "1.0"}),  # what is bad is locked
    ],
)
def test_what_failed_gives_way(
    offered: dict[str, str], locked: dict[str, str], live: dict[str, str], versions: dict[str, str]
) -> None:
    table = Table(offered=offered, locked=locked)
    assert within(table, live=live, failed=failed(alpha="2.0")).versions == versions


@pytest.mark.parametrize(
    ("rules", "versions"),
    [
        ({}, {"alpha": "2.0", "beta": "1.1", "gamma": "1.0"}),  # alpha 2.0 needs beta 1.1
        ({"held": (Block(name="beta", reason="waits", by="person"),)}, {**BOTH, "gamma": "1.0"}),
        ({"upgrade": Upgrade(packages=(("beta", "patch"),))}, {**BOTH, "gamma": "1.0"}),
        ({"failed": failed(beta="1.1")}, {**BOTH, "gamma": "1.0"}),
        ({"fixes": {"gamma": "1.1"}, "age": Age(least=DAY, now=NOW)}, {"alpha": "2.0", "beta": "1.1", "gamma": "1.0"}),
    ],
)
def test_only_what_is_asked_for_comes_in_with_what_it_needs(rules: dict[str, Any], versions: dict[str, str]) -> None:
    needs = {"alpha 2.0": {"beta": ">=1.1"}}
    locked = BOTH | {"gamma": "1.0"}
    table = Table(offered={"alpha": "1.0 2.0", "beta": "1.0 1.1", "gamma": "1.0 1.1"}, locked=locked, needs=needs)
    assert within(table, only=frozenset({"alpha"}), **rules).versions == versions


@pytest.mark.parametrize(
    ("limit", "rules", "versions", "withheld"),
    [
        ("<2", {}, {"alpha": "1.5", "beta": "1.1"}, {"alpha": "2.0"}),
        ("<1.5", {"fixes": {"alpha": "1.5"}}, {"alpha": "1.0", "beta": "1.1"}, {"alpha": "2.0"}),
        ("==0.9", {}, {"alpha": "0.9", "beta": "1.1"}, {"alpha": "2.0"}),  # what is locked goes down
        ("==0.9", {"ignored": ("alpha",)}, {"alpha": "0.9", "beta": "1.1"}, {"alpha": "2.0"}),
        ("==0.9", {"only": frozenset({"beta"})}, {"alpha": "1.0", "beta": "1.1"}, {"alpha": "2.0"}),
        (
            "<2",
            {"held": (Block(name="alpha", reason="", by="person"),)},
            {"alpha": "1.0", "beta": "1.1"},
            {"alpha": "2.0"},
        ),
        (">=1", {"upgrade": Upgrade(level="patch")}, BOTH, {"alpha": "2.0", "beta": "1.1"}),
    ],
)
def test_what_a_file_of_constraints_says_bounds_what_comes_in(
    limit: str, rules: dict[str, Any], versions: dict[str, str], withheld: dict[str, str]
) -> None:
    table = Table(offered={"alpha": "0.9 1.0 1.5 2.0", "beta": "1.0 1.1"}, locked=BOTH)
    found = within(table, limits={"alpha": Limit(specifier=limit, source="c.txt:3")}, **rules)
    assert found.versions == versions
    assert {one.name: one.version for one in found.holds} == withheld
    if limit == "<2" and not rules:
        assert [one.reason for one in found.holds] == ["constrained by c.txt:3: alpha<2"]


@pytest.mark.parametrize("by", ["tests", "rollback"])
@pytest.mark.parametrize(
    ("limit", "bad", "expected"), [("<2.0", "2.1", "1.5"), ("<2.0", "3.0", "1.5"), ("!=2.0", "2.1", "1.5")]
)
def test_a_constraint_bounds_a_package_of_which_a_version_has_failed(
    limit: str, bad: str, expected: str, by: str
) -> None:
    table = Table(offered={"alpha": "1.0 1.5 2.0 2.1 3.0"}, locked={"alpha": "2.0"}, project={"alpha": "<3"})
    rejected = tuple(replace(one, by=by) for one in failed(alpha=bad))
    limits = {"alpha": Limit(specifier=limit, source="c.txt:3")}
    assert within(table, failed=rejected, limits=limits).versions == {"alpha": expected}


def test_if_all_passes_nothing_is_asked_twice() -> None:
    table = Table(offered={"alpha": "1.0 1.1"}, locked={"alpha": "1.0"})
    assert within(table, failed=failed(alpha="1.0.5"), upgrade=Upgrade(level="minor")).versions == {"alpha": "1.1"}
    assert len(table.asked) == 1


@pytest.mark.parametrize("offered", ["1.0", "1.0 1.1"])
def test_if_nothing_comes_in_one_question_is_enough(offered: str) -> None:
    table = Table(offered={"alpha": offered}, locked={"alpha": "1.0"}, ages={"alpha 1.0": 90, "alpha 1.1": 1})
    found = within(table, age=WEEK)
    assert found.versions == {"alpha": "1.0"}
    assert [(one.version, one.by) for one in found.holds] == [("1.1", "age")] * (offered != "1.0")
    assert [limits for _, limits in table.asked if limits] == [dict.fromkeys(["*", "alpha"], NOW - timedelta(days=7))]


def test_what_may_not_come_in_is_not_built_to_look_at_it() -> None:
    table = Table(offered=dict.fromkeys(["alpha", "beta", "gamma"], "1.0 1.1"), locked=BOTH | {"gamma": "1.0"})
    held = tuple(Block(name=name, reason="waits", by="person") for name in BOTH)
    found = within(table, held=held, sources=frozenset({"beta"}))
    assert found.versions == {**BOTH, "gamma": "1.1"}
    assert table.asked[0] == ({"alpha": "", "beta": "==1.0", "gamma": ""}, {})
    assert table.unbuilt[0] == {"alpha"}
    assert [(one.name, one.version, one.by) for one in found.holds] == [
        ("alpha", "1.1", "person"),
        ("beta", "1.1", "person"),
    ]


def test_an_index_that_cannot_be_reached_is_not_asked_for_less() -> None:
    class Unreachable(Table):
        def resolve(
            self, specifiers: Specifiers, exclude_newer: ExcludeNewer, no_build: frozenset[str] = frozenset()
        ) -> Mapping[str, str] | NoSolution:
            if specifiers:
                self.asked.append(({}, {}))
                message = "no network"
                raise ToolError(message, returncode=2)
            return super().resolve(specifiers, exclude_newer, no_build)

    table = Unreachable(offered={"alpha": "1.0 2.0"}, locked={"alpha": "1.0"})
    with pytest.raises(ToolError, match="no network"):
        within(table, failed=failed(alpha="2.0"))
    assert len(table.asked) == 2


def test_what_is_kept_out_is_told() -> None:
    table = Table(offered={"alpha": "1.0 2.0", "beta": "1.0 2.0"}, locked={"alpha": "1.0", "beta": "1.0"})
    found = within(table, upgrade=Upgrade(level="minor", packages=(("beta", "all"),)))
    assert found.versions == {"alpha": "1.0", "beta": "2.0"}
    assert [(one.name, one.version, one.by) for one in found.holds] == [("alpha", "2.0", "policy")]


def test_nothing_goes_down_for_another_to_go_up() -> None:
    table = Table(
        offered={"alpha": "1.0 2.0", "beta": "1.0 2.0"},
        locked={"alpha": "1.0", "beta": "2.0"},
        needs={"alpha 2.0": {"beta": "<2"}},
    )
    assert table.resolve({}, {}) == {"alpha": "2.0", "beta": "1.0"}
    found = within(table)
    assert found.versions == {"alpha": "1.0", "beta": "2.0"}
    assert found.holds == ()


def test_what_the_project_demands_wins_over_policy_and_ignore() -> None:
    table = Table(
        offered={"alpha": "1.0 2.0 2.1 3.0", "beta": "1.0 2.0"},
        locked={"alpha": "1.0", "beta": "1.0"},
        project={"alpha": ">=2,<3"},
    )
    assert within(table, upgrade=Upgrade(level="minor")).versions == {"alpha": "2.1", "beta": "1.0"}
    assert within(table, ignored=("*",)).versions == {"alpha": "2.1", "beta": "1.0"}


def test_a_persons_hold_is_never_broken() -> None:
    table = Table(offered={"alpha": "1.0 2.0"}, locked={"alpha": "1.0"}, project={"alpha": ">=2"})
    held = Block(name="alpha", reason="waits for the printer", by="person")
    rules = make_rules(locked=table.locked, live=table.locked, held=(held,))
    found = resolve_within_rules(table, lambda: rules, locked=table.locked, live=table.locked)
    assert found == NoSolution(output="no solution")


WEEK = Age(least=7 * DAY, now=NOW)


def test_what_is_too_young_waits_and_an_older_version_comes_in() -> None:
    table = Table(
        offered={"alpha": "1.0 1.1 1.2"},
        locked={"alpha": "1.0"},
        ages={"alpha 1.0": 90, "alpha 1.1": 8, "alpha 1.2": 1},
    )
    found = within(table, age=WEEK)
    assert found.versions == {"alpha": "1.1"}
    assert [(one.version, one.by) for one in found.holds] == [("1.2", "age")]
    assert table.asked[-1] == ({}, {}), "the times are taken out of the lock again"


def test_what_comes_in_only_through_another_is_judged_too() -> None:
    class Swapping(Table):
        """Brings in beta only if alpha may not be 1.2."""

        def resolve(
            self, specifiers: Specifiers, exclude_newer: ExcludeNewer, no_build: frozenset[str] = frozenset()
        ) -> Mapping[str, str]:
            resolved = super().resolve(specifiers, exclude_newer, no_build)
            assert not isinstance(resolved, NoSolution)
            found = dict(resolved)
            if found["alpha"] == "1.2":
                del found["beta"]
            self.result = found
            return found

    young = [f"2.{number}" for number in range(9)]
    table = Swapping(
        offered={"alpha": "1.0 1.1 1.2", "beta": f"1.0 {' '.join(young)}"},
        locked={"alpha": "1.0"},
        ages={"alpha 1.0": 90, "alpha 1.1": 8, "alpha 1.2": 1, "beta 1.0": 90} | {f"beta {one}": 1 for one in young},
    )
    assert within(table, age=WEEK).versions == {"alpha": "1.1", "beta": "1.0"}


def test_a_young_version_that_the_project_asks_for_is_waited_for() -> None:
    table = Table(
        offered={"alpha": "1.0 2.0"}, locked={"alpha": "1.0"}, project={"alpha": ">=2"},
        ages={"alpha 1.0": 90, "alpha 2.0": 1},
    )  # fmt: skip
    with pytest.raises(
        ResolutionError, match=r"requires versions that are younger than `min_age` permits: alpha 2.0: it is 1 day old"
    ):
        within(table, age=WEEK)


def fixable() -> Table:
    return Table(
        offered={"alpha": "1.0 1.1 2.0 2.1", "beta": "1.0 1.1"},
        locked={"alpha": "1.0", "beta": "1.0"},
        ages={"alpha 1.0": 90, "alpha 1.1": 90, "alpha 2.0": 2, "alpha 2.1": 1, "beta 1.0": 90, "beta 1.1": 2},
    )


@pytest.mark.parametrize(
    ("level", "fixes", "versions", "withheld"),
    [
        (
            "patch",
            {"alpha": "2.0"},
            ("2.0", "1.0"),
            [("alpha", "2.1"), ("beta", "1.1")],
        ),  # early, and no more than that
        ("minor", {"alpha": "1.1"}, ("1.1", "1.0"), [("alpha", "2.1"), ("beta", "1.1")]),  # which may come in anyway
        ("all", {"alpha": "2.0", "beta": "1.2"}, ("2.0", "1.0"), [("alpha", "2.1"), ("beta", "1.1")]),  # one is nowhere
    ],
)
def test_a_fix_comes_in(
    level: Level, fixes: dict[str, str], versions: tuple[str, str], withheld: list[tuple[str, str]]
) -> None:
    found = within(fixable(), age=WEEK, upgrade=Upgrade(level=level), fixes=fixes)
    assert (found.versions["alpha"], found.versions["beta"]) == versions
    assert [(one.name, one.version) for one in found.holds] == withheld


def test_nothing_younger_than_the_fix_comes_in_with_it() -> None:
    for level in LEVELS:
        found = within(fixable(), age=WEEK, upgrade=Upgrade(level=level), fixes={"alpha": "2.0"})
        assert found.versions["alpha"] == "2.0"
        assert ("alpha", "2.1") in [(one.name, one.version) for one in found.holds]


def test_a_fix_comes_in_as_exactly_that_version() -> None:
    table = fixable()
    table.ages = {**table.ages, "alpha 2.0": 30, "alpha 2.0.1": 20}
    table.offered = {**table.offered, "alpha": "1.0 1.1 2.0 2.0.1 2.1"}
    found = within(table, age=WEEK, upgrade=Upgrade(level="patch"), fixes={"alpha": "2.0"})
    assert found.versions["alpha"] == "2.0"
    table.offered = {**table.offered, "alpha": "1.0 1.1 2.1"}
    assert within(table, age=WEEK, fixes={"alpha": "2.0"}).versions["alpha"] == "1.1"


def test_nothing_goes_down_for_a_fix_to_come_in() -> None:
    table = Table(
        offered={"alpha": "1.0 1.1", "beta": "1.0 2.0"},
        locked={"alpha": "1.0", "beta": "2.0"},
        needs={"alpha 1.1": {"beta": "<2"}},
    )
    found = within(table, upgrade=Upgrade(level="patch"), fixes={"alpha": "1.1"})
    assert found.versions == table.locked
    assert table.result == table.locked


def test_a_fix_that_nobody_offers_costs_one_question_and_moves_nothing() -> None:
    table = Table(offered={"alpha": "1.0", "beta": "1.0 2.0"}, locked={"alpha": "1.0", "beta": "1.0"})
    found = within(table, upgrade=Upgrade(level="patch"), fixes={"alpha": "1.1"})
    assert found.versions == table.locked
    assert len(table.asked) == 3, "within bounds, for the fix, and within bounds as that is what to keep"


def test_nobody_asks_for_fixes_if_neither_policy_nor_age_keep_anything_out() -> None:
    table = fixable()
    made = make_rules(locked=table.locked, live=table.locked, failed=failed(alpha="2.1"))

    def never() -> Mapping[str, str]:
        raise AssertionError

    found = resolve_within_rules(table, lambda: made, locked=table.locked, live=table.locked, find_fixes=never)
    assert isinstance(found, Resolved)
    assert found.versions == {"alpha": "1.0", "beta": "1.1"}


# What an update should bring and does not, which the log of the run says


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.mark.parametrize(
    ("believed", "limit", "rules", "unseen"),
    [
        (40, None, {}, {"alpha": "1.1"}),  # a limit that uv does not know of: the update would bring nothing, for ever
        (40, 25, {}, {"alpha": "1.1"}),
        (40, 40, {}, {}),
        (None, None, {}, {}),
        (40, None, {"ignored": ("alpha",)}, {}),
        (40, None, {"upgrade": Upgrade(level="patch")}, {}),
        (40, None, {"failed": failed(alpha="1.1")}, {}),
        (40, None, {"age": Age(least=35 * DAY, now=NOW)}, {}),
    ],
)
def test_what_a_limit_hides_by_mistake_is_told_apart_from_what_is_kept_out(
    believed: float | None, limit: float | None, rules: dict[str, Any], unseen: dict[str, str]
) -> None:
    table = Table(
        offered={"alpha": "1.0 1.1", "beta": "1.0 1.1"},
        locked=BOTH,
        needs={"beta 1.1": {"alpha": "<1"}},  # which uv sees, and does not choose
        ages={"alpha 1.0": 90, "alpha 1.1": 30, "beta 1.0": 90, "beta 1.1": 80},
        believed=None if believed is None else days_ago(believed),
        limit=None if limit is None else days_ago(limit),
    )
    found = within(table, **{"age": WEEK, **rules})
    assert found.unseen == unseen


def test_that_nothing_is_hidden_costs_no_question() -> None:
    class Plain(Table):
        def own_limits(self) -> Uploads:
            raise AssertionError

    table = Plain(offered={"alpha": "1.0 1.1"}, locked={"alpha": "1.0"}, ages={"alpha 1.0": 90, "alpha 1.1": 1})
    assert within(table, age=WEEK).unseen == {}
    assert len(table.asked) == 2, "the question, and the same without its traces"
