"""A gate asks whether a repair of a damaged live release may wait."""

import shutil

import pytest

from tests.extension.test_toys import answer
from tests.support.sites import SiteFactory


@pytest.mark.spawns
@pytest.mark.parametrize("door", ["closed", "closed until morning"])
def test_a_gate_lets_the_repair_of_a_damaged_site_pass_as_urgent_or_the_run_says_that_it_is_down(
    make_site: SiteFactory, door: str
) -> None:
    site = make_site.adopted("1.1.0")
    (site.outer / "door").write_text(door, encoding="utf-8")
    damaged = site.live_id()
    shutil.rmtree(site.link.resolve() / "bin")
    report = answer(site, "toy_gate", "update")
    if door == "closed":
        assert report["headline"].endswith(" is ready and waits: the door is closed")
        assert "nothing can run on the live release" in str(report["problems"])
    else:
        assert site.live_id() != damaged
