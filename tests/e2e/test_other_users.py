"""A colleague asks, who may not read all; and a stranger is told just that, whatever they ask for."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.refusals import seem_no_bug
from tests.e2e.scenes import under_umask
from tests.e2e.test_group_use import ADA, GRACE, GROUP, adas_site, base_python, environment_of, script_of
from tests.support.commands import Finished, run
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

STRANGER = 65531  # of no group of the project's


def asked(user: int, site: SampleSite, command: str, *args: str | Path) -> Finished:
    """Run releaser as a user, who has a home of their own."""
    group = user if user == STRANGER else GROUP
    become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    words = [*become, base_python(), script_of(site), command, "--project", site.path, *args]
    finished = run(words, cwd=Path("/"), env=environment_of(user, site))
    seem_no_bug(finished)
    assert "Traceback" not in finished.stderr, str(finished)
    return finished


@pytest.fixture(scope="module")
def site(templates: Templates, everybodys: Path) -> Iterator[SampleSite]:
    """Make a site of Ada's that others may pass through, as a web server has to, but not all of which they may read."""
    with adas_site(templates, everybodys, group_writable=True) as site:
        home = site.outer.parent / str(STRANGER)
        home.mkdir()
        os.chown(home, STRANGER, STRANGER)
        assert asked(ADA, site, "init").returncode == 0
        site.publish("alpha", "1.1.0")
        assert asked(ADA, site, "update").returncode == 0
        yield site


@contextlib.contextmanager
def hidden(*paths: Path) -> Iterator[None]:
    """Close paths to all but their owner, until the end of the block."""
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o700 if path.is_dir() else 0o600)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


def test_what_a_colleague_may_not_read_is_one_line(site: SampleSite) -> None:
    with hidden(site.state_dir / "outbox", site.state_dir / "logs"):  # which is not missed
        for command in ("status", "list"):
            finished = asked(GRACE, site, command)
            assert (finished.returncode, finished.stderr) == (0, "")
            assert site.live_id() in finished.stdout
    with hidden(site.outer / ".env"):
        finished = asked(GRACE, site, "list")
        assert finished.returncode == 0, str(finished)
        assert site.live_id() in finished.stdout
        (line,) = (line for line in finished.stderr.splitlines() if ".env" in line)
        assert "Permission denied" in line
    for name in (".", "releases", "ledger.json"):
        with hidden(site.state_dir / name):
            for arguments in (["status"], ["list", "--json"]):
                finished = asked(GRACE, site, *arguments)
                assert finished.returncode == 3, str(finished)
                assert finished.stdout == ""
                words = "is not open to the group" if name == "." else "cannot be read"
                (line,) = [line for line in finished.stderr.splitlines() if words in line]
                assert str(site.state_dir) in line
                assert "what to do: " in finished.stderr
    with hidden(site.outer):
        for command in ("status", "list", "check"):
            finished = asked(GRACE, site, command)
            assert finished.returncode == 3, str(finished)
            assert str(site.path) in finished.stderr
            assert "ermission denied" in finished.stderr
            assert "no project here" not in finished.stderr
    with hidden(site.state_dir / "history.jsonl"):
        for command in ("status", "history"):
            finished = asked(GRACE, site, command)
            assert finished.returncode == 3, str(finished)
            assert "history.jsonl cannot be read by this user" in finished.stderr


def test_a_stranger_is_told_just_that(site: SampleSite) -> None:
    live = site.live_id()
    for words in (["check"], ["list", "--json"], ["status"], ["rollback"], ["rollback", "--dry-run"]):
        finished = asked(STRANGER, site, *words)
        assert finished.returncode == 3, str(finished)
        said = finished.stderr
        assert f"{site.path} belongs to another user (uid {ADA}; this is uid {STRANGER})" in said
        assert said.count("releaser") <= 4, "one problem"
        assert f"sudo -u '#{ADA}' releaser {words[0]}" in said
    assert site.live_id() == live


# What the files of the state may be read and written by does not depend on the umask of whoever runs releaser


# A release, a run and a mail have names of their own.
NAMES = re.compile(r"\d{8}T\d{6}Z[-\w.]*|(?<=outbox/)(new|cur)/.*")


def modes(site: SampleSite) -> dict[str, set[str]]:
    """Return the modes of all below the state directory but the venvs, by names that are the same in each site."""
    found: dict[str, set[str]] = {}
    for place, directories, files in os.walk(site.state_dir.parent):
        directories[:] = [name for name in directories if name != "venv"]
        for name in (".", *files):
            path = os.path.join(place, name)
            mode = f"{stat.S_IMODE(os.lstat(path).st_mode):o}"
            found.setdefault(NAMES.sub("*", os.path.relpath(path, site.state_dir)), set()).add(mode)
    return found


def grown(make_site: SiteFactory, umask: str) -> SampleSite:
    """Let releaser do most of what it does under an umask."""
    site = make_site(outer=f"outer-{umask}", venv=True, settings={"culprits": "off"})
    site.path.chmod(0o755)
    env: dict[str, str | None] = {}
    under_umask(site, umask, "init", env=env)
    for version, broken in (("1.1.0", False), ("1.2.0", True)):
        site.publish("alpha", version, broken=broken)
        under_umask(site, umask, "update", env=env)
    under_umask(site, umask, "rollback", env=env)
    return site


def test_the_modes_are_the_same_under_any_umask(make_site: SiteFactory) -> None:
    expected = modes(grown(make_site, "022"))
    assert {"ledger.json", "blocks.json", "project.json", "history.jsonl", "reserve"} <= expected.keys()
    assert modes(grown(make_site, "077")) == expected
    # For the owner and the group alone, except for the way to a release, on which nobody sees what else there is.
    for name, found in expected.items():
        closed = 0o007 if name not in ("..", ".", "releases", "releases/*") else 0o002
        assert not any(int(mode, 8) & (closed | (0o020 if name != "run/lock" else 0)) for mode in found), (name, found)


def test_code_that_comes_in_can_be_read_by_who_reads_the_rest(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    for mode, name, expected in ((0o711, "pages", "755 644"), (0o775, "sheets", "775 664")):
        site.path.chmod(mode)
        site.push_from_elsewhere({f"{name}/new.py": ""})
        finished = under_umask(site, "077", "update", env={})
        assert finished.returncode == 0, finished
        found = [f"{stat.S_IMODE((site.path / one).stat().st_mode):o}" for one in (name, f"{name}/new.py")]
        assert " ".join(found) == expected
