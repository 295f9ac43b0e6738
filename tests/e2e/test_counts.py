"""What a quiet night does, counted: it must not grow with the site."""

import pytest

from tests.support.counting import Counts, count
from tests.support.sites import SampleSite, SiteFactory, SiteOptions


def second_quiet_night(site: SampleSite) -> Counts:
    """Return what the second of two quiet nights does."""
    site.releaser("update", check=0)
    return count(site, "update")


@pytest.mark.slow
def test_quiet_night_of_larger_site_starts_no_more_programs(make_site: SiteFactory) -> None:
    """Twelve packages and four releases later, it starts git and uv, and reads the releases, as often as before."""
    settings = {"keep": 10}
    site = make_site.live("1.1.0", settings=settings)
    small = second_quiet_night(site)
    packages = dict(SiteOptions().packages) | {f"more{number}": "1.0.0" for number in range(12)}
    for name in packages:
        site.publish(name, "1.0.0")
    pyproject = SiteOptions(packages=packages, settings=settings).pyproject()
    site.push_commit("Add packages", {"pyproject.toml": pyproject}, lock=True)
    site.releaser("update", check=0)
    for version in ("1.2.0", "1.3.0", "1.4.0"):
        site.update_to(version)
    assert len(site.releases()) == 6
    large = second_quiet_night(site)
    assert small.git
    assert small.uv
    assert small.stores, "Store was renamed: count its successor"
    assert (large.git, large.uv, large.stores) == (small.git, small.uv, small.stores)
