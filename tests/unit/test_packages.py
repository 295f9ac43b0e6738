"""Packages: what locks say, how versions compare, what rules allow, and what is on hold."""

import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from releaser.errors import BuildError, PreflightError
from releaser.packages import holds, resolve, rules
from releaser.packages.changes import compare_locks, compare_versions, find_older
from releaser.packages.holds import CommitHold, Hold, HoldRow, PackageHold, Pause, VersionHold, read_holds, write_holds
from releaser.packages.lock import Lock, Source, parse_lock, read_cutoff
from releaser.packages.lost import pack_wheel, put_back
from releaser.packages.resolve import LiveVenv, Plan, find_unbuilt, find_unfit, read_constraints
from releaser.packages.rules import AS_LOCKED, Baseline, Bound, Rules, make_rules
from releaser.releases.release import Key, Manifest, PackageChange, Release, State
from releaser.site.paths import Paths
from releaser.site.settings import Level, Levels, Settings, VersionSettings
from releaser.system.run import UPDATE, Run, now
from tests.unit.samples import NOW, make_holds, make_lock, make_site

HASH = "3f2a9c1b2d4e5f60718293a4b5c6d7e8f9012345"
COMMIT = CommitHold(commit=HASH[:12], code_key="key", by="rollback", reason="it failed")
PAUSE = Pause(by="person", reason="holidays", since=NOW, until=None)
GIT, OTHER_GIT = "1.0 (3f2a9c1)", "1.0 (0000000)"
LOCK = f"""\
[[package]]
name = "alpha"
version = "1.1"
source = {{ registry = "https://example.org/simple" }}
resolution-markers = ["python_full_version < '3.12'", "sys_platform == 'linux'"]
dependencies = [{{ name = "beta" }}, {{ name = "gamma", marker = "sys_platform == 'win32'" }}]
sdist = {{ url = "a", hash = "sha256:1", upload-time = "2026-01-01T00:00:00Z" }}
wheels = [{{ url = "b", hash = "sha256:2", upload-time = "2026-01-02T00:00:00Z" }}, {{ url = "c" }}]
optional-dependencies = {{ fast = [{{ name = "delta" }}] }}
dev-dependencies = {{ dev = [{{ name = "epsilon" }}] }}
[[package]]
name = "alpha"
version = "1.0"
source = {{ git = "https://example.org/a?rev=main#{HASH}" }}
[[package]]
name = "shop"
source = {{ virtual = "." }}
"""


def known(installed: Mapping[str, str], committed: str = "") -> Baseline:
    """Return what is known before a resolution."""
    return Baseline(installed, make_lock(""), make_lock(committed))


def split(bounds: Mapping[str, str | None]) -> dict[str, Bound]:
    """Return bounds of which each is given in words."""
    return {name: AS_LOCKED if bound is None else tuple(bound.split()) for name, bound in bounds.items()}


def test_a_lock_gives_each_entry_with_its_files_forks_and_needs() -> None:
    lock = parse_lock(LOCK)
    alpha, from_git, shop = lock.packages
    assert (sorted(alpha.hashes), alpha.upload_time) == (["sha256:1", "sha256:2"], "2026-01-02T00:00:00Z")
    assert alpha.markers == ("python_full_version < '3.12'", "sys_platform == 'linux'")
    assert alpha.needs == {"beta", "gamma", "delta", "epsilon"}
    assert (from_git.label, shop.label, [*shop.hashes], shop.upload_time) == (GIT, "", [], "")
    assert (sorted(lock.versions["alpha"]), lock.names, [*lock.local]) == ([GIT, "1.1"], ["alpha"], ["shop"])
    assert (lock.find("alpha"), lock.find("beta")) == ((alpha, from_git), ())


@pytest.mark.parametrize(
    ("text", "source", "identity", "is_local"),
    [('registry = "https://a/simple"', Source("registry", "https://a/simple"), ("registry", ""), False),
     (f'git = "https://a/b#{HASH}"', Source("git", f"https://a/b#{HASH}", HASH), ("git", HASH), False),
     ('git = "https://a/b"', Source("git", "https://a/b"), ("git", "https://a/b"), False),
     ('url = "https://a/b.whl#x"', Source("url", "https://a/b.whl#x"), ("url", "https://a/b.whl#x"), False),
     ('virtual = "."', Source("virtual", "."), ("virtual", "."), True),
     ('editable = "a"', Source("editable", "a"), ("editable", "a"), True),
     ('directory = "a"', Source("directory", "a"), ("directory", "a"), True),
     ('path = "a.whl"', Source("path", "a.whl"), ("path", "a.whl"), True),
     ("", Source("registry", ""), ("registry", ""), False)],
)  # fmt: skip
def test_a_source_has_a_kind_and_an_identity(text: str, source: Source, identity: object, is_local: bool) -> None:
    lock = parse_lock(f'[[package]]\nname = "a"\nversion = "1"\nsource = {{ {text} }}')
    assert (lock.packages[0].source, source.identity, bool(lock.local)) == (source, identity, is_local)


@pytest.mark.parametrize(
    "text",
    ["{", "package = 5", 'package = "alpha"', "[[package]]", '[[package]]\nname = "a"\nsource = 5',
     '[[package]]\nname = "a"\nwheels = 5', '[[package]]\nname = "a"\ndependencies = [{}]',
     '[[package]]\nname = "a"\nsource = { git = "https://[a" }', "<<<<<<< HEAD\nversion = 1"],
)  # fmt: skip
def test_what_is_no_lock_is_refused_by_the_name_of_its_file(text: str) -> None:
    with pytest.raises(PreflightError, match="the file is not a lock of uv"):
        parse_lock(text, "the file")


def test_versions_compare_by_name_without_those_that_do_not_count() -> None:
    before, after = {"a": "1", "b": "1", "c": "1", "local": "1"}, {"b": "1", "c": "2", "d": GIT, "local": "2"}
    changes = compare_versions(before, after, frozenset({"local"}))
    assert [(change.name, change.bump) for change in changes] == [("a", "removed"), ("c", "major"), ("d", "added")]
    old, new = make_lock("a 2, a 1, shop 1@virtual:."), make_lock("a 2, shop 2@virtual:.")
    assert compare_locks(old, new) == (PackageChange("a", "1, 2", "2", "other"),)
    assert compare_locks(None, new) == (PackageChange("a", None, "2", "added"),)


@pytest.mark.parametrize(
    ("before", "after", "older"),
    [("a 1.1", "a 1.0", ["a"]), ("a 1.0", "a 1.1", []), ("a 1.0", "", []), ("a 1.0, a 2.0", "a 1.0", ["a"]),
     ("a 1.0, a 2.0", "a 2.0", []), ("a 1.0@git:1111111", "a 1.0@git:0000000", []), ("a odd", "a 1.0", []),
     ("a 1.1@git:1111111", "a 1.0", ["a"]), ("shop 2@virtual:.", "shop 1@virtual:.", [])],
)  # fmt: skip
def test_a_package_is_older_if_its_newest_version_is(before: str, after: str, older: Sequence[str]) -> None:
    assert find_older(make_lock(before), make_lock(after)) == older


def test_law_06_rules_follow_from_settings_and_holds() -> None:
    assert make_rules(VersionSettings(), [COMMIT, PAUSE]) == Rules()
    wanted = [*make_holds("a 1.1, a 1.2", "rollback"), *make_holds("b"), *make_holds("c", "setting", "by the setting")]
    holders = {"a": "by a rollback", "b": "by you", "c": "by the setting"}
    skipped = {"a": frozenset({"1.1", "1.2"})}
    expected = Rules("none", {"d": "patch"}, frozenset({"e"}), skipped, frozenset({"b", "c"}), holders)
    settings = VersionSettings(upgrade="none", upgrade_packages=Levels({"d": "patch"}))
    assert make_rules(settings, wanted, ["e"]) == expected


@pytest.mark.parametrize(
    ("wanted", "installed", "bounds"),
    [("a 1.1", {"a": "1.0"}, {"a": ("!=1.1",)}), ("a 1.2, a 1.1", {"a": "1.0"}, {"a": ("!=1.1,!=1.2",)}),
     ("a 1.1", {}, {"a": ("!=1.1",)}), ("a, a 1.1", {"a": "1.0"}, {"a": ("==1.0",)}), ("a", {}, {}),
     ("a", {"a": GIT}, {"a": AS_LOCKED}), (f"a {GIT}", {"a": "1.0"}, {}),
     (f"a {GIT}, a 1.1", {"a": "1.0"}, {"a": ("!=1.1",)})],
)  # fmt: skip
def test_law_06_bounds_follow_from_holds(wanted: str, installed: Mapping[str, str], bounds: object) -> None:
    assert rules.make_bounds(make_rules(VersionSettings(), make_holds(wanted)), known(installed)) == bounds


FORKS = "a 1.0 ? python_version < '3.11', a 2.0 ? python_version >= '3.11', b 1.0"


@pytest.mark.parametrize(
    ("wanted", "bounds"),
    [(Rules(skipped={"a": frozenset({"2.1"})}), {"a": ("!=2.1",)}),  # of each fork
     (Rules(kept=frozenset("a")), {"a": ("==1.0 ; (python_version < '3.11')", "==2.0 ; (python_version >= '3.11')")}),
     (Rules(floors={"a": "2.0"}), {"a": (" ; (python_version < '3.11')", ">=2.0 ; (python_version >= '3.11')")}),
     (Rules(floors={"a": "2.0"}, unfit={"a": {"2.2": "no file"}}),
      {"a": ("!=2.2 ; (python_version < '3.11')", ">=2.0,!=2.2 ; (python_version >= '3.11')")}),
     (Rules(floors={"b": "1.0"}), {"b": (">=1.0",)}),
     (Rules(floors={"b": "1.0"}, constraints={"b": "<2"}), {"b": (">=1.0,<2",)}),
     (Rules(level="minor", floors={"b": "1.0"}), {"a": ("<3",), "b": (">=1.0,<2",)}),
     (Rules(constraints={"b": "<2", "c": "!=3"}), {"b": ("<2",), "c": ("!=3",)}),
     (Rules(constraints={"b": "<1"}), {"b": ("==1.0",)}),  # what is live is beyond it
     (Rules(skipped={"b": frozenset({"1.4"})}, constraints={"b": "<2"}, level="patch"),
      {"a": ("<2.1",), "b": ("!=1.4,<1.1,<2",)})],
)  # fmt: skip
def test_law_06_23_bounds_of_forks_floors_and_constraints(wanted: Rules, bounds: object) -> None:
    lock = make_lock(FORKS)
    assert rules.make_bounds(wanted, Baseline({"a": "2.0", "b": "1.0"}, lock, lock)) == bounds


@pytest.mark.parametrize(
    ("wanted", "committed", "installed", "floors"),
    [(Rules(), "a 1.1", "1.0", {"a": "1.1"}), (Rules(), "a 1.0", "1.1", {"a": "1.1"}),
     (Rules(), "a 1.0", "", {"a": "1.0"}),
     (Rules(), "a 1.10", "1.9", {"a": "1.10"}), (Rules(), "b 1.0", "1.0", {"b": "1.0"}),
     (Rules(skipped={"a": frozenset({"1.1"})}), "a 1.1", "1.0", {"a": "1.0"}),  # merely held here
     (Rules(unfit={"a": {"1.1": "no file"}}), "a 1.1", "1.0", {"a": "1.0"}),
     (Rules(unfit={"a": {"1.0": "no file"}}), "a 1.0", "1.0", {"a": "1.0"}),  # on another Python
     (Rules(kept=frozenset("a")), "a 1.1", "1.0", {}),
     (Rules(lowered={"a": "1.0"}, skipped={"a": frozenset({"1.1"})}), "a 1.0", "1.1", {"a": "1.0"}),
     (Rules(), "a 1.0@git:1111111", "1.0", {}), (Rules(), "a odd", "", {}), (Rules(), "a 1@virtual:.", "", {}),
     (Rules(), "a 1.0, a 2.0", "2.0", {})],  # uv knows which one is installed
)  # fmt: skip
def test_law_23_no_package_goes_below_what_is_live_or_committed(
    wanted: Rules, committed: str, installed: str, floors: Mapping[str, str]
) -> None:
    before = Baseline({"a": installed} if installed else {}, make_lock(""), make_lock(committed))
    assert rules.find_floors(wanted, before) == floors


@pytest.mark.parametrize(
    ("floor", "lock", "is_lowered"),
    [("1.1", "a 1.0", True), ("1.1", "a 1.1", False), ("1.1", "a 1.2", False), ("1.1", "b 1.0", False),
     ("1.10", "a 1.9", True), ("1.1", "a odd", False), ("1!1.0", "a 2.0", True), ("1.0", "a 1.0rc1", True)],
)  # fmt: skip
def test_law_23_what_a_lock_lowers(floor: str, lock: str, is_lowered: bool) -> None:
    assert rules.find_lowered({"a": floor}, make_lock(lock)) == ({"a": floor} if is_lowered else {})


@pytest.mark.parametrize(
    ("name", "old", "new", "wanted", "is_lowered"),
    [("a", "2.0", "1.9", Rules(), True), ("a", "2.0", "2.1", Rules(), False), ("a", "2.0", None, Rules(), False),
     ("b", "1.0", "0.9", Rules(), False), ("a", "2.0", "1.9", Rules(kept=frozenset("a")), False),
     ("a", "2.0", "1.9", Rules(skipped={"a": frozenset({"2.0"})}), False)],
)  # fmt: skip
def test_law_23_a_fork_is_lowered_if_the_installed_version_is(
    name: str, old: str, new: str | None, wanted: Rules, is_lowered: bool
) -> None:
    changes = [PackageChange(name, old, new, "other")]
    lock = make_lock(FORKS)
    assert rules.find_lowered_forks(wanted, Baseline({}, lock, lock), changes) == ({name: old} if is_lowered else {})


@pytest.mark.parametrize(
    ("level", "levels", "lock", "installed", "bound"),
    [("all", "", "a 1.2.3", "", ""), ("minor", "", "a 1.2.3", "", "<2"), ("patch", "", "a 1.2.3", "", "<1.3"),
     ("none", "", "a 1.2.3", "", ""),  # it is not named at all
     ("minor", "", "a 1", "", "<2"), ("patch", "", "a 1", "", "<1.1"), ("patch", "", "a 0.3.1", "", "<0.4"),
     ("minor", "", "a 0.3.1", "", "<1"), ("minor", "", "a 2026.1", "", "<2027"), ("minor", "", "a 2!1.4", "", "<2!2"),
     ("patch", "", "a 2!1.4", "", "<2!1.5"), ("minor", "", "a 2.0rc1", "", "<3"),
     ("patch", "", "a 1.4.post1", "", "<1.5"),
     ("minor", "", "a 1.2+local", "", "<2"),
     # By the newest that is known: a lock that a person has committed is never lowered.
     ("minor", "", "a 2.0", "1.2", "<3"), ("minor", "", "a 1.2", "2.0", "<3"),
     ("patch", "", "a 1.2, a 2.1", "1.2", "<2.2"),
     # Its own level is stronger than that of all.
     ("all", "a minor", "a 1.2", "", "<2"), ("patch", "a minor", "a 1.2", "", "<2"),
     ("none", "a patch", "a 1.2", "", "<1.3"),
     ("minor", "a all", "a 1.2", "", ""), ("all", "a none", "a 1.2", "1.2", "==1.2"),
     ("all", "b minor", "a 1.2", "", ""),
     ("all", "a none", "a 1.2, a 2.1", "", AS_LOCKED), ("all", "a none", "a 1.0@git:1111111", "", AS_LOCKED),
     # No rule orders these, or nothing bounds them.
     ("minor", "", "a odd", "", ""), ("patch", "", "a 1@virtual:.", "", ""),
     ("minor", "", "a 1.0@git:1111111", "", "<2")],
)  # fmt: skip
def test_law_23_bounds_follow_from_levels(
    level: Level, levels: str, lock: str, installed: str, bound: str | None
) -> None:
    table = Levels(dict([levels.split()]) if levels else {})  # type: ignore[arg-type]
    wanted = make_rules(VersionSettings(upgrade=level, upgrade_packages=table), [])
    bounds = rules.make_bounds(wanted, known({"a": installed} if installed else {}, lock))
    assert bounds == ({} if bound == "" else {"a": bound if bound is AS_LOCKED else (bound,)})


@pytest.mark.parametrize(
    ("wanted", "alone", "bound"),
    [("a 1.4", "", "!=1.4,<2"), ("a", "", "==1.2"), ("a 1.4", "b", "!=1.4,<2")],
)  # fmt: skip
def test_law_06_23_a_hold_and_a_level_bound_together(wanted: str, alone: str, bound: str) -> None:
    both = make_rules(VersionSettings(upgrade="minor"), make_holds(wanted), alone.split())
    assert rules.make_bounds(both, known({"a": "1.2"}, "a 1.2")) == {"a": (bound,)}


@pytest.mark.parametrize(
    ("level", "levels", "alone", "chosen"),
    [("all", {}, "", None), ("minor", {"a": "none"}, "", None), ("none", {}, "", ""),
     ("none", {"a": "patch"}, "", "a"),
     ("all", {}, "a", "a"), ("none", {}, "a", "a"), ("all", {"a": "none"}, "a b", "a b"),
     ("none", {"b": "all"}, "a", "a")],
)  # fmt: skip
def test_law_23_only_packages_that_may_move_are_named(
    level: Level, levels: Levels, alone: str, chosen: str | None
) -> None:
    wanted = make_rules(VersionSettings(upgrade=level, upgrade_packages=levels), [], alone.split())
    assert wanted.choose(["a", "b", "c"]) == (None if chosen is None else frozenset(chosen.split()))


@pytest.mark.parametrize(
    ("bounds", "words"),
    [({}, "lock --upgrade"), ({"b": "!=1.1,!=1.2"}, "lock -P a -P b!=1.1,!=1.2"),
     ({"b": "==1.0", "new": "!=1.1"}, "lock -P a -P b==1.0 -P new!=1.1"), ({"b": AS_LOCKED}, "lock -P a"),
     ({"b": "==1;m ==2;n"}, "lock -P a -P b==1;m -P b==2;n")],
)  # fmt: skip
def test_bounds_become_words_of_uv(bounds: Mapping[str, str | None], words: str) -> None:
    assert rules.lock_arguments(["b", "a"], split(bounds)) == words.split()


@pytest.mark.parametrize(
    ("bounds", "words"),
    [({}, "lock -P a"), ({"a": "<2"}, "lock -P a<2"), ({"b": "<2"}, "lock -P a"), ({"b": "!=1.1"}, "lock -P a"),
     ({"b": "==1.0"}, "lock -P a -P b==1.0"), ({"a": AS_LOCKED}, "lock"),
     ({"b": AS_LOCKED, "a": "!=1"}, "lock -P a!=1"), ({"b": ">=1.0"}, "lock -P a -P b>=1.0")],
)  # fmt: skip
def test_law_23_packages_that_a_person_names_move_alone(bounds: Mapping[str, str | None], words: str) -> None:
    assert rules.lock_arguments(["b", "a"], split(bounds), frozenset({"a"})) == words.split()


@pytest.mark.parametrize(
    ("held", "chosen", "is_between"),
    [({"1.1"}, "a 1.0", False),  # the live version
     ({"1.1"}, "a 1.2", False),  # newer than what is on hold
     ({"1.1"}, "a 0.9", True), ({"1.1"}, "a 1.1", True), ({"1.1", "1.3"}, "a 1.2", True),
     ({"1.1", "1.3"}, "a 1.4", False),
     ({"1.1"}, "a 1.0, a 0.9", True),  # a fork
     ({"1.1"}, "", False), ({OTHER_GIT}, "a 1.0@git:0000000", True),
     ({OTHER_GIT}, "a 1.0@git:1111111", False),  # no rule orders commits
    ],
)  # fmt: skip
def test_law_06_no_version_between_live_and_held_is_taken(held: set[str], chosen: str, is_between: bool) -> None:
    wanted = Rules(skipped={"a": frozenset(held)})
    assert rules.find_between(wanted, make_lock(chosen), known({"a": "1.0"})) == ["a"] * is_between
    assert rules.find_between(wanted, make_lock(chosen), known({})) == []


@pytest.mark.parametrize(
    ("held", "chosen", "is_between"),
    [("2.1", "a 1.0, a 2.0", False), ("2.1", "a 1.0, a 2.2", False), ("2.1", "a 1.0, a 2.1", True),
     ("2.1", "a 1.0, a 1.9", True), ("2.1", "a 2.0", False)],
)  # fmt: skip
def test_law_06_the_other_forks_of_the_live_lock_are_not_between(held: str, chosen: str, is_between: bool) -> None:
    before = Baseline({"a": "2.0"}, make_lock(FORKS), make_lock(""))
    assert rules.find_between(Rules(skipped={"a": frozenset({held})}), make_lock(chosen), before) == ["a"] * is_between


@pytest.mark.parametrize(
    ("held", "chosen", "is_between"),
    [({"6.0"}, "a 5.2.9", False), ({"6.0"}, "a 5.3", False),  # of the live series, major
     ({"6.1"}, "a 6.0", True),  # of the series that fails
     ({"5.3"}, "a 5.2.9", False), ({"5.3.1"}, "a 5.3", True), ({"5.2.9"}, "a 5.2.8", True),
     ({"6.0", "5.2.9"}, "a 5.2.8", True),  # tried once, in the place of 6.0
     ({"6.0", "5.2.9"}, "a 5.2.10", False)],
)  # fmt: skip
def test_law_22_a_hold_by_the_tests_keeps_no_newer_version_of_the_live_series_back(
    held: set[str], chosen: str, is_between: bool
) -> None:
    of_tests = [holds.VersionHold(name="a", version=version, by="tests", reason="") for version in held]
    wanted = make_rules(VersionSettings(), of_tests)
    assert rules.find_between(wanted, make_lock(chosen), known({"a": "5.2.1"})) == ["a"] * is_between
    more = [*of_tests, holds.VersionHold(name="a", version="7.0", by="rollback", reason="")]
    assert rules.find_between(make_rules(VersionSettings(), more), make_lock(chosen), known({"a": "5.2.1"})) == ["a"]


@pytest.mark.parametrize(
    ("wanted", "lock", "newest", "sentences"),
    [("alpha 1.1", "alpha 1.0, beta 1.0", "alpha 1.1, beta 1.1 > alpha",
      "alpha 1.1 is on hold by you; beta 1.1 needs alpha 1.1, which is on hold by you"),
     ("a, c", "a 1, b 1, c 1", "b 2 > c a, a 2, c 2",
      "b 2 needs a 2 and c 2, which are on hold by you; a 2 is on hold by you; c 2 is on hold by you"),
     ("a, c", "a 1 > b, b 1, c 1", "a 2, b 2, c 2",  # a needs an older b
      "a 2 is on hold by you; b 2 is blocked by a, on hold by you; c 2 is on hold by you"),
     ("a", "a 1, b 1", "a 2, b 2", "a 2 is on hold by you; b 2 is blocked by a, on hold by you"),
     ("", "a 1", "a 2", "a 2 was not chosen"),
     ("a", "a 1.0@git:1111111", "a 1.0@git:0000000", f"a {OTHER_GIT} is on hold by you"),
     ("a", "a 2, s 1@virtual:.", "a 1, s 2@virtual:., new 1", ""),
     ("a", "a 1, a 2", "a 1, a 2", "")],
)  # fmt: skip
def test_law_20_what_holds_keep_back_is_explained(wanted: str, lock: str, newest: str, sentences: str) -> None:
    followed = make_rules(VersionSettings(), make_holds(wanted))
    skipped = rules.explain_skipped(followed, make_lock(lock), make_lock(newest))
    assert "; ".join(each.sentence for each in skipped) == sentences


@pytest.mark.parametrize(
    ("level", "levels", "alone", "newest", "sentences"),
    [("minor", {}, "", "a 2.0", "a 2.0 is a major upgrade, and `upgrade` is `minor`"),
     ("patch", {}, "", "a 2.0", "a 2.0 is a major upgrade, and `upgrade` is `patch`"),
     ("patch", {}, "", "a 1.3", "a 1.3 is a minor upgrade, and `upgrade` is `patch`"),
     ("all", {"a": "patch"}, "", "a 1.3", "a 1.3 is a minor upgrade, and `upgrade_packages` is `patch`"),
     ("all", {"a": "none"}, "", "a 1.3", "a 1.3 stays: `upgrade_packages` is `none` for it"),
     ("none", {"b": "all"}, "", "a 1.3", "a 1.3 stays: `upgrade` is `none` for it"),
     ("minor", {}, "", "a 1.3", "a 1.3 was not chosen"), ("minor", {}, "b", "a 2.0", ""),
     ("minor", {}, "a", "a 2.0", "a 2.0 is a major upgrade, and `upgrade` is `minor`")],
)  # fmt: skip
def test_law_20_23_what_levels_keep_back_is_explained(
    level: Level, levels: Levels, alone: str, newest: str, sentences: str
) -> None:
    followed = make_rules(VersionSettings(upgrade=level, upgrade_packages=levels), [], alone.split())
    skipped = rules.explain_skipped(followed, make_lock("a 1.2, b 1.0"), make_lock(f"{newest}, b 1.0"))
    assert "; ".join(each.sentence for each in skipped) == sentences


CONFLICT = "error: No solution found\n  cause: Because only the following are available:\n  tea<=1.4\n  tea>2\n"


@pytest.mark.parametrize(
    ("wanted", "need", "advice"),
    [(Rules(), "tea>=1.4,<1.5.dev0, we can", "Raise `tea>=1.4,<1.5` in"),
     (Rules(), "tea==1.4 and", "Raise `tea==1.4` in"),
     (Rules(), "tea>=1.4, we can", "see `upgrade`"), (Rules(), "tea and", "see `upgrade`"),
     (Rules(level="patch"), "tea>=1.4,<1.5.dev0, we can", "see `upgrade`"),
     (Rules(constraints={"tea": "<1.5"}), "tea>=1.4,<1.5.dev0, we can", "see `upgrade`")],
)  # fmt: skip
def test_law_11_the_bound_that_another_python_needs_raised_is_named(wanted: Rules, need: str, advice: str) -> None:
    error = BuildError("No versions fit.", "Look.", output=f"{CONFLICT} and your project depends on {need} conclude")
    wanted = wanted.without([("tea", "1.4", "does not build here")])
    explained = resolve._explain_unfit(wanted, error)
    assert (explained.message, advice in explained.advice) == (
        "No other version fits: tea 1.4 does not build here. No versions fit.", True,
    )  # fmt: skip


YOUNG, OLD = "2026-11-20T10:00:00Z", "2026-11-01T10:00:00Z"


@pytest.mark.parametrize(
    ("wanted", "lock", "newest", "sentences"),
    [(Rules(unfit={"a": {"1.1": "has no file for this host"}}), "a 1.0", "a 1.1", "a 1.1 has no file for this host"),
     (Rules(unfit={"a": {"1.1": "does not build here"}}), "a 1.0", "a 1.2", "a 1.2 was not chosen"),
     (Rules(cutoff=NOW), "a 1.0", "a 1.1", "a 1.1 was not chosen"),  # the index has no times
     (Rules(constraints={"a": "<1.1"}), "a 1.0", "a 1.1", "a 1.1 is kept back by `constraints`: a<1.1"),
     (Rules(floors={"b": "1.1"}), "a 1.0, b 1.1", "a 1.1 > b, b 1.0", "a 1.1 would lower b 1.1"),
     (Rules(floors={"b": "1.1", "c": "2"}), "a 1.0, b 1.1, c 2", "a 1.1 > d, b 1.0, c 1",
      "a 1.1 would lower b 1.1, c 2"),
     (Rules(floors={"b": "1.1"}), "a 1.0, b 1.1", "a 1.1, b 1.2", "a 1.1 was not chosen; b 1.2 was not chosen")],
)  # fmt: skip
def test_law_20_23_what_the_index_keeps_back_is_explained(
    wanted: Rules, lock: str, newest: str, sentences: str
) -> None:
    skipped = rules.explain_skipped(wanted, make_lock(lock), make_lock(newest))
    assert "; ".join(each.sentence for each in skipped) == sentences


@pytest.mark.parametrize(("uploaded", "is_young"), [(YOUNG, True), (OLD, False), ("", False), ("odd", False)])
def test_law_23_what_is_too_new_is_called_that(uploaded: str, is_young: bool) -> None:
    (package,) = make_lock("a 1.1").packages
    newest = Lock((msgspec.structs.replace(package, upload_time=uploaded),), "")
    cutoff = datetime(2026, 11, 10, tzinfo=UTC)
    (skipped,) = rules.explain_skipped(Rules(cutoff=cutoff), make_lock("a 1.0"), newest)
    assert skipped.reason.startswith("is too new: it was uploaded on 2026-11-20 10:00" if is_young else "was not")


@pytest.mark.parametrize(
    ("lowered", "installed", "skipped", "kept_at"),
    [({"a": "1.0"}, {"a": "1.1"}, {"a": frozenset({"1.1"})}, {"a": "1.0"}), ({"a": "1.0"}, {"a": "1.0"}, {}, {}),
     ({"a": "1.0"}, {}, {}, {}), ({}, {"a": "1.1"}, {}, {})],
)  # fmt: skip
def test_law_23_what_a_person_lowers_is_held(
    lowered: dict[str, str], installed: dict[str, str], skipped: object, kept_at: object
) -> None:
    followed = rules.follow_people(Rules(holders={"b": "by you"}), lowered, installed)
    assert (followed.skipped, followed.lowered, followed.holders["b"]) == (skipped, kept_at, "by you")


BACKEND = "\n  cause: The build backend returned an error"
NO_BACKEND = (
    "\n  cause: Failed to resolve requirements from `x`\n  cause: No solution found when resolving: `maturin>=1`"
)
NO_FILE = """\
error: Distribution `tea==1.2 @ registry+../wheels` can't be installed because it doesn't have a source distribution
hint: You're on Linux (`manylinux_2_36_x86_64`), but `tea` (v1.2) only has wheels for the following platform: `any`; see
"""
NOT_GIVEN = "has a file that its index does not give (403)"
REFUSED = "HTTP status client error (403 Forbidden) for url"


@pytest.mark.parametrize(
    ("output", "unfit"),
    [(NO_FILE, [("tea", "1.2", "has no file for this host, only for `any`")]), ("error: no solution", []),
     ("error: Distribution `a-b==1!2.0+x @ registry+w` can't be installed",
      [("a-b", "1!2.0+x", "has no file for this host")]),
     (f"Failed to build `tea==1.2`{BACKEND}", [("tea", "1.2", "does not build here")]),
     (f"Failed to download and build `tea==1.2`{BACKEND}", [("tea", "1.2", "does not build here")]),
     ("Failed to download and build `tea==1.2`\n  cause: Failed to fetch", []),  # the network
     (f"Failed to download and build `tea==1.2`{NO_BACKEND}", [("tea", "1.2", "does not build here")]),
     (f"Failed to build `tea @ git+file:///srv/tea@1a2b`{BACKEND}", []),
     (f"Failed to build `tea @ file:///srv/tea`{BACKEND}", []),
     ("Failed to download `tea==1.2`\n  cause: Hash mismatch for `tea==1.2`", [("tea", "1.2", "does not build here")]),
     ("Failed to download `tea==1.2`\n  cause: The wheel is invalid: no", [("tea", "1.2", "does not build here")]),
     ("Failed to install: tea-1.2-py3-none-any.whl (tea==1.2)\n  cause: The wheel is invalid: bad script",
      [("tea", "1.2", "does not build here")]),
     ("Failed to download `tea==1.2`\n  cause: HTTP status server error (503 No) for url (a/tea-1.2.tar.gz)", []),
     (f"cause: {REFUSED} (https://a/files/big_tea-1.2-py3-none-any.whl.metadata#sha256=1)",
      [("big-tea", "1.2", NOT_GIVEN)]),
     (f"cause: {REFUSED} (https://a/tea-1.2.tar.gz)", [("tea", "1.2", NOT_GIVEN)]),
     (f"cause: {REFUSED} (https://a/simple/tea/)", [])],
)  # fmt: skip
def test_law_23_uv_names_what_cannot_be_installed(output: str, unfit: object) -> None:
    assert find_unfit(output) == unfit


@pytest.mark.parametrize(
    ("output", "unbuilt"),
    [(f"Failed to build `tea==1.2`{BACKEND}", ["tea"]), (f"Failed to build `tea==1.1`{BACKEND}", []),
     (f"Failed to build `cup @ git+https://forge/cup@1a2b`{BACKEND}", ["cup"]),
     ("Failed to download and build `cup @ git+https://forge/cup@1a2b`\n  cause: Git operation failed", []),
     (f"Failed to build `tea @ git+https://forge/tea@1a2b`{BACKEND}", [])],
)  # fmt: skip
def test_law_23_new_versions_and_commits_that_do_not_build_are_known(output: str, unbuilt: list[str]) -> None:
    changes = compare_versions({"tea": "1.1", "cup": "1 (0f0f0f0)"}, {"tea": "1.2", "cup": "1 (1a2b3c4)"}, frozenset())
    assert [name for name, _ in find_unbuilt(changes, output)] == unbuilt


BEFORE = """version = 1

[options]
exclude-newer = "2026-01-01"

[[package]]
name = "a"
version = "1.1"
source = { registry = "https://own/simple" }

[[package]]
name = "b"
version = "1.0"
source = { registry = "https://own/simple" }
"""
PLACE = 'source = { registry = "/tmp/lost-1" }'


@pytest.mark.parametrize(
    ("text", "expected"),
    [(BEFORE, BEFORE), (BEFORE.replace("2026-01-01", "2026-02-02"), BEFORE),
     (BEFORE.replace('source = { registry = "https://own/simple" }', PLACE), BEFORE),
     (BEFORE.replace('[options]\nexclude-newer = "2026-01-01"\n\n', ""), BEFORE),
     (BEFORE.replace('[options]\n', '[options]\nexclude-newer-package = { a = false }\n'), BEFORE),
     (BEFORE.replace('"1.0"', '"2.0"'), BEFORE.replace('"1.0"', '"2.0"'))],
)  # fmt: skip
def test_entries_and_options_of_a_lock_are_put_back(text: str, expected: str) -> None:
    assert put_back(text, [BEFORE], "lost-1") == expected
    without = BEFORE.replace('[options]\nexclude-newer = "2026-01-01"\n\n', "")
    assert put_back(BEFORE, [without], "lost-1") == without


@pytest.mark.parametrize(
    ("text", "bounds"),
    [("django<6\n# a comment\n\nDjango != 5.1 # x\n", {"django": "<6,!=5.1"}), ("", {}),
     ("a-B_c~=1.0", {"a-b-c": "~=1.0"}),
     ("django", "Line 1"), ("a<2\n-c other.txt", "Line 2"), ("a<2; python_version<'3'", "Line 1"),
     ("a @ https://example.org/a.whl", "Line 1"), (None, "cannot be read")],
)  # fmt: skip
def test_law_28_constraints_are_bounds_or_are_refused(tmp_path: Path, text: str | None, bounds: object) -> None:
    if text is not None:
        (tmp_path / "bounds.txt").write_text(text)
    for name, project in (("bounds.txt", tmp_path), (f"../..{tmp_path}/bounds.txt", Path("/shadow"))):
        site = make_site(Settings(versions=VersionSettings(constraints=name)))
        if isinstance(bounds, str):
            with pytest.raises(PreflightError, match=bounds):
                read_constraints(site, project)
        else:
            assert read_constraints(site, project) == bounds
    assert read_constraints(make_site(Settings()), tmp_path) == {}


def test_law_23_holds_of_the_index_are_those_of_the_last_night(paths: Paths) -> None:
    mine, *others = make_holds("a 1.1, b 1.1, c 1.1")
    index, commit = (msgspec.structs.replace(hold, by=by) for hold, by in zip(others, ("index", "commit"), strict=True))
    write_holds(paths, [mine, index, commit])
    assert isinstance(index, VersionHold)
    again = msgspec.structs.replace(index, reason="another", since=NOW)
    holds.replace_index_holds(paths, [again])
    assert read_holds(paths) == (mine, commit, msgspec.structs.replace(again, since=None))
    holds.replace_index_holds(paths, [])
    assert read_holds(paths) == (mine, commit)


@pytest.mark.parametrize(
    ("hold", "label", "row", "word"),
    [(make_holds("a 1.1")[0], "a 1.1", HoldRow("version", "a", "1.1", "", "person", None, None), "a"),
     (make_holds("a", "setting")[0], "a", HoldRow("package", "a", None, "", "setting", None, None), "a"),
     (COMMIT, "commit 3f2a9c1b2d4e", HoldRow("commit", None, HASH[:12], "it failed", "rollback", None, None, "key"),
      HASH[:12]),
     (PAUSE, "everything", HoldRow("everything", None, None, "holidays", "person", NOW, None), "")],
)  # fmt: skip
def test_a_hold_has_a_label_and_a_row(hold: Hold, label: str, row: HoldRow, word: str) -> None:
    assert (hold.label, holds.describe_hold(hold), row.word) == (label, row, word)
    assert row.label == ("" if hold is PAUSE else label)


@pytest.mark.parametrize(
    ("names", "freed", "unknown"),
    [(["Django_Tea"], ["django-tea 1.1"], []), (["tea"], [], ["tea"]), (["commit"], ["commit"], []),
     ([HASH[:7].upper()], ["commit 3f2a9c1b2d4e"], []), ([HASH], ["commit 3f2a9c1b2d4e"], []),
     ([HASH[:6]], [], [HASH[:6]]), ([HASH[1:9]], [], [HASH[1:9]]), (["everything"], [], ["everything"]),
     (["commit", "django-tea"], ["django-tea 1.1", "commit"], []), (["commit", "tea"], [], ["tea"])],
)  # fmt: skip
def test_unhold_frees_what_is_named(paths: Paths, names: list[str], freed: list[str], unknown: list[str]) -> None:
    write_holds(paths, before := [*make_holds("django-tea 1.1, commit"), COMMIT, PAUSE])
    assert holds.remove_holds(paths, names)[1] == unknown
    assert [hold.label for hold in before if hold not in read_holds(paths)] == freed
    assert PAUSE not in holds.remove_all_holds(paths)
    assert read_holds(paths) == (PAUSE,)


@pytest.mark.parametrize(
    ("held", "before", "live", "is_overtaken"),
    [("1.1", "1.0", "1.1", True), ("1.1", "1.0", "1.2", True), ("1.1", "1.0", "1.0", False), ("1.1", "1.0", "", False),
     (GIT, OTHER_GIT, OTHER_GIT, False), (GIT, OTHER_GIT, "1.0 (1111111)", True),
     (GIT, OTHER_GIT, "", False), (GIT, "", OTHER_GIT, False), ("", "8", "9", False)],
)  # fmt: skip
def test_law_06_a_newer_version_or_commit_overtakes_a_hold(
    held: str, before: str, live: str, is_overtaken: bool
) -> None:
    hold, installed = make_holds(f"a {held}".strip())[0], {"a": live} if live else {}
    overtaken = holds.find_overtaken(
        [hold, PAUSE, COMMIT], {"a": before} if before else {}, installed, has_commit=False
    )
    assert overtaken == [hold] * is_overtaken
    assert holds.find_overtaken([PAUSE, COMMIT], {}, installed, has_commit=True) == [COMMIT]


@pytest.mark.parametrize(
    ("hold", "days", "message"),
    [(make_holds("a 1.1", "rollback")[0], 8, "a 1.1 has been on hold for 8 days."),
     (make_holds("a 1.1", "rollback")[0], 7, ""), (make_holds("a")[0], 80, ""),
     (COMMIT, 8, "commit 3f2a9c1b2d4e has been on hold for 8 days."),
     (PAUSE, 8, "Updates have been paused for 8 days."), (PAUSE, 7, "")],
)  # fmt: skip
def test_law_20_old_holds_are_problems(monkeypatch: pytest.MonkeyPatch, hold: Hold, days: int, message: str) -> None:
    monkeypatch.setattr(holds, "now", lambda: NOW)
    hold = msgspec.structs.replace(hold, since=NOW - timedelta(days=days))
    assert [problem.message for problem in holds.find_old_holds([hold], {"a"})] == [message] * bool(message)
    assert not message or bool(holds.find_old_holds([hold], {})) == (not message.startswith("a "))


@pytest.mark.parametrize(
    ("stored", "hold"),
    [({"name": "a", "version": "1.1"}, make_holds("a 1.1", "rollback", "it failed")[0]),
     ({"name": "a", "version": "*", "code": ""}, make_holds("a", "rollback", "it failed")[0]),
     ({"name": "commit", "version": HASH[:12], "code": "key"}, COMMIT)],
)  # fmt: skip
def test_law_06_holds_of_an_earlier_version_stay(paths: Paths, stored: dict[str, Any], hold: Hold) -> None:
    entry = {**stored, "by": "rollback", "reason": "it failed", "since": NOW}
    paths.holds.write_bytes(msgspec.json.encode({"holds": [entry]}))
    paths.pause.write_bytes(msgspec.json.encode({"since": NOW, "reason": "holidays"}))
    before = (msgspec.structs.replace(hold, since=NOW), PAUSE)
    assert read_holds(paths) == before
    holds.tidy_holds(paths, Run("now", UPDATE))
    is_converted = b'"kind"' in paths.holds.read_bytes() and not paths.pause.exists()
    assert (read_holds(paths), is_converted) == (before, True)


@pytest.mark.parametrize("kind", [PackageHold, Pause])
def test_a_hold_ends_by_itself_and_is_replaced_by_another(paths: Paths, kind: type[Hold]) -> None:
    for seconds, kept in ((-1, 0), (3600, 1), (None, 1)):
        holds.hold_package(paths, "A", seconds) if kind is PackageHold else holds.pause_updates(paths, seconds, "")
        assert len(read_holds(paths)) == kept
    (hold,) = read_holds(paths)
    assert (type(hold), hold.until, hold.since is not None and hold.since <= now()) == (kind, None, True)
    assert (holds.resume_updates(paths), holds.resume_updates(paths)) == (kind is Pause, False)


@pytest.mark.parametrize(
    ("installed", "unfit", "bounds"),
    [
        ("1.0", {}, "==1.0"),
        ("1.1", {}, "==1.1"),  # live, and not committed
        ("0.9", {}, "==1.0"),  # a commit has raised it
        ("1.0", {"a": {"1.0": "no file"}}, "!=1.0,<2"),
    ],
)
def test_law_11_versions_stay_on_another_python(
    installed: str, unfit: Mapping[str, Mapping[str, str]], bounds: str
) -> None:
    wanted = Rules("minor", unfit=unfit)
    stays = resolve.choose_kept_versions(wanted, {"a": installed}, make_lock("a 1.0"))
    wanted = msgspec.structs.replace(wanted, stays=stays)
    assert rules.make_bounds(wanted, known({"a": installed}, "a 1.0")) == {"a": (bounds,)}


@pytest.mark.parametrize(
    ("wanted", "committed", "stays"),
    [(Rules(lowered={"a": "1.0"}), "a 1.0", "1.0"),  # a person wants it
     (Rules(skipped={"a": frozenset({"1.2"})}), "a 1.2", "1.1"),  # another host has taken it
     (Rules(), "a 1.2", "1.2"), (Rules(), "a 1.0", "1.1")],
)  # fmt: skip
def test_law_11_23_another_python_undoes_no_wish_of_a_person(wanted: Rules, committed: str, stays: str) -> None:
    assert resolve.choose_kept_versions(wanted, {"a": "1.1"}, make_lock(committed)) == {"a": stays}


ELF = b"\x7fELF\0#!/usr/bin/python\0"


def test_law_23_a_wheel_made_from_a_venv_has_programs_and_modes_as_they_were(tmp_path: Path) -> None:
    packages = tmp_path / "venv/lib/python3.11/site-packages"
    files = {
        "tea/__init__.py": (b"LEAF = 1\n", 0o644), "tea/brew": (ELF, 0o755), "../../../bin/brew": (ELF, 0o755),
        "../../../bin/pour": (b"#!/srv/venv/bin/python3\nimport tea\n", 0o755), "../../../bin/made": (b"x", 0o755),
        "../../../share/tea.txt": (b"tea", 0o644), "tea-1.0.dist-info/METADATA": (b"Name: tea\n", 0o644),
        "tea-1.0.dist-info/entry_points.txt": (b"[console_scripts]\nmade = tea:made\n", 0o644),
        "tea-1.0.dist-info/direct_url.json": (b"{}", 0o644),
    }  # fmt: skip
    for name, (data, mode) in files.items():
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    (packages / "tea-1.0.dist-info/RECORD").write_text("".join(f"{name},,\n" for name in files))
    (tmp_path / "index").mkdir()
    assert not pack_wheel(tmp_path / "venv", "tea", "1.1", tmp_path / "index")
    assert pack_wheel(tmp_path / "venv", "tea", "1.0", tmp_path / "index")
    with zipfile.ZipFile(tmp_path / "index/tea/tea-1.0-py3-none-any.whl") as wheel:
        found = {entry.filename: (wheel.read(entry), entry.external_attr >> 16 & 0o777) for entry in wheel.infolist()}
    assert found.pop("tea-1.0.dist-info/RECORD")[0] == b""
    assert found == {
        "tea/__init__.py": (b"LEAF = 1\n", 0o644), "tea/brew": (ELF, 0o755),
        "tea-1.0.data/scripts/brew": (ELF, 0o755),
        "tea-1.0.data/scripts/pour": (b"#!python\nimport tea\n", 0o755),
        "tea-1.0.data/data/share/tea.txt": (b"tea", 0o644), "tea-1.0.dist-info/METADATA": (b"Name: tea\n", 0o644),
        "tea-1.0.dist-info/entry_points.txt": (b"[console_scripts]\nmade = tea:made\n", 0o644),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("P2W3D", NOW - timedelta(days=17)),
        ("PT36H", NOW - timedelta(hours=36)),
        ("P1DT1M0.5S", NOW - timedelta(days=1, minutes=1)),
        ("P1000000D", datetime.min.replace(tzinfo=UTC)),
        ("-P1D", None),
    ],
)
def test_law_23_the_age_that_uv_writes_into_a_lock_is_read_in_each_form(span: str, expected: datetime | None) -> None:
    options = f'[options]\nexclude-newer = "0001-01-01T00:00:00Z" # no effect\nexclude-newer-span = "{span}"\n'
    assert read_cutoff(options, NOW) == expected


@pytest.mark.parametrize(
    ("starts_as", "python", "version", "reason"),
    [
        ("3.11.2", "/v/bin/python", "3.11.2", ""),
        ("3.11.4", "/v/bin/python", "3.11.4", "Python 3.11.2 was replaced by 3.11.4; built on 3.11.4."),
        ("", "/usr/bin/python3", "3.13.5", "Python 3.11.2 was removed; built on 3.13.5."),
        ("3.11.2", "/opt/python", "3.13.5", "Python 3.13.5 is asked for, in the place of 3.11.2; built on 3.13.5."),
        (
            "3.11.2",
            "/opt/p",
            "3.11.2",
            "Python 3.11.2 of `/opt/p` is asked for, in the place of 3.11.2; built on 3.11.2.",
        ),
    ],
)
def test_law_11_another_python_has_a_reason(starts_as: str, python: str, version: str, reason: str) -> None:
    key = Key("code", "lock", "3.11.2")
    live = Release(Path("/v").parent, Manifest("20261120T000000Z", NOW, "built", key, "x"), State("good", 1))
    venv = LiveVenv(live.venv, make_lock(""), starts_as, {})
    plan = Plan(make_lock(""), python.replace("/v", str(live.venv)), version)
    assert resolve.explain_python(live, venv, plan) == reason
