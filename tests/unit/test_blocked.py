"""What blocks a version, by rules and by the words of uv; and which versions fix vulnerabilities. Read as tables."""

import json
from collections.abc import Mapping, Sequence

import pytest

from releaser.packages.audit import Advisory, choose_fixes, read_report
from releaser.packages.blocked import Blocked, Facts, explain, read_answer, read_unfit
from releaser.packages.lock import Package, Source
from releaser.packages.rules import Baseline, Rules, Skipped, find_rule, make_bounds, make_rules
from releaser.site.settings import Level, Levels, VersionSettings
from tests.unit.samples import NOW, make_holds, make_lock

LOCK = make_lock("a 1.0, b 1.0, shop 1@virtual:.")


def make_facts(
    *, holds: str = "", by: str = "person", levels: Mapping[str, Level] = {}, constraints: Mapping[str, str] = {}
) -> Facts:
    """Return what is known before uv is asked."""
    settings, wanted = VersionSettings(upgrade_packages=Levels(dict(levels))), tuple(make_holds(holds, by, f"by {by}"))
    return Facts(make_rules(settings, wanted, constraints=constraints), wanted, LOCK)


@pytest.mark.parametrize(
    ("facts", "version", "by", "words"),
    [({"holds": "b"}, "2.0", "hold", "`releaser unhold b`"),
     ({"holds": "b", "by": "setting"}, "2.0", "hold", "out of `ignore`"),
     ({"holds": "b 1.1"}, "1.1", "hold", "`releaser unhold b`"),
     ({"holds": "b 1.1"}, "1.0.5", "hold", "`releaser unhold b`"),
     ({"holds": "b 1.1"}, "1.2", None, ""),
     ({"holds": "a"}, "1.2", None, ""),
     ({"levels": {"b": "minor"}}, "2.0", "level", '"b" = "all"'),
     ({"levels": {"b": "patch", "c": "none"}}, "1.1", "level", '"b" = "minor", "c" = "none"'),
     ({"levels": {"b": "minor"}}, "1.1", None, ""),
     ({"levels": {"b": "security"}}, "1.0.1", "level", '"b" = "patch"'),
     ({"constraints": {"b": "<2"}}, "2.0", "constraint", "Change that file"),
     ({"constraints": {"b": "<2"}}, "1.9", None, "")],
)  # fmt: skip
def test_law_23_rules_block(facts: Mapping[str, object], version: str, by: str, words: str) -> None:
    known = make_facts(**facts)  # type: ignore[arg-type]
    skipped = find_rule(known.rules, LOCK, Package("b", version, Source("registry", "")))
    assert (skipped.by if skipped else None) == by
    assert words in (explain(known, skipped).allow if skipped else "")


def test_law_23_a_hold_on_another_package_is_named() -> None:
    skipped = Skipped("b", "2.0", "is blocked by a, on hold by you", "hold", "a")
    assert explain(make_facts(holds="a"), skipped) == Blocked("2.0", "hold", skipped.reason, "`releaser unhold a`")


@pytest.mark.parametrize(
    ("output", "by", "reason"),
    [("Because a==1.0 depends on b>=1,<2 and your project depends on b==2.0, we can conclude", "requirement", "a 1.0"),
     ("Because all versions of a depend on b<2 and your project", "requirement", "a 1.0 requires: `b<2`"),
     ("Because shop depends on b<2 and your", "requirement", "pyproject.toml requires: `b<2`"),
     ("Because your project depends on b>=1,<2.dev0 and b==2.0, we can", "requirement", "pyproject.toml requires"),
     ("your project depends on\n   b{python_full_version >= '3.12'}==1.0 and b", "requirement", "requires: `b==1.0`"),
     ("and b==2.0 depends on Python>=3.12, we can conclude", "python", "depends on Python>=3.12"),
     ("Because b==2.0 depends on a>=2 and a==1.0", "requirement", "needs a>=2"),
     ("  cause: Because b==2.0 was yanked (reason: bad build) and you require b", "yanked", "was yanked (reason"),
     ("Because b==2.0 has no wheels with a matching Python ABI tag (e.g., `cp314`) and you", "file", "Python ABI tag"),
     ("  cause: something new", "uv", "something new")],
)  # fmt: skip
def test_law_23_words_of_uv_say_what_blocks(output: str, by: str, reason: str) -> None:
    blocked = read_answer(make_facts(), "b", "2.0", output)
    assert (blocked.by, reason in blocked.reason) == (by, True), blocked


def test_law_23_uv_names_all_versions_that_cannot_be_installed() -> None:
    output = """Because only a<2.1a1 is available and a==1.3 was yanked (reason: bad), we can conclude that all of:
      a>=1.3,<1.4
  cannot be used. And because a==1.4 has no wheels with a matching platform tag (e.g., `x`) and only a is available.
  Because Python (3.11) does not satisfy Python>=3.12 and all of:
      a>=6.0a1,<=6.0
      a>=6.0.2
  depend on Python>=3.12, we can conclude"""
    unfit = [(blocked.version, blocked.by) for blocked in read_unfit("a", output)]
    assert unfit == [("1.3", "yanked"), ("1.4", "file"), (">=6.0a1,<=6.0", "python"), (">=6.0.2", "python")]


@pytest.mark.parametrize(
    ("live", "fixes", "lowest"),
    [("4.2.10", [["4.2.11"]], "4.2.11"), ("4.2.10", [["3.2.25", "4.2.11", "5.0.3"]], "4.2.11"),
     ("4.2.10", [["4.2.11"], ["4.2.13"]], "4.2.13"), ("4.2.10", [["4.2.31", "5.2.3"], ["5.2.1"]], "5.2.3"),
     ("4.2.10", [["4.2.11"], []], "4.2.11"), ("4.2.10", [[]], None), ("4.2.10", [["4.1.0"]], None),
     ("1.0", [["1.1", "odd"], ["2.0"]], "2.0")],
)  # fmt: skip
def test_law_25_the_lowest_version_that_fixes_all(live: str, fixes: Sequence[Sequence[str]], lowest: str) -> None:
    advisories = [Advisory("a", live, str(place), fixes=tuple(versions)) for place, versions in enumerate(fixes)]
    assert choose_fixes(advisories) == ({"a": lowest} if lowest else {})


FOUND = {"dependency": {"name": "a", "version": "1"}, "id": "X-1", "fix_versions": ["1.10", "1.9"], "link": None,
         "summary": "s", "aliases": []}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "found", "schema", "unknown"),
    [(2, [], "preview", ""), (2, [FOUND], "preview", ""), (1, [], "preview", "1 of 2 packages"),
     (2, [], "v2", "another form"), (2, [{"id": 5}], "preview", "another form"),
     (2, [{**FOUND, "id": 5}], "preview", "another form")],
)  # fmt: skip
def test_law_25_an_answer_in_another_form_is_no_answer(asked: int, found: object, schema: str, unknown: str) -> None:
    number = len(found) if isinstance(found, list) else 0
    summary = {"audited_packages": asked, "vulnerabilities": number}
    text = json.dumps({"schema": {"version": schema}, "summary": summary, "vulnerabilities": found})
    advisories, reason = read_report(text, {"a": "1", "b": "2"})
    assert (unknown in reason, bool(reason)) == (True, bool(unknown)), reason
    assert [each.fixes for each in advisories if not reason] == ([("1.9", "1.10")] if found and not reason else [])


@pytest.mark.parametrize(
    ("rules", "chosen", "fix"),
    [(Rules("security", fixes={"a": "1.1"}), {"a"}, "==1.1"), (Rules("security"), set(), ""),
     (Rules("none", fixes={"a": "1.1"}), set(), ""),
     (Rules("none", {"a": "security"}, fixes={"a": "1.1"}), {"a"}, "==1.1"),
     (Rules("all", fixes={"a": "1.1"}), None, ""),
     (Rules("all", {"a": "security"}, fixes={"a": "1.1"}), None, "==1.1"),
     (Rules("security", fixes={"a": "1.1"}, skipped={"a": frozenset({"1.1"})}), {"a"}, ">1.1,==1.1.*"),
     (Rules("security", alone=frozenset({"b"})), {"b"}, "")],
)  # fmt: skip
def test_law_25_which_packages_a_security_update_moves(rules: Rules, chosen: set[str] | None, fix: str) -> None:
    assert (rules.choose(["a", "b"]), rules.bound_fix("a")) == (chosen, fix)


@pytest.mark.parametrize(
    ("rules", "bounds"),
    [(Rules("all", fixes={"a": "1.1"}), {}),
     (Rules("all", fixes={"a": "1.1"}, cutoff=NOW), {"a": ("==1.1",)}),
     (Rules("patch", fixes={"a": "1.1"}, cutoff=NOW), {"a": ("<1.1",), "b": ("<1.1",)}),
     (Rules("security", fixes={"a": "1.1"}), {"a": ("==1.1",)}),
     (Rules("security", fixes={"a": "1.1"}, kept=frozenset({"a"})), {"a": ("==1.0",)}),
     (Rules("security", fixes={"a": "1.1"}, skipped={"a": frozenset({"1.1"})}), {"a": ("!=1.1,>1.1,==1.1.*",)}),
     (Rules("all", {"a": "security"}), {"a": ("==1.0",)}),
     (Rules("none", fixes={"a": "1.1"}, cutoff=NOW), {})],
)  # fmt: skip
def test_law_25_a_fix_is_a_bound(rules: Rules, bounds: object) -> None:
    assert make_bounds(rules, Baseline({"a": "1.0", "b": "1.0"}, LOCK, LOCK)) == bounds
