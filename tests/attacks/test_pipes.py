"""A named pipe or a device in place of a file is an immediate error, where a reader would wait for ever."""

import os
from pathlib import Path

import pytest

from tests.support.sites import SampleSite, SiteFactory

SECONDS = 60  # of a command that takes one or two


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with two releases."""
    return make_site.adopted("1.1.0")


def place_of(site: SampleSite, name: str) -> Path:
    live = site.state_dir / "releases" / site.live_id()
    places = {
        "pyproject.toml": site.path / "pyproject.toml",
        "uv.lock": site.path / "uv.lock",
        ".env": site.outer / ".env",
        "own .env": site.path / ".env",
        ".python-version": site.path / ".python-version",
        "manifest.json": live / "manifest.json",
        "lock of the release": live / "uv.lock",
        "test output": live / "test-output.txt",
        "mail": site.state_dir / "outbox" / "new" / "20260101T000000Z-1.0.vm",
    }
    return places.get(name, (site.path if name in OF_TOOLS else site.state_dir) / name)


STATE = (
    "ledger.json", "blocks.json", "pending.json", "notes.json", "journal.json", "project.json",
    "history.jsonl", "run/lock.holder", "lock-before", "live-tests.json",
)  # fmt: skip
OF_TOOLS = ("uv.toml", ".gitignore", ".gitattributes", ".git/HEAD", ".git/index", ".git/config")
REFUSED = {
    "pyproject.toml": "cannot be read", "uv.lock": "uv.lock", ".env": "cannot be read",
    **dict.fromkeys(("own .env", *OF_TOOLS), "is a named pipe or a device"),
}  # fmt: skip


@pytest.mark.spread(7)
@pytest.mark.parametrize(
    "name", [*REFUSED, ".python-version", "manifest.json", "lock of the release", "test output", "mail", *STATE]
)
def test_no_command_waits_for_a_pipe_of_the_site(site: SampleSite, name: str) -> None:
    path, questions = place_of(site, name), [["list"], ["history"], ["show", site.live_id()]]
    for kind in ("a pipe", *(["a device"] if name in REFUSED else [])):  # which programs read, too
        for place in [path, *(path.parent.rglob("alpha-*/RECORD") if name == "test output" else ())]:
            place.unlink(missing_ok=True)
            if kind == "a pipe":
                os.mkfifo(place)
            else:
                place.symlink_to("/dev/zero")
        for words in (*([] if name in REFUSED else questions), ["status"], ["update"]):
            finished = site.releaser(*words, timeout=SECONDS)
            assert "Traceback" not in finished.stderr, (kind, words)
            if name in REFUSED and words == ["update"]:
                assert finished.returncode == 3
                assert REFUSED[name] in finished.stderr
        assert site.link.is_symlink()


def test_no_command_waits_for_a_pipe_that_git_reads_first(site: SampleSite) -> None:
    tree, git = site.outer / "linked", site.path / ".git"
    site.git("worktree", "add", "--quiet", "-b", "other", tree)
    of_all = (
        "config.worktree", "packed-refs", "shallow", "info/exclude", "info/attributes", "objects/info/alternates",
        "refs/heads/main", "refs/worktree/releaser/fetched",
    )  # fmt: skip
    of_linked = ("refs/heads/other", "worktrees/linked/index", "config")
    for project, names in ((site.path, of_all), (tree, of_linked)):
        for place in (git / name for name in names):
            content = place.read_bytes() if place.exists() else None
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            os.mkfifo(place)
            finished = site.releaser("update", "--dry-run", "--project", project, timeout=SECONDS, check=3)
            assert f"{place} is a named pipe" in finished.stderr
            place.unlink()
            if content is not None:
                place.write_bytes(content)


def test_no_command_waits_for_a_pipe_in_the_settings_of_uv(site: SampleSite) -> None:
    place = site.outer / "home" / "uv" / "uv.toml"
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    env = {"XDG_CONFIG_HOME": str(place.parent.parent)}
    for words in (["status"], ["check"], ["update"]):
        finished = site.releaser(*words, timeout=SECONDS, env=env, check=3)
        assert f"{place} is a named pipe" in finished.stderr, words
    place.unlink()
    place.symlink_to("/dev/null")
    site.releaser("check", env=env, check=0)


MODULE = """
__version__ = "1.2.0"
import os, sys
from pathlib import Path
if "test" in sys.argv:
    for place in Path(sys.prefix).glob("lib/python*/site-packages/alpha-*"):
        (place / {name!r}).unlink(missing_ok=True)
        os.mkfifo(place / {name!r})
"""


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        ("RECORD", 5, "the tests changed installed files"),
        ("direct_url.json", 4, "the candidate could not be sealed"),
    ],
)
def test_no_command_waits_for_a_pipe_that_tests_made(site: SampleSite, name: str, code: int, why: str) -> None:
    site.publish("alpha", "1.2.0", modules={"alpha/__init__.py": MODULE.format(name=name)})
    finished = site.releaser("update", timeout=2 * SECONDS, check=code)
    assert "Traceback" not in finished.stderr
    assert why in finished.stderr
    assert name in finished.stderr
