"""Uploads and other files that git does not track survive every move of the checkout: forward, back and recovered."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.interrupting import AFTER_THE_GUARD, interrupted
from tests.tools.test_in_the_way import a_directory, a_file, photograph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.commands import Finished
    from tests.support.sites import SampleSite, SiteFactory

STOPPED = "service-calls"
# Fails once the new code is there, and uploads something at once, where the earlier code has a file.
HEALTH = """\
test -e notes.txt || exit 0
test -e media || { mkdir -p media/2026 && echo "a person's photo" > media/2026/photo.jpg; }
exit 1
"""


def adopted_with_media(make_site: SiteFactory, **settings: str) -> SampleSite:
    """Make a site whose code has a file `media`, for which a package is due and a commit without that file."""
    site = make_site(venv=True, settings=settings)
    (site.path / ".git" / "info" / "exclude").write_text("media\nmedia/\nstatic\ntheirs\n", encoding="utf-8")
    for name in ("media", "static/site.css"):
        site.edit(name, "git's\n")
        site.git("add", "--force", name)
    site.commit("Track media")
    site.push()
    site.releaser("init", check=0)
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "new"}, remove=["media", "static/site.css"])
    return site


def see_it_refused(site: SampleSite, command: str, name: str) -> Finished:
    """See that a command refuses with the path and what to do, and changes nothing."""
    live, head, before = site.live_id(), site.head(), photograph(site.path)
    finished = site.releaser(command, check=3)
    assert f"mv {site.path}/{name}" in finished.stderr
    assert "newer code" not in finished.stderr
    assert "packages of another commit" not in finished.stderr
    assert "build" not in finished.stdout
    assert photograph(site.path) == before
    assert (site.live_id(), site.head()) == (live, head)
    assert not (site.outer / STOPPED).exists(), "a service was stopped for nothing"
    assert not (site.state_dir / "journal.json").exists()
    return finished


def test_an_update_refuses_before_it_builds_and_a_rollback_before_it_stops_anything(make_site: SiteFactory) -> None:
    note = f"sh -c 'echo stopped >> ../{STOPPED}'"
    site = adopted_with_media(make_site, stop=note, start=note)
    site.push_from_elsewhere({"theirs": "git's"})
    a_file(site.path / "theirs")
    for command in ("update --dry-run", "update"):
        see_it_refused(site, command, "theirs")
    (site.path / "theirs").unlink()
    site.releaser("update", check=0)
    (site.outer / STOPPED).unlink()
    a_directory(site.path / "media")
    for command in ("rollback --dry-run", "rollback"):
        assert "--keep-code" in see_it_refused(site, command, "media").stderr
    uploads = photograph(site.path / "media")
    site.releaser("rollback --keep-code", check=0)
    assert (site.live_version("alpha"), photograph(site.path / "media")) == ("1.0.0", uploads)


def test_a_release_is_taken_back_beside_what_was_uploaded_meanwhile(make_site: SiteFactory) -> None:
    site = adopted_with_media(make_site, health_check="sh ../health.sh", health_retries="0")
    earlier = site.live_id()
    (site.outer / "health.sh").write_text(HEALTH, encoding="utf-8")
    finished = site.releaser("update", check=6)
    assert site.live_id() == earlier
    assert (site.path / "media" / "2026" / "photo.jpg").read_text(encoding="utf-8") == "a person's photo\n"
    assert f"mv {site.path}/media" in finished.stderr
    assert not (site.state_dir / "journal.json").exists()
    (site.path / "media").rename(site.outer / "media")
    site.releaser("prune", check=0)
    assert "Traceback" not in site.releaser("update").stderr


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("name", "kind"),
    [("uv.lock", a_directory), ("media", a_directory), ("static", a_file)],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.parametrize("first", ["update", "rollback", "prune", "rebuild", "init"])
def test_a_run_that_was_cut_off_never_wedges_a_site(
    make_site: SiteFactory, first: str, name: str, kind: Callable[[Path], None]
) -> None:
    """Whatever lies in the way of its recovery, the next command ends it, says so, and others go on."""
    site = adopted_with_media(make_site)
    interrupted(site, "update", at=AFTER_THE_GUARD["checkout moved"])
    place = site.path / name
    place.unlink(missing_ok=True)
    kind(place)
    assert "interrupted" in site.releaser("check").stderr
    finished = site.releaser(first)
    assert "Traceback" not in finished.stderr
    assert finished.returncode != 1
    assert not (site.state_dir / "journal.json").exists(), finished
    assert os.path.lexists(place)
    place.rename(site.outer / "moved-away")
    if name == "uv.lock":
        site.git("checkout", "--", "uv.lock")
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    site.releaser("prune", check=0)
