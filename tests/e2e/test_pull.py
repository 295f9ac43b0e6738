"""Commits that the pull brings: tested before they go live, and taken back with everything else when they fail."""

import pytest

from tests.e2e.scenes import body, edit_pyproject, silent, states, step, steps
from tests.support.sites import RED_TESTS, TESTS, SiteFactory, variables


def test_commits_are_a_change_without_any_newer_package(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    before = site.live_id()
    theirs = site.push_from_elsewhere({"notes.txt": "news"})
    report = site.json("update")
    assert (report["result"], report["changes"]) == ("updated", [])
    assert (report["pulled"]["new"], report["pulled"]["count"]) == (theirs, 1)
    assert (site.head(), site.git("status", "--porcelain")) == (theirs, "")
    assert site.live_id() == report["release"] != before
    assert len(site.manage_runs("test")) == 1
    assert site.restarted_at() is not None
    assert step(report, "commit")["status"] == "skipped"
    assert "1 new commit" in report["headline"]
    assert f"Commits that went live (1): {report['pulled']['old'][:12]}..{theirs[:12]}" in body(site)
    site.publish("gamma", "1.0.0")
    text = edit_pyproject(site, '"beta"', '"beta", "gamma"')
    theirs = site.push_from_elsewhere({"pyproject.toml": text}, lock=True)
    report = site.json("update")
    assert [(change["name"], change["bump"]) for change in report["changes"]] == [("gamma", "added")]
    assert site.live_version("gamma") == "1.0.0"
    assert site.head() == theirs == site.remote_head(), "a lock that they bring is taken as it is"
    silent(site.releaser("update"))


@pytest.mark.story
def test_red_commits_are_taken_back_and_blamed(make_site: SiteFactory) -> None:
    """What is live is a release and the commits that it runs: both are tested as they were."""
    site = make_site.adopted()
    before = site.snapshot()
    original = (site.path / TESTS).read_text(encoding="utf-8")
    theirs = site.push_from_elsewhere({TESTS: RED_TESTS})
    report = site.json("update", check=5)
    assert (site.snapshot(), site.remote_head()) == (before, theirs)
    assert (report["pulled"]["new"], report["blame"]) == (theirs, "update")
    assert step(report, "test live release")["status"] == "ok"
    assert "the shop is closed" in report["output"]
    assert states(site) == {report["release"]: "failed", site.live_id(): "live"}
    assert "the shop is closed" in body(site)
    assert "this update is the cause" in body(site)
    # The next night is silent; commits that repair it come in.
    runs, releases = len(site.manage_runs()), states(site)
    silent(site.releaser("update"))
    assert (site.snapshot(), len(site.manage_runs()), states(site)) == (before, runs, releases)
    assert len(site.outbox_mails()) == 1
    theirs = site.push_from_elsewhere({TESTS: original + "\n# Mended.\n"})
    report = site.json("update")
    assert (report["pulled"]["count"], site.head()) == (2, theirs)


def test_commits_that_make_the_site_ill_are_taken_back_with_everything(make_site: SiteFactory) -> None:
    """The code that is there decides on health, except for the releases whose link the file `well` has."""
    well = """sh -c 'test ! -e sick.txt || grep -qxF "$(readlink .venv)" ../well'"""
    site = make_site.adopted("1.1.0", dotenv=variables(health_check=well, health_retries=0))
    (site.outer / "well").write_text(f"{site.link.readlink()}\n", encoding="utf-8")
    before, static = site.snapshot(), site.static_versions()
    theirs = site.push_from_elsewhere({"sick.txt": ""})
    site.publish("beta", "1.1.0")
    report = site.json("update", check=6)
    assert (report["result"], states(site)[report["release"]]) == ("rolled-back", "rolled-back")
    assert site.snapshot() | {"(restarted at)": ""} == before | {"(restarted at)": ""}
    assert (site.static_versions(), site.remote_head(), "commit" in steps(report)) == (static, theirs, False)
    # The commit is left out; beta comes in without it.
    site.releaser("update", check=0)
    assert (site.live_version("beta"), site.remote_head()) == ("1.1.0", theirs)
    assert not (site.path / "sick.txt").exists()
    (site.outer / "well").write_text(f"{site.link.readlink()}\n", encoding="utf-8")
    head, runs = site.head(), len(site.manage_runs())
    silent(site.releaser("update"))
    assert len(site.manage_runs()) == runs, "the commit alone is not tried again"
    site.push_from_elsewhere({"cure.txt": "take twice daily"})
    site.releaser("update", check=6)
    assert (site.head(), site.git("status", "--porcelain")) == (head, "")


def test_packages_come_in_although_a_commit_is_bad_and_nothing_is_searched_for(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"culprits": "off"})
    before = site.head()
    site.push_from_elsewhere({TESTS: RED_TESTS})
    for name in ("alpha", "beta"):
        site.publish(name, "1.1.0")
    site.releaser("update", check=5)
    report = site.json("update")
    assert [one["name"] for one in report["changes"]] == ["alpha", "beta"]
    assert site.git("diff", "--name-only", before, "HEAD") == "uv.lock"
    silent(site.releaser("update"))
