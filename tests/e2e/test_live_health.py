"""The live site is asked before anything is built: what is wrong with it, or with the check, is told then."""

import pytest

from tests.e2e.scenes import answers, silent, states, step, steps, web_site
from tests.support.sites import SampleSite, SiteFactory, variables

IMPATIENT = {"health_retries": 0, "health_pause": "0s"}


def due(make_site: SiteFactory) -> SampleSite:
    """Make an adopted site for which a package is newer."""
    return make_site.adopted(dotenv=variables(**IMPATIENT), due="1.1.0")


def asks(url: str, **settings: str) -> dict[str, str]:
    return {"RELEASER_HEALTH_CHECK": url} | {f"RELEASER_{key.upper()}": value for key, value in settings.items()}


@pytest.mark.story
def test_a_site_that_is_down_is_told_before_anything_is_built(make_site: SiteFactory, dead_port: int) -> None:
    site = due(make_site)
    before, releases = site.snapshot(), states(site)
    site.push_from_elsewhere({"notes.txt": "news"})
    report = site.json("update", check=3, env=asks(f"http://127.0.0.1:{dead_port}/"))
    assert report["result"] == "refused"
    assert report["headline"].startswith(
        f"the live site fails its health check: http://127.0.0.1:{dead_port}/ cannot be"
    )
    assert "--force" in report["problems"][0]
    assert "build" not in steps(report)
    assert (site.snapshot(), states(site)) == (before, releases), "commits of a refused update are not in the checkout"
    assert len(site.outbox_mails()) == 1


def test_with_force_it_goes_on_and_may_be_the_cure(make_site: SiteFactory) -> None:
    """What is live may be the very reason why the site is down; or the check is wrong."""
    site = due(make_site)
    with web_site(answers(200)) as web:
        wrong = asks(web.url, health_text="welcome")
        report = site.json("update", check=3, env=wrong)
        assert f"{web.url} answered 200, but 'welcome' is not in the page" in report["headline"]
        assert "health_check" in report["problems"][0]
    code = "import alpha, sys; sys.exit('ill' if alpha.__version__ == '1.0.0' else 0)"
    check = asks(f'python -c "{code}"')
    for force in (False, True):
        told = site.releaser("update", "--dry-run", *(["--force"] if force else []), check=0, env=check)
        said = "it would be refused: the live site fails its health check" in told.stdout + told.stderr
        assert said is not force
    report = site.json("update", "--force", check=0, env=check)
    assert step(report, "live health check")["status"] == "warning"
    assert any("the live site fails its health check" in problem for problem in report["problems"])
    assert site.live_version("alpha") == "1.1.0"
    with web_site(answers(500)) as web:
        silent(site.releaser("update", env=asks(web.url)))
        assert web.asked == 0, "on a quiet night nothing is asked"


def test_a_rebuild_asks_first_as_well(make_site: SiteFactory) -> None:
    site = due(make_site)
    before = site.live_id()
    assert "it would be refused: the live site fails" in str(site.json("rebuild", "--dry-run", env=asks("false")))
    report = site.json("rebuild", check=3, env=asks("false"))
    assert report["headline"].startswith("the live site fails its health check: ")
    assert "to continue anyway, run `releaser rebuild --force`" in report["advice"]
    assert "stage" not in steps(report)
    assert site.live_id() == before
    cure = asks(f"python -c \"import sys; sys.exit('/{before}/' in sys.prefix + '/')\"")
    report = site.json("rebuild", "--force", check=0, env=cure)
    assert step(report, "live health check")["status"] == "warning"
    (module,) = site.link.resolve().glob("lib/python*/site-packages/alpha/__init__.py")
    module.unlink()
    cure = asks('python -c "import alpha.__init__"')
    assert "refused" not in str(site.json("rebuild", "--dry-run", env=cure))
    report = site.json("rebuild", check=0, env=cure)  # which is what mends it
    assert step(report, "live health check")["status"] == "warning"


def test_check_and_init_tell_too(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings=IMPATIENT)
    with web_site(answers(200)) as web:
        wrong = asks(web.url, health_text="welcome")
        report = site.json("check", check=3, env=wrong)
        (problem,) = report["problems"]
        assert f"the live site fails its health check: {web.url} answered 200, but 'welcome'" in problem
        site.releaser("check", check=0, env=asks(web.url))
        report = site.json("init", check=0, env=wrong)
        assert any("'welcome' is not in the page" in problem for problem in report["problems"])
        assert site.link.is_symlink()
        assert "'welcome' is not in the page" in site.releaser("init", env=wrong).stderr
    site.releaser("init", check=0)


def test_a_site_without_a_venv_need_not_run_yet(make_site: SiteFactory) -> None:
    site = make_site(settings=IMPATIENT)
    with web_site(answers(200)) as web:
        site.releaser("check", check=0, env=asks("false"))
        site.releaser("init", check=0, env=asks(web.url))
        assert web.asked == 1  # after the flip
