"""A run that is cut off at any moment: the next one finishes or undoes it, and says so."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import body, in_background, meeting
from tests.support.commands import git_executable, uv_executable
from tests.support.sites import SampleSite, SiteFactory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.templates import Templates

KILLED = -signal.SIGKILL
SETTINGS = {"health_check": "python manage.py check", "requirements_export": "requirements.txt"}

JOURNAL = "releaser.releases.journal:Journal.write"
DROP = "releaser.releases.journal:Journal.drop"
KEEP_MAIL = "releaser.reporting.notify:_keep_mail"
COMPLETE = "releaser.releases.store:ReleaseStore.complete"
MANIFEST = "releaser.releases.store:write_manifest"
LINK = "releaser.releases.link:replace_symlink"
PLACE_LOCK = "releaser.deployment.activate:place_lock"
COMMIT = "releaser.tools.git:Git.commit_only"
PUSH = "releaser.tools.git:Git.push"

UNTOUCHED = "was interrupted before it changed anything for the site"
TOLD_LATER = "had made release"
FINISHED = "the rest is done now"
TAKEN_BACK = "had been taken back half-way"


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> SampleSite:
    """Make a site that is adopted, with a newer package and a commit to pull; tests get copies of it."""
    site = SiteFactory(tmp_path_factory.mktemp("adopted"), templates)(venv=True, settings=SETTINGS)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "pulled"})
    return site


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory, adopted: SampleSite) -> SampleSite:
    """Make a site that has been updated once; tests get copies of it."""
    site = adopted.copy(tmp_path_factory.mktemp("updated"))
    site.releaser("update", check=0)
    return site


@pytest.fixture
def site(adopted: SampleSite, tmp_path: Path) -> SampleSite:
    """Copy the adopted site."""
    return adopted.copy(tmp_path)


@pytest.fixture
def site_to_roll_back(updated: SampleSite, tmp_path: Path) -> SampleSite:
    """Copy the updated site."""
    return updated.copy(tmp_path)


def whole(site: SampleSite) -> None:
    """See that what is live works and is what checkout and record say, and that nothing is left over."""
    rows = site.json("list")
    (live,) = (row for row in rows if row["live"])
    release = site.state_dir / "releases" / live["id"]
    assert (release / "manifest.json").exists()
    assert (release / "uv.lock").read_text(encoding="utf-8") == site.lock_text()
    assert f'name = "alpha"\nversion = "{site.live_version("alpha")}"' in site.lock_text()
    assert site.git("status", "--porcelain") in ("", "M uv.lock", " M uv.lock")
    assert {row["state"] for row in rows} <= {"live", "good", "bad", "failed"}
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
    assert (report["result"], report["recovered"], report["problems"]) == ("unchanged", "", [])
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
    assert [row["state"] for row in site.json("list")] == ["live", "good"]


def points(*found: tuple[Point, str]) -> pytest.MarkDecorator:
    """Give each point its name."""
    return pytest.mark.parametrize(("at", "said"), found, ids=[str(point) for point, _ in found])


# The faults kill at every call; these tables tell what is said, so a spread of them is enough for each change.
some = pytest.mark.spread(4)


# An update

BEFORE_THE_FLIP = (
    (Point(place=JOURNAL, when="before"), ""),
    (Point(place="releaser.tools.git:Git.add_work_tree"), ""),
    (Point(place="releaser.tools.uv:Uv.lock"), ""),
    (Point(place="releaser.releases.store:ReleaseStore.begin"), ""),
    (Point(place=JOURNAL), UNTOUCHED),  # building
    (Point(place="releaser.tools.uv:Uv.sync"), UNTOUCHED),
    (Point(place="releaser.candidate.testing:run_trial"), UNTOUCHED),
    (Point(place=MANIFEST), UNTOUCHED),
    (Point(place=COMPLETE), UNTOUCHED),
    (Point(place="releaser.deployment.activate:_keep_lock"), UNTOUCHED),
    (Point(place=JOURNAL, number=2), UNTOUCHED),  # committing
    (Point(place="releaser.tools.git:Git.fast_forward", when="before"), UNTOUCHED),
    (Point(place="releaser.tools.git:Git.fast_forward"), UNTOUCHED),
    (Point(place=LINK, when="before"), UNTOUCHED),
)
AFTER_THE_FLIP = (
    (Point(place=LINK), FINISHED),
    (Point(place=PLACE_LOCK), FINISHED),
    (Point(place="releaser.deployment.post_flip:start_python"), FINISHED),
    (Point(place=JOURNAL, number=3), FINISHED),  # Python has started
    (Point(place="releaser.tools.django:Manage.collectstatic"), FINISHED),
    (Point(place=JOURNAL, number=4), FINISHED),  # collectstatic is done
    (Point(place="releaser.tools.web_server:touch"), FINISHED),
    (Point(place=JOURNAL, number=5), FINISHED),  # restart is done
    (Point(place="releaser.deployment.post_flip:health_check"), FINISHED),
    (Point(place="releaser.pipelines.recovery:mark_good"), FINISHED),
    (Point(place=COMMIT, when="before"), FINISHED),
    (Point(place=COMMIT), FINISHED),
    (Point(place=PUSH), FINISHED),
    (Point(place="releaser.candidate.pruning:prune"), FINISHED),
    (Point(place=KEEP_MAIL, when="before"), TOLD_LATER),
    (Point(place=KEEP_MAIL), ""),
    (Point(place=DROP), ""),
    (Point(place="releaser.reporting.history:append", when="before"), ""),
)


@some
@points(*BEFORE_THE_FLIP)
def test_an_update_that_is_cut_off_before_the_flip_is_undone_and_made_again(
    site: SampleSite, at: Point, said: str
) -> None:
    before, releases = site.snapshot(), site.json("list")
    assert interrupted(site, "update", at=at).returncode == KILLED
    assert site.snapshot()["(link)"] == before["(link)"]
    report = site.json("init")  # changes nothing by itself
    assert said in report["recovered"]
    assert bool(report["recovered"]) == bool(said)
    assert (site.snapshot(), site.json("list"), left_over(site)) == (before, releases, [])
    report = site.json("update")
    assert (report["result"], report["recovered"]) == ("activated", "")
    up_to_date(site)


@pytest.mark.spread(6)
@points(*AFTER_THE_FLIP)
def test_an_update_that_is_cut_off_after_the_flip_is_finished(site: SampleSite, at: Point, said: str) -> None:
    before = site.live_id()
    assert interrupted(site, "update", at=at).returncode == KILLED
    new = site.live_id()
    assert new != before
    report = site.json("update")
    assert (report["result"], report["problems"]) == ("unchanged", [])
    assert said in report["recovered"]
    assert bool(report["recovered"]) == bool(said)
    assert site.live_id() == new
    up_to_date(site)
    nothing_is_left_to_do(site)


@some
@points(
    (Point(place="releaser.tools.git:Git.reset_keep"), UNTOUCHED),
    (Point(place="releaser.releases.store:remove_tree", when="before"), UNTOUCHED),
    (Point(place="releaser.releases.store:remove_tree"), UNTOUCHED),
    (Point(place=JOURNAL), UNTOUCHED),
)
def test_undoing_can_be_cut_off_as_well(site: SampleSite, at: Point, said: str) -> None:
    interrupted(site, "update", at=Point(place=LINK, when="before"))
    assert interrupted(site, "update", at=at).returncode == KILLED
    report = site.json("update")
    assert report["result"] == "activated"
    assert said in report["recovered"]
    up_to_date(site)
    nothing_is_left_to_do(site)


@some
@points(
    (Point(place="releaser.tools.django:Manage.collectstatic"), FINISHED),
    (Point(place=JOURNAL), FINISHED),
    (Point(place="releaser.pipelines.recovery:mark_good"), FINISHED),
    (Point(place=COMMIT), FINISHED),
    (Point(place=PUSH), FINISHED),
)
def test_finishing_can_be_cut_off_as_well(site: SampleSite, at: Point, said: str) -> None:
    interrupted(site, "update", at=Point(place=LINK))
    new = site.live_id()
    assert interrupted(site, "update", at=at).returncode == KILLED
    report = site.json("update")
    assert said in report["recovered"]
    assert site.live_id() == new
    up_to_date(site)
    nothing_is_left_to_do(site)


@pytest.mark.story
def test_a_run_that_finishes_an_interrupted_one_says_so(site: SampleSite) -> None:
    interrupted(site, "update", at=Point(place=LINK))
    report = site.json("update")
    assert (report["result"], report["noted"]) == ("unchanged", "")
    assert site.outbox_mails()[-1]["subject"].endswith(": recovered from an interrupted run")
    text = body(site)
    assert f"\nWhat became of an interrupted run:\n  {report['recovered']}" in text
    assert "Since the last run" not in text


@pytest.mark.story
def test_steps_that_are_done_are_not_done_again(site: SampleSite) -> None:
    interrupted(site, "update", at=Point(place=JOURNAL, number=5))
    restarted, runs = site.restarted_at(), len(site.manage_runs("collectstatic"))
    report = site.json("update")
    assert FINISHED in report["recovered"]
    assert site.restarted_at() == restarted
    assert len(site.manage_runs("collectstatic")) == runs
    assert next(step["step"] for step in report["steps"]) == "health check"


@pytest.mark.story
def test_work_that_is_not_committed_survives_the_undoing_of_a_pull(site: SampleSite) -> None:
    site.push_from_elsewhere({"site_settings.py": (site.path / "site_settings.py").read_text() + "# pulled\n"})
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.fast_forward", when="before"))
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


def test_a_lock_of_a_git_that_died_with_the_run_is_taken_away(site: SampleSite) -> None:
    """As a power cut leaves it, in which nobody is left to clean up."""
    interrupted(site, "update", at=Point(place="releaser.tools.git:Git.fast_forward", when="before"))
    (site.path / ".git" / "index.lock").touch()
    site.releaser("update", check=0)
    up_to_date(site)


def test_static_files_that_a_crash_may_have_emptied_are_collected_again(site: SampleSite) -> None:
    interrupted(site, "update", at=Point(place="releaser.tools.django:Manage.collectstatic"))
    torn, old = site.path / "static_out" / "torn.css", site.path / "static_out" / "old.css"
    torn.touch()
    old.touch()
    os.utime(old, (1000, 1000))
    site.releaser("prune", check=0)
    assert (torn.stat().st_mtime, old.stat().st_mtime) == (0, 1000)
    assert len(site.manage_runs("collectstatic")) == 2


@pytest.mark.parametrize("command", ["init", "check", "rollback", "prune", "status"])
def test_every_command_deals_with_what_was_left(site: SampleSite, command: str) -> None:
    """Those that change something repair it, the others change nothing."""
    interrupted(site, "update", at=Point(place=LINK))
    new = site.live_id()
    before = site.snapshot()
    assert site.json("status")["interrupted"] is True
    finished = site.releaser(command, "-v")
    if command in ("check", "status"):
        assert site.snapshot() == before
        assert (site.state_dir / "journal.json").exists()
        return
    assert finished.returncode == 0, finished
    assert FINISHED in finished.stderr
    assert (site.live_id() == new) is (command != "rollback")
    whole(site)
    assert site.json("status")["interrupted"] is False


# An update that the site does not stand


@pytest.fixture
def ill_site(site: SampleSite) -> SampleSite:
    """Give the site a newest package on which collectstatic fails."""
    site.publish("alpha", "1.2.0", broken="collectstatic")
    return site


@some
@points(
    (Point(place=JOURNAL, number=4), TAKEN_BACK),  # reverting
    (Point(place=LINK, number=2), TAKEN_BACK),
    (Point(place="releaser.tools.git:Git.reset_keep"), TAKEN_BACK),
    (Point(place="releaser.deployment.activate:restore_lock"), TAKEN_BACK),
    (Point(place="releaser.pipelines.recovery:mark_bad", when="before"), TAKEN_BACK),
    (Point(place="releaser.candidate.mark:change_quarantine", when="before"), TAKEN_BACK),
    (Point(place="releaser.pipelines.recovery:mark_bad"), TAKEN_BACK),
    (Point(place=DROP), ""),
)
def test_taking_back_can_be_cut_off(ill_site: SampleSite, at: Point, said: str) -> None:
    site, before = ill_site, ill_site.live_id()
    head = site.head()
    assert interrupted(site, "update", at=at).returncode == KILLED
    finished = site.releaser("prune", "-v", check=0)
    assert said in finished.stderr
    whole(site)
    assert (site.live_id(), site.live_version("alpha"), site.head()) == (before, "1.0.0", head)
    assert (site.static_versions() or {}).get("alpha") == "1.0.0"
    assert [row["state"] for row in site.json("list")] == ["bad", "live"]
    site.json("update", check=6)  # the package without the commit, to see which of them is to blame
    assert site.json("update")["held_back"][0]["version"] == "1.2.0"
    assert site.live_version("alpha") == "1.0.0"
    assert (site.path / "notes.txt").exists()
    nothing_is_left_to_do(site)


def test_recovery_takes_back_what_it_finds_ill(ill_site: SampleSite) -> None:
    site, before, head = ill_site, ill_site.live_id(), ill_site.head()
    interrupted(site, "update", at=Point(place=LINK))
    assert site.live_id() != before
    report = site.json("update", check=6)
    assert report["result"] == "rolled_back"
    whole(site)
    assert (site.live_id(), site.head()) == (before, head)
    assert [row["state"] for row in site.json("list")] == ["bad", "live"]


# A rollback


@some
@points(
    (Point(place=LINK, when="before"), UNTOUCHED),
    (Point(place=LINK), FINISHED),
    (Point(place=PLACE_LOCK), FINISHED),
    (Point(place="releaser.tools.django:Manage.collectstatic"), UNTOUCHED),  # ahead of the flip, as code goes back too
    (Point(place="releaser.pipelines.recovery:mark_bad"), FINISHED),
    (Point(place=COMMIT), FINISHED),
    (Point(place=DROP), ""),
)
def test_a_rollback_that_is_cut_off_is_made_whole(site_to_roll_back: SampleSite, at: Point, said: str) -> None:
    site, new = site_to_roll_back, site_to_roll_back.live_id()
    assert interrupted(site, "rollback", at=at).returncode == KILLED
    finished = site.releaser("prune", "-v", check=0)
    assert said in finished.stderr
    whole(site)
    if said == UNTOUCHED:
        assert site.live_id() == new
        assert [row["state"] for row in site.json("list")] == ["live", "good"]
        return
    assert site.live_id() != new
    assert site.live_version("alpha") == "1.0.0"
    assert (site.static_versions() or {}).get("alpha") == "1.0.0"
    assert [row["state"] for row in site.json("list")] == ["bad", "live"]
    assert not (site.path / "notes.txt").exists()
    assert site.json("update")["held_back"][0]["version"] == "1.1.0"
    nothing_is_left_to_do(site)


# An adoption

ADOPTED = "was adopting the project; that is finished or undone now"
ADOPTION = (
    (Point(place="releaser.releases.store:ReleaseStore.begin"), ""),
    (Point(place=JOURNAL), ADOPTED),
    (Point(place="releaser.releases.link:adopt_directory"), ADOPTED),
    (Point(place="releaser.deployment.adopt:measure"), ADOPTED),
    (Point(place=MANIFEST, when="before"), ADOPTED),
    (Point(place=MANIFEST), ADOPTED),
    (Point(place=COMPLETE), ADOPTED),
    (Point(place="releaser.deployment.adopt:mark_good"), ADOPTED),
    (Point(place=DROP), ""),
)


def adopted_for_good(site: SampleSite) -> None:
    """See that the first release is one that an update leaves and a rollback finds."""
    whole(site)
    (row,) = site.json("list")
    assert row["state"] == "live"
    site.publish("alpha", "1.1.0")
    assert site.json("update")["result"] == "activated"
    assert [found["state"] for found in site.json("list")] == ["live", "good"]
    assert site.json("rollback")["release"] == row["id"]
    whole(site)


@some
@points(*ADOPTION)
def test_the_adoption_of_a_real_venv_that_is_cut_off_loses_nothing(
    make_site: SiteFactory, at: Point, said: str
) -> None:
    adopted_after_a_cut(make_site(venv=True), at, said, exchange=True)


@some
@points(
    (Point(place="pathlib:Path.rename"), ADOPTED),  # between the two steps: there is nothing at .venv
    (Point(place="releaser.releases.link:adopt_directory"), ADOPTED),
)
def test_where_nothing_can_be_exchanged_nothing_is_lost_either(make_site: SiteFactory, at: Point, said: str) -> None:
    adopted_after_a_cut(make_site(venv=True), at, said, exchange=False)


def adopted_after_a_cut(site: SampleSite, at: Point, said: str, *, exchange: bool) -> None:
    """Cut an adoption off and see that the next one ends well, with the very same venv."""
    version, inode = site.python("import sys; print(sys.version)"), site.link.stat().st_ino
    assert interrupted(site, "init", at=at, exchange=exchange).returncode == KILLED
    assert said in site.json("init")["recovered"]
    assert site.link.stat().st_ino == inode
    assert site.python("import sys; print(sys.version)") == version
    adopted_for_good(site)


@some
@points(
    (Point(place="releaser.deployment.adopt:replace_symlink", when="before"), ADOPTED),
    (Point(place="releaser.deployment.adopt:replace_symlink"), ADOPTED),
    (Point(place=COMPLETE), ADOPTED),
)
def test_the_adoption_of_a_venv_behind_a_link_that_is_cut_off_loses_nothing(
    make_site: SiteFactory, at: Point, said: str
) -> None:
    site = make_site(venv=True)
    elsewhere = site.outer / "venvs" / "one"
    elsewhere.parent.mkdir()
    site.link.rename(elsewhere)
    site.link.symlink_to(elsewhere)
    assert interrupted(site, "init", at=at).returncode == KILLED
    assert said in site.json("init")["recovered"]
    assert site.link.resolve() == elsewhere
    adopted_for_good(site)
    assert elsewhere.exists()


@some
@points(
    (Point(place="releaser.tools.uv:Uv.sync"), UNTOUCHED),
    (Point(place=COMPLETE), UNTOUCHED),
    (Point(place=JOURNAL, number=2), UNTOUCHED),
    (Point(place=LINK), FINISHED),
    (Point(place="releaser.pipelines.activation:conclude"), FINISHED),
)
def test_a_first_release_that_is_cut_off_is_rebuilt_or_finished(make_site: SiteFactory, at: Point, said: str) -> None:
    site = make_site()
    assert interrupted(site, "init", at=at).returncode == KILLED
    assert said in site.json("init")["recovered"]
    adopted_for_good(site)


# What somebody or something else has damaged


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


@pytest.mark.parametrize("damage", ["missing", "dangling"])
def test_a_missing_or_dangling_link_is_pointed_to_the_newest_good_release_loudly(
    site_to_roll_back: SampleSite, damage: str
) -> None:
    site = site_to_roll_back
    new = site.live_id()
    if damage == "missing":
        site.link.unlink()
    else:
        shutil.rmtree(site.state_dir / "releases" / new)
    report = site.json("update")
    assert f"was {damage}" in report["noted"]
    assert report["recovered"] == ""
    assert "interrupted" not in body(site)
    assert any(f"was {damage}" in problem for problem in report["problems"])
    assert site.live_version("alpha") == "1.1.0"
    whole(site)
    nothing_is_left_to_do(site)


def test_a_live_release_that_lost_its_manifest_is_rebuilt(site_to_roll_back: SampleSite) -> None:
    site = site_to_roll_back
    new = site.live_id()
    (site.state_dir / "releases" / new / "manifest.json").unlink()
    report = site.json("update")
    assert f"in place of {new}, which was damaged (it had lost its manifest, " in report["headline"]
    assert any(new in problem and "lost its manifest" in problem for problem in report["problems"])
    assert (report["release"], report["previous"]) == (site.live_id(), new)
    whole(site)
    nothing_is_left_to_do(site)


# An interrupt says goodbye

MEET = """\
import os, socket, sys
__version__ = "1.2.0"
if {command!r} in sys.argv:
    with socket.create_connection(("127.0.0.1", int(os.environ["MEETING_PORT"]))) as meeting:
        meeting.sendall(b"here")
        meeting.recv(1)
"""
UV = """\
#!{python}
import os, socket, sys
if "sync" in sys.argv:
    with socket.create_connection(("127.0.0.1", int(os.environ["MEETING_PORT"]))) as meeting:
        meeting.sendall(b"here")
        meeting.recv(1)
os.execv({uv!r}, [{uv!r}, *sys.argv[1:]])
"""


def waits_in_build(site: SampleSite) -> dict[str, str]:
    """Let uv wait for the test before it builds."""
    program = site.outer / "waiting-uv"
    program.write_text(UV.format(python=sys.executable, uv=str(uv_executable())), encoding="utf-8")
    program.chmod(0o755)
    return {"RELEASER_UV": str(program)}


def waits_in(command: str) -> Callable[[SampleSite], dict[str, str]]:
    """Let a command of manage.py wait for the test."""

    def prepare(site: SampleSite) -> dict[str, str]:
        site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": MEET.format(command=command)})
        return {}

    return prepare


@some
@pytest.mark.parametrize(
    ("prepare", "changed", "by"),
    [
        pytest.param(waits_in_build, False, signal.SIGTERM, id="build-term"),
        pytest.param(waits_in_build, False, signal.SIGINT, id="build-int"),
        pytest.param(waits_in("test"), False, signal.SIGTERM, id="test-term"),
        pytest.param(waits_in("test"), False, signal.SIGINT, id="test-int"),
        pytest.param(waits_in("test"), False, signal.SIGHUP, id="test-hup"),
        pytest.param(waits_in("collectstatic"), True, signal.SIGTERM, id="collectstatic-term"),
        pytest.param(waits_in("collectstatic"), True, signal.SIGINT, id="collectstatic-int"),
    ],
)
def test_an_interrupt_leaves_a_whole_site_and_says_so(
    site: SampleSite, prepare: Callable[[SampleSite], dict[str, str]], changed: bool, by: signal.Signals
) -> None:
    before, head = site.live_id(), site.head()
    env = prepare(site)
    with meeting() as met, in_background(site, "update", env={**env, **met.env}) as update, met.kept_waiting():
        update.send_signal(by)
        if changed:
            # The command was ended; recovery starts it again, and this time it may go on.
            with met.kept_waiting():
                pass
        _, words = update.communicate(timeout=60)
    assert update.returncode == 128 + by
    assert f"update was interrupted by {by.name}" in words
    assert (site.live_id() != before) is changed
    whole(site)
    if changed:
        assert FINISHED in words
        assert (site.static_versions() or {})["alpha"] == "1.2.0"
    else:
        assert UNTOUCHED in words
        assert "live: unchanged" in words
        assert (site.head(), site.live_version("alpha")) == (head, "1.0.0")
        assert len(site.json("list")) == 1


def test_an_interrupt_between_two_steps_is_dealt_with_as_well(site: SampleSite) -> None:
    finished = interrupted(site, "update", at=Point(place=LINK), by="SIGTERM")
    assert finished.returncode == 128 + signal.SIGTERM
    assert FINISHED in finished.stderr
    up_to_date(site)
    nothing_is_left_to_do(site)


@pytest.mark.parametrize("name", ["refs/remotes/origin/main.lock", "index.lock"])
def test_a_git_that_died_before_anything_was_journaled_is_in_nobodys_way(site: SampleSite, name: str) -> None:
    lock = site.path / ".git" / name
    lock.touch()
    assert "main.lock" not in name or ".lock': File exists" in site.releaser("update", check=4).stderr
    (site.state_dir / "lock.holder").touch()  # the note of a run that did not come to its end
    lock.touch()
    report = site.json("update")
    assert [one["name"] for one in report["changes"]] == ["alpha"]
    assert not lock.exists()


def test_a_git_at_work_keeps_such_a_lock_until_the_next_run(site: SampleSite) -> None:
    lock = site.path / ".git" / "refs/remotes/origin/main.lock"
    (site.state_dir / "lock.holder").touch()
    lock.touch()
    words = [str(git_executable()), "stripspace"]
    with subprocess.Popen(words, cwd=site.path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as somebody:
        assert ".lock': File exists" in site.releaser("update", check=4).stderr
        somebody.kill()
    assert [one["name"] for one in site.json("update")["changes"]] == ["alpha"]
    assert not lock.exists()
    assert not (site.state_dir / "lock.holder").exists()
