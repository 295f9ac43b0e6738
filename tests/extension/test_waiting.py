"""A release that a gate keeps is the next to go live."""

import pytest

from tests.extension.test_toys import answer, candidate, steps, with_toy
from tests.support.sites import SiteFactory


@pytest.mark.spawns
@pytest.mark.slow
def test_a_release_that_keeps_its_place_goes_live_although_there_is_something_newer(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    door = site.outer / "door"
    door.write_text("closed until morning", encoding="utf-8")
    waits = answer(site, "toy_gate", "update")
    ready = candidate(site)
    site.publish("alpha", "1.2.0")
    again = answer(site, "toy_gate", "update")
    assert again["headline"] == waits["headline"] == f"{ready} is ready and waits: the door is closed until morning"
    assert "a release is ready, and may go live" in with_toy(site, "toy_gate", "update", "--if-due", "--json").stdout
    site.releaser("hold", "alpha", check=0)
    held = answer(site, "toy_gate", "update")
    assert (held["result"], held["waits"]) == ("no-changes", "")
    site.releaser("unhold", "alpha", check=0)
    door.unlink()
    went = answer(site, "toy_gate", "update")
    assert (went["release"], site.live_id(), site.live_version("alpha")) == (ready, ready, "1.1.0")
    assert not {"build", "test"} & {*steps(went)}
    with_toy(site, "toy_gate", "update")
    assert site.live_version("alpha") == "1.2.0"
