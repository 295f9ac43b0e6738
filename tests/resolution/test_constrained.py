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
from releaser.locks.versions import Age, Upgrade, Uploads
from releaser.resolution.constrained import Resolved, resolve_within_rules
from releaser.tools.uv import NoSolution
from tests.support.rules import make_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.tools.uv_arguments import ExcludeNewer, Specifiers

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
DAY = 86400.0
WEEK = Age(least=7 * DAY, now=NOW)


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


AB, ABC = {"alpha": "1.0 2.0", "beta": "1.0 1.1"}, {"alpha": "1.0 2.0", "beta": "1.0 1.1", "gamma": "1.0 1.1"}
ONE = {"alpha": "1.0 2.0"}
TWO = {"alpha": "1.0 2.0", "beta": "1.0 2.0"}
PATCH, MINOR = Upgrade(level="patch"), Upgrade(level="minor")
BETA_PATCH = Upgrade(packages=(("beta", "patch"),))
MINOR_BUT_BETA = Upgrade(level="minor", packages=(("beta", "all"),))
AGES = {"alpha 1.0": 90, "alpha 1.1": 8, "alpha 1.2": 1}
# Of alpha, 1.1 is old enough, and 2.0 and 2.1 are not; nor is 1.1 of beta.
FIXABLE = {"alpha": "1.0 1.1 2.0 2.1", "beta": "1.0 1.1"}
LATE = {"alpha 1.0": 90, "alpha 1.1": 90, "alpha 2.0": 2, "alpha 2.1": 1, "beta 1.0": 90, "beta 1.1": 2}
YOUNG: dict[str, Any] = {"age": WEEK, "ages": LATE}
NAMED: dict[str, Any] = {"needs": {"alpha 2.0": {"beta": ">=1.1"}}, "only": frozenset({"alpha"})}
LOWERING: dict[str, Any] = {"locked": {"alpha": "1.0", "beta": "2.0"}, "needs": {"alpha 2.0": {"beta": "<2"}}}
DEMANDING = {"alpha": "1.0 2.0 2.1 3.0", "beta": "1.0 2.0"}
BOUNDED = {"alpha": "0.9 1.0 1.5 2.0", "beta": "1.0 1.1"}


def limited(specifier: str) -> dict[str, Limit]:
    return {"alpha": Limit(specifier=specifier, source="c.txt:3")}


def held(*names: str) -> tuple[Block, ...]:
    return tuple(Block(name=name, reason="waits", by="person") for name in names)


def split(given: Mapping[str, Any], offered: Mapping[str, str]) -> tuple[Table, dict[str, Any]]:
    """Return a table of what is offered, each package locked in 1.0 unless it is `given` otherwise, and the rules."""
    own = {name: value for name, value in given.items() if name in Table.__dataclass_fields__}
    rules = {name: value for name, value in given.items() if name not in own}
    return Table(**{"offered": offered, "locked": dict.fromkeys(offered, "1.0"), **own}), rules


@pytest.mark.parametrize(
    ("offered", "given", "versions", "told"),
    [
        # What failed gives way, and all else comes in.
        (AB, {"failed": failed(alpha="2.0")}, "alpha 1.0, beta 1.1", None),
        # What is not live is bounded by what is bad alone, also if that is locked.
        (ONE, {"locked": {}, "failed": failed(alpha="2.0")}, "alpha 1.0", None),
        (ONE, {"locked": {"alpha": "2.0"}, "live": {"alpha": "1.0"}, "failed": failed(alpha="2.0")}, "alpha 1.0", None),
        # What is kept out is told.
        (TWO, {"upgrade": MINOR_BUT_BETA}, "alpha 1.0, beta 2.0", "alpha 2.0 policy"),
        # Only what is asked for comes in, with what it needs.
        (ABC, NAMED, "alpha 2.0, beta 1.1, gamma 1.0", None),
        (ABC, {**NAMED, "held": held("beta")}, "alpha 1.0, beta 1.0, gamma 1.0", None),
        (ABC, {**NAMED, "upgrade": BETA_PATCH}, "alpha 1.0, beta 1.0, gamma 1.0", None),
        (ABC, {**NAMED, "failed": failed(beta="1.1")}, "alpha 1.0, beta 1.0, gamma 1.0", None),
        (
            ABC,
            {**NAMED, "fixes": {"gamma": "1.1"}, "age": Age(least=DAY, now=NOW)},
            "alpha 2.0, beta 1.1, gamma 1.0",
            None,
        ),
        # A file of constraints bounds what comes in.
        (BOUNDED, {"limits": limited("<2")}, "alpha 1.5, beta 1.1", "alpha 2.0 constraint"),
        (
            BOUNDED,
            {"limits": limited("<1.5"), "fixes": {"alpha": "1.5"}},
            "alpha 1.0, beta 1.1",
            "alpha 2.0 constraint",
        ),
        (BOUNDED, {"limits": limited("==0.9"), "ignored": ("alpha",)}, "alpha 0.9, beta 1.1", "alpha 2.0 constraint"),
        (BOUNDED, {"limits": limited("<2"), "held": held("alpha")}, "alpha 1.0, beta 1.1", "alpha 2.0 person"),
        (
            BOUNDED,
            {"limits": limited("==0.9"), "only": frozenset({"beta"})},
            "alpha 1.0, beta 1.1",
            "alpha 2.0 constraint",
        ),
        (
            BOUNDED,
            {"limits": limited(">=1"), "upgrade": PATCH},
            "alpha 1.0, beta 1.0",
            "alpha 2.0 policy, beta 1.1 policy",
        ),
        # Nothing goes down for another to go up, or for a fix to come in.
        (TWO, LOWERING, "alpha 1.0, beta 2.0", ""),
        (TWO, {**LOWERING, "upgrade": PATCH, "fixes": {"alpha": "2.0"}}, "alpha 1.0, beta 2.0", None),
        # What the project demands wins over policy and ignore.
        (DEMANDING, {"project": {"alpha": ">=2,<3"}, "upgrade": MINOR}, "alpha 2.1, beta 1.0", None),
        (DEMANDING, {"project": {"alpha": ">=2,<3"}, "ignored": ("*",)}, "alpha 2.1, beta 1.0", None),
        # What is too young waits, and an older version comes in.
        ({"alpha": "1.0 1.1 1.2"}, {"age": WEEK, "ages": AGES}, "alpha 1.1", "alpha 1.2 age"),
        # A fix comes in early, as exactly that version, and nothing younger with it.
        (FIXABLE, {**YOUNG, "upgrade": PATCH, "fixes": {"alpha": "2.0"}}, "alpha 2.0, beta 1.0", None),
        (FIXABLE, {**YOUNG, "upgrade": MINOR, "fixes": {"alpha": "2.0"}}, "alpha 2.0, beta 1.0", None),
        (FIXABLE, {**YOUNG, "fixes": {"alpha": "2.0"}}, "alpha 2.0, beta 1.0", "alpha 2.1 age, beta 1.1 age"),
        ({"alpha": "1.0 2.0 2.0.1"}, {"upgrade": PATCH, "fixes": {"alpha": "2.0"}}, "alpha 2.0", None),
        ({"alpha": "1.0 1.1 2.1"}, {**YOUNG, "fixes": {"alpha": "2.0"}}, "alpha 1.1", None),
        # Another may come in anyway, and one that nobody has is no matter.
        (FIXABLE, {**YOUNG, "upgrade": MINOR, "fixes": {"alpha": "1.1"}}, "alpha 1.1, beta 1.0", None),
        (FIXABLE, {**YOUNG, "fixes": {"alpha": "2.0", "beta": "1.2"}}, "alpha 2.0, beta 1.0", None),
    ],
)
def test_what_comes_in_and_what_is_told(
    offered: dict[str, str], given: dict[str, Any], versions: str, told: str | None
) -> None:
    table, rules = split(given, offered)
    found = within(table, **rules)
    assert found.versions == table.result
    assert ", ".join(f"{name} {version}" for name, version in found.versions.items()) == versions
    if told is not None:
        assert ", ".join(f"{one.name} {one.version} {one.by}" for one in found.holds) == told


def test_a_constraint_is_told_with_its_line() -> None:
    table, _ = split({}, BOUNDED)
    (told,) = within(table, limits=limited("<2")).holds
    assert told.reason == "constrained by c.txt:3: alpha<2"


@pytest.mark.parametrize("by", ["tests", "rollback"])
@pytest.mark.parametrize(("limit", "bad"), [("<2.0", "2.1"), ("<2.0", "3.0"), ("!=2.0", "2.1")])
def test_a_constraint_bounds_a_package_of_which_a_version_has_failed(limit: str, bad: str, by: str) -> None:
    table = Table(offered={"alpha": "1.0 1.5 2.0 2.1 3.0"}, locked={"alpha": "2.0"}, project={"alpha": "<3"})
    rejected = tuple(replace(one, by=by) for one in failed(alpha=bad))
    assert within(table, failed=rejected, limits=limited(limit)).versions == {"alpha": "1.5"}


# What is asked for that


@pytest.mark.parametrize(
    ("offered", "given", "count"),
    [
        # If all passes, nothing is asked twice.
        ("1.0 1.1", {"failed": failed(alpha="1.0.5"), "upgrade": MINOR}, 1),
        # If nothing comes in, one question is enough, and the times are taken out of the lock again.
        ("1.0", {"age": WEEK, "ages": AGES}, 2),
        ("1.0 1.2", {"age": WEEK, "ages": AGES}, 2),
        # A fix that nobody offers costs one question, and one within bounds, as that is what to keep.
        ("1.0 2.0", {"upgrade": PATCH, "fixes": {"alpha": "1.1"}}, 3),
    ],
)
def test_no_more_is_asked_than_is_needed(offered: str, given: dict[str, Any], count: int) -> None:
    table, rules = split(given, {"alpha": offered})
    within(table, **rules)
    assert len(table.asked) == count
    if "age" in rules:
        week = NOW - timedelta(days=7)
        assert table.asked == [({}, {"*": week, "alpha": week}), ({}, {})]


def test_what_may_not_come_in_is_not_built_to_look_at_it() -> None:
    table, _ = split({}, dict.fromkeys(["alpha", "beta", "gamma"], "1.0 1.1"))
    found = within(table, held=held("alpha", "beta"), sources=frozenset({"beta"}))
    assert found.versions == {"alpha": "1.0", "beta": "1.0", "gamma": "1.1"}
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
            found = super().resolve(specifiers, exclude_newer, no_build)
            if specifiers:
                message = "no network"
                raise ToolError(message, returncode=2)
            return found

    table = Unreachable(offered={"alpha": "1.0 2.0"}, locked={"alpha": "1.0"})
    with pytest.raises(ToolError, match="no network"):
        within(table, failed=failed(alpha="2.0"))
    assert len(table.asked) == 2


def test_a_persons_hold_is_never_broken() -> None:
    table = Table(offered={"alpha": "1.0 2.0"}, locked={"alpha": "1.0"}, project={"alpha": ">=2"})
    rules = make_rules(locked=table.locked, live=table.locked, held=held("alpha"))
    found = resolve_within_rules(table, lambda: rules, locked=table.locked, live=table.locked)
    assert found == NoSolution(output="no solution")


def test_what_comes_in_only_through_another_is_judged_too() -> None:
    class Swapping(Table):
        """Brings in beta only if alpha may not be 1.2."""

        def resolve(
            self, specifiers: Specifiers, exclude_newer: ExcludeNewer, no_build: frozenset[str] = frozenset()
        ) -> Mapping[str, str]:
            resolved = super().resolve(specifiers, exclude_newer, no_build)
            assert not isinstance(resolved, NoSolution)
            self.result = {
                one: version for one, version in resolved.items() if one == "alpha" or resolved["alpha"] != "1.2"
            }
            return self.result

    young = [f"2.{number}" for number in range(9)]
    ages = AGES | {"beta 1.0": 90} | {f"beta {one}": 1 for one in young}
    offered = {"alpha": "1.0 1.1 1.2", "beta": f"1.0 {' '.join(young)}"}
    table = Swapping(offered=offered, locked={"alpha": "1.0"}, ages=ages)
    assert within(table, age=WEEK).versions == {"alpha": "1.1", "beta": "1.0"}


def test_a_young_version_that_the_project_asks_for_is_waited_for() -> None:
    ages = {"alpha 1.0": 90, "alpha 2.0": 1}
    table = Table(offered={"alpha": "1.0 2.0"}, locked={"alpha": "1.0"}, project={"alpha": ">=2"}, ages=ages)
    too_young = r"requires versions that are younger than `min_age` permits: alpha 2.0: it is 1 day old"
    with pytest.raises(ResolutionError, match=too_young) as caught:
        within(table, age=WEEK)
    assert "min_age_packages" in caught.value.advice
    assert within(table, age=replace(WEEK, packages=(("alpha", 0.0),))).versions == {"alpha": "2.0"}


def test_nobody_asks_for_fixes_if_neither_policy_nor_age_keep_anything_out() -> None:
    table, _ = split({"ages": LATE}, FIXABLE)
    made = make_rules(locked=table.locked, live=table.locked, failed=failed(alpha="2.1"))

    def never() -> Mapping[str, str]:
        raise AssertionError

    found = resolve_within_rules(table, lambda: made, locked=table.locked, live=table.locked, find_fixes=never)
    assert isinstance(found, Resolved)
    assert found.versions == {"alpha": "1.0", "beta": "1.1"}


# What an update should bring and does not, which the log of the run says


@pytest.mark.parametrize(
    ("believed", "limit", "rules", "is_hidden"),
    [
        (40, None, {}, True),  # a limit that uv does not know of: the update would bring nothing, for ever
        (40, 25, {}, True),
        (40, 40, {}, False),
        (None, None, {}, False),
        (40, None, {"ignored": ("alpha",)}, False),
        (40, None, {"upgrade": PATCH}, False),
        (40, None, {"failed": failed(alpha="1.1")}, False),
        (40, None, {"age": Age(least=35 * DAY, now=NOW)}, False),
    ],
)
def test_what_a_limit_hides_by_mistake_is_told_apart_from_what_is_kept_out(
    believed: float | None, limit: float | None, rules: dict[str, Any], is_hidden: bool
) -> None:
    table = Table(
        offered={"alpha": "1.0 1.1", "beta": "1.0 1.1"},
        locked={"alpha": "1.0", "beta": "1.0"},
        needs={"beta 1.1": {"alpha": "<1"}},  # which uv sees, and does not choose
        ages={"alpha 1.0": 90, "alpha 1.1": 30, "beta 1.0": 90, "beta 1.1": 80},
        believed=None if believed is None else NOW - timedelta(days=believed),
        limit=None if limit is None else NOW - timedelta(days=limit),
    )
    assert within(table, **{"age": WEEK, **rules}).unseen == ({"alpha": "1.1"} if is_hidden else {})


def test_that_nothing_is_hidden_costs_no_question() -> None:
    class Plain(Table):
        def own_limits(self) -> Uploads:
            raise AssertionError

    table = Plain(offered={"alpha": "1.0 1.2"}, locked={"alpha": "1.0"}, ages=AGES)
    assert within(table, age=WEEK).unseen == {}


EARLY = Age(least=7 * DAY, fixes=DAY, now=NOW)
HELD = (Block(name="alpha", reason="sale", by="person"),)


@pytest.mark.parametrize(
    ("fixes", "rules", "ages", "expected", "blocked"),
    [
        ("", {}, {}, "1.0 1.0 1.0", {}),
        ("alpha 1.1", {}, {}, "1.1 1.0 1.0", {}),  # exactly this version, although 1.2 has the fix, too
        ("beta 1.1", {}, {}, "1.0 1.1 1.2", {}),  # with its requirements
        ("alpha 1.1, beta 1.1", {"held": HELD}, {}, "1.0 1.1 1.2", {"alpha": "person"}),
        ("alpha 1.1", {"ignored": ("alpha",)}, {}, "1.0 1.0 1.0", {"alpha": "ignore"}),
        ("alpha 1.1", {"failed": failed(alpha="1.1")}, {}, "1.0 1.0 1.0", {"alpha": "rollback"}),
        ("beta 1.1", {"limits": {"gamma": Limit(specifier="<1.1", source="c:1")}}, {}, "1.0 1.0 1.0", {"beta": "age"}),
        ("alpha 1.1", {"age": EARLY}, {"alpha 1.1": 2}, "1.1 1.0 1.0", {}),
        ("alpha 1.1", {"age": EARLY}, {"alpha 1.1": 0.5}, "1.0 1.0 1.0", {"alpha": "age"}),
        ("alpha 1.1, beta 1.1", {"age": EARLY}, {"gamma 1.1": 2, "gamma 1.2": 2}, "1.1 1.0 1.0", {"beta": "age"}),
        ("alpha 0.9", {}, {}, "1.0 1.0 1.0", {}),  # a new commit has a newer one already
    ],
)
def test_security_alone_moves_fixes_and_their_requirements_and_nothing_else(
    fixes: str, rules: dict[str, Any], ages: dict[str, float], expected: str, blocked: dict[str, str]
) -> None:
    offered = dict.fromkeys(("alpha", "beta", "gamma"), "1.0 1.1 1.2")
    old = {f"{name} {version}": 99.0 for name, versions in offered.items() for version in versions.split()}
    table = Table(
        offered=offered,
        locked=dict.fromkeys(offered, "1.0"),
        needs={"beta 1.1": {"gamma": ">=1.1"}},
        ages=old | ages if "age" in rules else {},
    )
    wanted = dict(one.split(" ") for one in fixes.split(", ")) if fixes else {}
    found = within(table, fixes=wanted, upgrade=Upgrade(level="security"), **rules)
    assert " ".join(found.versions.values()) == expected
    assert {one.name: one.by for one in found.holds} == blocked


def test_the_level_security_objects_to_all_but_fixes_and_packages_with_their_own_level() -> None:
    upgrade = Upgrade(level="security", packages=(("beta", "minor"),))
    rules = make_rules(locked=dict.fromkeys(("alpha", "beta"), "1.0"), fixes={"alpha": "1.1"}, upgrade=upgrade)
    blocks = {
        f"{name} {version}": [block.by for block in rules.blocks(name, version, Uploads())]
        for name, version in (("alpha", "1.1"), ("alpha", "1.2"), ("beta", "1.2"), ("beta", "2.0"))
    }
    assert blocks == {"alpha 1.1": [], "alpha 1.2": ["policy"], "beta 1.2": [], "beta 2.0": ["policy"]}
