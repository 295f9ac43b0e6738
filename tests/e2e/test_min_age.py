"""How old versions have to be before an update takes them. With real uv, and an index that tells upload times."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.scenes import body, from_server, outer_snapshot, silent
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory


class Shop:
    """An adopted site that depends on alpha, which needs deep, and takes both from an index that knows their ages."""

    def __init__(self, site: SampleSite, index: SimpleIndex) -> None:
        self.site, self.index = site, index

    def age(self, name: str, version: str, days: float) -> None:
        self.index.uploaded[name, version] = datetime.now(UTC) - timedelta(days=days)

    def offer(self, name: str, version: str, days: float) -> None:
        self.site.publish(name, version, requires=["deep"] if name == "alpha" else [])
        self.age(name, version, days)

    @property
    def live(self) -> tuple[str, str]:
        """What is live of alpha and deep; the lock in git is one that uv finds nothing to do about, without ages."""
        self.site.uv("lock", "--check")
        assert "exclude-newer" not in self.site.lock_text()
        return self.site.live_version("alpha"), self.site.live_version("deep")


@pytest.fixture
def shop(make_site: SiteFactory) -> Iterator[Shop]:
    site = make_site(
        venv=True, packages={"alpha": "1.0.0", "deep": "1.0.0"}, dependencies=["alpha"],
        requires={"alpha": ["deep"]}, dotenv={"RELEASER_MIN_AGE": "7d"},
    )  # fmt: skip
    with serving(site.index.path) as index:
        shop = Shop(site, index)
        for name in ("alpha", "deep", "localtools", "stagingtools", "prodtools"):
            shop.age(name, "1.0.0", 100)
        from_server(site, index.url, lock=True)
        site.releaser("init", check=0)
        yield shop


@pytest.mark.story
def test_what_is_too_young_waits_and_what_is_old_enough_comes_in(shop: Shop) -> None:
    shop.offer("alpha", "1.1.0", 2)
    before = shop.site.snapshot()
    silent(shop.site.releaser("update"))
    assert shop.site.snapshot() == before
    shop.age("alpha", "1.1.0", 8)
    shop.offer("alpha", "1.2.0", 2)
    shop.offer("deep", "1.1.0", 3)
    everything = outer_snapshot(shop.site)
    plan = shop.site.json("update", "--dry-run")  # which tells the same and writes nothing
    assert outer_snapshot(shop.site) == everything
    assert [(one["name"], one["new"]) for one in plan["changes"]] == [("alpha", "1.1.0")]
    assert any(line.startswith("alpha 1.2.0 would be skipped: it is 2 days old") for line in plan["would"])
    report = shop.site.json("update")
    assert shop.live == ("1.1.0", "1.0.0")
    assert [(one["name"], one["version"], one["by"]) for one in report["on_hold"]] == [
        ("alpha", "1.2.0", "age"),
        ("deep", "1.1.0", "age"),
    ]
    assert report["on_hold"][0]["reason"].startswith("it is 2 days old, and updates skip it until 20")
    assert "alpha 1.2.0: it is 2 days old" in body(shop.site)
    assert not shop.site.git("status", "--porcelain")


def test_without_the_setting_versions_wait_for_three_days_and_fixes_for_one(shop: Shop) -> None:
    shop.site.write_dotenv()
    shop.offer("alpha", "1.1.0", 4)
    shop.offer("deep", "1.1.0", 2)
    shop.offer("alpha", "1.2.0", 0.9)
    fixes = [Flaw(id=f"CVE-{name}", package=name, fixed=fix) for name, fix in (("deep", "1.1.0"), ("alpha", "1.2.0"))]
    with VulnerabilityService(*fixes).serving() as service:
        service_url = {"RELEASER_VULNERABILITY_SERVICE": service.url}
        shop.site.releaser("update", check=0, env={**service_url, "RELEASER_SECURITY_FIXES": "normal"})
        assert shop.live == ("1.1.0", "1.0.0")
        shop.site.releaser("update", check=0, env=service_url)
        assert shop.live == ("1.1.0", "1.1.0")
        shop.site.releaser("update", check=0, env={**service_url, "RELEASER_MIN_AGE_FIXES": "12h"})
        assert shop.live == ("1.2.0", "1.1.0")


def test_a_limit_that_only_the_lock_has_is_dropped_as_uv_drops_it(shop: Shop) -> None:
    limit = f"{datetime.now(UTC) - timedelta(days=40):%Y-%m-%dT%H:%M:%SZ}"
    for words, min_age, version in (
        ("--exclude-newer=40 days", "7d", "1.1.0"),
        (f"--exclude-newer-package=alpha={limit}", "0", "1.2.0"),
    ):
        shop.site.uv("lock", words)
        assert "exclude-newer" in shop.site.lock_text()
        shop.site.push_commit("Lock with a limit")
        shop.offer("alpha", version, 20)
        env = {"RELEASER_MIN_AGE": min_age}
        (found,) = shop.site.json("outdated", env=env)
        assert (found["name"], found["latest"], found["blocked_by"]) == ("alpha", version, [])
        shop.site.releaser("update", check=0, env=env)
        assert shop.live == (version, "1.0.0")
