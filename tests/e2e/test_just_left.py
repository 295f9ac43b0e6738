"""The release that was live a moment ago: processes that are not restarted yet still run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory

pytestmark = pytest.mark.story


@pytest.mark.slow
def test_a_rollback_keeps_the_release_that_it_leaves(make_site: SiteFactory) -> None:
    site = make_site.adopted(name="shop", packages={"alpha": "1.0.0"}, settings={"keep_failed": 0})
    site.publish("alpha", "1.1.0")
    left = site.json("update")["release"]
    report = site.json("rollback")
    assert report["headline"].startswith(f"rolled back from {left} to ")
    assert {one["id"]: one["state"] for one in site.json("list")}[left] == "bad"
    assert {one["release"]: one["reason"] for one in site.json("prune")}[left] == "was live until the last flip"


@pytest.mark.slow
def test_the_next_flip_lets_it_go(make_site: SiteFactory) -> None:
    site = make_site.adopted(name="shop", packages={"alpha": "1.0.0"}, settings={"keep_failed": 0})
    site.publish("alpha", "1.1.0")
    left = site.json("update")["release"]
    site.releaser("rollback", check=0)
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0)
    assert left not in {one["id"] for one in site.json("list")}
