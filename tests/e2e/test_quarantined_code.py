"""Commits that were taken back: the version of the project itself is code, and not a package to leave out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.e2e.scenes import edit_pyproject

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory


ILL = 'test "$(readlink .venv)" = "$(cat ../well)"\n'  # with any release but the one that was live before


def push_version(site: SampleSite, version: str, *, healthy: bool) -> None:
    """Push a new version of the project, well or ill."""
    (site.outer / "well").write_text(os.readlink(site.link), encoding="utf-8")
    text = edit_pyproject(site, 'version = "0.1.0"', f'version = "{version}"')
    site.push_from_elsewhere({"pyproject.toml": text, "health.sh": "exit 0\n" if healthy else ILL}, lock=True)


def test_a_version_of_the_project_that_was_taken_back_can_come_again_with_better_code(make_site: SiteFactory) -> None:
    site = make_site(
        kind="packaged",
        venv=True,
        settings={"health_check": "sh health.sh", "health_retries": 0},
        files={"health.sh": "exit 0\n"},
    )
    site.releaser("init", check=0)
    push_version(site, "0.2.0", healthy=False)
    assert site.json("update", check=6)["result"] == "rolled_back"
    assert site.json("status")["held_back"] == []
    push_version(site, "0.2.0", healthy=True)
    assert site.json("update")["result"] == "activated"
    assert 'version = "0.2.0"' in site.lock_text()
