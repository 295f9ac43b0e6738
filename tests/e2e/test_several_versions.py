"""A package that is locked in several versions, for several platforms: rules count for each of them."""

from tests.e2e.scenes import edit_pyproject
from tests.support.sites import SiteFactory

BY_PLATFORM = "[\"alpha>=1,<2 ; sys_platform == 'linux'\", \"alpha>=2 ; sys_platform != 'linux'\""


def test_what_was_backed_out_stays_out_and_stops_no_update(make_site: SiteFactory) -> None:
    site = make_site()
    site.publish("alpha", "2.0.0")
    site.edit("pyproject.toml", edit_pyproject(site, '["alpha"', BY_PLATFORM))
    site.push_commit("Take alpha by platform", lock=True)
    site.adopt()
    site.publish("alpha", "1.0.1")
    site.update_to("alpha", "2.0.1")
    site.releaser("rollback", check=0)
    site.update_to("beta", "1.0.1")
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.0.0", "1.0.1")
    site.publish("alpha", "1.0.2")
    (change,) = site.json("update")["changes"]
    assert change["new"] == "1.0.2", "what is there for the other platform does not go live here"
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.0.2", "1.0.1")
