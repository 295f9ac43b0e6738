"""`packages` lists what is installed, and what is known of that; nothing of the site is started or written for it."""

import pytest

from tests.e2e.scenes import outer_snapshot, watched
from tests.e2e.test_audit import ALPHA
from tests.support.osv import VulnerabilityService
from tests.support.sites import SiteFactory


@pytest.mark.story
def test_what_is_installed_is_listed_with_all_that_is_known_of_it(make_site: SiteFactory) -> None:
    with VulnerabilityService(ALPHA).serving() as service:
        site = watched(make_site, service.url)
        site.publish("alpha", "1.1.0")
        before = outer_snapshot(site)
        found = {one["name"]: one for one in site.json("packages")}
        assert outer_snapshot(site) == before
        shown = site.releaser("packages", check=0).stdout.splitlines()
    size = found["alpha"].pop("size_bytes")
    assert size % 512 == 0
    assert size > 0
    assert found["alpha"] == {
        "name": "alpha", "version": "1.0.0", "asked_by": ["project"], "age_seconds": None, "newer": "1.1.0",
        "vulnerabilities": ["PYSEC-2026-1"],
    }  # fmt: skip
    assert (found["localtools"]["asked_by"], found["localtools"]["newer"]) == (["group local"], "")
    assert found["beta"]["vulnerabilities"] == []
    assert shown[0].split() == ["PACKAGE", "VERSION", "AGE", "NEWER", "VULNERABLE", "SIZE", "ASKED", "FOR", "BY"]
    assert shown[1].split()[:5] == ["alpha", "1.0.0", "?", "1.1.0", "PYSEC-2026-1"]
    site.edit("pyproject.toml", (site.path / "pyproject.toml").read_text().replace("../index", "../gone"))
    offline = site.releaser("packages", check=0)  # the service is gone, and so is the index
    assert len([line for line in offline.stderr.splitlines() if line.startswith("unknown: ")]) == 1
    assert offline.stdout.splitlines()[1].split()[:5] == ["alpha", "1.0.0", "?", "?", "?"]
    asked = site.releaser("packages", site.live_id(), "--offline", check=0)
    assert (asked.stdout, asked.stderr) == (offline.stdout, "")
    site.releaser("packages", "20200101T000000Z", check=9)
