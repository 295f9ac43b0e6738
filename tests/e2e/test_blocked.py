"""A site whose updates cannot go live needs attention on every night until they can; only the first one is mailed."""

from tests.e2e.scenes import silent
from tests.support.sites import RED_TESTS, TESTS, SampleSite, SiteFactory, variables


def assert_blocked(site: SampleSite, *, blocked: bool) -> None:
    assert bool(site.json("status")["blocked"]) is blocked
    assert site.releaser("status", "--nagios").returncode == int(blocked)


def assert_blocked_for_nights(site: SampleSite) -> None:
    site.releaser("update", check=5)
    mails = len(site.outbox_mails())
    silent(site.releaser("update"))
    assert_blocked(site, blocked=True)
    assert len(site.outbox_mails()) == mails


def test_it_stays_yellow_until_something_goes_live(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv=variables(culprits="off"))
    good_tests = (site.path / TESTS).read_text(encoding="utf-8")
    site.break_tests()
    site.publish("alpha", "1.2.0")
    assert_blocked_for_nights(site)  # by packages, as the tests fail with whatever
    site.mend_tests()
    site.releaser("update", check=0)
    assert_blocked(site, blocked=False)
    site.push_from_elsewhere({TESTS: RED_TESTS})
    assert_blocked_for_nights(site)  # by a commit
    site.push_from_elsewhere({TESTS: f"{good_tests}\n"})
    site.releaser("update", check=0)
    assert_blocked(site, blocked=False)
