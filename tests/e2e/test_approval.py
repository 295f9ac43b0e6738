"""`approve_after` and `approve`: a release that passed its tests waits for a person."""

import shutil
import time

import pytest

from tests.e2e.scenes import body, silent, states, steps
from tests.support.sites import SampleSite, SiteFactory, variables


def waiting(site: SampleSite) -> str:
    """Return the newest release that is ready."""
    return next(one for one, state in states(site).items() if state == "candidate")


@pytest.mark.story
def test_a_release_goes_live_once_a_person_has_approved_it(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(approve_after="2d", window="00:00-24:00"), due="1.1.0")
    live, before, mails, tests = site.live_id(), site.snapshot(), len(site.outbox_mails()), len(site.passed_tests())
    assert "it would wait once it is built: it needs approval" in site.releaser("update", "--dry-run", check=0).stdout
    asks = site.json("update", "--tests-only", "alpha")
    ready = waiting(site)
    assert (asks["result"], asks["exit_code"], asks["needs_approval"]) == ("no-changes", 0, ready)
    assert asks["headline"].startswith(
        f"{ready} is ready and waits: it needs approval (`releaser approve {ready}`); it "
    )
    for words in ((), ("--force",)):
        silent(site.releaser("update", *words))
    assert (len(site.outbox_mails()), site.live_id(), site.snapshot()) == (mails + 1, live, before)
    for part in (
        "alpha",
        "1.0.0",
        "1.1.0",
        f"Approval needed for alpha 1.0.0 → 1.1.0: {ready} has been ready since ",
        "goes live anyway on",
        "is unchanged",
    ):
        assert part in body(site)
    assert f"`releaser approve {ready}`" in body(site)
    assert asks["headline"] in site.releaser("status").stdout
    site.releaser("approve", ready[:-1], "--dry-run", check=0)
    approved = site.json("approve", ready)
    assert (approved["result"], approved["headline"]) == ("updated", f"{ready} is approved now")
    assert f"{ready} was approved by " in site.releaser("list").stdout
    (remark,) = site.json("show", ready)["remarks"]
    assert remark in site.releaser("show", ready).stdout
    night = site.json("update")
    assert (night["release"], site.live_id(), site.live_version("alpha")) == (ready, ready, "1.1.0")
    assert ("test" in steps(night), len(site.passed_tests())) == (False, tests + 1)
    assert "is already live" in site.releaser("approve", ready, check=2).stderr
    site.releaser("approve", "20200101", check=9)


def test_the_repair_of_a_live_release_does_not_wait(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv=variables(approve_after="never"))
    damaged = site.live_id()
    shutil.rmtree(site.link.resolve() / "bin")
    report = site.json("update")
    assert (report["result"], report["needs_approval"], site.live_id() == damaged) == ("updated", "", False)


def test_what_was_pushed_needs_an_approval_of_its_own_and_a_kill_loses_none(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(approve_after="never"), due="1.1.0")
    site.releaser("update", check=0)
    first, live, mails = waiting(site), site.live_id(), len(site.outbox_mails())
    site.releaser("approve", first, check=0)
    site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    second = site.json("update")["needs_approval"]
    assert (second == first, site.live_id(), len(site.outbox_mails())) == (False, live, mails + 1)
    for part in (
        f"{first} was not used: new commits.",
        f"`releaser approve {second}`",
        "does not go live without approval",
    ):
        assert part in body(site)
    site.releaser("approve", first, check=9)  # it was pruned
    site.releaser("approve", second, check=0)
    tests = len(site.passed_tests())
    site.releaser("update", env={"RELEASER_BEFORE_LIVE": "sh -c 'kill -9 $PPID'"}, check=-9)
    assert (site.live_id(), states(site)[second]) == (live, "candidate")
    assert site.json("update")["release"] == second == site.live_id()
    assert len(site.passed_tests()) == tests
    # A rollback puts the commit on hold: what waits with it does not go live, and the next one does by itself.
    site.publish("alpha", "1.2.0")
    third = site.json("update")["needs_approval"]
    site.releaser("rollback", check=0)
    assert site.live_id() == live
    back = site.json("update")
    assert back["noted"].endswith(f"{third} was not used: its commits may not go live now.")
    assert site.live_id() == live
    time.sleep(1)
    alone = site.json("update", env={"RELEASER_APPROVE_AFTER": "1s"})
    assert alone["release"] == back["needs_approval"] == site.live_id()


def test_new_commits_wait_for_approval_although_the_live_release_is_damaged(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv=variables(approve_after="never"))
    damaged = site.live_id()
    next(site.link.resolve().glob("lib/python*/site-packages/alpha/__init__.py")).unlink()
    site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    asks = site.json("update")
    ready = asks["needs_approval"]
    assert (asks["result"], site.live_id(), waiting(site)) == ("no-changes", damaged, ready)
    assert "is damaged" in body(site)
    site.releaser("approve", ready, check=0)
    assert site.json("update")["release"] == ready == site.live_id()
