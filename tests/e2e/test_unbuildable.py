"""Upgrades that cannot be built: the others come in without them."""

import signal
import subprocess
import time
from collections.abc import Callable

from tests.e2e.scenes import SECONDS, body, silent, states
from tests.e2e.test_culprits import adopted, held, live_versions, passed_whole, publish
from tests.support.commands import console_script
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import write_sdist

BUILD = '[build-system]\nrequires = []\nbuild-backend = "nope"\nbackend-path = ["."]\n'


def publish_unbuildable(site: SampleSite, name: str, version: str = "1.1.0") -> None:
    """Offer a version as source alone, of which the build fails."""
    files = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": f'[project]\nname = "{name}"\nversion = "{version}"\n{BUILD}',
        "nope.py": "raise ImportError('there is no compiler')\n",
    }
    write_sdist(site.index.path, name, version, files)


def test_what_cannot_be_built_is_held_back_and_the_others_go_live(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c", "d")
    publish(site, "a", "c", "d", broken=("d",))
    publish_unbuildable(site, "b")
    report = site.json("update")
    assert live_versions(site, "abcd") == {"a": "1.1.0", "b": "1.0.0", "c": "1.1.0", "d": "1.0.0"}
    assert passed_whole(site)
    assert held(report) == {"b": "1.1.0", "d": "1.1.0"}
    assert "b 1.1.0: it cannot be built: ImportError: there is no compiler" in body(site)
    assert list(states(site).values()) == ["live", "failed", "good"]
    assert len(list((site.state_dir / "releases").iterdir())) == 3
    silent(site.releaser("update"))


def test_if_there_is_nothing_else_the_failure_is_told_once(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish_unbuildable(site, "b")
    before = site.snapshot()
    assert held(site.json("update", check=4)) == {"b": "1.1.0"}
    assert site.snapshot() == before
    assert len(list((site.state_dir / "releases").iterdir())) == 1
    silent(site.releaser("update"))


# A search that is ended


NAMES = tuple("abcdefghij")
# With some of the upgrades, it takes a while.
TESTS = """\
import time
def test_shop(packages):
    versions = {one.__version__ for name, one in packages.items() if len(name) == 1}
    time.sleep(30 if len(versions) > 1 else 0)
    assert not any(getattr(one, "BROKEN", None) for one in packages.values())
"""


def test_nothing_is_left_when_the_search_is_ended(make_site: SiteFactory) -> None:
    site = adopted(make_site, *NAMES, files={"site_tests.py": TESTS})
    publish(site, *NAMES, broken=("g",))
    words = [str(console_script()), "update", "--project", str(site.path)]
    with subprocess.Popen(words, env=site.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: bool(under_way(site)))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)
    assert time.monotonic() - began < 20
    wait_until(lambda: not under_way(site))
    assert site.releaser("prune").returncode == 0
    assert list(site.outer.glob(".site.releaser-staging*")) == []
    assert site.live_version("a") == "1.0.0"


def under_way(site: SampleSite) -> list[str]:
    """Return the processes of the search that run the tests."""
    found = subprocess.run(["pgrep", "-f", f"^{site.outer}/.*search.*manage.py test"], capture_output=True, text=True)
    return found.stdout.split()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
