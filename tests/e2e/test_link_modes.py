"""Releases on a file system on which copies can share blocks: uv clones what it installs, unless it is told to copy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.images import mounted_xfs, used
from tests.support.sites import SiteFactory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sites import SampleSite
    from tests.support.templates import Templates

MB = 1_000_000
BULK = 60 * MB  # of a package


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, templates: Templates) -> Iterator[SampleSite]:
    """Make a site with a large package, with uv's cache on the same file system."""
    with mounted_xfs(tmp_path_factory.mktemp("images") / "xfs", size=480 * 1024 * 1024) as place:
        made = SiteFactory(place, templates)(packages={"alpha": "1.0.0", "beta": "1.0.0", "bulk": "1.0.0"})
        made.env["UV_CACHE_DIR"] = str(place / "cache")
        made.releaser("init", check=0)
        made.publish("bulk", "1.1.0", modules={"bulk/__init__.py": "", "bulk/data.txt": "x" * BULK})
        made.releaser("update", check=0)
        yield made


def data_of(release: Path) -> Path:
    return next(release.glob("venv/lib/python3*/site-packages/bulk/data.txt"))


def test_a_cloned_release_takes_what_differs(site: SampleSite) -> None:
    before, free = used(site.outer), site.json("status")["free_bytes"]
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert used(site.outer) - before < BULK / 2
    assert free - site.json("status")["free_bytes"] < BULK / 2
    live, earlier = site.json("list")[:2]
    assert site.json("show", live["id"])["link_mode"] == "clone"
    assert live["size_bytes"] == live["own_bytes"] > BULK
    # Whatever is shared, a change in one release changes no other one.
    with data_of(Path(earlier["path"]).parent).open("r+b") as file:
        file.write(b"y")
    assert site.json("verify")["ok"]
    assert not site.json("verify", earlier["id"], check=10)["ok"]


def test_a_release_is_copied_where_that_is_set(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0, env={"RELEASER_LINK_MODE": "copy"})
    assert site.json("show", site.live_id())["link_mode"] == "copy"


def test_room_for_a_whole_release_is_asked_for(site: SampleSite) -> None:
    """What another release will share with uv's cache is not known before it is built."""
    site.publish("alpha", "1.3.0")
    ballast = site.outer / "ballast"
    used(site.outer)
    found = os.statvfs(site.outer)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - 55 * MB)
    try:
        assert "no space for another release: 55 MB free" in site.releaser("update", check=3).stderr
    finally:
        ballast.unlink()
