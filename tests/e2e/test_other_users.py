"""Monitoring asks as another user, who may not read all; and a rollback by the wrong user says just that."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import seem_no_bug
from tests.e2e.test_group_use import ADA, GROUP, base_python, environment_of, give_to_group
from tests.support.commands import console_script, run
from tests.support.guards import require
from tests.support.sites import SiteFactory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commands import Finished
    from tests.support.sites import SampleSite
    from tests.support.templates import Templates

STRANGER = 65531  # of no group of the project's


def asked(user: int, site: SampleSite, command: str, *args: str | Path) -> Finished:
    """Run releaser as a user, who has a home of their own."""
    group = GROUP if user == ADA else user
    become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    words = [*become, base_python(), console_script(), command, "--project", site.path, *args]
    finished = run(words, cwd=Path("/"), env=environment_of(user, site))
    seem_no_bug(finished)
    assert "Traceback" not in finished.stderr, str(finished)
    return finished


@pytest.fixture
def site(templates: Templates) -> Iterator[SampleSite]:
    """Make a site of Ada's that others may pass through, as a web server has to, but not all of which they may read."""
    require(os.geteuid() == 0 and shutil.which("setpriv"), "only root can become somebody else")
    require(Path(base_python()).exists(), "an interpreter that everybody may start is needed")
    base = Path(tempfile.mkdtemp(prefix="others-"))  # pytest's own directories are for one user alone
    try:
        base.chmod(0o755)
        settings = {"python": base_python(), "collectstatic": "off", "git_pull": False}
        site = SiteFactory(base, templates)(settings=settings)
        give_to_group(site)
        home = base / str(STRANGER)
        home.mkdir()
        os.chown(home, STRANGER, STRANGER)
        assert asked(ADA, site, "init").returncode == 0
        site.publish("alpha", "1.1.0")
        assert asked(ADA, site, "update").returncode == 0
        yield site
    finally:
        shutil.rmtree(base)


def hide(path: Path) -> None:
    path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("command", ["status", "list"])
def test_what_only_the_group_may_read_is_not_missed(site: SampleSite, command: str) -> None:
    for name in ("outbox", "logs"):
        hide(site.state_dir / name)
    finished = asked(STRANGER, site, command)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert site.live_id() in finished.stdout


def test_a_secret_dotenv_is_one_line(site: SampleSite) -> None:
    hide(site.outer / ".env")
    for command in ("status", "list"):
        finished = asked(STRANGER, site, command)
        assert finished.returncode == 0, str(finished)
        assert site.live_id() in finished.stdout
        lines = [line for line in finished.stderr.splitlines() if ".env" in line]
        assert len(lines) == 1, str(finished)
        assert "Permission denied" in lines[0]


@pytest.mark.parametrize("command", ["status", "list"])
@pytest.mark.parametrize("hidden", [".", "releases", "ledger.json"])
def test_a_closed_state_is_one_line(site: SampleSite, command: str, hidden: str) -> None:
    hide(site.state_dir / hidden)
    for options in ((), ("--json",)):
        finished = asked(STRANGER, site, command, *options)
        assert finished.returncode == 3, str(finished)
        assert finished.stdout == ""
        (line,) = [line for line in finished.stderr.splitlines() if "cannot be read" in line]
        assert str(site.state_dir) in line
        assert "what to do: " in finished.stderr


@pytest.mark.parametrize("command", ["status", "list", "check"])
def test_a_closed_project_is_one_line(site: SampleSite, command: str) -> None:
    hide(site.outer)
    finished = asked(STRANGER, site, command)
    assert finished.returncode == 3, str(finished)
    assert str(site.path) in finished.stderr
    assert "ermission denied" in finished.stderr
    assert "not in a project" not in finished.stderr


@pytest.mark.parametrize("hidden", ["", ".env", ".git", "state"])
def test_check_says_who_may_run_it(site: SampleSite, hidden: str) -> None:
    if hidden:
        hide({".env": site.outer / ".env", ".git": site.path / ".git", "state": site.state_dir}[hidden])
    finished = asked(STRANGER, site, "check")
    assert finished.returncode == 3, str(finished)
    words = "cannot be read by this user" if hidden == "state" else f"{site.path} is not writable for this user"
    assert words in finished.stderr


def test_a_closed_history_is_one_line(site: SampleSite) -> None:
    hide(site.state_dir / "history.jsonl")
    for command in ("status", "history"):
        finished = asked(STRANGER, site, command)
        assert finished.returncode == 3, str(finished)
        assert "history.jsonl cannot be read by this user" in finished.stderr


def test_a_rollback_by_the_wrong_user_says_just_that(site: SampleSite) -> None:
    live = site.live_id()
    for words in ((), ("--dry-run",)):
        finished = asked(STRANGER, site, "rollback", *words)
        assert finished.returncode == 3, str(finished)
        said = finished.stderr
        assert f"{site.path} belongs to another user (uid {ADA}; this is uid {STRANGER})" in said
        assert said.count("releaser") <= 4, "one problem"
        for false in ("damaged", "is not what was sealed", "no earlier good release", "does not start", "another file"):
            assert false not in said
        assert f"sudo -u '#{ADA}' releaser rollback" in said
    assert site.live_id() == live
