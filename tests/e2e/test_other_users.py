"""A colleague asks, who may not read all; and files are for the same people whatever the umask of whoever runs it."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.refusals import seem_no_bug
from tests.e2e.scenes import under_umask
from tests.e2e.test_group_use import ADA, GRACE, adas_site, by
from tests.support.commands import Finished
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates


@pytest.fixture(scope="module")
def site(templates: Templates, everybodys: Path) -> Iterator[SampleSite]:
    """Make a site of Ada's that others may pass through, as a web server has to, but not all of which they may read."""
    with adas_site(templates, everybodys, group_writable=True) as site:
        by(ADA, site, "init")
        site.publish("alpha", "1.1.0")
        by(ADA, site, "update")
        yield site


def asked(site: SampleSite, *words: str, closed: tuple[str, ...], check: int = 0) -> Finished:
    """Let a colleague ask while some paths, as seen from the state, are closed to all but their owner."""
    paths = [site.state_dir / name for name in closed]
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o700 if path.is_dir() else 0o600)
    try:
        finished = by(GRACE, site, *words, check=check)
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)
    seem_no_bug(finished)
    assert "Traceback" not in finished.stderr, str(finished)
    return finished


def test_a_colleague_does_not_miss_mails_logs_and_settings_that_are_closed(site: SampleSite) -> None:
    for command in ("status", "list"):
        finished = asked(site, command, closed=("outbox", "logs"))
        assert finished.stderr == ""
        assert site.live_id() in finished.stdout
    finished = asked(site, "list", closed=("../../.env",))
    assert site.live_id() in finished.stdout
    (line,) = (line for line in finished.stderr.splitlines() if ".env" in line)
    assert "Permission denied" in line


@pytest.mark.parametrize(
    ("closed", "words", "said"),
    [
        (".", ["status"], "is not open to the group"),
        ("releases", ["list", "--json"], "cannot be read"),
        ("ledger.json", ["status"], "cannot be read"),
        ("history.jsonl", ["history"], "cannot be read by this user"),
        ("logs", ["logs"], "cannot be read by this user"),
    ],
)
def test_what_a_colleague_may_not_read_is_one_line(site: SampleSite, closed: str, words: list[str], said: str) -> None:
    finished = asked(site, *words, closed=(closed,), check=3)
    assert finished.stdout == ""
    (line,) = [line for line in finished.stderr.splitlines() if said in line]
    assert str(site.state_dir / closed) in line
    assert "what to do: " in finished.stderr


def test_a_site_in_a_directory_that_is_closed_is_not_said_to_be_missing(site: SampleSite) -> None:
    for command in ("status", "check"):
        finished = asked(site, command, closed=("../..",), check=3)
        assert str(site.path) in finished.stderr
        assert "ermission denied" in finished.stderr
        assert "no project here" not in finished.stderr


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
    under_umask(site, umask, "init", env={})
    for version, broken in (("1.1.0", False), ("1.2.0", True)):
        site.publish("alpha", version, broken=broken)
        under_umask(site, umask, "update", env={})
    under_umask(site, umask, "rollback", env={})
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
