"""A run that is cut off: the next one finishes or undoes it, and says so.

One point of each kind, for people to read; `tests/faults` cuts runs off at every call that changes something.
"""

import os
import shutil

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import body, silent
from tests.e2e.test_people_at_work import due
from tests.support.sites import SampleSite, SiteFactory

SETTINGS = {"health_check": "python manage.py check", "requirements_export": "requirements.txt"}
LINK = "releaser.releases.release:replace_symlink"
PLACE_LOCK = "releaser.actions.checkout:place_files"
FAST_FORWARD = "releaser.tools.git:Git.fast_forward"


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """An adopted site with a newer package and a commit that are due."""
    return make_site.adopted(prepare=due, settings=SETTINGS)


def whole(site: SampleSite) -> None:
    """See that what is live works and is what checkout and record say, and that nothing is left over."""
    rows = site.json("list")
    (live,) = (row for row in rows if row["live"])
    assert (site.state_dir / "releases" / live["id"] / "uv.lock").read_text(encoding="utf-8") == site.lock_text()
    assert f'name = "alpha"\nversion = "{site.live_version("alpha")}"' in site.lock_text()
    assert site.git("status", "--porcelain") in ("", "M uv.lock", " M uv.lock")
    assert {row["state"] for row in rows} <= {"live", "previous", "good", "rolled-back", "failed"}
    assert sorted(row["id"] for row in rows) == site.releases()
    assert left_over(site) == []


def left_over(site: SampleSite) -> list[str]:
    """Name what no run should leave: staging trees, temporary files and links, the journal."""
    places = [site.outer, site.path, site.state_dir, *(site.state_dir / "releases").iterdir()]
    names = [entry.name for place in places for entry in place.iterdir()]
    return [name for name in names if name.endswith((".new", "staging", "-live", "-copy", "journal.json"))]


@pytest.mark.exhaustive
def test_an_update_that_is_cut_off_before_the_flip_is_undone_and_made_again(site: SampleSite) -> None:
    """Also a lock of git goes that a power cut has left, in which nobody cleans up."""
    before, releases = site.snapshot(), site.json("list")
    interrupted(site, "update", at=Point(place=FAST_FORWARD))
    assert site.snapshot()["(link)"] == before["(link)"]
    (site.path / ".git" / "index.lock").touch()
    assert "was interrupted before it changed the site" in site.json("init")["recovered"]
    assert (site.snapshot(), site.json("list"), left_over(site)) == (before, releases, [])
    report = site.json("update")
    assert (report["result"], report["recovered"]) == ("updated", "")
    up_to_date(site)


@pytest.mark.story
def test_an_update_that_is_cut_off_after_the_flip_is_finished_and_told(site: SampleSite) -> None:
    before = site.live_id()
    interrupted(site, "update", at=Point(place=LINK))
    new, found = site.live_id(), site.snapshot()
    assert site.json("status")["interrupted"] is True
    assert (site.snapshot(), (site.state_dir / "journal.json").exists()) == (found, True)
    report = site.json("update")
    assert "the remaining steps are now done" in report["recovered"]
    assert (report["result"], report["problems"], report["noted"]) == ("no-changes", [], "")
    assert (site.live_id(), before != new) == (new, True)
    assert site.outbox_mails()[-1]["subject"].startswith("! site: recovered from an interrupted run")
    assert f"\nRepair of an interrupted run:\n  {report['recovered']}" in body(site)
    assert "Since the last run" not in body(site)
    up_to_date(site)
    found = site.snapshot()
    silent(site.releaser("update"))
    assert site.snapshot() == found


def up_to_date(site: SampleSite) -> None:
    """See that the site runs on the newest packages and commits, and that this is pushed."""
    whole(site)
    assert site.live_version("alpha") == "1.1.0"
    assert (site.path / "notes.txt").exists()
    assert (site.static_versions() or {}).get("alpha") == "1.1.0"
    assert (site.git("status", "--porcelain"), site.head()) == ("", site.remote_head())
    assert "alpha==1.1.0" in (site.path / "requirements.txt").read_text(encoding="utf-8")
    assert [row["state"] for row in site.json("list")] == ["live", "previous"]


def test_recovery_takes_back_what_it_finds_ill(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0", broken="collectstatic")
    before, head = site.live_id(), site.head()
    interrupted(site, "update", at=Point(place=LINK))
    assert site.live_id() != before
    assert site.json("update", check=6)["result"] == "rolled-back"
    whole(site)
    assert (site.live_id(), site.head()) == (before, head)
    assert [row["state"] for row in site.json("list")] == ["rolled-back", "live"]


# What was changed after the crash, or is damaged


def test_work_that_is_not_committed_survives_the_undoing_of_a_pull(site: SampleSite) -> None:
    site.push_from_elsewhere({"site_settings.py": (site.path / "site_settings.py").read_text() + "# pulled\n"})
    interrupted(site, "update", at=Point(place=FAST_FORWARD, when="before"))
    site.edit("site_settings.py", "# a hot fix\n")
    site.releaser("prune")
    assert (site.path / "site_settings.py").read_text() == "# a hot fix\n"


def test_a_lock_that_somebody_changed_and_a_journal_that_cannot_be_read_are_kept(site: SampleSite) -> None:
    """Without the journal, the link is believed."""
    interrupted(site, "update", at=Point(place=PLACE_LOCK))
    new, edited, harmed = site.live_id(), f"{site.lock_text()}# by hand\n", b"\0" * 512
    crashed = site.copy(site.outer.with_name("crashed"))
    site.edit("uv.lock", edited)
    site.releaser("prune", check=0)
    (kept,) = site.state_dir.glob("uv.lock-*")
    assert kept.read_text(encoding="utf-8") == edited
    assert str(kept) in body(site)

    (crashed.state_dir / "journal.json").write_bytes(harmed)
    report = crashed.json("update")
    assert ("The journal could not be read" in report["noted"], report["recovered"]) == (True, "")
    assert "The journal could not be read" in crashed.outbox_mails()[-1]["subject"]
    assert crashed.live_id() == new
    aside = crashed.state_dir / "journal.json.unreadable-1"
    assert aside.read_bytes() == harmed
    aside.unlink()
    whole(crashed)
    silent(crashed.releaser("update"))


@pytest.mark.spread(1)
@pytest.mark.parametrize("left", ["files", "directory", "record"])
def test_a_staging_tree_of_which_git_has_lost_its_record_is_no_one_elses(site: SampleSite, left: str) -> None:
    """git ends with releaser and takes its record away, while a git that it has started still writes files."""
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.add_work_tree"))
    place, record = site.outer / ".site.releaser-staging", site.path / ".git" / "worktrees" / "-site.releaser-staging"
    assert place.is_dir()
    if left == "record":
        (record / "gitdir").unlink()
    else:
        shutil.rmtree(record)
        (place / ".git").unlink()
    if left != "files":
        shutil.rmtree(place)
    if left == "directory":  # which releaser makes before git makes anything
        place.mkdir(mode=0o700)
    finished = site.releaser("prune", check=0)
    assert "was not made by releaser" not in finished.stderr
    assert not [name for name in os.listdir(site.outer) if ".releaser-staging" in name]
    assert not record.exists()
    site.releaser("update", check=0)
    assert not [name for name in os.listdir(site.state_dir) if name.startswith("staging-tree")]
    whole(site)


def test_a_kill_within_a_move_leaves_files_of_a_commit_until_the_next_command(site: SampleSite) -> None:
    """`docs/project/reliability-details.md` says so: the checkout may have more changed than `uv.lock`."""
    before = site.head()
    site.push_from_elsewhere({"moved/one.txt": "1\n"})
    interrupted(site, "update", at=Point(place=FAST_FORWARD))
    assert site.head() != before
    site.git("update-ref", "refs/heads/main", before)  # git moves it last of all
    assert (site.path / "moved" / "one.txt").exists()
    site.releaser("prune", check=0)
    assert (site.git("status", "--porcelain"), site.head()) == ("", before)
    assert not (site.path / "moved").exists()
