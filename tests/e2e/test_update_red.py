"""Updates whose tests fail: refused, blamed on the right one, and not tried again until something is different."""

import json

import pytest

from tests.e2e.scenes import body, silent, states, step, steps
from tests.support.sites import SampleSite, SiteFactory

pytestmark = pytest.mark.story


def versions_tested(site: SampleSite) -> list[str]:
    return [run.versions["alpha"] for run in site.manage_runs("test")]


def test_an_update_that_breaks_the_tests_is_refused_and_blamed(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    live = site.live_id()
    site.publish("alpha", "2.0.0", broken=True)
    before = site.snapshot()
    finished = site.releaser("update", "--json", check=5)
    assert site.snapshot() == before
    assert site.remote_head() == site.head()
    for words in ("this update is the cause", "live: unchanged"):
        assert words in finished.stderr
    # Without the update, with it once more, and without it once more: a single failure blames nobody.
    assert versions_tested(site) == ["2.0.0", "1.0.0", "2.0.0", "1.0.0"]
    assert site.manage_runs("collectstatic") == []
    report = json.loads(finished.stdout)
    assert (report["result"], report["exit_code"], report["blame"]) == ("refused", 5, "update")
    assert (report["previous"], report["live_changed"]) == (live, False)
    assert "alpha 2.0.0 breaks the site" in report["output"]
    assert [change["new"] for change in report["changes"]] == ["2.0.0"]
    assert step(report, "test")["status"] == "failed"
    assert step(report, "test live release")["status"] == "ok"
    assert "flip" not in steps(report)
    assert states(site) == {report["release"]: "failed", live: "live"}
    (mail,) = site.outbox_mails()
    assert mail["subject"].startswith("✗ site: refused, alpha 2.0.0 breaks test_")
    text = body(site)
    assert text.count("this update is the cause") == 1
    for command in (f"releaser show {report['release']}", "releaser hold alpha", "releaser update --force"):
        assert f"\n    {command}\n" in text
    (test,) = report["failed_tests"]
    assert text.startswith(f"Alpha 2.0.0 breaks `{test}`\n")
    assert "alpha 2.0.0 breaks the site" in site.releaser("show", report["release"], check=0).stdout
    # The second night with the same candidate is silent; by force it is tried again.
    releases, runs = states(site), len(site.manage_runs())
    silent(site.releaser("update"))
    assert (len(site.manage_runs()), len(site.outbox_mails()), states(site)) == (runs, 1, releases)
    assert site.snapshot() == before
    site.git("commit", "--quiet", "--allow-empty", "--message", "Nothing but a new commit")
    site.push()
    silent(site.releaser("update"))
    site.releaser("update", "--force", check=5)
    assert len(site.manage_runs("test")) == 4 + 4


def test_tests_that_failed_before_are_not_blamed_on_the_update(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.break_tests()
    site.publish("alpha", "1.1.0")
    before = site.snapshot()
    report = site.json("update", check=5)
    assert site.snapshot() == before
    assert report["blame"] == "before"
    assert step(report, "test live release")["status"] == "failed"
    assert versions_tested(site) == ["1.1.0", "1.0.0"]
    assert "it was failing before" in body(site)


@pytest.mark.slow
def test_without_an_earlier_release_nobody_is_blamed(make_site: SiteFactory) -> None:
    site = make_site()
    site.break_tests()
    report = site.json("update", check=5)
    assert report["blame"] == "unknown"
    assert len(site.manage_runs("test")) == 1
    assert not site.link.exists()
