"""Why a newer version is not installed: one table of all reasons, each with what a person can do about it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from releaser.answers import Blocker
from releaser.locks.blocks import Block
from releaser.locks.rules import Limit
from releaser.locks.versions import Age, Upgrade, Uploads
from releaser.resolution.foreseen import Foreseen
from releaser.resolution.newest import AvailableVersions, Demand, find_line
from releaser.resolution.outdated import KnownVersions
from tests.support.rules import make_rules

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
SINCE = "2026-11-01T00:00:00+00:00"
PYPROJECT = """\
[project]
dependencies = [
    "alpha <2 ; python_version > '3'", 'beta',
]

[tool.uv]
constraint-dependencies = ["Alpha!=2.0.0"]
"""
UNHOLD = "`releaser unhold alpha`"


def newest(version: str, *, fitting: str | None = "", marker: str = "") -> AvailableVersions:
    return AvailableVersions(newest=version, fitting=version if fitting == "" else fitting, times={}, marker=marker)


def known(tmp_path: Path, **facts: Any) -> KnownVersions:
    """Return the facts of a site with alpha 1.0.0 and boss 1.0.0, with other ones in place of them."""
    project = tmp_path / "pyproject.toml"
    project.write_text(PYPROJECT, encoding="utf-8")
    found: Mapping[str, Any] = {
        "rules": make_rules(locked={"alpha": "1.0.0", "boss": "1.0.0"}, live={"alpha": "1.0.0", "boss": "1.0.0"}),
        "uploads": Uploads(times={("alpha", "2.0.0"): NOW - timedelta(days=1)}),
        "python": "3.11.4",
        "newer_python": None,
        "locked": {"alpha": "1.0.0", "boss": "1.0.0"},
        "available": {"alpha": newest("2.0.0"), "boss": newest("1.0.0")},
        "foreseen": Foreseen(versions={"alpha": "1.0.0", "boss": "1.0.0"}),
        "takes": "",
        "demands": (),
        "project": project,
    }
    return KnownVersions(**{**found, **facts})


def rules(**given: Any) -> dict[str, Any]:
    locked = {"alpha": "1.0.0", "boss": "1.0.0"}
    return {"rules": make_rules(locked=locked, live=locked, **given)}


def demand(asker: str, text: str = "alpha<2") -> dict[str, Any]:
    return {"demands": (Demand(asker=asker, requirement=Requirement(text)),)}


def failed(by: str) -> dict[str, Any]:
    return rules(
        failed=(Block(name="alpha", version="2.0.0", by=by, reason="it failed", since=SINCE, tests=("test_basket",)),)
    )


REACHED = {"alpha": "2.0.0", "boss": "1.0.0"}
CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str, str, str]]]] = {
    "nothing": ({"foreseen": Foreseen(versions=REACHED)}, []),
    "the project": (
        demand("the project", "alpha<2; python_version>'3'"),
        [
            (
                "constraint",
                "the project requires alpha<2",
                "",
                "change it in pyproject.toml, line 3, run `uv lock`, and commit both",
            )
        ],
    ),
    "uv's constraints": (
        demand("the project (constraint-dependencies)", "alpha!=2.0.0"),
        [
            (
                "constraint",
                "the project (constraint-dependencies) requires alpha!=2.0.0",
                "",
                "change it in pyproject.toml, line 7, run `uv lock`, and commit both",
            )
        ],
    ),
    "a package that can be upgraded": (
        {**demand("boss 1.0.0"), "available": {"alpha": newest("2.0.0"), "boss": newest("1.1.0")}},
        [("constraint", "boss 1.0.0 requires alpha<2", "", "a newer boss: `releaser why boss`")],
    ),
    "a package that is at its newest": (
        demand("boss 1.0.0"),
        [
            (
                "constraint",
                "boss 1.0.0 requires alpha<2",
                "",
                "no newer boss exists; `override-dependencies` of [tool.uv] overrules it",
            )
        ],
    ),
    "all requirements": (
        {},
        [
            (
                "constraint",
                "the requirements of the project and its packages, taken together, allow 1.0.0 at most",
                "",
                "`uv lock --dry-run --upgrade-package alpha==2.0.0` names the conflict",
            )
        ],
    ),
    "a time limit of uv": (
        {"uploads": Uploads(times={("alpha", "2.0.0"): NOW}, limit=NOW)},
        [
            (
                "constraint",
                "`exclude-newer` of uv excludes files uploaded after 2026-11-20 06:00 UTC",
                "",
                "change that setting",
            )
        ],
    ),
    "the file of constraints": (
        rules(limits={"alpha": Limit(specifier="<2", source="limits.txt:3")}),
        [("constraint", "constrained by limits.txt:3: alpha<2", "", "change that line, and commit it")],
    ),
    "a newer Python, which is not installed": (
        {"available": {"alpha": newest("2.0.0", fitting=None, marker="python_full_version >= '3.13'")}},
        [
            (
                "python",
                "2.0.0 needs a newer Python than 3.11.4",
                "",
                "install Python 3.13, then `releaser rebuild --python 3.13`",
            )
        ],
    ),
    "a newer Python, which is installed": (
        {
            "newer_python": "3.13.1",
            "available": {"alpha": newest("2.0.0", fitting="1.0.0", marker="python_full_version >= '3.13'")},
        },
        [("python", "2.0.0 needs a newer Python than 3.11.4", "", "`releaser rebuild --python 3.13.1`")],
    ),
    "its age": (
        rules(age=Age(least=3 * 86400, now=NOW)),
        [
            (
                "age",
                "it is 1 day old, and updates skip it until 2026-11-22 06:00 UTC",
                "",
                'set `min_age_packages = {alpha = "0"}`',
            )
        ],
    ),
    "the level": (
        rules(upgrade=Upgrade(level="minor")),
        [("policy", '`upgrade = "minor"` excludes it', "", 'set `upgrade_packages = {alpha = "all"}`')],
    ),
    "ignore": (
        rules(ignored=("al*",)),
        [("ignore", "`ignore` names it", "", "change `ignore`: `releaser config ignore` names its file")],
    ),
    "a person": (
        rules(held=(Block(name="alpha", by="person", reason="ask Ada", since=SINCE),)),
        [("person", "ask Ada (on hold by you since 2026-11-01)", SINCE, UNHOLD)],
    ),
    "the tests": (
        failed("tests"),
        [("tests", "it failed in test_basket (on hold by the tests since 2026-11-01)", SINCE, UNHOLD)],
    ),
    "a rollback": (failed("rollback"), [("rollback", "it failed in test_basket (since 2026-11-01)", SINCE, UNHOLD)]),
    "a failed candidate": (
        {
            "foreseen": Foreseen(
                versions=REACHED, refused="X had it", by="failed", since=SINCE, remedy="`releaser update --force`"
            )
        },
        [("failed", "X had it", SINCE, "`releaser update --force`")],
    ),
    "the committed lock": (
        {"takes": "the committed lock"},
        [
            (
                "policy",
                "this site takes the committed lock",
                "",
                "`uv lock --upgrade-package alpha` on your own machine, then commit and push uv.lock",
            )
        ],
    ),
}


@pytest.mark.parametrize(("facts", "blocked_by"), CASES.values(), ids=CASES)
def test_each_reason_has_its_time_and_its_remedy(
    tmp_path: Path, facts: dict[str, Any], blocked_by: list[tuple[str, str, str, str]]
) -> None:
    found, coming = known(tmp_path, **facts), "2.0.0" if not blocked_by else None
    expected = tuple(
        Blocker(by=by, reason=reason, since=since, remedy=remedy) for by, reason, since, remedy in blocked_by
    )
    assert found.describe_version("alpha", found.available["alpha"], coming).blocked_by == expected
    outdated = found.describe("alpha", "1.0.0")
    assert [replace(one, reason=one.reason.partition(";")[0]) for one in outdated.blocked_by] == [
        replace(one, reason=one.reason.partition(";")[0]) for one in expected
    ], "`outdated` has the same answer"
    assert outdated.next == coming


@pytest.mark.parametrize(
    ("text", "line"),
    [("alpha<2; python_version>'3'", 3), ("beta", 3), ("alpha!=2.0.0", 7), ("alpha<3", None), ("gamma", None)],
)
def test_a_requirement_is_found_in_its_file_however_it_is_spelled(text: str, line: int | None) -> None:
    assert find_line(PYPROJECT, Demand(asker="the project", requirement=Requirement(text))) == line
