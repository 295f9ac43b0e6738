"""Uploads and other files that git does not track survive every move of the checkout: forward, back and recovered."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import AFTER_THE_GUARD, interrupted
from tests.tools.test_in_the_way import a_directory, a_file, a_pipe, a_symlink, photograph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Finished
    from tests.support.sites import SampleSite, SiteFactory

    Kind = Callable[[Path], None]

KINDS = (a_directory, a_file, a_symlink, a_pipe)
TRACKED, CODE = "media", "notes.txt"
STOPPED = "service-calls"
# Fails once the new code is there, and uploads something at once, where the earlier code has a file.
HEALTH = """\
test -e notes.txt || exit 0
test -e media || { mkdir -p media/2026 && echo "a person's photo" > media/2026/photo.jpg; }
exit 1
"""


def with_service(make_site: SiteFactory, **settings: str) -> SampleSite:
    """Make a site that git tells to ignore `media`, and whose service notes each time it is stopped or started."""
    note = f"sh -c 'echo stopped >> ../{STOPPED}'"
    site = make_site(venv=True, settings={"stop": note, "start": note, **settings})
    (site.path / ".git" / "info" / "exclude").write_text("media\nmedia/\n", encoding="utf-8")
    return site


def put_away(site: SampleSite) -> None:
    """Take away what lies at `media`, whatever it is."""
    if os.path.lexists(site.path / "media"):
        (site.path / "media").rename(site.outer / f"media-{len(os.listdir(site.outer))}")


def see_it_refused(site: SampleSite, *words: str, before: dict[str, str]) -> Finished:
    """See that a command refuses with the path and what to do, and changes nothing."""
    live, head = site.live_id(), site.head()
    finished = site.releaser(*words)
    assert finished.returncode == 3, finished
    assert "media" in finished.stderr
    assert f"mv {site.path}/media" in finished.stderr
    assert "newer code" not in finished.stderr
    assert "packages of another commit" not in finished.stderr
    assert photograph(site.path) == before
    assert (site.live_id(), site.head()) == (live, head)
    assert not (site.outer / STOPPED).exists(), "a service was stopped for nothing"
    assert not (site.state_dir / "journal.json").exists()
    return finished


def test_an_update_refuses_before_it_builds(make_site: SiteFactory) -> None:
    site = with_service(make_site)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({TRACKED: "git's", CODE: "new"})
    for kind in KINDS:
        kind(site.path / "media")
        before = photograph(site.path)
        for words in (("update", "--dry-run"), ("update",)):
            finished = see_it_refused(site, *words, before=before)
            assert "build" not in finished.stdout
        put_away(site)
    site.releaser("update", check=0)
    assert (site.path / "media").read_text(encoding="utf-8") == "git's"


def test_a_rollback_refuses_before_it_stops_anything(make_site: SiteFactory) -> None:
    site = with_service(make_site)
    tracked(site)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    untracked_elsewhere(site)
    site.releaser("update", check=0)
    (site.outer / STOPPED).unlink()
    assert not (site.path / "media").exists()
    for kind in KINDS:
        put_away(site)
        kind(site.path / "media")
        before = photograph(site.path)
        for words in (("rollback", "--dry-run"), ("rollback",)):
            assert "--keep-code" in see_it_refused(site, *words, before=before).stderr
    site.releaser("rollback", "--keep-code", check=0)
    assert site.live_version("alpha") == "1.0.0"
    uploads = {path: what for path, what in before.items() if "/media" in path}
    assert uploads.items() <= photograph(site.path).items()


def test_a_release_is_taken_back_beside_what_was_uploaded_meanwhile(make_site: SiteFactory) -> None:
    site = with_service(make_site, health_check="sh ../health.sh", health_retries="0")
    (site.outer / "health.sh").write_text(HEALTH, encoding="utf-8")
    tracked(site)
    site.releaser("init", check=0)
    earlier = site.live_id()
    site.publish("alpha", "1.1.0")
    untracked_elsewhere(site)
    finished = site.releaser("update", check=6)
    assert site.live_id() == earlier
    photo = site.path / "media" / "2026" / "photo.jpg"
    assert photo.read_text(encoding="utf-8") == "a person's photo\n"
    assert "media" in finished.stderr
    assert f"mv {site.path}/media" in finished.stderr
    assert not (site.state_dir / "journal.json").exists()
    (site.path / "media").rename(site.outer / "media")
    site.releaser("prune", check=0)
    assert "Traceback" not in site.releaser("update").stderr


def tracked(site: SampleSite) -> None:
    """Commit `media` as a file, and push that."""
    (site.path / "media").write_text("git's\n", encoding="utf-8")
    site.git("add", "--force", "media")
    site.commit("Track media")
    site.push()


def untracked_elsewhere(site: SampleSite) -> None:
    """Push a commit from elsewhere that removes `media` from git, and has new code."""
    site.push_from_elsewhere({CODE: "new"}, remove=[TRACKED])


def a_lock_directory(site: SampleSite) -> Path:
    """Put a directory where uv.lock was."""
    (site.path / "uv.lock").unlink()
    a_directory(site.path / "uv.lock")
    return site.path / "uv.lock"


def a_directory_of_the_code(site: SampleSite) -> Path:
    """Put a directory where the earlier commit has a file."""
    a_directory(site.path / "media")
    return site.path / "media"


def a_file_for_a_directory(site: SampleSite) -> Path:
    """Put a file where the earlier commit has a directory."""
    a_file(site.path / "static")
    return site.path / "static"


@pytest.mark.spread(3)
@pytest.mark.parametrize("act", [a_lock_directory, a_directory_of_the_code, a_file_for_a_directory])
@pytest.mark.parametrize("first", ["update", "rollback", "prune", "rebuild", "init"])
def test_a_run_that_was_cut_off_never_wedges_a_site(
    make_site: SiteFactory, first: str, act: Callable[[SampleSite], Path]
) -> None:
    """Whatever lies in the way of its recovery, the next command ends it, says so, and others go on."""
    site = make_site(venv=True)
    (site.path / ".git" / "info" / "exclude").write_text("media\nmedia/\nstatic\n", encoding="utf-8")
    (site.path / "static").mkdir()
    (site.path / "static" / "site.css").write_text("git's\n", encoding="utf-8")
    site.git("add", "--force", "static/site.css")
    tracked(site)
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({CODE: "new"}, remove=[TRACKED, "static/site.css"])
    interrupted(site, "update", at=AFTER_THE_GUARD["checkout moved"])
    place = act(site)
    assert "interrupted" in site.releaser("check").stderr
    finished = site.releaser(first)
    assert "Traceback" not in finished.stderr
    assert finished.returncode != 1
    assert not (site.state_dir / "journal.json").exists(), finished
    assert os.path.lexists(place)
    os.rename(place, site.outer / "moved-away")  # noqa: PTH104
    if act is a_lock_directory:
        site.git("checkout", "--", "uv.lock")
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    site.releaser("prune", check=0)
