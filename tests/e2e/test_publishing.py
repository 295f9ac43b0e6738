"""What is committed and pushed: the lock (and the export), on the right branch, and never somebody's work."""

from pathlib import Path

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import changed_files, make_hook, silent, steps
from tests.support.sites import SampleSite, SiteFactory

BEHIND_THE_FLIP = Point(place="releaser.actions.checkout:place_files")


def half_published(make_site: SiteFactory) -> SampleSite:
    """Make a site whose last update was killed after the flip: the lock is there, and not committed."""
    site = make_site.adopted(due="1.1.0")
    interrupted(site, "update", at=BEHIND_THE_FLIP)
    assert site.live_version("alpha") == "1.1.0"
    assert site.git("status", "--porcelain") == "M uv.lock"
    return site


def published_in_the_end(site: SampleSite) -> None:
    """See that the next update commits and pushes the lock, and that nothing is due any more."""
    assert site.releaser("update").returncode == 0
    assert site.live_version("alpha") == "1.1.0"
    assert changed_files(site) == {"uv.lock"}
    assert site.remote_head() == site.head()
    assert site.git("status", "--porcelain") == ""
    silent(site.releaser("update"))


# Where


def test_recovery_commits_nothing_on_another_branch(make_site: SiteFactory) -> None:
    site = half_published(make_site)
    main = site.head()
    site.git("switch", "--quiet", "--create", "feature")
    feature = site.commit("Half a feature", {"half.txt": "half"})
    report = site.json("update", check=3)
    assert any("branch feature is checked out" in problem for problem in report["problems"])
    assert site.live_version("alpha") == "1.1.0"
    assert (site.head(), site.git("rev-parse", "main"), site.remote_head()) == (feature, main, main)
    site.git("switch", "--quiet", "main")
    published_in_the_end(site)
    assert not (site.path / "half.txt").exists()
    assert site.git("log", "--format=%s", "main").splitlines()[1:] == site.git("log", "--format=%s", main).splitlines()


def test_a_commit_that_is_due_is_not_pushed_from_another_branch(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    hook = refusing_push(site)
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=7)
    ours = site.head()
    hook.unlink()
    site.git("switch", "--quiet", "--create", "feature")
    feature = site.commit("Half a feature", {"half.txt": "half"})
    before = site.remote_head()
    assert "the checkout is on feature, not main" in site.releaser("rollback", check=3).stderr
    site.releaser("rollback", "--keep-code", check=7)
    assert (site.head(), site.remote_head()) == (feature, before)
    site.git("checkout", "--quiet", "--", "uv.lock")
    site.git("switch", "--quiet", "main")
    site.releaser("update", check=0)
    assert site.git("merge-base", ours, site.remote_head()) == ours
    assert site.live_version("alpha") == "1.0.0"


def refusing_push(site: SampleSite) -> Path:
    return make_hook(site.remote, "pre-receive")


def test_what_is_due_is_pushed_when_pushing_is_on_and_nothing_else_is(make_site: SiteFactory) -> None:
    """A commit is ours by its message and the lock of a release, also where a full disk kept it from being noted."""
    site = make_site.adopted()
    hook, before = refusing_push(site), site.remote_head()
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=7)
    hook.unlink()
    silent(site.releaser("update", env={"RELEASER_GIT_PUSH": "false"}))
    assert site.remote_head() == before
    (site.state_dir / "pending.json").write_text('{"version": 2, "push": true}\n', encoding="utf-8")
    silent(site.releaser("update"))
    assert site.remote_head() == site.head() != before
    mine = site.commit("Update 1 package\n\nalpha: 1.0.0 -> 1.1.0", {"uv.lock": site.lock_text() + "# mine\n"})
    (site.state_dir / "pending.json").write_text('{"version": 2, "push": true}\n', encoding="utf-8")
    site.releaser("update", check=7)
    assert site.remote_head() != mine


# What


def test_an_export_is_committed_by_the_next_run_unless_somebody_has_edited_it(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"requirements_export": "requirements.txt"}, due="1.1.0")
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.commit_only", when="before"))
    assert (site.path / "requirements.txt").exists()
    assert site.releaser("update").returncode == 0
    assert changed_files(site) == {"uv.lock", "requirements.txt"}
    assert site.git("status", "--porcelain") == ""
    export = site.path / "requirements.txt"
    export.write_text(export.read_text(encoding="utf-8") + "# my work\n", encoding="utf-8")
    before = site.snapshot()
    assert "requirements.txt" in site.releaser("update", check=3).stderr
    assert site.snapshot() == before


# Hooks of the site are not for the live release


def test_hooks_of_the_site_do_not_reach_the_live_release(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.env["RELEASER_GIT_HOOKS"] = "true"
    make_hook(site.path / ".git", "post-merge", "exec uv sync --quiet --frozen --group local")
    site.publish("alpha", "1.1.0", broken=True)
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": text.replace('"alpha"', '"alpha>=1.1"')}, lock=True)
    live = site.live_id()
    report = site.json("update", check=5)
    assert report["blame"] == "update"
    assert "stage" in steps(report)
    assert site.live_id() == live
    assert site.live_version("alpha") == "1.0.0"
