"""The live site is asked before anything is built, and after the flip: what is wrong with it, or with the check."""

import re

import pytest

from tests.e2e.scenes import answers, body, silent, states, step, steps, web_site
from tests.support.sites import SampleSite, SiteFactory, variables

IMPATIENT = {"health_retries": 0, "health_pause": "0s"}


def due(make_site: SiteFactory) -> SampleSite:
    """Make an adopted site for which a package is newer."""
    return make_site.adopted(dotenv=variables(**IMPATIENT), due="1.1.0")


def asks(url: str, **settings: str) -> dict[str, str | None]:
    return variables(health_check=url, **settings)


@pytest.mark.story
def test_a_site_that_is_down_is_told_before_anything_is_built(make_site: SiteFactory, dead_port: int) -> None:
    site = due(make_site)
    before, releases = site.snapshot(), states(site)
    site.push_from_elsewhere({"notes.txt": "news"})
    report = site.json("update", check=3, env=asks(f"http://127.0.0.1:{dead_port}/"))
    assert report["result"] == "refused"
    reason = f"the live site fails its health check: http://127.0.0.1:{dead_port}/ cannot be"
    assert report["headline"].startswith(reason)
    assert "--force" in report["problems"][0]
    assert "build" not in steps(report)
    assert (site.snapshot(), states(site)) == (before, releases), "commits of a refused update are not in the checkout"
    assert len(site.outbox_mails()) == 1


def test_with_force_it_goes_on_and_may_be_the_cure(make_site: SiteFactory) -> None:
    """What is live may be the very reason why the site is down."""
    site = due(make_site)
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


def test_check_and_init_tell_too_once_there_is_a_venv(make_site: SiteFactory) -> None:
    site = make_site(settings=IMPATIENT)
    site.releaser("check", check=0, env=asks("false"))
    site.make_venv()
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


def test_what_the_site_answered_with_both_releases_is_told(make_site: SiteFactory) -> None:
    site = due(make_site)
    earlier = site.live_id()
    with web_site(answers(200, 500, 200)) as web:
        report = site.json("update", check=6, env=asks(web.url))
        assert web.asked == 3
    bad, good = report["answers"]
    assert (bad["release"], bad["good"], bad["body"]) == (report["release"], False, "this is answer 500")
    assert bad["text"] == f"{web.url} answered 500 Internal Server Error"
    assert good == {"release": earlier, "good": True, "text": f"{web.url} answered 200", "body": ""}
    assert bad["text"] in step(report, "health check")["detail"]
    again = step(report, "health check again")
    assert (again["status"], again["detail"].partition(";")[0]) == ("ok", good["text"])
    assert site.outbox_mails()[-1]["subject"].startswith("↩ site: rolled back, health check failed")
    for kind in ("plain", "html"):
        text = " ".join(re.sub(r"</?(?:a|span)\b[^>]*>", "", body(site, kind=kind)).split())
        assert "Output" not in text  # it is the page
        held, _, told = text.partition("Updates will skip")[2].partition("Answers of the site")
        first, _, second = told.partition(f"Release {earlier}, which is live again: passed")
        assert f"Release {report['release']}, the new release: failed" in first
        assert "answered 500 Internal Server Error" in first
        assert "this is answer 500" in first
        assert f"{web.url} answered 200" in second[:200]
        assert "alpha 1.1.0" in held
        assert "releaser unhold alpha" in text


def test_a_release_whose_python_does_not_start_through_the_symlink_is_taken_back(make_site: SiteFactory) -> None:
    """What a package does when it is started there stands for all that nobody has thought of."""
    tiny = {"collectstatic": "off", "migrations": "off", "test_command": ["true"]}
    site = make_site.adopted(packages={"alpha": "1.0.0"}, groups={"local": ["alpha"]}, settings=tiny)
    spoiled = site.outer / "spoiled"
    condition = f"os.path.exists({str(spoiled)!r}) and sys.orig_argv[0].startswith({str(site.link)!r})"
    start = f"import os, sys; {condition} and os._exit(3)\n"
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": "", "alpha_start.pth": start})
    spoiled.touch()
    first, lock = site.live_id(), site.lock_text()
    report = site.json("update", check=6)
    assert (report["result"], report["live_changed"]) == ("rolled-back", False)
    assert step(report, "python start")["status"] == "failed"
    assert "restart" not in steps(report)  # nothing of the site has been told of it
    assert "exit status 3" in str(report["problems"])
    assert "exit status 3" in body(site)
    assert (site.live_id(), site.lock_text(), site.live_version("alpha")) == (first, lock, "1.0.0")
    assert states(site)[report["release"]] == "rolled-back"
    silent(site.releaser("update"))  # it is not tried each night
    spoiled.unlink()
    assert site.json("update", "--force")["result"] == "updated"
    assert site.live_version("alpha") == "1.1.0"
