"""A person at work while releaser runs: what they did is still there, and nothing untested goes live.

The table of what was done when. Each act is done while releaser stands still at a step of a real update, or of a real
rollback that takes code back. Of each act a spread of the points is tried, with `--all-points` all of them.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import AFTER_THE_GUARD, BEFORE_THE_GUARD, Point, stopped
from tests.e2e.scenes import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sites import SampleSite, SiteFactory

    # What somebody does; it returns what sees that it is still there.
    Act = Callable[[SampleSite], Callable[[], None]]

# Where a rollback that takes code back stands still; it pushes nothing, as the remote is ahead of it. In this order, a
# spread meets what was found once.
BEFORE_THE_MOVE = {
    "chosen": Point(place="releaser.pipelines.rollback:choose"),
    "about to move": Point(place="releaser.actions.checkout:move_checkout", when="before"),
    "about to go": Point(place="releaser.pipelines.rollback:deploy", when="before"),
}
AFTER_THE_MOVE = {name: AFTER_THE_GUARD[name] for name in ("checkout moved", "flipped", "about to commit")}
DURING_A_ROLLBACK = {**BEFORE_THE_MOVE, **AFTER_THE_MOVE}


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


def _adds_a_line(name: str, line: str) -> Act:
    def act(site: SampleSite) -> Callable[[], None]:
        file = site.path / name
        text = file.read_text(encoding="utf-8") + line
        file.write_text(text, encoding="utf-8")

        def still_there() -> None:
            assert file.read_text(encoding="utf-8") == text

        return still_there

    return act


def _switches_the_branch(site: SampleSite) -> Callable[[], None]:
    site.git("switch", "--quiet", "--create", "mine")

    def still_there() -> None:
        assert site.git("branch", "--show-current") == "mine"

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


ACTS: dict[str, Act] = {
    "commits": _commits,
    "edits uv.lock": _edits_the_lock,
    "commits uv.lock": _commits_the_lock,
    "edits pyproject.toml": _adds_a_line("pyproject.toml", "# my edit\n"),
    "edits code": _adds_a_line("site_settings.py", "# my edit\n"),
    "switches the branch": _switches_the_branch,
    "changes .env": _adds_a_line("../.env", "RELEASER_KEEP='7'\n"),
    "moves the symlink": _moves_the_link,
}


MAKES_A_COMMIT = ("commits", "commits uv.lock")
MOVES_HEAD = (*MAKES_A_COMMIT, "switches the branch")
OTHER_ACTS = [act for act in ACTS if act != "moves the symlink"]


def _continue_after(
    site: SampleSite, at: Point, act: Act, *, command: str = "update"
) -> tuple[int, str, Callable[[], None]]:
    with stopped(site, command, at=at) as process:
        still_there = act(site)
        os.kill(process.pid, signal.SIGCONT)
        _, error = process.communicate(timeout=120)
    return process.returncode, error, still_there


def due(site: SampleSite) -> None:
    """Offer a package and a commit."""
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "news"})


def gone_forward(site: SampleSite) -> None:
    """Take both, which a rollback takes back."""
    due(site)
    site.releaser("update", check=0)


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with a package and a commit that are due."""
    return make_site.adopted(prepare=due)


@pytest.fixture
def site_to_roll_back(make_site: SiteFactory) -> SampleSite:
    """A site with a package and a commit that a rollback takes back."""
    return make_site.adopted(prepare=gone_forward)


@pytest.mark.spread(4)
@pytest.mark.parametrize(("act", "at"), [*itertools.product(ACTS, BEFORE_THE_GUARD)])
def test_nothing_goes_live_if_somebody_was_at_work(site: SampleSite, act: str, at: str) -> None:
    before, live = site.head(), site.live_id()
    code, error, still_there = _continue_after(site, BEFORE_THE_GUARD[at], ACTS[act])
    assert code == 3, error
    assert "this run" in error or "leads" in error
    assert "Nothing went live" in error or act == "moves the symlink"
    still_there()
    if act == "moves the symlink":
        return
    assert site.live_id() == live
    if act not in MAKES_A_COMMIT:
        assert site.head() == before


@pytest.mark.spread(2)
@pytest.mark.parametrize(("act", "at"), [*itertools.product(OTHER_ACTS, AFTER_THE_GUARD)])
def test_what_somebody_does_after_the_guard_stays(site: SampleSite, act: str, at: str) -> None:
    live = site.live_id()
    code, error, still_there = _continue_after(site, AFTER_THE_GUARD[at], ACTS[act])
    still_there()
    _see_what_was_said(code, error)
    assert site.live_id() != live


@pytest.mark.spread(1)
@pytest.mark.parametrize("at", [*(at for at in AFTER_THE_GUARD if at != "flipped"), "flipped"])
def test_the_symlink_stays_where_somebody_moves_it_after_the_guard(site: SampleSite, at: str) -> None:
    _, _, still_there = _continue_after(site, AFTER_THE_GUARD[at], _moves_the_link)
    still_there()
    _see_that_the_symlink_stays(site)
    assert "failed_candidates" not in site.releaser("status").stdout  # no release is to blame for that
    still_there()


@pytest.mark.spread(3)
@pytest.mark.parametrize(("act", "at"), [*itertools.product(OTHER_ACTS, DURING_A_ROLLBACK)])
def test_what_somebody_does_during_a_rollback_stays(site_to_roll_back: SampleSite, act: str, at: str) -> None:
    site = site_to_roll_back
    live, head, remote = site.live_id(), site.head(), site.remote_head()
    code, error, still_there = _continue_after(site, DURING_A_ROLLBACK[at], ACTS[act], command="rollback")
    still_there()
    assert site.remote_head() == remote
    if at in BEFORE_THE_MOVE and act in MOVES_HEAD:
        assert code == 3, error
        assert any(one in error for one in ("this run", "only in this checkout", "the checkout is on")), error
        assert "git reset" not in error  # the checkout has not moved, and that would take a commit away
        assert site.live_id() == live
        assert site.git("merge-base", "HEAD", head) == head
    else:
        _see_what_was_said(code, error)
        assert site.live_id() != live


def _see_what_was_said(code: int, error: str) -> None:
    """See that a command went well, or says what it has left to a person."""
    assert code in (0, 7), error
    assert code == 0 or "not committed" in error or "not pushed" in error, error


def _see_that_the_symlink_stays(site: SampleSite) -> None:
    assert "leads to ../mine" in site.releaser("status").stdout
    assert "it was moved by hand" in site.releaser("update", check=3).stderr


def test_untracked_configuration_counts_unless_the_site_writes_it(site: SampleSite) -> None:
    def counts(site: SampleSite) -> Callable[[], None]:
        site.edit("config/counters.ini", "visitors = 1")
        site.edit("data.sqlite3", "which the site writes, as everybody knows")
        return lambda: None

    live = site.live_id()
    (site.path / ".git" / "info" / "exclude").write_text("/config/counters.ini\n/data.sqlite3\n", encoding="utf-8")
    code, error, _ = _continue_after(site, BEFORE_THE_GUARD["tested"], counts)
    assert code == 3, error
    assert "config/counters.ini, which git does not track, was changed during this run" in error
    assert "If the site itself writes this file, add it to `staging_omit`." in error
    assert site.live_id() == live
    site.edit("config/counters.ini", "visitors = 0")
    site.edit("data.sqlite3", "before")
    site.write_dotenv({"RELEASER_STAGING_OMIT": "config/*.ini"})
    code, error, _ = _continue_after(site, BEFORE_THE_GUARD["tested"], counts)
    assert code == 0, error
    assert site.live_id() != live


def test_an_unpushed_commit_of_a_person_is_told_and_stays_theirs(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    mine, remote = site.commit("Mine", {"mine.txt": ""}), site.remote_head()
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", check=7)
    assert "1 commit of yours is not pushed" in finished.stderr
    assert "so releaser does not push uv.lock either" in finished.stderr
    assert (site.remote_head(), site.git("rev-parse", "HEAD^")) == (remote, mine)
    site.push()
    silent(site.releaser("update"))


def test_a_commit_of_a_person_that_touches_only_the_lock_is_theirs(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    site.uv("lock", "--quiet", "--upgrade")
    mine, remote = site.commit("My lock"), site.remote_head()
    site.releaser("update", check=0)
    assert (site.head(), site.remote_head()) == (mine, remote)
    site.push_from_elsewhere({"notes.txt": "news"})
    finished = site.releaser("update", check=3)
    assert "diverged" in finished.stderr
    assert site.head() == mine
