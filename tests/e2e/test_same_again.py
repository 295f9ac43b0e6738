"""No update makes a release that is the one before once more: the same packages, code, Python and group."""

from collections.abc import Callable

import pytest

from tests.e2e.scenes import silent
from tests.e2e.test_dry_run_of_update import a_commit_and_its_revert, an_older_lock, another_order, empty_commit
from tests.support.sites import TESTS, SampleSite, SiteFactory


def a_merge(site: SampleSite) -> None:
    """Push a merge of a branch that did and undid the same."""
    site.git("switch", "--quiet", "--create", "side")
    site.commit("Something", {"notes.txt": "news"})
    site.git("revert", "--no-edit", "HEAD")
    site.git("switch", "--quiet", "main")
    site.git("merge", "--quiet", "--no-ff", "--no-edit", "side")
    site.push()
    site.git("reset", "--quiet", "--hard", "HEAD^1")
    site.git("branch", "--quiet", "-D", "side")


def an_export(site: SampleSite) -> None:
    site.write_dotenv({"RELEASER_REQUIREMENTS_EXPORT": "requirements.txt"})
    site.push_from_elsewhere({"requirements.txt": "alpha==1.0.0\n"})


def a_lock_by_hand(site: SampleSite) -> None:
    """Commit the lock of another uv in the checkout itself."""
    site.push_commit("Lock by hand", {"uv.lock": f"# by hand\n{site.lock_text()}"})


def test_a_lock_that_somebody_took_back_is_followed(make_site: SiteFactory) -> None:
    """It is a person's work; what it went back from is on hold until a commit brings it again."""
    site = make_site.adopted()
    an_older_lock(site)
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.0.0"
    assert site.remote_head() == site.head()
    assert [(one["name"], one["version"]) for one in site.json("status")["on_hold"]] == [("alpha", "1.1.0")]
    site.uv("lock", "--check")
    silent(site.releaser("update"))


def test_a_version_of_what_only_the_tests_have_makes_no_release(make_site: SiteFactory) -> None:
    site = make_site.adopted(
        packages={"alpha": "1.0.0", "tool": "1.0.0"},
        groups={"local": ["alpha"], "lint": ["tool"]},
        dependencies=["alpha"],
        settings={"group": "local", "test_groups": ["lint"]},
    )
    site.publish("tool", "1.1.0")
    live, runs, lock = site.live_id(), len(site.manage_runs("test")), site.lock_text()
    silent(site.releaser("update"))
    assert (site.live_id(), len(site.manage_runs("test")), site.lock_text()) == (live, runs, lock)
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert {one["name"]: one["new"] for one in report["changes"]} == {"alpha": "1.1.0", "tool": "1.1.0"}


@pytest.mark.exhaustive
def test_a_row_of_nights_makes_no_release_twice(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    nights: list[Callable[[SampleSite], object]] = [
        lambda one: one.publish("alpha", "1.1.0"),
        empty_commit,
        lambda one: one.push_from_elsewhere({"notes.txt": "one"}),
        another_order,
        a_commit_and_its_revert,
        lambda one: one.push_from_elsewhere({TESTS: "def test_nothing(packages):\n    pass\n"}),
        a_merge,
        an_export,
        a_lock_by_hand,
    ]
    made = []
    for prepare in nights:
        prepare(site)
        before, restarted = site.live_id(), site.restarted_at()
        mails, theirs = len(site.outbox_mails()), site.remote_head()
        finished = site.releaser("update", check=0)
        made.append(site.live_id() != before)
        if not made[-1]:
            silent(finished)
            assert (site.restarted_at(), len(site.outbox_mails())) == (restarted, mails)
            assert theirs in site.git("log", "--format=%H")  # the checkout has followed
            assert (site.git("status", "--porcelain"), site.head()) == ("", site.remote_head())
    silent(site.releaser("update"))
    assert made == [True, False, True, False, False, True, False, False, False]
