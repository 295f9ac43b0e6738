"""A run that is cut off: the next one finishes or undoes it, and says so.

One point of each kind, for people to read; `tests/faults` cuts runs off at every call that changes something.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.scenes import body, in_background, meeting
from tests.support.commands import git_executable, uv_executable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sites import SampleSite, SiteFactory

KILLED = -signal.SIGKILL
SETTINGS = {"health_check": "python manage.py check", "requirements_export": "requirements.txt"}

JOURNAL = "releaser.releases.journal:Journal.write"
COMPLETE = "releaser.releases.store:ReleaseStore.complete"
LINK = "releaser.releases.release:replace_symlink"
PLACE_LOCK = "releaser.deployment.activate:place_files"
COLLECTSTATIC = "releaser.tools.django:Manage.collectstatic"
FAST_FORWARD = "releaser.tools.git:Git.fast_forward"

UNTOUCHED = "was interrupted before it changed anything for the site"
TOLD_LATER = "had made release"
FINISHED = "the rest is done now"


def due(site: SampleSite) -> None:
    """Offer a newer package and a commit to pull."""
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "pulled"})


def updated(site: SampleSite) -> None:
    """Take both."""
    due(site)
    site.releaser("update", check=0)


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


# An update


@points(
    (Point(place=COMPLETE), UNTOUCHED),
    (Point(place=FAST_FORWARD), UNTOUCHED),
)
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


def test_a_move_to_a_commit_that_brings_nothing_to_build_is_undone_and_made_again(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    pushed, before = site.push_from_elsewhere({"uv.lock": f"{site.lock_text()}# as before\n"}), site.snapshot()
    interrupted(site, "update", at=Point(place=FAST_FORWARD))
    assert site.head() == pushed
    assert UNTOUCHED in site.json("init")["recovered"]
    assert (site.snapshot(), left_over(site)) == (before, [])
    assert site.json("update")["result"] == "unchanged"
    assert site.head() == pushed


@points(
    (Point(place=COLLECTSTATIC), FINISHED),
    (Point(place="releaser.reporting.notify:_Post.keep", when="before"), TOLD_LATER),
    (Point(place="releaser.releases.journal:Journal.drop"), ""),
)
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


@pytest.mark.story
def test_a_run_that_finishes_an_interrupted_one_says_so(site: SampleSite) -> None:
    interrupted(site, "update", at=Point(place=LINK))
    report = site.json("update")
    assert (report["result"], report["noted"]) == ("unchanged", "")
    assert site.outbox_mails()[-1]["subject"].startswith("! site: recovered from an interrupted run")
    text = body(site)
    assert f"\nWhat became of an interrupted run:\n  {report['recovered']}" in text
    assert "Since the last run" not in text


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


def test_a_lock_of_a_git_that_died_with_the_run_is_taken_away(site: SampleSite) -> None:
    """As a power cut leaves it, in which nobody is left to clean up."""
    interrupted(site, "update", at=Point(place=FAST_FORWARD, when="before"))
    (site.path / ".git" / "index.lock").touch()
    site.releaser("update", check=0)
    up_to_date(site)


def test_static_files_that_a_crash_may_have_emptied_are_collected_again(site: SampleSite) -> None:
    interrupted(site, "update", at=Point(place=COLLECTSTATIC))
    torn, old = site.path / "static_out" / "torn.css", site.path / "static_out" / "old.css"
    torn.touch()
    old.touch()
    os.utime(old, (1000, 1000))
    site.releaser("prune", check=0)
    assert (torn.stat().st_mtime, old.stat().st_mtime) == (0, 1000)
    assert len(site.manage_runs("collectstatic")) == 2
    up_to_date(site)  # without any update, which would commit and push, too


@pytest.mark.parametrize("command", ["rollback", "status"])
def test_every_command_deals_with_what_was_left(site: SampleSite, command: str) -> None:
    """Those that change something finish it first, the others change nothing."""
    interrupted(site, "update", at=Point(place=LINK))
    new = site.live_id()
    before = site.snapshot()
    assert site.json("status")["interrupted"] is True
    finished = site.releaser(command, "-v")
    if command == "status":
        assert site.snapshot() == before
        assert (site.state_dir / "journal.json").exists()
        return
    assert finished.returncode == 0, finished
    assert FINISHED in finished.stderr
    assert site.live_id() != new
    whole(site)
    assert site.json("status")["interrupted"] is False


# An update that the site does not stand


def test_recovery_takes_back_what_it_finds_ill(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0", broken="collectstatic")
    before, head = site.live_id(), site.head()
    interrupted(site, "update", at=Point(place=LINK))
    assert site.live_id() != before
    report = site.json("update", check=6)
    assert report["result"] == "rolled_back"
    whole(site)
    assert (site.live_id(), site.head()) == (before, head)
    assert [row["state"] for row in site.json("list")] == ["bad", "live"]


# A rollback


@points(
    (Point(place=LINK), FINISHED),
    (Point(place=COLLECTSTATIC), UNTOUCHED),  # ahead of the flip, as code goes back too
)
def test_a_rollback_that_is_cut_off_is_made_whole(make_site: SiteFactory, at: Point, said: str) -> None:
    site = make_site.adopted(prepare=updated, settings=SETTINGS)
    new = site.live_id()
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


def test_the_adoption_of_a_real_venv_that_is_cut_off_between_its_two_steps_loses_nothing(
    make_site: SiteFactory,
) -> None:
    """Where the file system cannot exchange directory and link, there is nothing at .venv for a moment."""
    site, at = make_site(venv=True), Point(place="pathlib:Path.rename")
    version, inode = site.python("import sys; print(sys.version)"), site.link.stat().st_ino
    assert interrupted(site, "init", at=at, exchange=False).returncode == KILLED
    assert ADOPTED in site.json("init")["recovered"]
    assert site.link.stat().st_ino == inode
    assert site.python("import sys; print(sys.version)") == version
    adopted_for_good(site)


def test_the_adoption_of_a_venv_behind_a_link_that_is_cut_off_loses_nothing(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    elsewhere = site.outer / "venvs" / "one"
    elsewhere.parent.mkdir()
    site.link.rename(elsewhere)
    site.link.symlink_to(elsewhere)
    at = Point(place="releaser.deployment.adopt:replace_symlink")
    assert interrupted(site, "init", at=at).returncode == KILLED
    assert ADOPTED in site.json("init")["recovered"]
    assert site.link.resolve() == elsewhere
    adopted_for_good(site)
    assert elsewhere.exists()


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


@pytest.mark.parametrize(
    ("prepare", "changed", "by"),
    [
        pytest.param(waits_in_build, False, signal.SIGTERM, id="build-term"),
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


@pytest.mark.parametrize("name", ["refs/remotes/origin/main.lock", "index.lock"])
def test_a_git_that_died_before_anything_was_journaled_is_in_nobodys_way(site: SampleSite, name: str) -> None:
    lock = site.path / ".git" / name
    lock.touch()
    assert "main.lock" not in name or ".lock': File exists" in site.releaser("update", check=4).stderr
    (site.state_dir / "run" / "lock.holder").touch()  # the note of a run that did not come to its end
    lock.touch()
    report = site.json("update")
    assert [one["name"] for one in report["changes"]] == ["alpha"]
    assert not lock.exists()


def test_a_git_at_work_keeps_such_a_lock_until_the_next_run(site: SampleSite) -> None:
    lock = site.path / ".git" / "refs/remotes/origin/main.lock"
    (site.state_dir / "run" / "lock.holder").touch()
    lock.touch()
    words = [str(git_executable()), "stripspace"]
    with subprocess.Popen(words, cwd=site.path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as somebody:
        assert ".lock': File exists" in site.releaser("update", check=4).stderr
        somebody.kill()
    assert [one["name"] for one in site.json("update")["changes"]] == ["alpha"]
    assert not lock.exists()
    assert not (site.state_dir / "run" / "lock.holder").exists()
