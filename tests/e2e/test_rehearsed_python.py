"""`rebuild --python VERSION --tests-only`: a release on the next Python is tested, and goes live on request."""

from pathlib import Path

from tests.e2e.scenes import body, silent, states, steps
from tests.e2e.test_rebuild import NEEDS_OLD, RUNS_ON, site_on
from tests.e2e.test_tests_only import candidate, untouched
from tests.support.pythons import Installation, give_pythons, need_python
from tests.support.sites import SiteFactory, variables

REHEARSE = ("rebuild", "--python", "3.13", "--tests-only")
GO_LIVE = ("rebuild", "--python", "3.13")


def test_the_next_python_is_ready_until_a_person_makes_it_live(make_site: SiteFactory) -> None:
    new, old = need_python("3.13").version, need_python("3.12").version
    site = site_on(make_site, "3.12", "3.13", dotenv=variables(keep_at_least=0))
    before = untouched(site)
    planned = site.releaser(*REHEARSE, "--dry-run", check=0).stdout
    assert "with --tests-only, nothing would go live: a new release would stay ready" in planned
    assert ".venv would lead to the new release" not in planned
    said = site.releaser(*REHEARSE, check=0).stderr
    sentence, how = f"Python {new}: tests passed, not live", "To make it live, run `releaser rebuild --python 3.13`."
    ready = candidate(site)
    for place in (said, body(site)):
        assert sentence in place
        assert how in place
    assert sentence in site.outbox_mails()[-1]["subject"]
    status = site.json("status")
    assert status["tested"].startswith(f"{sentence} ({ready}, ")
    assert status["tested"].endswith(how)
    assert (status["waiting"], status["failed_candidates"], status["on_hold"]) == ([], [], [])
    assert sentence in site.releaser("status", check=0).stdout
    assert (untouched(site), site.python(RUNS_ON)) == (before, old)
    refused = site.releaser("approve", ready, check=2).stderr
    assert "Run `releaser rebuild --python 3.13`" in refused

    silent(site.releaser("update"))  # a night without news neither takes it nor loses it
    site.releaser("prune", check=0)
    assert (untouched(site), candidate(site)) == (before, ready)
    tests = len(site.passed_tests())
    assert f"{ready}, which passed its tests" in site.releaser(*GO_LIVE, "--dry-run", check=0).stdout
    live = site.json(*GO_LIVE)
    assert (live["release"], site.live_id(), site.python(RUNS_ON)) == (ready, ready, new)
    assert not {"build", "test"} & {*steps(live)}
    assert len(site.passed_tests()) == tests
    assert site.json("status")["tested"] == ""
    silent(site.releaser("update"))
    assert site.live_id() == ready


def test_an_update_meanwhile_goes_live_on_the_present_python_and_the_next_rebuild_is_tested_again(
    make_site: SiteFactory,
) -> None:
    site = site_on(make_site, "3.12", "3.13", dotenv=variables(keep_at_least=0), settings={"approve_after": "2d"})
    old, new = need_python("3.12").version, need_python("3.13").version
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    waiting = candidate(site)
    site.releaser(*REHEARSE, check=0)
    ready = candidate(site)
    assert ready != waiting
    site.releaser("approve", waiting, check=0)  # the rehearsal does not take its place
    night = site.json("update")
    assert (night["release"], site.python(RUNS_ON)) == (waiting, old)
    assert states(site)[ready] == "candidate"  # it is not lost
    assert site.json("status")["tested"].endswith(", which builds and tests again, as the site has changed since then.")
    report = site.json(*GO_LIVE)
    assert report["noted"] == f"{ready} was not used: this run takes other versions of alpha."
    assert (site.python(RUNS_ON), site.live_version("alpha"), site.live_id() == ready) == (new, "1.1.0", False)
    assert ready not in states(site)  # of no use any more


def test_failed_tests_on_the_next_python_put_nothing_on_hold(make_site: SiteFactory) -> None:
    site = site_on(make_site, "3.12", "3.13", files={"site_tests.py": NEEDS_OLD})
    old, new = need_python("3.12").version, need_python("3.13").version
    site.push_commit("Stay", {".python-version": "3.12\n"})
    site.releaser("update", check=0)
    before = untouched(site)
    said = site.releaser(*REHEARSE, check=5).stderr
    assert f"with Python {new} and passed on the live release" in said
    assert f"the site stays on Python {old}, nothing is on hold, and updates continue as before." in said
    assert "live: unchanged" in said
    status = site.json("status")
    assert (status["failed_candidates"], status["on_hold"], status["tested"]) == ([], [], "")
    assert status["last_deployment"]["command"] == "update"
    silent(site.releaser("update"))
    assert untouched(site) == before
    # A project that asks for its Python can be tested on another one, and keeps it.
    site.push_commit("Support both", {"site_tests.py": "def test_python(packages):\n    pass\n"})
    site.releaser("update", check=0)
    said = site.releaser(*REHEARSE, check=0).stderr
    assert (
        "before it can go live, set .python-version to '3.13' and commit the change; the tests then run again" in said
    )
    assert (site.path / ".python-version").read_text(encoding="utf-8") == "3.12\n"
    assert "so the next update would go back from Python" in site.releaser(*GO_LIVE, check=3).stderr
    silent(site.releaser("update"))
    assert site.python(RUNS_ON) == old


def test_once_the_old_python_is_gone_the_update_takes_the_release_that_is_ready(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    old, new = Installation(tmp_path / "python", need_python("3.12")), need_python("3.13")
    site = make_site()
    give_pythons(site, old, new)
    site.adopt()
    site.releaser(*REHEARSE, check=0)
    ready, tests = candidate(site), len(site.passed_tests())
    old.delete()
    give_pythons(site, new)
    report = site.json("update")
    assert (report["release"], site.python(RUNS_ON)) == (ready, new.version)
    assert not {"build", "test"} & {*steps(report)}
    assert len(site.passed_tests()) == tests
