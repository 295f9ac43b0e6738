"""A run that is cut off: the next one finishes or undoes it, and says so.

One point of each kind, for people to read; `tests/faults` cuts runs off at every call that changes something.
"""

import os
import shutil

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import body
from tests.e2e.test_people_at_work import due
from tests.support.sites import SampleSite, SiteFactory

SETTINGS = {"health_check": "python manage.py check", "requirements_export": "requirements.txt"}
LINK = "releaser.releases.release:replace_symlink"
PLACE_LOCK = "releaser.actions.checkout:place_files"
FAST_FORWARD = "releaser.tools.git:Git.fast_forward"

UNTOUCHED = "was interrupted before it changed the site"
FINISHED = "the remaining steps are done now"


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """An adopted site with a newer package and a commit that are due."""
    return make_site.adopted(prepare=due, settings=SETTINGS)


def whole(site: SampleSite) -> None:
    """See that what is live works and is what checkout and record say, and that nothing is left over."""
    rows = site.json("list")
    (live,) = (row for row in rows if row["live"])
    release = site.state_dir / "releases" / live["id"]
    assert (release / "manifest.json").exists()
    assert (release / "uv.lock").read_text(encoding="utf-8") == site.lock_text()
    assert f'name = "alpha"\nversion = "{site.live_version("alpha")}"' in site.lock_text()
    assert site.git("status", "--porcelain") in ("", "M uv.lock", " M uv.lock")
    assert {row["state"] for row in rows} <= {"live", "previous", "good", "rolled-back", "failed"}
    assert sorted(row["id"] for row in rows) == sorted(path.name for path in (site.state_dir / "releases").iterdir())
    assert left_over(site) == []


def left_over(site: SampleSite) -> list[str]:
    """Name what no run should leave: staging trees, temporary files and links, the journal."""
    places = [site.outer, site.path, site.state_dir, *(site.state_dir / "releases").iterdir()]
    names = [entry.name for place in places for entry in place.iterdir()]
    return [
        name for name in names if name.endswith((".new", "staging", "-live", "-copy")) or name.startswith("journal")
    ]


def nothing_is_left_to_do(site: SampleSite) -> None:
    """See that a further run finds nothing to recover, and nothing to change."""
    before = site.snapshot()
    report = site.json("update")
    assert (report["result"], report["recovered"], report["problems"]) == ("no-changes", "", [])
    assert site.snapshot() == before


def up_to_date(site: SampleSite) -> None:
    """See that the site runs on the newest packages and commits, and that this is pushed."""
    whole(site)
    assert site.live_version("alpha") == "1.1.0"
    assert (site.path / "notes.txt").exists()
    assert (site.static_versions() or {}).get("alpha") == "1.1.0"
    assert site.head() == site.remote_head()
    assert site.git("status", "--porcelain") == ""
    assert "alpha==1.1.0" in (site.path / "requirements.txt").read_text(encoding="utf-8")
    assert [row["state"] for row in site.json("list")] == ["live", "previous"]


# An update


def test_an_update_that_is_cut_off_before_the_flip_is_undone_and_made_again(site: SampleSite) -> None:
    """Also a lock of git goes that a power cut has left, in which nobody cleans up."""
    before, releases = site.snapshot(), site.json("list")
    interrupted(site, "update", at=Point(place=FAST_FORWARD))
    assert site.snapshot()["(link)"] == before["(link)"]
    (site.path / ".git" / "index.lock").touch()
    assert UNTOUCHED in site.json("init")["recovered"]  # which changes nothing by itself
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
    assert FINISHED in report["recovered"]
    assert (report["result"], report["problems"], report["noted"]) == ("no-changes", [], "")
    assert (site.live_id(), before != new) == (new, True)
    assert site.outbox_mails()[-1]["subject"].startswith("! site: recovered from an interrupted run")
    assert f"\nRepair of an interrupted run:\n  {report['recovered']}" in body(site)
    assert "Since the last run" not in body(site)
    up_to_date(site)
    nothing_is_left_to_do(site)


def test_work_that_is_not_committed_survives_the_undoing_of_a_pull(site: SampleSite) -> None:
    site.push_from_elsewhere({"site_settings.py": (site.path / "site_settings.py").read_text() + "# pulled\n"})
    interrupted(site, "update", at=Point(place=FAST_FORWARD, when="before"))
    site.edit("site_settings.py", "# a hot fix\n")
    site.releaser("prune")
    assert (site.path / "site_settings.py").read_text() == "# a hot fix\n"


def test_a_lock_that_somebody_changed_after_a_crash_is_kept(site: SampleSite) -> None:
    interrupted(site, "update", at=Point(place=PLACE_LOCK))
    edited = f"{site.lock_text()}# by hand\n"
    site.edit("uv.lock", edited)
    site.releaser("prune", check=0)
    (kept,) = site.state_dir.glob("uv.lock-*")
    assert kept.read_text(encoding="utf-8") == edited
    assert str(kept) in body(site)


# An update that the site does not stand


def test_recovery_takes_back_what_it_finds_ill(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0", broken="collectstatic")
    before, head = site.live_id(), site.head()
    interrupted(site, "update", at=Point(place=LINK))
    assert site.live_id() != before
    report = site.json("update", check=6)
    assert report["result"] == "rolled-back"
    whole(site)
    assert (site.live_id(), site.head()) == (before, head)
    assert [row["state"] for row in site.json("list")] == ["rolled-back", "live"]


# An adoption

ADOPTED = "was adopting the project; this is finished or undone now"


def adopted_for_good(site: SampleSite) -> None:
    """See that the first release is one that a rollback finds."""
    whole(site)
    (row,) = site.json("list")
    assert row["state"] == "live"
    site.publish("alpha", "1.1.0")
    assert site.json("update")["result"] == "updated"
    assert site.json("rollback")["release"] == row["id"]
    whole(site)


def test_the_adoption_of_a_real_venv_that_is_cut_off_between_its_two_steps_loses_nothing(
    make_site: SiteFactory,
) -> None:
    """Where the file system cannot exchange directory and link, there is nothing at .venv for a moment."""
    site, at = make_site(venv=True), Point(place="pathlib:Path.rename")
    version, inode = site.python("import sys; print(sys.version)"), site.link.stat().st_ino
    interrupted(site, "init", at=at, exchange=False)
    assert not site.link.exists()
    assert ADOPTED in site.json("init")["recovered"]
    assert site.link.stat().st_ino == inode
    assert site.python("import sys; print(sys.version)") == version
    adopted_for_good(site)


# What somebody or something else has damaged


# An interrupt says goodbye


@pytest.mark.spread(1)
@pytest.mark.parametrize("left", ["files", "directory", "record"])
def test_a_staging_tree_of_which_git_has_lost_its_record_is_no_one_elses(site: SampleSite, left: str) -> None:
    """git ends with releaser and takes its record away, while a git that it has started still writes files."""
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.add_work_tree"))
    place, record = site.outer / ".site.releaser-staging", site.path / ".git" / "worktrees" / "-site.releaser-staging"
    assert place.is_dir()
    if left != "record":
        shutil.rmtree(record)
        (place / ".git").unlink()
        if left == "directory":  # which releaser makes before git makes anything
            shutil.rmtree(place)
            place.mkdir(mode=0o700)
    else:
        shutil.rmtree(place)
        (record / "gitdir").unlink()
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
    after = site.head()
    assert after != before
    site.git("update-ref", "refs/heads/main", before)  # git moves it last of all
    assert (site.path / "moved" / "one.txt").exists()
    site.releaser("prune", check=0)
    assert site.git("status", "--porcelain") == ""
    assert site.head() == before
    assert not (site.path / "moved").exists()


def test_the_adoption_of_a_venv_behind_a_link_that_is_cut_off_loses_nothing(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    elsewhere = site.outer / "venvs" / "one"
    elsewhere.parent.mkdir()
    site.link.rename(elsewhere)
    site.link.symlink_to(elsewhere)
    at = Point(place="releaser.pipelines.adopt:replace_symlink")
    interrupted(site, "init", at=at)
    assert ADOPTED in site.json("init")["recovered"]
    assert site.link.resolve() == elsewhere
    whole(site)


def test_a_journal_that_cannot_be_read_is_kept_and_the_link_believed(site: SampleSite) -> None:
    interrupted(site, "update", at=Point(place=PLACE_LOCK))
    new = site.live_id()
    (site.state_dir / "journal.json").write_bytes(b"\0" * 512)
    report = site.json("update")
    assert "The journal could not be read" in report["noted"]
    assert report["recovered"] == ""
    assert "The journal could not be read" in site.outbox_mails()[-1]["subject"]
    assert site.live_id() == new
    aside = site.state_dir / "journal.json.unreadable-1"
    assert aside.read_bytes() == b"\0" * 512
    aside.unlink()
    whole(site)
    nothing_is_left_to_do(site)
