"""`releaser audit`: what is known, what is not known, and that nothing is ever called safe that is not."""

import time
from collections.abc import Iterator

import pytest

from tests.e2e.refusals import script
from tests.e2e.scenes import watched
from tests.support import snapshots
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.sites import SiteFactory

ALPHA = Flaw(id="PYSEC-2026-1", package="alpha", fixed="1.1.0", aliases=("CVE-2026-1",), summary="Lets anybody in")
FOUND, UNKNOWN = 10, 4


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    """A service that knows of one vulnerability."""
    with VulnerabilityService(ALPHA).serving() as serving:
        yield serving


@pytest.mark.story
def test_what_is_found_is_listed_and_ends_with_its_own_code(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url)
    before = site.snapshot(), snapshots.tree(site.state_dir)
    finished = site.releaser("audit", check=FOUND)
    assert service.asked_about == {("alpha", "1.0.0"), ("beta", "1.0.0"), ("localtools", "1.0.0")}
    heading, row = finished.stdout.splitlines()
    assert heading.split() == ["PACKAGE", "VERSION", "FIXED", "IN", "VULNERABILITY", "ABOUT"]
    assert row.split(maxsplit=5) == ["alpha", "1.0.0", "1.1.0", "PYSEC-2026-1", "(CVE-2026-1)", "Lets anybody in"]
    assert f"{site.live_id()} has 1 known vulnerability in 1 package" in finished.stderr
    assert "live: " not in finished.stderr
    assert site.json("audit", check=FOUND) == {
        "release": site.live_id(),
        "live": True,
        "known": True,
        "reason": "",
        "vulnerabilities": [
            {
                "name": "alpha",
                "version": "1.0.0",
                "id": "PYSEC-2026-1",
                "aliases": ["CVE-2026-1"],
                "summary": "Lets anybody in",
                "fixed": ["1.1.0"],
                "link": "https://example.org/PYSEC-2026-1",
            }
        ],
    }
    assert site.json("audit", env={"RELEASER_AUDIT_IGNORE": "CVE-2026-1"})["vulnerabilities"] == []
    service.flaws.clear()
    finished = site.releaser("audit", check=0)
    assert (finished.stdout, finished.stderr) == ("", f"{site.live_id()} has no known vulnerabilities\n")
    service.mood = "fails"
    finished = site.releaser("audit", check=UNKNOWN)
    assert finished.stdout == ""
    assert "the query for known vulnerabilities of" in finished.stderr
    service.questions.clear()
    assert site.releaser("audit", "2001", check=9).stdout == ""
    assert service.questions == []
    assert (site.snapshot(), snapshots.tree(site.state_dir)) == before, "asking changes nothing"


def test_what_cannot_be_asked_is_unknown(make_site: SiteFactory, service: VulnerabilityService, dead_port: int) -> None:
    """Other moods of the service are in tests/tools/test_uv_audit.py."""
    site = watched(make_site, service.url)

    def reason(**settings: str) -> str:
        answer = site.json("audit", check=UNKNOWN, env={f"RELEASER_{name}": value for name, value in settings.items()})
        assert (answer["known"], answer["vulnerabilities"]) == (False, [])
        return str(answer["reason"])

    service.mood = "hangs"
    started = time.monotonic()
    assert "within 2 s" in reason(AUDIT_TIMEOUT="2s")
    assert time.monotonic() - started < 60
    assert "refused" in reason(VULNERABILITY_SERVICE=f"http://127.0.0.1:{dead_port}")
    assert "the setting `vulnerability_service` is `none`" in reason(VULNERABILITY_SERVICE="none")
    for complaint in ("unrecognized subcommand 'audit'", "unexpected argument '--output-format' found"):
        old = script(site.outer / "old-uv", f'echo "error: {complaint}" >&2\nexit 2')
        assert reason(UV=str(old)) == "this uv is too old for it"
    for text in ("", "not a lock"):
        (site.link.resolve().parent / "uv.lock").write_text(text, encoding="utf-8")
        assert "the lock of" in reason()
