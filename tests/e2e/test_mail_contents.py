"""What a mail about an update lists beside the update: commits that wait, and processes that nothing restarted."""

from tests.e2e.scenes import body
from tests.support.sites import RED_TESTS, TESTS, SiteFactory


def test_a_mail_about_an_update_names_commits_that_stay_out_and_those_that_are_not_pushed(
    make_site: SiteFactory,
) -> None:
    site = make_site.adopted("1.1.0", dotenv={"RELEASER_GIT_PUSH": "false"})
    commit = site.push_from_elsewhere({TESTS: RED_TESTS}, message="Close the shop")
    site.releaser("update", check=5)
    site.publish("alpha", "1.2.0")
    updated = site.json("update")
    assert updated["live_changed"]
    mail = site.outbox_mails()[-1]
    assert str(mail["Subject"]).startswith("✓")
    text = " ".join(body(site).split())
    assert f"* commit {commit[:12]} (Close the shop) breaks the tests (since " in text
    assert f"Commits of uv.lock that are not pushed {'-' * 38} * {site.head()[:12]} Update 1 package" in text
    assert [one.split()[0] for one in updated["unpushed"]] == [site.head()[:12]]
