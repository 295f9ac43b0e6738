"""A run goes by the settings of the code that it works for, whoever moves the checkout or edits them meanwhile."""

from tests.e2e.interrupting import AFTER_THE_GUARD, Point, go_on, interrupted, stopped
from tests.e2e.refusals import refused
from tests.e2e.scenes import edit_pyproject
from tests.support.sites import SampleSite, SiteFactory

ASKING_FOR_THE_LOCK = Point(place="releaser.site.run_lock:acquire", when="before")


def due(make_site: SiteFactory) -> SampleSite:
    return make_site.adopted(due="1.1.0")


def push_setting(site: SampleSite, line: str, **files: str) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\n{line}\n", **files})


def test_recovery_in_the_same_run_follows_the_settings_of_the_commit_that_went_live(make_site: SiteFactory) -> None:
    site = due(make_site)
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
    with stopped(site, "rollback", "--keep-code", at=ASKING_FOR_THE_LOCK) as rollback:
        site.releaser("update", check=0)
        assert f"{first} was built for other dependencies" in go_on(rollback, 3)
    assert site.live_version("gamma") == "1.0.0"


def test_a_commit_that_moves_releases_elsewhere_is_refused(make_site: SiteFactory) -> None:
    """One that says where they lie already is not."""
    old = 'state_dir = "../.releaser/site"'
    site = make_site.adopted(settings={"state_dir": "../.releaser/site"})
    moves = {
        "state_dir": ("../elsewhere", edit_pyproject(site, old, 'state_dir = "../elsewhere"')),
        "venv": ("env", edit_pyproject(site, old, f'{old}\nvenv = "env"')),
    }
    for key, (value, text) in moves.items():
        theirs = site.push_from_elsewhere({"pyproject.toml": text, "untested.py": ""})
        refused(site).says_only(theirs[:12], f"tool.releaser.{key}", value)
    assert not (site.outer / "elsewhere").exists()
    assert not (site.path / "env").exists()
    theirs = site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, old, f"{old}\nkeep = 7")})
    site.releaser("update", check=0)
    assert site.head() == theirs
