"""`update --tests-only`: a candidate is built and tested by day, and goes live in the window, without a second test."""

from datetime import datetime, timedelta

import pytest

from tests.e2e.scenes import silent, states, steps
from tests.e2e.test_many_sites import answers, sites_file
from tests.support.sites import SampleSite, SiteFactory, variables

NIGHT = "RELEASER_WINDOW"


def window(first: float, last: float) -> str:
    """Return a maintenance window from now, in hours."""
    now = datetime.now().astimezone()
    return f"{now + timedelta(hours=first):%H:%M}-{now + timedelta(hours=last):%H:%M}"


def untouched(site: SampleSite) -> tuple[object, ...]:
    """Return what a run for tests alone may not change."""
    return site.live_id(), site.snapshot(), site.head(), site.remote_head(), site.restarted_at(), site.static_versions()


@pytest.mark.story
def test_what_is_built_at_noon_goes_live_at_three_without_a_second_test(make_site: SiteFactory) -> None:
    later = window(2, 4)
    site = make_site.adopted(dotenv=variables(window=later), due="1.1.0")
    site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    before, tests = untouched(site), len(site.passed_tests())
    refused = site.releaser("update", "--tests-only", "--from", "/srv/channels/main", check=2).stderr
    assert "--tests-only cannot be combined with --from" in refused
    planned = site.releaser("update", "--tests-only", "--dry-run", check=0).stdout
    assert "with --tests-only, nothing would go live: a new release would stay ready" in planned
    assert "waits for the maintenance window" not in planned
    noon = site.json("update", "--tests-only")
    assert (noon["result"], noon["exit_code"], noon["tests_only"], untouched(site)) == ("no-changes", 0, True, before)
    (ready,) = (one for one, state in states(site).items() if state == "candidate")
    assert noon["headline"].startswith(f"{ready} is ready and waits: its tests passed; it goes live on ")
    assert noon["headline"].endswith(f" {later.partition('-')[0]}")
    assert noon["headline"] in site.releaser("status").stdout
    site.publish("alpha", "1.2.0")  # for the next night
    silent(site.releaser("update", "--tests-only"))
    silent(site.releaser("update"))  # outside the window
    assert (untouched(site), len(site.passed_tests())) == (before, tests + 1)
    night = site.json("update", env={NIGHT: window(-1, 1)})
    assert (night["release"], site.live_id(), site.live_version("alpha")) == (ready, ready, "1.1.0")
    assert not {"build", "test"} & {*steps(night)}
    assert len(site.passed_tests()) == tests + 1
    assert site.head() == site.remote_head()


def candidate(site: SampleSite) -> str:
    """Return the newest release that is ready."""
    return next(one for one, state in states(site).items() if state == "candidate")


def test_a_release_that_no_longer_fits_is_not_used_and_the_report_says_why(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    site.releaser("update", "--tests-only", check=0)
    first, live, tests = candidate(site), site.live_id(), len(site.passed_tests())
    site.releaser("hold", "alpha", check=0)
    held = site.json("update")
    assert held["headline"].startswith(
        f"everything is up to date; {first} was not used: alpha is skipped (on hold by you since "
    )
    site.releaser("unhold", "alpha", check=0)
    site.write_dotenv({"GREETING": "hello"})
    changed = site.json("update", "--tests-only")
    assert changed["noted"] == f"{first} was not used: `.env` or another file outside of git has changed."
    second = candidate(site)
    assert second != first
    assert (site.live_id(), len(site.passed_tests())) == (live, tests + 1)
    site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    pushed = site.json("update")
    assert pushed["noted"] == f"{second} was not used: new commits."
    assert (pushed["result"], site.live_id() in (live, first, second)) == ("updated", False)
    assert len(site.passed_tests()) == tests + 2
    # Commits that change nothing do not move the checkout either.
    site.push_from_elsewhere({"shop/more.py": "MORE = 1\n"})
    site.push_from_elsewhere({}, remove=["shop/more.py"])
    before = untouched(site)
    silent(site.releaser("update", "--tests-only"))
    assert untouched(site) == before
    silent(site.releaser("update"))
    assert site.head() == site.remote_head() != before[2]


def test_sites_that_go_first_hold_up_no_test_of_the_others(make_site: SiteFactory) -> None:
    first, other = sites = [make_site.adopted(name=name, outer=name, due="1.1.0") for name in ("first", "other")]
    file = sites_file(sites, first=[first])
    noon = answers(first, "update", "--sites", file, "--tests-only", check=0)
    for site in sites:
        expected = f"{candidate(site)} is ready and waits: its tests passed; it goes live with the next update"
        assert noon[site.path.name]["answer"]["headline"] == expected
    ready = [candidate(site) for site in sites]
    night = answers(first, "update", "--sites", file, check=0)
    assert [site.live_id() for site in (first, other)] == ready
    assert not {"build", "test"} & {name for one in night.values() for name in steps(one["answer"])}
