"""A person at work while releaser runs: what they did is still there, and nothing untested goes live.

Each act is done while releaser stands still at a step of a real update, or of a real rollback that takes code back. Of
each table a spread is tried, with `--all-points` all of it. In `tests/checkout/test_checks.py`, each act is found.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class AddsALine:
    """Adds a line to a file, and may commit that."""

    name: str
    line: str = "# mine\n"
    commits: bool = False

    def __call__(self, site: SampleSite) -> Callable[[], None]:
        file = site.path / self.name
        text = (file.read_text(encoding="utf-8") if file.exists() else "") + self.line
        file.write_text(text, encoding="utf-8")
        commit = site.commit("Mine", {self.name: text}) if self.commits else ""

        def still_there() -> None:
            if commit:
                assert self.line in file.read_text(encoding="utf-8")
                assert self.line.strip() in site.git("show", f"HEAD:{self.name}")
                assert commit in site.git("log", "--format=%H")
                assert commit not in site.git("--git-dir", site.remote, "log", "--format=%H", "main")
            else:
                kept = [one.read_text(encoding="utf-8") for one in site.state_dir.glob("uv.lock-*")]
                assert text in [file.read_text(encoding="utf-8"), *kept]
                assert self.line.strip() not in site.git("show", "HEAD")

        return still_there


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
    "commits": AddsALine("mine.txt", commits=True),
    "edits uv.lock": AddsALine("uv.lock"),
    "commits uv.lock": AddsALine("uv.lock", commits=True),
    "edits pyproject.toml": AddsALine("pyproject.toml"),
    "edits code": AddsALine("site_settings.py"),
    "switches the branch": _switches_the_branch,
    "changes .env": AddsALine("../.env", "RELEASER_KEEP='7'\n"),
    "moves the symlink": _moves_the_link,
}
MAKES_A_COMMIT = ("commits", "commits uv.lock")
MOVES_HEAD = (*MAKES_A_COMMIT, "switches the branch")
LINK = "moves the symlink"


def _continue_after(
    site: SampleSite, at: Point, act: str, *, command: str = "update"
) -> tuple[int, str, Callable[[], None]]:
    with stopped(site, command, at=at) as process:
        still_there = ACTS[act](site)
        os.kill(process.pid, signal.SIGCONT)
        _, error = process.communicate(timeout=120)
    still_there()
    return process.returncode, error, still_there


def due(site: SampleSite) -> None:
    """Offer a package and a commit."""
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "news"})


def gone_forward(site: SampleSite) -> None:
    """Take both, which a rollback takes back."""
    due(site)
    site.releaser("update", check=0)


@pytest.mark.spread(4)
@pytest.mark.parametrize(("act", "at"), [*itertools.product(ACTS, BEFORE_THE_GUARD)])
def test_nothing_goes_live_if_somebody_was_at_work(make_site: SiteFactory, act: str, at: str) -> None:
    site = make_site.adopted(prepare=due)
    before, live = site.head(), site.live_id()
    code, error, _ = _continue_after(site, BEFORE_THE_GUARD[at], act)
    assert code == 3, error
    assert "this run" in error or "leads" in error
    assert act == LINK or ("Nothing went live" in error and site.live_id() == live)
    assert act in MAKES_A_COMMIT or site.head() == before


@pytest.mark.spread(2)
@pytest.mark.parametrize(("act", "at"), [*itertools.product(ACTS, AFTER_THE_GUARD)])
def test_what_somebody_does_after_the_guard_stays(make_site: SiteFactory, act: str, at: str) -> None:
    site = make_site.adopted(prepare=due)
    live = site.live_id()
    code, error, still_there = _continue_after(site, AFTER_THE_GUARD[at], act)
    if act != LINK:
        _see_what_was_said(code, error)
        assert site.live_id() != live
        return
    said = site.releaser("status").stdout
    assert "leads to ../mine" in said
    assert "failed_candidates" not in said  # no release is to blame for that
    assert "it was moved by hand" in site.releaser("update", check=3).stderr
    still_there()


@pytest.mark.spread(3)
@pytest.mark.parametrize(("act", "at"), [*itertools.product([act for act in ACTS if act != LINK], DURING_A_ROLLBACK)])
def test_what_somebody_does_during_a_rollback_stays(make_site: SiteFactory, act: str, at: str) -> None:
    site = make_site.adopted(prepare=gone_forward)
    live, head, remote = site.live_id(), site.head(), site.remote_head()
    code, error, _ = _continue_after(site, DURING_A_ROLLBACK[at], act, command="rollback")
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


def test_commits_of_a_person_are_told_and_stay_theirs(make_site: SiteFactory) -> None:
    """Though they touch only the lock."""
    site = make_site.adopted()
    mine, remote = site.commit("Mine", {"mine.txt": ""}), site.remote_head()
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", check=7)
    assert "1 of your commits is not pushed" in finished.stderr
    assert "so releaser does not push uv.lock either" in finished.stderr
    assert (site.remote_head(), site.git("rev-parse", "HEAD^")) == (remote, mine)
    site.push()
    silent(site.releaser("update"))
    site.publish("alpha", "1.2.0")
    site.uv("lock", "--quiet", "--upgrade")
    mine, remote = site.commit("My lock"), site.remote_head()
    site.releaser("update", check=0)
    assert (site.head(), site.remote_head()) == (mine, remote)
    site.push_from_elsewhere({"notes.txt": "news"})
    assert "diverged" in site.releaser("update", check=3).stderr
    assert site.head() == mine
