"""What is committed and pushed: the lock (and the export), on the right branch, and never somebody's work."""

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import changed_files, make_hook, silent, steps
from tests.support.sites import SampleSite, SiteFactory

NOT_NOTED = '{"version": 2, "push": true}\n'


def half_published(make_site: SiteFactory) -> SampleSite:
    """Make a site whose last update was killed after the flip: the lock is there, and not committed."""
    site = make_site.adopted(due="1.1.0")
    interrupted(site, "update", at=Point(place="releaser.actions.checkout:place_files"))
    assert site.live_version("alpha") == "1.1.0"
    assert site.git("status", "--porcelain") == "M uv.lock"
    return site


def test_recovery_commits_nothing_on_another_branch(make_site: SiteFactory) -> None:
    site = half_published(make_site)
    main = site.head()
    site.git("switch", "--quiet", "--create", "feature")
    feature = site.commit("Half a feature", {"half.txt": "half"})
    report = site.json("update", check=3)
    assert any("branch feature is checked out" in problem for problem in report["problems"])
    assert (site.head(), site.git("rev-parse", "main"), site.remote_head()) == (feature, main, main)
    site.git("switch", "--quiet", "main")
    assert site.releaser("update").returncode == 0
    assert (site.live_version("alpha"), changed_files(site)) == ("1.1.0", {"uv.lock"})
    assert site.remote_head() == site.head()
    assert site.git("status", "--porcelain") == ""
    assert site.git("rev-parse", "HEAD^") == main
    silent(site.releaser("update"))


def test_a_commit_that_is_due_is_not_pushed_from_another_branch(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    hook = make_hook(site.remote, "pre-receive")
    site.releaser("update", check=7)
    ours, before = site.head(), site.remote_head()
    hook.unlink()
    site.git("switch", "--quiet", "--create", "feature")
    feature = site.commit("Half a feature", {"half.txt": "half"})
    assert "the checkout is on feature, not main" in site.releaser("rollback", check=3).stderr
    site.releaser("rollback", "--keep-code", check=7)
    assert (site.head(), site.remote_head()) == (feature, before)
    site.git("checkout", "--quiet", "--", "uv.lock")
    site.git("switch", "--quiet", "main")
    site.releaser("update", check=0)
    assert site.git("merge-base", ours, site.remote_head()) == ours
    assert site.live_version("alpha") == "1.0.0"


def test_what_is_due_is_pushed_when_pushing_is_on_and_nothing_else_is(make_site: SiteFactory) -> None:
    """A commit is ours by its message and the lock of a release, also where a full disk kept it from being noted."""
    site = make_site.adopted(due="1.1.0")
    hook, before = make_hook(site.remote, "pre-receive"), site.remote_head()
    site.releaser("update", check=7)
    hook.unlink()
    silent(site.releaser("update", env={"RELEASER_GIT_PUSH": "false"}))
    assert site.remote_head() == before
    (site.state_dir / "pending.json").write_text(NOT_NOTED, encoding="utf-8")
    silent(site.releaser("update"))
    assert site.remote_head() == site.head() != before
    mine = site.commit("Update 1 package\n\nalpha: 1.0.0 -> 1.1.0", {"uv.lock": site.lock_text() + "# mine\n"})
    (site.state_dir / "pending.json").write_text(NOT_NOTED, encoding="utf-8")
    site.releaser("update", check=7)
    assert site.remote_head() != mine


def test_an_export_is_committed_by_the_next_run_unless_somebody_has_edited_it(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"requirements_export": "requirements.txt"}, due="1.1.0")
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.commit_only", when="before"))
    assert site.releaser("update").returncode == 0
    assert changed_files(site) == {"uv.lock", "requirements.txt"}
    assert site.git("status", "--porcelain") == ""
    site.edit("requirements.txt", "# my work\n")
    before = site.snapshot()
    assert "requirements.txt" in site.releaser("update", check=3).stderr
    assert site.snapshot() == before


def test_hooks_of_the_site_do_not_reach_the_live_release(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.env["RELEASER_GIT_HOOKS"] = "true"
    make_hook(site.path / ".git", "post-merge", "exec uv sync --quiet --frozen --group local")
    site.publish("alpha", "1.1.0", broken=True)
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": text.replace('"alpha"', '"alpha>=1.1"')}, lock=True)
    live = site.live_id()
    report = site.json("update", check=5)
    assert (report["blame"], "stage" in steps(report)) == ("update", True)
    assert (site.live_id(), site.live_version("alpha")) == (live, "1.0.0")
