"""Planted nights: what breaks the tests is named and goes on hold, and the rest goes live the same night."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import changes, mostly_slow, says
from tests.support import sample
from tests.support.commands import HOUSE
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

NAMES = ("alpha", "beta", "gamma", "delta")
PACKAGES = dict.fromkeys(NAMES, "1.0.0")
Act = Callable[[SampleSite], object]
#: A further test, which counts its runs, and fails in some of them.
WEATHER = """
    def test_weather(self):
        import os
        with open(os.environ["SITE_RECORD"] + ".runs", "a+") as file:
            print("x", end="", file=file)
        run = os.path.getsize(os.environ["SITE_RECORD"] + ".runs")
        self.assertFalse(os.path.exists(os.environ["SITE_RECORD"] + ".autumn") and {}, "it rains")
"""


def offer(*broken: str, **modules: str) -> Act:
    """Return the act of offering a version of each package; some are broken, others have other code."""

    def act(site: SampleSite) -> None:
        for name in NAMES:
            code = {f"{name}/__init__.py": modules[name]} if name in modules else None
            site.publish(name, "1.1.0", broken=name in broken, modules=code)

    return act


def push(condition: str, offers: Act | None = None) -> Act:
    """Return the act of pushing code that is broken under a condition, beside an offer."""

    def act(site: SampleSite) -> None:
        if offers:
            offers(site)
        site.push_from_elsewhere({"shop.py": f"import alpha\nEDITION = 2\nBROKEN = {condition}\n"})

    return act


def offer_series(site: SampleSite) -> None:
    """Offer a broken major version, and one of the live series."""
    site.publish("alpha", "2.0.0", broken=True)
    site.publish("alpha", "1.2.0")
    site.publish("beta", "1.1.0")


def offer_in_autumn(site: SampleSite) -> None:
    """Offer versions from the season on in which it rains."""
    Path(f"{site.record}.autumn").touch()
    offer()(site)


def rain(condition: str) -> dict[str, Any]:
    """Return the options of a site with a test that fails in some of its runs."""
    return {"files": {"site_tests.py": sample.SITE_TESTS + WEATHER.format(condition)}}


@dataclass(frozen=True, kw_only=True)
class Night:
    """What is planted, and what is seen the next morning: the live versions, what is on hold, the mail's subject.

    `runs` are all test runs, those of the first candidate and the live release included; `code` is the exit code.
    """

    act: Act
    live: str = ""
    held: str = ""
    runs: int
    subject: str
    code: int = 0
    options: dict[str, Any] = field(default_factory=dict)


THREE, CLOSED = "alpha 1.1.0, delta 1.1.0, gamma 1.1.0", "alpha.__version__ > '1.0.0'"
ALL = "alpha 1.1.0, beta 1.1.0, delta 1.1.0, gamma 1.1.0"
NIGHTS = {
    "one broken package of four": Night(
        act=offer("beta"),
        live=THREE,
        held="beta 1.1.0",
        runs=9,
        subject="Updated: site, 3 packages, without beta 1.1.0",
    ),
    "one, which the traceback names": Night(
        act=offer(beta="raise RuntimeError('no tea')\n"),
        live=THREE,
        held="beta 1.1.0",
        runs=5,
        subject="Updated: site, 3 packages, without beta 1.1.0",
    ),
    "two": Night(
        act=offer("alpha", "gamma"),
        live="beta 1.1.0, delta 1.1.0",
        held="alpha 1.1.0, gamma 1.1.0",
        runs=11,
        subject="Updated: site, 2 packages, without alpha 1.1.0, gamma …",
    ),
    "a pair": Night(
        act=offer(gamma="import beta\nBROKEN = beta.__version__ > '1.0.0'\n"),
        live="alpha 1.1.0, beta 1.1.0, delta 1.1.0",
        held="gamma 1.1.0 with beta 1.1.0",
        runs=11,
        subject="Updated: site, 3 packages, without gamma 1.1.0",
    ),
    "three": Night(
        act=offer("alpha", "beta", "delta"),
        live="gamma 1.1.0",
        held="alpha 1.1.0, beta 1.1.0, delta 1.1.0",
        runs=14,
        subject="Updated: site, gamma 1.1.0, without alpha 1.1.0, beta …",
    ),
    "nothing else is new": Night(
        act=lambda site: site.publish("alpha", "1.1.0", broken=True),
        held="alpha 1.1.0",
        runs=6,
        subject="Failed: site, tests with alpha 1.1.0",
        code=5,
    ),
    "a test that fails once": Night(
        act=offer_in_autumn, live=ALL, runs=3, subject="Updated: site, alpha 1.1.0 and 3 more", options=rain("run == 1")
    ),
    "a test that fails in every other run": Night(
        act=offer_in_autumn,
        live="alpha 1.1.0, beta 1.1.0, gamma 1.1.0",
        runs=8,
        subject="Updated: site, alpha 1.1.0 and 2 more",
        options=rain("run % 2"),
    ),
    "tests that are killed once": Night(
        act=offer_in_autumn,
        runs=1,
        subject="Failed: site, tests with 4 packages",
        code=5,
        options=rain("os.kill(os.getpid(), 9)"),
    ),
    "the live release fails, too": Night(
        act=offer_in_autumn, runs=2, subject="Failed: site, tests with 4 packages", code=5, options=rain("True")
    ),
    "a broken commit, and packages": Night(
        act=push("True", offer()),
        live=ALL,
        held="the commit",
        runs=5,
        subject="Updated: site, 4 packages, without commit",
    ),
    "a broken commit alone": Night(
        act=push("True"), held="the commit", runs=4, subject="Failed: site, tests with commit", code=5
    ),
    "a broken commit, and a broken package": Night(
        act=push("True", offer("beta")),
        live=THREE,
        held="the commit, beta 1.1.0",
        runs=10,
        subject="Updated: site, 3 packages, without commit",
    ),
    "a good commit, and a broken package": Night(
        act=push("False", offer("beta")),
        live=f"{THREE}, the commit",
        held="beta 1.1.0",
        runs=10,
        subject="Updated: site, 3 packages, without beta 1.1.0",
    ),
    "a commit that breaks with a package": Night(
        act=push(CLOSED, offer()),
        live="beta 1.1.0, delta 1.1.0, gamma 1.1.0, the commit",
        held="alpha 1.1.0 with the commit",
        runs=10,
        subject="Updated: site, 3 packages, without alpha 1.1.0",
    ),
    "a major version; the live series has a newer one": Night(
        act=offer_series,
        live="alpha 1.2.0, beta 1.1.0",
        held="alpha 2.0.0",
        runs=8,
        subject="Updated: site, 2 packages, without alpha 2.0.0",
    ),
}


@pytest.mark.parametrize("name", mostly_slow(NIGHTS, "one, which the traceback names"))
def test_law_22_planted_nights(make_site: SiteFactory, name: str) -> None:
    """docs/reliability.md has the row that this prints; the night after is quiet."""
    night = NIGHTS[name]
    with mail_server() as server:
        dotenv = {"ADMINS_JSON": '[["Ada", "ada@example.org"]]', "RELEASER_SMTP_HOST": server.host}
        site = make_site.live(packages=PACKAGES, dotenv={**dotenv, "RELEASER_CULPRITS": None}, **night.options)
        night.act(site)
        head = site.head()
        finished = site.releaser("update", check=night.code)
        runs, ((_, mail, _),) = len(site.test_runs()), server.mails
        says(finished)
    live = [f"{package} {version}" for package, version in sorted(site.versions().items()) if version != "1.0.0"]
    live += ["the commit"] if site.git("diff", "--stat", head, "HEAD", "--", "shop.py") else []
    status = site.json("status", check=10 if night.code else 0)
    held = [name_hold(hold) for hold in status["on_hold"]]
    assert {hold["by"] for hold in status["on_hold"]} <= {"tests"}
    seen = (", ".join(live), ", ".join(held), runs, mail["Subject"].partition(" [")[0])
    if seen[3].startswith(f"{night.subject} "):  # the hash of a commit
        seen = (*seen[:3], night.subject)
    cells = [name, seen[0].replace(" 1.1.0", ""), *map(str, seen[1:3])]
    print(row := f"| {' | '.join(cell or 'nothing' for cell in cells)} |")
    assert seen == (night.live, night.held, night.runs, night.subject), finished
    if night.held:
        site.releaser("update", "-v", check=0)
        assert (len(site.test_runs()), len(site.test_runs("failed")) > 0) == (runs, True)
    assert row in (HOUSE / "docs" / "reliability.md").read_text(encoding="utf-8")


def name_hold(hold: dict[str, Any]) -> str:
    """Return what is on hold, and with what it breaks the tests."""
    words = hold["reason"].partition("together with ")[2].partition(", ")[0].split()
    partner = "" if not words else " with the commit" if words[0] == "commit" else f" with {words[0]} {words[3]}"
    return ("the commit" if hold["kind"] == "commit" else f"{hold['name']} {hold['version']}") + partner


@pytest.mark.slow
def test_law_06_22_a_search_brings_no_version_that_rules_keep_back(make_site: SiteFactory) -> None:
    """alpha 2.0 needs extra no more, and is broken; extra is on hold, and stays as it is beside the older alpha."""
    site = make_site.live(dotenv={"RELEASER_CULPRITS": None})
    site.publish("extra", "1.0.0")
    site.publish("alpha", "1.1.0", requires=["extra"])
    site.releaser("update", check=0)
    site.releaser("hold", "extra", check=0)
    site.publish("extra", "2.0.0")
    site.publish("alpha", "2.0.0", broken=True)
    site.publish("beta", "1.1.0")
    answer = site.json("update")
    assert (changes(answer), answer["culprits"]) == ({"beta": ("1.0.0", "1.1.0")}, ["alpha 2.0.0"])
    assert (site.version("extra"), site.version("alpha")) == ("1.0.0", "1.1.0")


@pytest.mark.slow
def test_law_06_22_a_culprit_is_named_by_prepare_and_tried_again_once_a_person_frees_it(make_site: SiteFactory) -> None:
    site = make_site.live(dotenv={"RELEASER_CULPRITS": None})
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0", modules={"beta/__init__.py": "raise RuntimeError('no tea')\n"})
    prepared = site.json("update", "--prepare")
    assert (prepared["result"], changes(prepared)) == ("ready", {"alpha": ("1.0.0", "1.1.0")})
    assert prepared["culprits"] == ["beta 1.1.0"]
    assert prepared["headline"].endswith("On hold by the tests: beta 1.1.0."), prepared
    site.releaser("update", check=0)
    site.releaser("unhold", "beta", check=0)
    runs = len(site.test_runs())
    assert changes(site.json("update", "--dry-run")) == {"beta": ("1.0.0", "1.1.0")}
    assert site.json("update", check=5)["culprits"] == ["beta 1.1.0"]
    assert len(site.test_runs()) > runs
    assert site.json("update")["result"] == "no-changes"


@pytest.mark.met(
    "tests are killed once, for memory", "bots #1558", "bodhi #1588", "infinito-nexus/core #122", "froggy-service #9"
)
@pytest.mark.slow
def test_law_22_24_killed_once_is_no_verdict_and_a_signal_ends_a_search(make_site: SiteFactory) -> None:
    """The host is short of memory for a night; later, a person ends a search of two candidates at once."""
    text = WAITING_TESTS.replace(
        "import os, socket, unittest", "import os, signal, socket, unittest\nimport alpha, beta"
    )
    text += "\nif os.path.exists(os.environ['SITE_RECORD'] + '.short'):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    text += "\nif beta.BROKEN:\n    raise AssertionError('beta')\n"
    site = make_site.live(files={"site_tests.py": text}, dotenv={"RELEASER_CULPRITS": None, "RELEASER_TEST_JOBS": "2"})
    short = Path(f"{site.record}.short")
    site.publish("alpha", "1.1.0")
    short.touch()
    says(site.releaser("update", check=5), "SIGKILL", "The same end twice is a verdict.")
    assert site.json("status", check=10)["on_hold"] == []
    short.unlink()
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.0")}

    site.publish("beta", "1.1.0", broken=True)
    live, releases = site.live(), site.releases()
    with meeting() as met, site.starting("update", env=met.env) as process, met.kept_waiting():
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert (site.live(), site.releases()) == (live, releases)
    assert not [path for path in site.state.iterdir() if path.name.startswith("shadow")]
    assert site.json("update", check=5)["culprits"] == ["beta 1.1.0"]
