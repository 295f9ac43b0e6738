"""A remote that has moved on while a lock of ours could not be pushed: taken up, but never merged or overwritten."""

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import MEETING_TESTS, changed_files, in_background, meeting, silent, states
from tests.support.sites import SampleSite, SiteFactory


def diverged(make_site: SiteFactory) -> tuple[SampleSite, str, str]:
    """Make a site whose remote moved during an update, so that its commit of the lock was refused.

    Return it with our commit and theirs.
    """
    site = make_site.adopted(files={"run_tests.py": MEETING_TESTS}, prepare=_diverge)
    return site, site.head(), site.remote_head()


def _diverge(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")
    with meeting() as met, in_background(site, "update", env=met.env) as update:
        with met.kept_waiting():
            theirs = site.push_from_elsewhere({"notes.txt": "news", "run_tests.py": ""})
        assert update.wait(timeout=60) == 7
    assert site.git("show", "--format=", "--name-only", "HEAD") == "uv.lock"
    assert site.remote_head() == theirs


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
    assert (report["result"], report["problems"]) == ("updated", [])
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


def test_a_crash_while_the_lock_gives_way_loses_nothing(make_site: SiteFactory) -> None:
    site, _, theirs = diverged(make_site)
    live = site.live_id()
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.reset_keep"))
    assert site.head() == theirs
    assert site.releaser("update").returncode == 0
    assert site.live_version("alpha") == "1.1.0"
    assert states(site)[live] == "good"
    on_top_of(site, theirs)


# A remote branch that was moved back or rewritten is reported as that, and followed by one command


def _take_two_commits(site: SampleSite) -> None:
    for text in ("one", "two"):
        site.push_from_elsewhere({"notes.txt": text})
        site.releaser("update", check=0)


def _two_commits(make_site: SiteFactory) -> tuple[SampleSite, str, str]:
    site = make_site.adopted(prepare=_take_two_commits)
    return site, site.git("rev-parse", "HEAD^"), site.head()


def test_a_remote_that_was_moved_back(make_site: SiteFactory) -> None:
    site, first, second = _two_commits(make_site)
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", first)
    before = site.snapshot()
    finished = site.releaser("update", check=3)
    assert f"main on origin was moved back to {first[:12]}: it lacks 1 commit that is live here" in finished.stderr
    assert "releaser update --follow-remote" in finished.stderr
    assert site.snapshot() == before
    assert site.remote_head() == first  # and nothing was pushed
    site.releaser("update", "--follow-remote", check=0)
    assert (site.head(), (site.path / "notes.txt").read_text(encoding="utf-8")) == (first, "one")
    assert second not in site.git("log", "--format=%H")
    silent(site.releaser("update"))


def test_following_does_not_drop_what_is_only_here(make_site: SiteFactory) -> None:
    site, first, _ = _two_commits(make_site)
    mine = site.commit("Mine", {"mine.txt": ""})
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", first)
    site.releaser("update", "--follow-remote", check=3)
    assert site.head() == mine


def test_a_remote_that_was_rewritten_before_the_first_update(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    first = site.head()
    second = site.commit("Second", {"notes.txt": "two"})
    site.push()
    site.releaser("init", check=0)
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", first)
    other = site.push_from_elsewhere({"notes.txt": "another two"})
    finished = site.releaser("update", check=3)
    assert f"main on origin was rewritten to {other[:12]}" in finished.stderr
    assert f"up to {second[:12]} (Second)" in finished.stderr
    site.releaser("update", "--follow-remote", check=0)
    assert (site.head(), (site.path / "notes.txt").read_text(encoding="utf-8")) == (other, "another two")
