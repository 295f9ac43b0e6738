"""A reporter that others could add, in a file of its own, gets the report of each run."""

import pytest

from tests.extension.test_toys import answer, with_toy
from tests.support.sites import SiteFactory


@pytest.mark.spawns
@pytest.mark.slow
def test_a_reporter(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    printed = site.outer / "printed"
    site.publish("alpha", "1.1.0")
    assert "there is no printer" in with_toy(site, "toy_reporter", "update", check=3).stderr
    (site.outer / "printer").touch()
    report = answer(site, "toy_reporter", "update")
    assert "notice: the printer has no paper" in str(report["problems"])
    assert not printed.exists()
    (site.outer / "paper").touch()
    with_toy(site, "toy_reporter", "update")
    lines = printed.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2  # of the run that was refused, too
    assert report["headline"] == lines[1]
    (site.outer / "jam").touch()
    site.publish("alpha", "1.2.0")
    report = answer(site, "toy_reporter", "update")
    assert (report["result"], report["exit_code"], report["codes"]) == ("updated", 0, ["reporter-failed"])
    assert "RuntimeError: the paper is jammed" in str(report["problems"])
