"""A named pipe or a device in the place of a file: an error at once, where a reader would wait for ever."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

SECONDS = 20  # of a command that takes one or two


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
        ".python-version": site.path / ".python-version",
        "manifest.json": live / "manifest.json",
        "lock of the release": live / "uv.lock",
        "test output": live / "test-output.txt",
        "mail": site.state_dir / "outbox" / "new" / "20260101T000000Z-1.0.vm",
    }
    return places.get(name, site.state_dir / name)


STATE = (
    "ledger.json", "quarantine.json", "holds.json", "pending.json", "notes.json", "journal.json", "project.json",
    "history.jsonl", "run/lock.holder", "lock-before", "live-tests.json",
)  # fmt: skip
REFUSED = {"pyproject.toml": "cannot be read", "uv.lock": "uv.lock", ".env": "cannot be read"}


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
@pytest.mark.parametrize("name", [*REFUSED, ".python-version", "manifest.json", "mail", *STATE])
def test_no_command_waits_for_it(site: SampleSite, name: str, kind: str) -> None:
    path, live = place_of(site, name), site.live_id()
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for words in (["list"], ["status"], ["show", live], ["history"], ["check"], ["update", "--dry-run"], ["update"]):
        finished = site.releaser(*words, timeout=SECONDS)
        assert "Traceback" not in finished.stderr, words
        if name in REFUSED and words == ["update"]:
            assert finished.returncode == 3
            assert REFUSED[name] in finished.stderr
    assert site.link.is_symlink()
