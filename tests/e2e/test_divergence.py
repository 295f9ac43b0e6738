"""A remote that has moved on while a lock of ours could not be pushed: taken up, but never merged or overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import MEETING_TESTS, changed_files, in_background, meeting, silent, states

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

RED = {"site_tests.py": 'def test_shop(packages):\n    assert not packages, "the shop is closed"\n'}


def adopted(make_site: SiteFactory, **options: Any) -> SampleSite:
    return make_site.adopted(**options)


def diverged(make_site: SiteFactory) -> tuple[SampleSite, str, str]:
    """Make a site whose remote moved during an update, so that its commit of the lock was refused.

    Return it with our commit and theirs.
    """
    site = adopted(make_site, files={"run_tests.py": MEETING_TESTS})
    site.publish("alpha", "1.1.0")
    with meeting() as met, in_background(site, "update", env=met.env) as update:
        with met.kept_waiting():
            theirs = site.push_from_elsewhere({"notes.txt": "news", "run_tests.py": ""})
        assert update.wait(timeout=60) == 7
    assert site.git("show", "--format=", "--name-only", "HEAD") == "uv.lock"
    return site, site.head(), theirs


def on_top_of(site: SampleSite, commit: str) -> None:
    """See that the one commit of ours is on top of this one, pushed, and that nothing else was done to history."""
    assert site.git("log", "-1", "--format=%P") == commit
    assert changed_files(site) == {"uv.lock"}
    assert site.remote_head() == site.head()
    assert site.git("log", "--merges", "--format=%H") == ""
    assert site.git("status", "--porcelain") == ""
    silent(site.releaser("update"))


def test_a_lock_that_could_not_be_pushed_is_made_again_on_top(make_site: SiteFactory) -> None:
    site, ours, theirs = diverged(make_site)
    report = site.json("update")
    assert (report["result"], report["problems"]) == ("activated", [])
    assert (report["pulled"]["old"], report["pulled"]["new"]) == (ours, theirs)
    assert site.live_version("alpha") == "1.1.0"
    assert (site.path / "notes.txt").read_text(encoding="utf-8") == "news"
    on_top_of(site, theirs)


def test_somebodys_commit_does_not_give_way(make_site: SiteFactory) -> None:
    site, _, theirs = diverged(make_site)
    site.commit("Work of somebody", {"work.txt": "work"})
    before = site.snapshot()
    finished = site.releaser("update", check=3)
    assert "have diverged" in finished.stderr
    assert site.snapshot() == before
    assert site.remote_head() == theirs


def test_a_lock_that_gave_way_for_red_commits_comes_back(make_site: SiteFactory) -> None:
    site, ours, theirs = diverged(make_site)
    red = site.push_from_elsewhere({**RED, "run_tests.py": "raise SystemExit('the shop is closed')\n"})
    before = site.snapshot()
    report = site.json("update", check=5)
    assert "the shop is closed" in report["output"]
    after = site.snapshot()
    assert after == before
    assert site.head() == ours
    mended = site.push_from_elsewhere({"run_tests.py": ""})
    assert site.releaser("update").returncode == 0
    assert site.git("merge-base", theirs, red) == theirs
    on_top_of(site, mended)


def test_a_rollback_whose_commit_gave_way_stays_rolled_back(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    theirs = site.push_from_elsewhere({"notes.txt": "news"})
    site.releaser("rollback", check=7)
    assert site.releaser("update").returncode == 0
    assert site.live_version("alpha") == "1.0.0"
    assert 'name = "alpha"\nversion = "1.0.0"' in site.lock_text()
    on_top_of(site, theirs)


def test_a_crash_while_the_lock_gives_way_loses_nothing(make_site: SiteFactory) -> None:
    site, _, theirs = diverged(make_site)
    live = site.live_id()
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.reset_keep"))
    assert site.head() == theirs
    assert site.releaser("update").returncode == 0
    assert site.live_version("alpha") == "1.1.0"
    assert states(site)[live] == "good"
    on_top_of(site, theirs)
