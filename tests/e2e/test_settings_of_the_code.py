"""A run goes by the settings of the code that it works for, whoever moves the checkout or edits them meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import AFTER_THE_GUARD, BEFORE_THE_GUARD, go_on, interrupted, stopped

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    site = make_site(venv=True)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    return site


def push_setting(site: SampleSite, line: str, **files: str) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    site.push_from_elsewhere({"pyproject.toml": f"{text}\n[tool.releaser]\n{line}\n", **files})


def test_a_mail_goes_by_the_settings_that_the_run_began_with(site: SampleSite) -> None:
    """Somebody edits .env during the tests: the update is refused, and those who administered the site are told."""
    with stopped(site, "update", at=BEFORE_THE_GUARD["at the guard"]) as process:
        (site.outer / ".env").write_text("")
        go_on(process, 3)
    (mail,) = site.outbox_mails()
    assert (mail["To"], "changed" in str(mail.get_body())) == ("Ada <ada@example.org>", True)


def test_recovery_in_the_same_run_follows_the_settings_of_the_commit_that_went_live(site: SampleSite) -> None:
    push_setting(site, 'requirements_export = "requirements.txt"')
    interrupted(site, "update", at=AFTER_THE_GUARD["lock placed"], by="SIGTERM")
    assert site.live_version("alpha") == "1.1.0"
    assert "alpha==1.1.0" in site.git("show", "HEAD:requirements.txt")


def test_the_static_files_of_what_stays_live_are_collected_with_its_own_settings(site: SampleSite) -> None:
    site.releaser("update", check=0)
    site.publish("alpha", "1.2.0")
    push_setting(site, 'environment_file = "site.env"', **{"site.env": "SITE_MARK=new-commit\n"})
    interrupted(site, "update", at=AFTER_THE_GUARD["checkout moved"], by="SIGKILL")
    before = len(site.manage_runs("collectstatic"))
    site.releaser("prune", check=0)
    again = site.manage_runs("collectstatic")[before:]
    assert [(run.versions["alpha"], run.env.get("SITE_MARK")) for run in again] == [("1.1.0", None)]


@pytest.mark.parametrize("key", ["state_dir", "venv"])
def test_a_commit_that_moves_what_is_live_elsewhere_is_not_pulled(make_site: SiteFactory, key: str) -> None:
    site = make_site.adopted()
    live, head = site.live_id(), site.head()
    push_setting(site, f'{key} = "../elsewhere"')
    report = site.json("update", check=3)
    assert f"changes tool.releaser.{key} from None to '../elsewhere'" in report["headline"]
    assert (site.live_id(), site.head()) == (live, head)
    assert not (site.outer / "elsewhere").exists()
