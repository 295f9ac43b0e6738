"""`manage.py check --deploy` as a part of the gate, on a site that stands in for Django."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.scenes import silent, step, steps

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

ON = {"RELEASER_DJANGO_CHECK": "deploy"}


def adopted(make_site: SiteFactory, **options: Any) -> SampleSite:
    site = make_site.adopted(**options)
    site.write_dotenv(ON)
    return site


@pytest.mark.story
def test_it_is_run_before_the_tests_and_passes(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert report["result"] == "activated"
    assert steps(report).index("django check") < steps(report).index("test")
    (checked,) = site.manage_runs("check")
    assert checked.argv == ("check", "--deploy", "--fail-level", "ERROR")
    assert checked.versions["alpha"] == "1.1.0"
    shown = site.json("show", report["release"])["test_output"]
    assert "no issues" in shown
    assert shown.rstrip().endswith("OK")


def test_nobody_asks_for_it_by_default(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    site.write_dotenv()
    site.publish("alpha", "1.1.0", broken="check")
    assert site.json("update")["result"] == "activated"
    assert site.manage_runs("check") == []


def test_a_site_that_failed_before_is_tried_again_once_it_passes(make_site: SiteFactory) -> None:
    site = adopted(make_site, packages={"alpha": "1.0.0", "beta": "1.0.0"})
    site.write_dotenv()
    site.publish("beta", "1.1.0", broken="check")
    site.json("update")
    site.write_dotenv(ON)
    site.publish("alpha", "1.1.0")
    report = site.json("update", check=5)
    assert report["blame"] == "before"
    assert "Fix the site or its settings" in report["advice"]
    silent(site.releaser("update"))
    assert site.manage_runs("check")[-1].versions["alpha"] == "1.0.0"  # what is live is asked, and nothing is built
    site.write_dotenv()
    report = site.json("update")
    assert report["result"] == "activated"
    assert step(report, "test live release")["status"] == "ok"


def test_one_that_hangs_is_ended(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    code = "import sys, time\n__version__ = '1.1.0'\nif sys.argv[1] == 'check': time.sleep(1000)\n"
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": code})
    site.write_dotenv({**ON, "RELEASER_TEST_TIMEOUT": "3s"})
    report = site.json("update", check=5)
    assert "`manage.py check --deploy` did not end within 3 s" in report["headline"]
    assert "Raise `test_timeout` if that is too short." in report["advice"]


def test_it_makes_no_sense_without_django(make_site: SiteFactory) -> None:
    site = make_site(venv=True, files={"run_tests.py": ""}, dotenv={**ON, "RELEASER_COLLECTSTATIC": "on"})
    site.git("rm", "--quiet", "manage.py")
    site.git("commit", "--quiet", "--message", "Leave Django")
    site.push()
    finished = site.releaser("update", check=3)
    for setting in ("django_check", "collectstatic"):
        assert f"`{setting}` is switched on, but {site.path} has no manage.py" in finished.stderr
