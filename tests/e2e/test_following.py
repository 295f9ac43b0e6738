"""`upgrade = "none"`: production builds what staging has tested and pushed, as git has it, and upgrades nothing."""

from pathlib import Path

import pytest

from tests.e2e.scenes import outer_snapshot, silent
from tests.e2e.test_several_hosts import second_host
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def staging(make_site: SiteFactory) -> SampleSite:
    return make_site.adopted()


@pytest.fixture
def production(staging: SampleSite, tmp_path: Path) -> SampleSite:
    """Another host of the same remote, which follows it."""
    other = second_host(staging, tmp_path / "production")
    other.write_dotenv({"RELEASER_UPGRADE": "none"})
    return other


def publish(hosts: tuple[SampleSite, ...], *names: str, version: str = "1.1.0") -> None:
    for host in hosts:
        for name in names:
            host.publish(name, version)


@pytest.mark.story
def test_production_follows_what_staging_has_tested_and_pushed(staging: SampleSite, production: SampleSite) -> None:
    publish((staging, production), "alpha")
    silent(production.releaser("update"))  # nothing in git, whatever the index has
    assert production.live_version("alpha") == "1.0.0"
    (found,) = production.json("outdated")
    assert (found["latest"], found["blocked_by"][0]["by"]) == ("1.1.0", "policy")
    refused = production.releaser("update", "alpha", check=2).stderr
    assert "upgrades no package" in refused
    assert "uv lock --upgrade-package" in refused
    staging.releaser("update", check=0)
    publish((staging, production), "beta", version="2.0.0")
    plan = production.json("update", "--dry-run")
    report = production.json("update")
    for answer in (plan, report):
        assert [(one["name"], one["new"]) for one in answer["changes"]] == [("alpha", "1.1.0")]
    assert production.lock_text() == staging.lock_text()
    assert production.head() == staging.remote_head() == staging.head()
    assert production.git("status", "--porcelain") == ""
    assert not {"commit", "push"} & {one["step"] for one in report["steps"]}
    silent(production.releaser("update"))


def test_a_lock_that_is_not_committed_yet_is_asked_about_as_it_is(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv={"RELEASER_UPGRADE": "none"}, due="1.2.0")
    site.git("rm", "--quiet", "--cached", "uv.lock")
    site.git("commit", "--quiet", "--message", "Forget the lock")
    (found,) = site.json("outdated")
    assert found["latest"] == "1.2.0"


def test_a_rollback_is_not_undone_by_following_and_nothing_of_it_is_pushed(
    staging: SampleSite, production: SampleSite
) -> None:
    publish((staging, production), "alpha")
    for site in (staging, production):
        site.releaser("update", check=0)
    remote = staging.remote_head()
    production.releaser("rollback", check=0)
    assert (production.live_version("alpha"), staging.remote_head()) == ("1.0.0", remote)
    silent(production.releaser("update"))
    staging.push_from_elsewhere({"notes.txt": "new code with the same lock"})
    assert "alpha 1.1.0 was rolled back" in production.releaser("update", check=4).stderr
    assert production.live_version("alpha") == "1.0.0"
    production.releaser("update", "--force", check=0)
    assert (production.live_version("alpha"), production.git("status", "--porcelain")) == ("1.1.0", "")
    assert production.head() == staging.remote_head()
    production.releaser("rollback", check=0)
    staging.push_from_elsewhere({"notes.txt": "code with which alpha is well"})
    publish((staging, production), "beta")
    staging.releaser("update", check=0)
    production.releaser("update", check=0)
    assert (production.live_version("alpha"), production.live_version("beta")) == ("1.1.0", "1.1.0")


def test_what_does_not_fit_or_is_held_or_fails_here_leaves_live_as_it_was(
    staging: SampleSite, production: SampleSite
) -> None:
    publish((staging, production), "alpha", "beta")
    staging.releaser("update", check=0)
    production.releaser("hold", "alpha", "prints upside down", check=0)
    said = production.releaser("update", check=4).stderr
    assert "uv.lock has alpha 1.1.0, but 1.0.0 is on hold by you (prints upside down)" in said
    production.releaser("unhold", "alpha", check=0)
    text = (staging.path / "pyproject.toml").read_text(encoding="utf-8")
    staging.push_from_elsewhere({"pyproject.toml": text.replace('"alpha', '"alpha<1.1,', 1)})
    before = outer_snapshot(production)
    assert "uv.lock does not fit pyproject.toml" in production.releaser("update", "--dry-run", check=4).stderr
    assert outer_snapshot(production) == before
    staging.push_from_elsewhere({"pyproject.toml": text, "run_tests.py": "raise SystemExit('not here')\n"})
    assert production.json("update", check=5)["culprits"] == []  # nothing but the whole may go live: no search
    assert (production.live_version("alpha"), production.live_version("beta")) == ("1.0.0", "1.0.0")
    assert production.json("status")["on_hold"] == []
