"""That the vulnerability service does not answer is told once, and once more after it has answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import body, watched
from tests.support.osv import VulnerabilityService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.osv import Mood
    from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    with VulnerabilityService().serving() as serving:
        yield serving


def night(site: SampleSite, service: VulnerabilityService, version: str, mood: Mood) -> str:
    """Let an update bring something; return its mail."""
    service.mood = mood
    site.publish("alpha", version)
    report = site.json("update")
    assert (report["result"], report["audit"]) == ("activated", "known" if mood == "is well" else "unknown")
    return body(site)


def test_it_is_told_once_until_the_service_has_answered(make_site: SiteFactory, service: VulnerabilityService) -> None:
    """Programs read it each time."""
    site = watched(make_site, service.url, audit_timeout="3s")
    first = night(site, service, "1.1.0", "fails")
    (line,) = [line for line in first.splitlines() if "Not known: " in line]
    assert len(line) < 200
    for version in ("1.2.0", "1.3.0"):
        mail = night(site, service, version, "fails")
        assert "Not known" not in mail
        assert "unknown:" not in mail, "nor among the steps"
        newest = json.loads((site.state_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        assert (newest["audit"], newest["audit_told"], bool(newest["audit_reason"])) == ("unknown", True, True)
    assert "Not known" not in night(site, service, "1.4.0", "is well")
    assert "Not known: " in night(site, service, "1.5.0", "fails")
    assert "Not known" not in night(site, service, "1.6.0", "fails")
