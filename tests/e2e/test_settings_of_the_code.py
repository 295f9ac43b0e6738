"""A run goes by the settings of the code that it works for, whoever moves the checkout or edits them meanwhile."""

from tests.e2e.interrupting import AFTER_THE_GUARD, Point, go_on, interrupted, stopped
from tests.e2e.scenes import edit_pyproject
from tests.support.sites import SampleSite, SiteFactory


def push_setting(site: SampleSite, line: str, **files: str) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\n{line}\n", **files})


def test_recovery_in_the_same_run_follows_the_settings_of_the_commit_that_went_live(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    push_setting(site, 'requirements_export = "requirements.txt"')
    interrupted(site, "update", at=AFTER_THE_GUARD["lock placed"], by="SIGTERM")
    assert site.live_version("alpha") == "1.1.0"
    assert "alpha==1.1.0" in site.git("show", "HEAD:requirements.txt")


def test_the_static_files_of_what_stays_live_are_collected_with_its_own_settings(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", due="1.2.0")
    push_setting(site, 'environment_file = "site.env"', **{"site.env": "SITE_MARK=new-commit\n"})
    interrupted(site, "update", at=AFTER_THE_GUARD["checkout moved"], by="SIGKILL")
    before = len(site.manage_runs("collectstatic"))
    site.releaser("prune", check=0)
    again = site.manage_runs("collectstatic")[before:]
    assert [(run.versions["alpha"], run.env.get("SITE_MARK")) for run in again] == [("1.1.0", None)]


def test_a_rollback_that_waited_for_an_update_sees_what_that_pulled(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    first = site.live_id()
    site.publish("gamma", "1.0.0")
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha", "gamma"')}, lock=True)
    asking_for_the_lock = Point(place="releaser.site.run_lock:acquire", when="before")
    with stopped(site, "rollback", "--keep-code", at=asking_for_the_lock) as rollback:
        site.releaser("update", check=0)
        assert f"{first} was built for different dependencies" in go_on(rollback, 3)
    assert site.live_version("gamma") == "1.0.0"
