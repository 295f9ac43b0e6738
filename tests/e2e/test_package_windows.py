"""Packages with their own windows: some at once, others at night or after a review."""

from datetime import datetime, timedelta

from tests.e2e.scenes import body, silent
from tests.support.sites import SampleSite, SiteFactory, variables

OWN_AT_ONCE = '{"alph*" = {window = "Mon-Sun"}}'


def _in_hours(first: float, last: float) -> str:
    now = datetime.now().astimezone()
    return f"{now + timedelta(hours=first):%H:%M}-{now + timedelta(hours=last):%H:%M}"


def live(site: SampleSite) -> list[str]:
    return [site.live_version(name) for name in ("alpha", "beta")]


def test_own_packages_go_live_at_once_and_others_in_the_window(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(window=_in_hours(2, 4), packages=OWN_AT_ONCE))
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0")
    for command in ("outdated", "why beta", "status", "update --dry-run"):
        shown = site.releaser(*command.split(), check=0).stdout
        assert "the maintenance window opens " in shown
        assert ("`releaser update --now " in shown) is (command in ("why beta", "status"))
    assert {one["name"]: one["next"] for one in site.json("outdated")} == {"alpha": "1.1.0", "beta": None}
    report = site.json("update")
    assert (live(site), [(one["name"], one["by"]) for one in report["on_hold"]]) == (
        ["1.1.0", "1.0.0"],
        [("beta", "window")],
    )
    assert "* beta 1.1.0: the maintenance window opens" in body(site)
    assert "to allow it: `releaser update --now beta`" in " ".join(body(site).split())
    silent(site.releaser("update"))
    assert "no newer version of beta is permitted; beta 1.1.0: the maint" in site.json("update", "beta")["headline"]
    # New commits stay where they are, and with them whatever would go live on top of them.
    site.publish("alpha", "1.2.0")
    pushed, before = site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"}), site.head()
    assert "they would go live with new commits" in site.json("update")["headline"]
    assert (live(site), site.head()) == (["1.1.0", "1.0.0"], before)
    assert site.releaser("update", "--now", "beta", check=0)
    assert (live(site), pushed in site.git("log", "--format=%H")) == (["1.1.0", "1.1.0"], True)
    assert site.json("update", "alpha")["changes"][0]["new"] == "1.2.0"


def test_a_commit_waits_with_the_packages_that_it_moves_unless_they_had_a_review(make_site: SiteFactory) -> None:
    closed = f'{{"alph*" = {{publish = "branch"}}, "*" = {{window = "{_in_hours(2, 4)}"}}}}'
    site = make_site.adopted(dotenv=variables(packages=closed))
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0")
    silent(site.releaser("update"))
    silent(site.releaser("update", "--tests-only"))  # builds only what the next update takes
    silent(site.releaser("update", "--now", env={"RELEASER_PACKAGES": '{"*" = {publish = "branch"}}'}))
    assert live(site) == ["1.0.0", "1.0.0"]
    assert [one["name"] for one in site.json("propose")["changes"]] == ["alpha", "beta"]
    site.git("fetch", "--quiet")
    site.git("push", "--quiet", "origin", "origin/releaser/update:main")  # the review accepts both
    waits = site.json("update")["waits"]
    assert "waits: it changes beta, whose maintenance window opens" in waits
    assert "`releaser update --now beta`" in waits
    (ready,) = (one["id"] for one in site.json("list") if one["state"] == "candidate")
    assert site.json("update")["release"] != ready
    assert "updated to" in site.releaser("update", "--now", "beta", "-v", check=0).stderr
    assert (live(site), site.live_id()) == (["1.1.0", "1.1.0"], ready)
