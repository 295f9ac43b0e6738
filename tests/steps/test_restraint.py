"""How backed-out versions are kept out of a resolution: decisions alone, with a resolver made of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from releaser.errors import ToolError
from releaser.releases.quarantine import BadVersion, Quarantine
from releaser.steps.restraint import held, resolve_without
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GIT_BAD = "1.0 (bbbbbbbbb)"


def quarantine(**versions: str) -> Quarantine:
    """Return a quarantine of these versions, comma-separated where a package has several."""
    return Quarantine(
        versions=tuple(
            BadVersion(name=name, version=version, release="r", reason="ill", at="2026-01-01T00:00:00+00:00")
            for name, several in versions.items()
            for version in several.split(", ")
        )
    )


def resolver(**offered: str) -> Callable[[Mapping[str, str | None]], Mapping[str, str]]:
    """Return a resolver that takes the newest version within its bounds, of those in `offered`."""

    def resolve(bounded: Mapping[str, str | None]) -> Mapping[str, str]:
        found = {}
        for name, versions in offered.items():
            allowed = SpecifierSet(bounded.get(name) or "")
            fitting = sorted((Version(one) for one in versions.split() if Version(one) in allowed), reverse=True)
            if not fitting:
                message = f"no {name}"
                raise ToolError(message, returncode=NO_SOLUTION)
            found[name] = str(fitting[0])
        return found

    return resolve


@pytest.mark.parametrize(
    ("offered", "bad", "live", "expected"),
    [
        ("1.0 2.0", "", "1.0", "2.0"),
        ("1.0 2.0", "2.0", "1.0", "1.0"),
        ("1.0 2.0 2.1", "2.0", "1.0", "2.1"),
        ("1.0 1.5 2.0", "2.0", "1.0", "1.0"),  # nobody has ever seen 1.5 at work
        ("1.0 1.5", "2.0", "1.0", "1.0"),  # 2.0 was withdrawn
        ("1.0 1.5 2.0 2.1", "2.0, 2.1", "1.0", "1.0"),
        ("1.0 2.0 2.1 3.0", "2.0, 2.1", "1.0", "3.0"),
        ("1.5 2.0", "2.0", "1.0", "1.5"),  # the project has no use for 1.0 any more
        ("0.9", "2.0", "1.0", "0.9"),  # the project asks for the step back
        ("1.0", "2.0", "1.0", "1.0"),
    ],
)
def test_a_package_goes_beyond_its_bad_versions_or_stays(offered: str, bad: str, live: str, expected: str) -> None:
    unfit = quarantine(alpha=bad) if bad else Quarantine()
    assert resolve_without(resolver(alpha=offered), unfit, {"alpha": live})["alpha"] == expected


def test_other_packages_come_in_all_the_same() -> None:
    found = resolve_without(
        resolver(alpha="1.0 2.0", beta="1.0 1.1"), quarantine(alpha="2.0"), {"alpha": "1.0", "beta": "1.0"}
    )
    assert found == {"alpha": "1.0", "beta": "1.1"}


def test_a_package_that_is_not_live_is_bounded_by_what_is_bad_alone() -> None:
    found = resolve_without(resolver(alpha="1.0 2.0"), quarantine(alpha="2.0"), {})
    assert found == {"alpha": "1.0"}


def test_a_package_from_git_stays_at_the_commit_that_is_locked() -> None:
    unfit = quarantine(alpha=GIT_BAD)
    assert held(unfit, {"alpha": "1.0 (aaaaaaaaa)"}, {"alpha": GIT_BAD}) == {"alpha": None}


def test_nothing_is_held_without_need() -> None:
    assert held(quarantine(alpha="2.0"), {"alpha": "1.0"}, {"alpha": "2.1"}) == {}
    assert held(quarantine(alpha="2.0"), {"alpha": "1.0"}, {"beta": "1.0"}) == {}
    assert held(quarantine(alpha="2.0"), {"alpha": "1.0"}, {"alpha": "1.0"}) == {}


def test_an_index_that_cannot_be_reached_is_not_asked_for_less() -> None:
    asked = []

    def resolve(bounded: Mapping[str, str | None]) -> Mapping[str, str]:
        asked.append(bounded)
        if bounded:
            message = "no network"
            raise ToolError(message, returncode=2)
        return {"alpha": "2.0"}

    with pytest.raises(ToolError, match="no network"):
        resolve_without(resolve, quarantine(alpha="2.0"), {"alpha": "1.0"})
    assert len(asked) == 2
