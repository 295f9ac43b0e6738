"""`test_live = "always"`: the tests of the live release run each night, and a site that turns red is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.scenes import body, silent, steps

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

# Red by what stands in a file outside: each word is a test that fails.
TESTS = """\
import pathlib
def failing():
    return pathlib.Path({notes!r}).read_text().split()
def test_basket(packages):
    assert "basket" not in failing()
def test_stock(packages):
    assert "stock" not in failing()
"""


def watched(make_site: SiteFactory, tmp_path: Path, **settings: str) -> tuple[SampleSite, Path]:
    notes = tmp_path / "failing"
    notes.touch()
    files = {"site_tests.py": TESTS.format(notes=str(notes))}
    site = make_site.adopted(files=files, settings={"test_live": "always", **settings})
    return site, notes


def test_a_site_that_turns_red_although_nothing_changed_is_told_once(make_site: SiteFactory, tmp_path: Path) -> None:
    site, notes = watched(make_site, tmp_path)
    silent(site.releaser("update"))
    assert len(site.manage_runs("test")) == 1
    assert site.json("status")["red_tests"] is None
    notes.write_text("basket", encoding="utf-8")
    before, live = site.snapshot(), site.live_id()
    report = site.json("update", check=5)
    assert (report["result"], report["live_changed"]) == ("failed", False)
    assert f"the tests failed on the live release {live}, although nothing has changed" in report["headline"]
    assert "FAIL: test_basket" in report["output"]
    assert steps(report)[-1] == "test live release"
    assert site.outbox_mails()[-1]["subject"].endswith(": update failed: tests of the live release")
    assert "test_basket" in body(site)
    red = site.json("status")["red_tests"]
    assert (red["release"], red["failing"]) == (live, ["test_basket"])
    assert "test_basket" in site.releaser("status", check=0).stdout
    silent(site.releaser("update"))
    assert len(site.outbox_mails()) == 1
    assert site.snapshot() == before


def test_it_is_told_again_when_something_else_fails_and_when_all_is_well(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    site, notes = watched(make_site, tmp_path)
    notes.write_text("basket", encoding="utf-8")
    site.releaser("update", check=5)
    notes.write_text("basket stock", encoding="utf-8")
    site.releaser("update", check=5)
    silent(site.releaser("update"))
    assert len(site.outbox_mails()) == 2
    notes.write_text("", encoding="utf-8")
    finished = site.releaser("update", check=0)
    assert f"The tests of {site.live_id()} pass again" in finished.stderr
    assert len(site.outbox_mails()) == 3
    assert f": The tests of {site.live_id()} pass again" in site.outbox_mails()[-1]["subject"]
    assert f"\nSince the last run:\n  The tests of {site.live_id()} pass again; they had failed since " in body(site)
    assert "interrupted" not in body(site)
    assert site.json("status")["red_tests"] is None
    silent(site.releaser("update"))


def test_by_default_a_quiet_night_runs_no_tests(make_site: SiteFactory, tmp_path: Path) -> None:
    site, notes = watched(make_site, tmp_path, test_live="changed")
    notes.write_text("basket", encoding="utf-8")
    silent(site.releaser("update"))
    assert site.manage_runs("test") == []
    notes.write_text("", encoding="utf-8")
    site.publish("alpha", "1.1.0")  # what is newer is tested instead of what is live
    report = site.json("update", env={"RELEASER_TEST_LIVE": "always"})
    assert "test live release" not in steps(report)
    assert len(site.manage_runs("test")) == 1
