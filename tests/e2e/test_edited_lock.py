"""An edit of uv.lock that nobody has committed is kept beside the state and told, before a rollback replaces it."""

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.support.sites import SampleSite, SiteFactory

TOLD = "uv.lock in the checkout had edits"


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site that a rollback takes one release back."""
    return make_site.adopted("1.1.0")


def edit(site: SampleSite) -> str:
    """Edit uv.lock, and return what it holds."""
    text = f"{site.lock_text()}# my edit\n"
    site.edit("uv.lock", text)
    return text


def lock_of(site: SampleSite, release: str) -> str:
    return (site.state_dir / "releases" / release / "uv.lock").read_text(encoding="utf-8")


def kept(site: SampleSite) -> set[str]:
    return {one.read_text(encoding="utf-8") for one in site.state_dir.glob("uv.lock-*")}


def test_a_rollback_keeps_and_tells_it_though_git_is_broken(site: SampleSite) -> None:
    mine, head = edit(site), site.path / ".git" / "HEAD"
    head.rename(site.outer / "hidden")
    assert TOLD in site.releaser("rollback", check=7).stderr
    assert kept(site) == {mine}
    (site.outer / "hidden").rename(head)
    assert site.live_version("alpha") == "1.0.0"
    assert "my edit" not in site.lock_text()


def test_the_next_run_tells_it_after_a_kill(site: SampleSite) -> None:
    mine = edit(site)
    interrupted(site, "rollback", at=Point(place="releaser.releases.release:flip"))
    assert TOLD in site.json("update")["recovered"]
    assert kept(site) == {mine}


def test_the_lock_of_an_older_release_that_somebody_chose_is_kept(site: SampleSite) -> None:
    """It is in a release, yet it is not what releaser left in the checkout."""
    site.update_to("alpha", "1.2.0")
    chosen = lock_of(site, site.releases()[0])
    site.edit("uv.lock", chosen)
    assert TOLD in site.releaser("rollback", check=0).stderr
    assert site.live_version("alpha") == "1.1.0"
    assert kept(site) == {chosen}


def test_the_lock_follows_a_link_that_somebody_moved_and_stays_edited_where_the_link_is_restored(
    site: SampleSite,
) -> None:
    earlier, _ = site.releases()
    mine = lock_of(site, earlier)
    committed = site.lock_text()
    site.edit("uv.lock", mine)
    site.link.unlink()
    site.releaser("prune", check=0)
    assert (site.link.is_symlink(), site.lock_text()) == (True, mine)
    site.edit("uv.lock", committed)
    site.link.unlink()
    site.link.symlink_to(site.state_dir / "releases" / earlier / "venv")
    assert site.json("init")["release"] == earlier
    assert site.lock_text() == mine
