"""A person at work while an update runs: what they did is still there, and nothing untested goes live.

The table of what was done when. Each act is done while releaser stands still at a step of a real update.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import Point, stopped
from tests.e2e.scenes import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sites import SampleSite, SiteFactory

# Where the update stands still; after the guard, all that is left before the flip takes milliseconds.
BEFORE_THE_GUARD = {
    "fetched": Point(place="releaser.update:fetch"),
    "staged": Point(place="releaser.tools.git:Git.add_work_tree"),
    "resolved": Point(place="releaser.update:resolve"),
    "built": Point(place="releaser.steps.build:install"),
    "tested": Point(place="releaser.update:tested"),
    "sealed": Point(place="releaser.releases.store:ReleaseStore.complete"),
    "at the guard": Point(place="releaser.golive:refuse_changes", when="before"),
}
AFTER_THE_FLIP = {
    "flipped": Point(place="releaser.releases.flip:flip"),
    "lock placed": Point(place="releaser.steps.activate:place_lock"),
    "collected": Point(place="releaser.steps.static:collectstatic"),
    "about to commit": Point(place="releaser.golive:publish_lock", when="before"),
    "about to push": Point(place="releaser.tools.git:Git.push", when="before"),
}


def _commits(site: SampleSite) -> Callable[[], None]:
    commit = site.commit("Mine", {"mine.txt": "my work"})

    def still_there() -> None:
        assert commit in site.git("log", "--format=%H")
        assert (site.path / "mine.txt").read_text(encoding="utf-8") == "my work"
        assert commit not in site.git("--git-dir", str(site.remote), "log", "--format=%H", "main")

    return still_there


def _edits_the_lock(site: SampleSite) -> Callable[[], None]:
    text = site.lock_text() + "# my edit\n"
    site.edit("uv.lock", text)

    def still_there() -> None:
        kept = [one.read_text(encoding="utf-8") for one in site.state_dir.glob("uv.lock-*")]
        assert text in [site.lock_text(), *kept]
        assert "my edit" not in site.git("show", "HEAD:uv.lock")

    return still_there


def _commits_the_lock(site: SampleSite) -> Callable[[], None]:
    commit = site.commit("My lock", {"uv.lock": site.lock_text() + "# my lock\n"})

    def still_there() -> None:
        assert commit in site.git("log", "--format=%H")
        assert "# my lock" in site.lock_text()
        assert "# my lock" in site.git("show", "HEAD:uv.lock")
        assert commit not in site.git("--git-dir", str(site.remote), "log", "--format=%H", "main")

    return still_there


def _edits_pyproject(site: SampleSite) -> Callable[[], None]:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8") + "# my edit\n"
    site.edit("pyproject.toml", text)

    def still_there() -> None:
        assert (site.path / "pyproject.toml").read_text(encoding="utf-8") == text

    return still_there


def _edits_code(site: SampleSite) -> Callable[[], None]:
    text = (site.path / "site_settings.py").read_text(encoding="utf-8") + "# my edit\n"
    site.edit("site_settings.py", text)

    def still_there() -> None:
        assert (site.path / "site_settings.py").read_text(encoding="utf-8") == text

    return still_there


def _switches_the_branch(site: SampleSite) -> Callable[[], None]:
    site.git("switch", "--quiet", "--create", "mine")

    def still_there() -> None:
        assert site.git("branch", "--show-current") == "mine"

    return still_there


def _changes_settings(site: SampleSite) -> Callable[[], None]:
    file = site.outer / ".env"
    text = file.read_text(encoding="utf-8") + "RELEASER_KEEP='7'\n"
    file.write_text(text, encoding="utf-8")

    def still_there() -> None:
        assert file.read_text(encoding="utf-8") == text

    return still_there


def _moves_the_link(site: SampleSite) -> Callable[[], None]:
    place = site.outer / "mine"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").symlink_to(sys.executable)
    (place / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n", encoding="utf-8")
    site.link.unlink()
    site.link.symlink_to("../mine")

    def still_there() -> None:
        assert site.link.readlink() == Path("../mine")

    return still_there


ACTS = {
    "commits": _commits,
    "edits uv.lock": _edits_the_lock,
    "commits uv.lock": _commits_the_lock,
    "edits pyproject.toml": _edits_pyproject,
    "edits code": _edits_code,
    "switches the branch": _switches_the_branch,
    "changes .env": _changes_settings,
    "moves the symlink": _moves_the_link,
}


def _continue_after(
    site: SampleSite, at: Point, act: Callable[[SampleSite], Callable[[], None]]
) -> tuple[int, str, Callable[[], None]]:
    with stopped(site, "update", at=at) as process:
        still_there = act(site)
        os.kill(process.pid, signal.SIGCONT)
        _, error = process.communicate(timeout=120)
    return process.returncode, error, still_there


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with a package and a commit that are due."""
    site = make_site(venv=True)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "news"})
    return site


@pytest.mark.parametrize("at", BEFORE_THE_GUARD)
@pytest.mark.parametrize("act", ACTS)
def test_nothing_goes_live_if_somebody_was_at_work(site: SampleSite, act: str, at: str) -> None:
    before, live = site.head(), site.live_id()
    code, error, still_there = _continue_after(site, BEFORE_THE_GUARD[at], ACTS[act])
    assert code == 3, error
    assert "somebody" in error or "leads" in error
    assert "Nothing went live" in error or act == "moves the symlink"
    still_there()
    if act == "moves the symlink":
        return
    assert site.live_id() == live
    if act not in ("commits", "commits uv.lock"):
        assert site.head() == before


@pytest.mark.parametrize("at", AFTER_THE_FLIP)
@pytest.mark.parametrize("act", ["commits", "edits uv.lock", "commits uv.lock", "switches the branch"])
def test_what_somebody_does_after_the_flip_stays(site: SampleSite, act: str, at: str) -> None:
    live = site.live_id()
    code, error, still_there = _continue_after(site, AFTER_THE_FLIP[at], ACTS[act])
    assert code in (0, 7), error
    assert site.live_id() != live
    still_there()


@pytest.mark.parametrize("at", ["flipped", "lock placed", "collected"])
def test_a_symlink_that_somebody_moves_after_the_flip_stays(site: SampleSite, at: str) -> None:
    _, _, still_there = _continue_after(site, AFTER_THE_FLIP[at], _moves_the_link)
    still_there()
    assert "mine" in site.releaser("status").stdout
    assert site.releaser("update").returncode == 3
    still_there()


def test_the_next_run_takes_what_somebody_committed(site: SampleSite) -> None:
    code, _, _ = _continue_after(site, BEFORE_THE_GUARD["tested"], _commits)
    assert code == 3
    site.git("pull", "--quiet", "--rebase")
    site.push()
    site.releaser("update", check=0)
    assert (site.path / "mine.txt").exists()
    assert site.live_version("alpha") == "1.1.0"
    silent(site.releaser("update"))


def test_an_unpushed_commit_of_a_person_is_told_and_stays_theirs(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.releaser("init", check=0)
    mine, remote = site.commit("Mine", {"mine.txt": ""}), site.remote_head()
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", check=7)
    assert "1 commit of yours is not pushed" in finished.stderr
    assert "the lock waits" in finished.stderr
    assert (site.remote_head(), site.git("rev-parse", "HEAD^")) == (remote, mine)
    site.push()
    silent(site.releaser("update"))


def test_a_commit_of_a_person_that_touches_only_the_lock_is_theirs(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    site.uv("lock", "--quiet", "--upgrade")
    mine, remote = site.commit("My lock"), site.remote_head()
    site.releaser("update", check=0)
    assert (site.head(), site.remote_head()) == (mine, remote)
    site.push_from_elsewhere({"notes.txt": "news"})
    finished = site.releaser("update", check=3)
    assert "diverged" in finished.stderr
    assert site.head() == mine
