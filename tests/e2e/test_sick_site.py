"""Updates on a site that is ill by itself: told once, tried again once it is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import silent, states

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

# Tests that need a database: a file. They note which release ran them, and on which packages they fail.
TESTS = """\
import pathlib, sys
import alpha
with open({notes!r}, "a") as notes:
    notes.write(alpha.__version__ + " ")
if not pathlib.Path({database!r}).exists():
    sys.exit("there is no database")
if getattr(alpha, "BROKEN", ""):
    sys.exit("alpha breaks the site")
"""


class Sick:
    """A site whose database can go away, and the tests that it has run."""

    def __init__(self, make_site: SiteFactory, tmp_path: Path) -> None:
        self._notes, self.database = tmp_path / "notes", tmp_path / "database"
        self.database.touch()
        text = TESTS.format(notes=str(self._notes), database=str(self.database))
        self.site: SampleSite = make_site(venv=True, files={"run_tests.py": text})
        self.site.releaser("init", check=0)
        self.database.unlink()

    def tested(self) -> list[str]:
        """Return the versions that were tested since the last call."""
        found = self._notes.read_text(encoding="utf-8").split() if self._notes.exists() else []
        self._notes.unlink(missing_ok=True)
        return found


@pytest.fixture
def sick(make_site: SiteFactory, tmp_path: Path) -> Sick:
    """Make a site that is ill, with a newer package."""
    found = Sick(make_site, tmp_path)
    found.site.publish("alpha", "1.1.0")
    return found


def test_while_a_site_stays_ill_it_is_told_once(sick: Sick) -> None:
    site = sick.site
    report = site.json("update", check=5)
    assert report["blame"] == "before"
    assert sick.tested() == ["1.1.0", "1.0.0"]
    before, releases = site.snapshot(), states(site)
    for _ in range(2):
        silent(site.releaser("update"))
        assert sick.tested() == ["1.0.0"]  # nothing is built, and what is live is asked
    assert site.snapshot() == before
    assert states(site) == releases
    assert len(site.outbox_mails()) == 1


def test_once_a_site_is_well_the_candidate_gets_its_chance(sick: Sick) -> None:
    site = sick.site
    site.releaser("update", check=5)
    sick.tested()
    sick.database.touch()
    report = site.json("update")
    assert report["result"] == "activated"
    assert sick.tested() == ["1.0.0", "1.1.0"]
    assert site.live_version("alpha") == "1.1.0"
    silent(site.releaser("update"))
    assert sick.tested() == []


def test_once_a_site_is_well_a_candidate_may_fail_by_itself(sick: Sick) -> None:
    site = sick.site
    site.withdraw("alpha", "1.1.0")
    site.publish("alpha", "1.2.0", broken=True)
    assert site.json("update", check=5)["blame"] == "before"
    sick.database.touch()
    report = site.json("update", check=5)
    assert report["blame"] == "update"
    assert {one["status"] for one in report["steps"] if one["step"] == "test live release"} == {"ok"}
    sick.tested()
    silent(site.releaser("update"))
    assert sick.tested() == []
    assert len(site.outbox_mails()) == 2


def test_commits_that_came_while_a_site_was_ill_are_taken_once_it_is_well(sick: Sick) -> None:
    site = sick.site
    theirs = site.push_from_elsewhere({"notes.txt": "news"})
    assert site.json("update", check=5)["blame"] == "before"
    silent(site.releaser("update"))
    assert len(site.outbox_mails()) == 1
    sick.database.touch()
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert (site.path / "notes.txt").exists()
    assert site.git("merge-base", theirs, "HEAD") == theirs
