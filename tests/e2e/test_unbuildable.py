"""Upgrades that cannot be built, and a search that is ended; `test_culprits.py` has one that the others do without."""

import signal
import subprocess
import time

from tests.e2e.scenes import SECONDS, eventually, in_background, silent
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import write_sdist

BUILD = '[build-system]\nrequires = []\nbuild-backend = "nope"\nbackend-path = ["."]\n'


def publish_unbuildable(site: SampleSite, name: str, version: str = "1.1.0", *, tells_needs: bool = True) -> None:
    """Offer a version as source alone, of which the build fails; some tell what they need without a build."""
    project = f'[project]\nname = "{name}"\nversion = "{version}"\n' if tells_needs else ""
    files = {
        "PKG-INFO": f"Metadata-Version: {'2.2' if tells_needs else '2.1'}\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": project + BUILD,
        "nope.py": "raise ImportError('there is no compiler')\n",
    }
    write_sdist(site.index.path, name, version, files)


def test_if_there_is_nothing_else_the_failure_is_told_once(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    publish_unbuildable(site, "beta")
    before = site.snapshot()
    report = site.json("update", check=4)
    assert [(one["name"], one["version"]) for one in report["on_hold"]] == [("beta", "1.1.0")]
    assert site.snapshot() == before
    assert len(site.releases()) == 1
    silent(site.releaser("update"))

    # What does not even tell what it needs keeps everything from coming in, until a person holds it.
    site.publish("beta", "1.2.0")
    publish_unbuildable(site, "alpha", tells_needs=False)
    (problem,) = site.json("update", check=4)["problems"]
    assert problem.startswith("alpha 1.1.0 fails to build, so its dependencies are unknown")
    assert "To update the other packages, run `releaser hold alpha`" in problem
    site.releaser("hold", "alpha", check=0)
    assert [(one["name"], one["new"]) for one in site.json("update")["changes"]] == [("beta", "1.2.0")]


# With some of the upgrades, it takes a while.
TESTS = """\
import time
def test_shop(packages):
    versions = {one.__version__ for name, one in packages.items() if len(name) == 1}
    time.sleep(30 if len(versions) > 1 else 0)
    assert not any(hasattr(one, "BROKEN") for one in packages.values())
"""


def test_nothing_is_left_when_the_search_is_ended(make_site: SiteFactory) -> None:
    site = make_site.adopted(packages=dict.fromkeys("abcd", "1.0.0"), files={"site_tests.py": TESTS})
    for name in "abcd":
        site.publish(name, "1.1.0", broken=name == "c")

    def under_way() -> str:
        words = ["pgrep", "-f", f"^{site.outer}/.*search.*manage.py test"]
        return subprocess.run(words, capture_output=True, text=True).stdout

    with in_background(site, "update") as process:
        eventually(under_way, "the search")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)
    assert time.monotonic() - began < 20
    eventually(lambda: not under_way(), "the end of the search")
    site.releaser("prune", check=0)
    assert list(site.outer.glob(".site.releaser-staging*")) == []
    assert site.live_version("a") == "1.0.0"
