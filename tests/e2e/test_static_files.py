"""Where static files go is known before anything is flipped, on a site that stands in for Django."""

from collections.abc import Mapping

from tests.e2e.refusals import refused, unfit
from tests.e2e.scenes import step, steps
from tests.support.sites import SampleSite, SiteFactory

SETTINGS = """\
INSTALLED_APPS = [{apps}]
STATIC_ROOT = {root!r}
"""
APP = '"django.contrib.staticfiles"'


def site_with(
    make_site: SiteFactory, *, root: str, apps: str = APP, dotenv: Mapping[str, str] | None = None
) -> SampleSite:
    """Make an adopted site with these settings of Django, for which there is a newer package."""
    files = {"site_settings.py": SETTINGS.format(apps=apps, root=root), "run_tests.py": ""}
    site = make_site(venv=True, files=files)
    site.releaser("init", check=0, env={"RELEASER_COLLECTSTATIC": "off"})
    site.write_dotenv(dotenv)
    site.publish("alpha", "1.1.0")
    return site


def test_what_is_wrong_is_told_along_with_other_problems(make_site: SiteFactory) -> None:
    site = site_with(make_site, root="manage.py")
    refusal = refused(site, env={"RELEASER_RESTART_FILE": "nowhere/restart.txt"})
    refusal.says("nowhere/restart.txt: the directory")
    refusal.says("manage.py, but collectstatic cannot write there")
    site.write_dotenv({"RELEASER_COLLECTSTATIC": "on"})
    site.edit("site_settings.py", SETTINGS.format(apps="", root="static_out"))
    unfit(site).says("django.contrib.staticfiles is not in INSTALLED_APPS")


def test_a_site_that_cannot_be_asked_is_updated_all_the_same(make_site: SiteFactory) -> None:
    """Its own tests will tell whether it is ill."""
    site = site_with(make_site, root="static_out")
    site.push_commit("Trip over the database", {"site_settings.py": "raise SystemExit('there is no database')"})
    finished = site.releaser("check", check=0)
    assert (
        "the directory of static files is not known yet: Django does not answer: there is no "
        "database" in finished.stderr
    )
    report = site.json("update")
    assert step(report, "static files")["status"] == "warning"
    assert step(report, "collectstatic")["status"] == "warning"
    assert "there is no database" in step(report, "collectstatic")["detail"]
    assert report["result"] == "updated"


def test_a_rollback_asks_the_release_that_it_goes_to(make_site: SiteFactory) -> None:
    site = site_with(make_site, root="static_out")
    site.releaser("update", check=0)
    live = site.live_id()
    (site.path / "static_out").rename(site.path.parent / "static_before")
    (site.path / "static_out").touch()
    finished = site.releaser("rollback", check=3)
    assert "collectstatic cannot write there: it is not a directory" in finished.stderr
    assert site.live_id() == live


def test_django_is_asked_no_more_where_static_files_could_go_last_time(make_site: SiteFactory) -> None:
    """Before the flip it is; and at once where that place is not what it was."""
    site = site_with(make_site, root="../static_out")
    site.releaser("update", check=0)
    asked = len(site.manage_runs("shell"))
    site.update_to("alpha", "1.2.0")
    assert len(site.manage_runs("shell")) == asked + 2  # before the flip, and before files are collected
    (site.outer / "static_out").rename(site.outer / "static_before")
    (site.outer / "static_out").touch()
    site.publish("alpha", "1.3.0")
    report = site.json("update", check=3)
    assert step(report, "static files")["status"] == "failed"
    assert "build" not in steps(report)
