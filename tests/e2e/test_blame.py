"""Planted nights: what breaks the tests is named and goes on hold, and the rest goes live the same night."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from tests.e2e.scenes import mostly_slow, says
from tests.support.commands import HOUSE
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

NAMES = ("alpha", "beta", "gamma", "delta")
PACKAGES = dict.fromkeys(NAMES, "1.0.0")
#: The code of a commit, in which the shop is closed under a condition.
CODE = "import alpha\nBROKEN = {}\n"
#: A further test, which counts its runs, and fails in some of them.
WEATHER = '''
class Weather(unittest.TestCase):
    def test_weather(self):
        import os
        with open(os.environ["SITE_RECORD"] + ".runs", "a+") as file:
            print("x", end="", file=file)
        run = os.path.getsize(os.environ["SITE_RECORD"] + ".runs")
        self.assertFalse({}, "it rains")
'''
EXPLODE = {"beta/__init__.py": 'def pour():\n    raise RuntimeError("no tea")\n\npour()\n'}


def offer(*broken: str) -> Callable[[SampleSite], object]:
    """Return the act of offering a version of each package, some of them broken."""
    return lambda site: [site.publish(name, "1.1.0", broken=name in broken) for name in NAMES]


def offer_module(name: str, code: str) -> Callable[[SampleSite], object]:
    """Return the act of offering a version of each package; one of them has this code."""

    def act(site: SampleSite) -> None:
        offer()(site)
        site.publish(name, "1.1.0", modules={f"{name}/__init__.py": code})

    return act


def push(condition: str, act: Callable[[SampleSite], object] = lambda site: None) -> Callable[[SampleSite], object]:
    """Return the act of pushing code that is broken under a condition, beside another act."""
    return lambda site: (act(site), site.push_from_elsewhere({"shop.py": CODE.format(condition)}))


def offer_series(site: SampleSite) -> None:
    """Offer a broken major version, and one of the live series."""
    site.publish("alpha", "2.0.0", broken=True)
    site.publish("alpha", "1.2.0")
    site.publish("beta", "1.1.0")


def rain(condition: str) -> Mapping[str, str]:
    """Return the options of a site with a test that fails in some runs."""
    from tests.support import sample

    return {"files": {"site_tests.py": sample.SITE_TESTS + WEATHER.format(condition)}}


@dataclass(frozen=True, kw_only=True)
class Night:
    """What is planted, and what a person sees the next morning; `code` is the exit code, `runs` are test runs."""

    act: Callable[[SampleSite], object]
    live: str
    held: str
    runs: int
    subject: str
    code: int = 0
    options: Mapping[str, object] = field(default_factory=dict)


NIGHTS = {
    "one broken package": Night(act=offer("beta"), live="", held="", runs=0, subject=""),
    "one, named by the traceback": Night(act=offer_module("beta", EXPLODE["beta/__init__.py"]), live="", held="", runs=0, subject=""),
    "two": Night(act=offer("alpha", "gamma"), live="", held="", runs=0, subject=""),
    "two that break only together": Night(act=offer_module("gamma", "import beta\nBROKEN = beta.__version__ > '1.0.0'\n"), live="", held="", runs=0, subject=""),
    "three": Night(act=offer("alpha", "beta", "delta"), live="", held="", runs=0, subject=""),
    "all": Night(act=offer(*NAMES), live="", held="", runs=0, subject=""),
    "a test that fails in one run": Night(act=offer(), options=rain("run == 2"), live="", held="", runs=0, subject=""),
    "a test that fails in every other run": Night(act=offer(), options=rain("run % 2 == 0"), live="", held="", runs=0, subject=""),
    "a commit, and packages": Night(act=push("True", offer()), live="", held="", runs=0, subject=""),
    "a commit alone": Night(act=push("True"), live="", held="", runs=0, subject=""),
    "a commit, and a package": Night(act=push("True", offer("beta")), live="", held="", runs=0, subject=""),
    "a package beside a good commit": Night(act=push("False", offer("beta")), live="", held="", runs=0, subject=""),
    "a commit that breaks with a package": Night(act=push("alpha.__version__ > '1.0.0'", offer()), live="", held="", runs=0, subject=""),
    "a major version, with a newer one of the live series": Night(act=offer_series, live="", held="", runs=0, subject=""),
}


@pytest.mark.parametrize("name", mostly_slow(NIGHTS, "one, named by the traceback"))
def test_law_22_planted_nights(make_site: SiteFactory, name: str) -> None:
    night = NIGHTS[name]
    with mail_server() as server:
        dotenv = {"ADMINS_JSON": '[["Ada", "ada@example.org"]]', "RELEASER_SMTP_HOST": server.host, "RELEASER_CULPRITS": None}
        site = make_site.live(packages=PACKAGES, **night.options, dotenv=dotenv)
        night.act(site)
        head = site.head()
        finished = site.releaser("update", "-v")
        (subject,) = [mail["Subject"] for _, mail, _ in server.mails]
    live = [f"{name} {version}" for name, version in sorted(site.versions().items()) if version not in ("1.0.0",)]
    live += ["the commit"] if site.git("diff", "--stat", head, "HEAD", "--", "shop.py") else []
    held = site.json("status", check=10 if finished.returncode else 0)["on_hold"]
    holds = ["the commit" if hold["kind"] == "commit" else f"{hold['name']} {hold['version']}" for hold in held]
    subject = re.sub(r"\b[0-9a-f]{12}\b", "1f0c4d2a9b3e", subject.partition(" [")[0])
    with open("/tmp/cul/rows2.txt", "a") as log:
        print(finished, file=log)
        for hold in held: print(hold["reason"], file=log)
        cells = (name, ", ".join(live) or "nothing", ", ".join(holds) or "nothing", len(site.test_runs()), subject)
        print("ROW | " + " | ".join(map(str, cells)) + " | " + str(finished.returncode), file=log)
        n = site.releaser("update", "-v")
        print("ROW next: ", n.returncode, n.stderr[-300:], file=log)
