"""A remote that has moved on while a lock of ours could not be pushed: taken up, but never merged or overwritten."""

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import MEETING_TESTS, changed_files, in_background, meeting, silent, states
from tests.support.sites import SampleSite, SiteFactory


def diverged(make_site: SiteFactory) -> SampleSite:
    """Make a site whose remote moved during an update, so that its commit of the lock was refused."""
    return make_site.adopted(files={"run_tests.py": MEETING_TESTS}, prepare=_diverge)


def _diverge(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")
    with meeting() as met, in_background(site, "update", env=met.env) as update:
        with met.kept_waiting():
            theirs = site.push_from_elsewhere({"notes.txt": "news", "run_tests.py": ""})
        assert update.wait(timeout=60) == 7
    assert changed_files(site) == {"uv.lock"}
    assert site.remote_head() == theirs


def on_top_of(site: SampleSite, commit: str) -> None:
    """See that the one commit of ours is on top of this one, pushed, and that nothing else was done to history."""
    assert site.live_version("alpha") == "1.1.0"
    assert site.git("log", "-1", "--format=%P") == commit
    assert changed_files(site) == {"uv.lock"}
    assert site.remote_head() == site.head()
    assert site.git("log", "--merges", "--format=%H") == ""
    assert site.git("status", "--porcelain") == ""
    silent(site.releaser("update"))


def test_a_lock_that_could_not_be_pushed_is_made_again_on_top_unless_somebody_has_committed(
    make_site: SiteFactory,
) -> None:
    site = diverged(make_site)
    ours, theirs = site.head(), site.remote_head()
    site.commit("Work of somebody", {"work.txt": "work"})
    before = site.snapshot()
    assert "have diverged" in site.releaser("update", check=3).stderr
    assert (site.snapshot(), site.remote_head()) == (before, theirs)
    site.git("reset", "--quiet", "--hard", ours)
    report = site.json("update")
    assert (report["result"], report["problems"]) == ("updated", [])
    assert (report["pulled"]["old"], report["pulled"]["new"]) == (ours, theirs)
    assert (site.path / "notes.txt").read_text(encoding="utf-8") == "news"
    on_top_of(site, theirs)


def test_a_crash_while_the_lock_gives_way_loses_nothing(make_site: SiteFactory) -> None:
    site = diverged(make_site)
    live, theirs = site.live_id(), site.remote_head()
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.reset_keep"))
    assert site.head() == theirs
    assert site.releaser("update").returncode == 0
    assert states(site)[live] == "good"
    on_top_of(site, theirs)


def _take_two_commits(site: SampleSite) -> None:
    for text in ("one", "two"):
        site.push_from_elsewhere({"notes.txt": text})
        site.releaser("update", check=0)


def test_a_remote_that_was_moved_back_is_followed_by_one_command(make_site: SiteFactory) -> None:
    site = make_site.adopted(prepare=_take_two_commits)
    first, second = site.git("rev-parse", "HEAD^"), site.head()
    site.git("--git-dir", site.remote, "update-ref", "refs/heads/main", first)
    before = site.snapshot()
    assert "releaser update --follow-remote" in site.releaser("update", check=3).stderr
    assert (site.snapshot(), site.remote_head()) == (before, first)  # nothing was pushed
    site.releaser("update", "--follow-remote", check=0)
    assert (site.head(), (site.path / "notes.txt").read_text(encoding="utf-8")) == (first, "one")
    assert second not in site.git("log", "--format=%H")
    silent(site.releaser("update"))
