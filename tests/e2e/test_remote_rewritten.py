"""A remote branch that was moved back or rewritten is reported as that, and followed by one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import silent

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory


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
    assert f"main on origin was moved back to {first[:12]}: 1 commit that it had before" in finished.stderr
    assert "releaser update --follow-remote" in finished.stderr
    assert site.snapshot() == before
    assert site.remote_head() == first  # and nothing was pushed
    site.releaser("update", "--follow-remote", check=0)
    assert (site.head(), (site.path / "notes.txt").read_text(encoding="utf-8")) == (first, "one")
    assert second not in site.git("log", "--format=%H")
    silent(site.releaser("update"))


def test_a_remote_that_was_rewritten(make_site: SiteFactory) -> None:
    site, first, _ = _two_commits(make_site)
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", first)
    other = site.push_from_elsewhere({"notes.txt": "another two"})
    finished = site.releaser("update", check=3)
    assert f"main on origin was rewritten to {other[:12]}" in finished.stderr
    site.releaser("update", "--follow-remote", check=0)
    assert (site.head(), (site.path / "notes.txt").read_text(encoding="utf-8")) == (other, "another two")


def test_following_does_not_drop_what_is_only_here(make_site: SiteFactory) -> None:
    site, first, _ = _two_commits(make_site)
    mine = site.commit("Mine", {"mine.txt": ""})
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", first)
    site.releaser("update", "--follow-remote", check=3)
    assert site.head() == mine


def test_a_remote_that_was_moved_back_before_the_lock_of_releaser(make_site: SiteFactory) -> None:
    """If somebody undoes a push on the server, the update says so and does not push again."""
    site = make_site.adopted()
    before = site.remote_head()
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", before)
    assert "was moved back" in site.releaser("update", check=3).stderr
    assert site.remote_head() == before
    site.releaser("update", "--follow-remote", check=0)
    assert (site.head(), site.live_version("alpha")) == (site.remote_head(), "1.1.0")


@pytest.mark.parametrize("how", ["moved back", "rewritten"])
def test_what_happens_to_the_remote_before_the_first_update_is_told_as_what_it_is(
    make_site: SiteFactory, how: str
) -> None:
    site = make_site(venv=True)
    first = site.head()
    second = site.commit("Second", {"notes.txt": "two"})
    site.push()
    site.releaser("init", check=0)
    site.git("--git-dir", str(site.remote), "update-ref", "refs/heads/main", first)
    if how == "rewritten":
        site.push_from_elsewhere({"notes.txt": "another two"})
    finished = site.releaser("update", check=3)
    assert f"main on origin was {how} to" in finished.stderr
    assert f"up to {second[:12]} (Second)" in finished.stderr
    site.releaser("update", "--follow-remote", check=0)
    assert site.head() == site.remote_head()
