"""A rollback goes back to what was tested together: packages and commit."""

from typing import Any

import pytest

from tests.e2e.scenes import edit_pyproject, silent
from tests.support.sites import SampleSite, SiteFactory


def _take_both(site: SampleSite) -> None:
    site.push_from_elsewhere({"notes.txt": "news"})
    site.update_to("alpha", "1.1.0")


def _with_commit(make_site: SiteFactory, **options: Any) -> tuple[SampleSite, str, str]:
    """Return a site after an update with a commit and a package, with the commits before and after."""
    site = make_site.adopted(prepare=_take_both, **options)
    return site, site.git("rev-parse", "HEAD~2"), site.git("rev-parse", "HEAD^")


@pytest.mark.story
def test_packages_and_commit_go_back_together(make_site: SiteFactory) -> None:
    site, before, theirs = _with_commit(make_site)
    head = site.head()
    finished = site.releaser("rollback", check=0)
    assert before[:12] in finished.stderr
    assert site.git("for-each-ref", "--format=%(objectname)", "refs/releaser/left") == head
    assert (site.live_version("alpha"), site.git("diff", "--name-only", before, "HEAD")) == ("1.0.0", "")
    assert not (site.path / "notes.txt").exists()
    assert site.git("status", "--porcelain") == ""
    assert site.git("merge-base", "--is-ancestor", theirs, site.remote_head()) == ""
    # The commit comes in again only when the remote has a newer one.
    silent(site.releaser("update"))
    status = site.releaser("status", check=0).stdout
    assert f"on hold: commit {theirs[:12]} (Work from elsewhere): it was rolled back by hand, to " in status
    site.publish("beta", "1.1.0")
    assert [one["name"] for one in site.json("update")["changes"]] == ["beta"]
    assert site.git("diff", "--name-only", before, "HEAD").splitlines() == ["uv.lock"]
    newer = site.push_from_elsewhere({"notes.txt": "better news"})
    site.releaser("update", check=0)
    assert newer in site.git("log", "--format=%H")
    assert (site.path / "notes.txt").read_text(encoding="utf-8") == "better news"


def test_keep_code_refuses_other_dependencies_but_with_force(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha>=1.1"')}, lock=True)
    site.releaser("update", check=0)
    before = site.snapshot()
    assert "different dependencies" in site.releaser("rollback", "--keep-code", check=3).stderr
    assert site.snapshot() == before
    site.releaser("rollback", "--keep-code", "--force", check=0)
    assert (site.live_version("alpha"), "alpha>=1.1" in (site.path / "pyproject.toml").read_text()) == ("1.0.0", True)


def test_code_goes_back_only_where_the_server_hears_of_it_and_no_work_of_somebody_is_lost(
    make_site: SiteFactory,
) -> None:
    site, _, _ = _with_commit(make_site)

    def refused(*args: str, env: dict[str, str] | None = None) -> str:
        before = site.snapshot()
        said = site.releaser("rollback", *args, check=3, env=env).stderr
        assert site.snapshot() == before
        return said

    env = {"RELEASER_RESTART": "auto", "RELEASER_RESTART_FILE": "nowhere/restart.txt"}
    assert "nowhere/restart.txt: the directory" in refused(env=env)
    site.edit("notes.txt", "mine")
    said = refused("--force")
    assert "notes.txt in the checkout was edited" in said
    assert "releaser rollback --keep-code" in said
    assert "with the packages of another commit" not in said
    site.git("checkout", "notes.txt")
    mine = site.commit("Mine", {"mine.txt": ""})
    said = refused()
    assert f"{mine[:12]} (Mine)" in said
    assert "--keep-code" in said
    site.edit("notes.txt", "mine")
    assert "never tested" in site.releaser("rollback", "--keep-code", check=7).stderr
    assert mine in site.git("log", "--format=%H")
    assert (site.live_version("alpha"), (site.path / "notes.txt").read_text(encoding="utf-8")) == ("1.0.0", "mine")


def test_a_commit_that_somebody_pushed_past_the_tracking_branch_is_on_the_remote(make_site: SiteFactory) -> None:
    site, before, _ = _with_commit(make_site)
    site.commit("Mine", {"mine.txt": ""})
    site.git("push", "--quiet", site.remote, "HEAD:main")
    site.push_from_elsewhere({"theirs.txt": ""})  # which is not here
    site.git("update-ref", "refs/remotes/origin/main", before)
    site.releaser("rollback", check=0)
    assert ((site.path / "mine.txt").exists(), site.live_version("alpha")) == (False, "1.0.0")
