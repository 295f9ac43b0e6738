"""How old versions have to be before an update takes them. With real uv, and an index that tells upload times."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.scenes import body, edit_pyproject, from_server, outer_snapshot, silent
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.simple_index import SimpleIndex, serving
from tests.support.sites import SampleSite, SiteFactory


class Shop:
    """An adopted site that depends on alpha, which needs deep, and takes both from an index that knows their ages."""

    def __init__(self, site: SampleSite, index: SimpleIndex) -> None:
        self.site = site
        self.index = index
        self.age(alpha_1_0_0=100, deep_1_0_0=100)

    def age(self, **days: float | None) -> None:
        """Say how old versions are, in days."""
        for key, value in days.items():
            name, _, version = key.partition("_")
            self.index.uploaded.pop((name, version.replace("_", ".")), None)
            if value is not None:
                self.index.uploaded[name, version.replace("_", ".")] = datetime.now(UTC) - timedelta(days=value)

    def offer(self, name: str, version: str, days: float | None) -> None:
        """Publish a version that is so old; alpha needs deep."""
        self.site.publish(name, version, requires=["deep"] if name == "alpha" else [])
        self.age(**{f"{name}_{version.replace('.', '_')}": days})

    @property
    def live(self) -> tuple[str | None, str | None]:
        """What is live of alpha and deep."""
        return self.site.live_version("alpha"), self.site.live_version("deep")

    def is_clean(self) -> bool:
        """Whether the lock in git is one that uv finds nothing to do about, without a trace of ages."""
        self.site.uv("lock", "--check")
        return "exclude-newer" not in (self.site.path / "uv.lock").read_text(encoding="utf-8")


@pytest.fixture
def shop(make_site: SiteFactory) -> Iterator[Shop]:
    site = make_site(
        venv=True, packages={"alpha": "1.0.0", "deep": "1.0.0"}, dependencies=["alpha"],
        requires={"alpha": ["deep"]}, dotenv={"RELEASER_MIN_AGE": "7d"},
    )  # fmt: skip
    with serving(site.index.path) as index:
        shop = Shop(site, index)
        from_server(site, index.url, lock=True)
        site.releaser("init", check=0)
        yield shop


@pytest.mark.story
def test_what_is_too_young_waits_and_what_is_old_enough_comes_in(shop: Shop) -> None:
    shop.offer("alpha", "1.1.0", 2)
    before = shop.site.snapshot()
    silent(shop.site.releaser("update"))
    assert shop.site.snapshot() == before
    shop.age(alpha_1_1_0=8)
    shop.offer("alpha", "1.2.0", 2)
    shop.offer("deep", "1.1.0", 3)
    everything = outer_snapshot(shop.site)
    plan = shop.site.json("update", "--dry-run")  # which tells the same and writes nothing
    assert outer_snapshot(shop.site) == everything
    assert [(one["name"], one["new"]) for one in plan["changes"]] == [("alpha", "1.1.0")]
    assert any(line.startswith("alpha 1.2.0 would be skipped: it is 2 days old") for line in plan["would"])
    report = shop.site.json("update")
    assert shop.live == ("1.1.0", "1.0.0")
    assert shop.is_clean()
    assert [(one["name"], one["version"], one["by"]) for one in report["on_hold"]] == [
        ("alpha", "1.2.0", "age"),
        ("deep", "1.1.0", "age"),
    ]
    assert report["on_hold"][0]["reason"].startswith("it is 2 days old, and updates skip it until 20")
    assert "alpha 1.2.0: it is 2 days old" in body(shop.site)
    assert not shop.site.git("status", "--porcelain")


def test_without_the_setting_versions_wait_for_three_days_and_fixes_for_one(shop: Shop) -> None:
    lines = (shop.site.outer / ".env").read_text(encoding="utf-8").splitlines()
    shop.site.edit("../.env", "\n".join(line for line in lines if not line.startswith("RELEASER_MIN_AGE=")) + "\n")
    shop.offer("alpha", "1.1.0", 4)
    shop.offer("deep", "1.1.0", 2)
    shop.offer("alpha", "1.2.0", 0.9)
    fixes = (
        Flaw(id="CVE-2026-1", package="deep", fixed="1.1.0"),
        Flaw(id="CVE-2026-2", package="alpha", fixed="1.2.0"),
    )
    with VulnerabilityService(*fixes).serving() as service:
        service_url = {"RELEASER_VULNERABILITY_SERVICE": service.url}
        shop.site.releaser("update", check=0, env={**service_url, "RELEASER_SECURITY_FIXES": "normal"})
        assert shop.live == ("1.1.0", "1.0.0")
        shop.site.releaser("update", check=0, env=service_url)
        assert shop.live == ("1.1.0", "1.1.0")
        shop.site.releaser("update", check=0, env={**service_url, "RELEASER_MIN_AGE_FIXES": "12h"})
        assert shop.live == ("1.2.0", "1.1.0")
    assert shop.is_clean()


@pytest.mark.parametrize(("kind", "min_age"), [("span", "7d"), ("package", "0")])
def test_a_limit_that_only_the_lock_has_is_dropped_as_uv_drops_it(shop: Shop, kind: str, min_age: str) -> None:
    limit = "--exclude-newer=40 days"
    if kind == "package":
        limit = f"--exclude-newer-package=alpha={datetime.now(UTC) - timedelta(days=40):%Y-%m-%dT%H:%M:%SZ}"
    shop.age(localtools_1_0_0=90, stagingtools_1_0_0=90, prodtools_1_0_0=90)
    shop.site.uv("lock", limit)
    text = (shop.site.path / "uv.lock").read_text(encoding="utf-8")
    assert "exclude-newer" in text
    shop.site.push_commit("Lock with a limit", {"uv.lock": text})
    shop.offer("alpha", "1.1.0", 20)
    env = {"RELEASER_MIN_AGE": min_age}
    (found,) = shop.site.json("outdated", env=env)
    assert (found["name"], found["latest"], found["blocked_by"]) == ("alpha", "1.1.0", [])
    shop.site.releaser("update", check=0, env=env)
    assert shop.live == ("1.1.0", "1.0.0")
    assert shop.is_clean()


def test_the_limit_is_waited_for_even_if_the_project_asks_for_what_is_too_young(shop: Shop) -> None:
    shop.offer("alpha", "2.0.0", 2)
    shop.site.push_commit("Ask for more", {"pyproject.toml": edit_pyproject(shop.site, '"alpha"', '"alpha>=2"')})
    (problem,) = shop.site.json("update", check=4)["problems"]
    assert (
        "the project requires versions that are younger than `min_age` permits: alpha 2.0.0: it is 2 days "
        "old" in problem
    )
    assert "min_age_packages" in problem
    assert shop.live == ("1.0.0", "1.0.0")
    shop.site.releaser("update", check=0, env={"RELEASER_MIN_AGE_PACKAGES": "alpha=0"})
    assert shop.live == ("2.0.0", "1.0.0")
