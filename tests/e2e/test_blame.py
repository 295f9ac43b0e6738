"""Planted nights: what breaks the tests is named and goes on hold, and the rest goes live the same night."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from tests.e2e.scenes import changes, mostly_slow, says
from tests.support.commands import HOUSE
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
PACKAGES = {name: "1.0.0" for name in NAMES}
CODE = "BROKEN = {}\n"
#: A test that fails in some of its runs, which it counts.
SOMETIMES = '''
import os
from site_tests_of_shop import *
class Weather(unittest.TestCase):
    def test_weather(self):
        with open(os.environ["SITE_RECORD"] + ".runs", "a+") as file:
            file.write("x")
        runs = os.path.getsize(os.environ["SITE_RECORD"] + ".runs")
        self.assertFalse({}, "it rains")
'''


def offer(site: SampleSite, *broken: str, version: str = "1.1.0") -> None:
    """Offer a version of each package; some of them are broken."""
    for name in NAMES:
        site.publish(name, version, broken=name in broken)


def nothing(site: SampleSite) -> None:
    offer(site)


@dataclass(frozen=True, kw_only=True)
class Night:
    act: Callable[[SampleSite], object]
    


def test_try(make_site: SiteFactory) -> None:
    site = make_site.live(packages=PACKAGES)
    offer(site, "beta", "epsilon")
    f = site.releaser("update", "-v")
    print(f)
    print(len(site.test_runs("began")), site.versions())
    print(site.json("status", check=0)["on_hold"])
    print(site.releaser("status"))
    print(site.releaser("update", "-v"))
    assert 0
