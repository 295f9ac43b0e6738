"""What an index does to a site: it yanks, loses or lacks a version, or has it since yesterday."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import changes, silent
from tests.support.index import Index, serve_index
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import build_sdist


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Serve the wheels of the site `outer`."""
    with serve_index(tmp_path / "outer" / "index") as index:
        yield index


@pytest.fixture
def site(make_site: SiteFactory, index: Index) -> SampleSite:
    """A live site with alpha 1.1.0 and beta 1.0.0 from an index."""
    site = make_site(packages={"alpha": "1.1.0", "beta": "1.0.0"})
    assert index.directory == site.index
    site.publish("alpha", "1.0.0")
    places = f'[[tool.uv.index]]\nname = "own"\nurl = "{index.url}"\ndefault = true'
    site.replace("pyproject.toml", '[tool.uv]\nno-index = true\nfind-links = ["../index"]', places)
    site.push_commit("An index", lock=True)
    site.releaser("init", check=0)
    return site


def shown(site: SampleSite, command: str = "status") -> str:
    """Return what a command prints, in one line."""
    return " ".join(site.releaser(command, check=0).stdout.split())


def publish_elsewhere(site: SampleSite, name: str, version: str, tag: str) -> None:
    """Offer a version for another system alone."""
    site.publish(name, version)
    wheel = site.index / f"{name}-{version}-py3-none-any.whl"
    wheel.rename(wheel.with_name(wheel.name.replace("py3-none-any", tag)))


def test_law_23_what_has_no_file_for_this_host_waits_and_the_others_go_live(site: SampleSite) -> None:
    publish_elsewhere(site, "alpha", "1.2.0", "cp311-cp311-macosx_13_0_arm64")
    publish_elsewhere(site, "alpha", "1.3.0", "cp311-cp311-manylinux_2_99_x86_64")
    site.publish("beta", "1.1.0")
    answer = site.json("update")
    assert changes(answer) == {"beta": ("1.0.0", "1.1.0")}
    held = [(hold["name"], hold["version"], hold["by"]) for hold in answer["on_hold"]]
    assert held == [("alpha", "1.3.0", "index"), ("alpha", "1.2.0", "index")]
    assert "alpha 1.3.0 has no file for this host, only for `manylinux_2_99_x86_64`" in shown(site)
    silent(site.releaser("update"))
    assert site.json("status")["well"]
    (site.index / "alpha-1.3.0-cp311-cp311-manylinux_2_99_x86_64.whl").unlink()
    site.publish("alpha", "1.3.0")
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"]) == ({"alpha": ("1.1.0", "1.3.0")}, [])


@pytest.mark.slow
def test_law_23_what_is_yanked_or_vanishes_stays_and_the_others_go_live(site: SampleSite, index: Index) -> None:
    index.yanked["alpha-1.1.0"] = "it breaks"
    site.publish("beta", "1.1.0")
    answer = site.json("update")
    assert (changes(answer), site.version("alpha")) == ({"beta": ("1.0.0", "1.1.0")}, "1.1.0")
    assert "alpha 1.1.0 was yanked: it breaks, and stays" in shown(site)
    assert site.remote_head() == site.head()
    (site.index / "alpha-1.1.0-py3-none-any.whl").unlink()
    silent(site.releaser("update"))
    assert "alpha 1.1.0 is not in the index any more, and stays" in shown(site)
    site.releaser("hold", "alpha", check=0)
    site.publish("beta", "1.2.0")
    assert changes(site.json("update")) == {"beta": ("1.1.0", "1.2.0")}
    site.releaser("unhold", "alpha", check=0)
    site.publish("alpha", "1.2.0")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0")}
    assert site.remote_head() == site.head()


@pytest.mark.slow
def test_law_23_a_version_waits_until_it_has_an_age_and_what_is_live_stays(site: SampleSite, index: Index) -> None:
    index.ages |= {"alpha-1.1.0": 2, "alpha-1.2.0": 1, "beta-1.1.0": 9, "beta-1.2.0": 1}
    for name, version in (("alpha", "1.2.0"), ("beta", "1.1.0"), ("beta", "1.2.0")):
        site.publish(name, version)
    site.write_dotenv(min_age="5d")
    answer = site.json("update")
    assert (changes(answer), site.version("alpha")) == ({"beta": ("1.0.0", "1.1.0")}, "1.1.0")
    text = shown(site)
    assert "alpha 1.2.0 is too new: it was uploaded on " in text
    assert "beta 1.2.0 is too new: it was uploaded on " in text
    assert "exclude-newer" not in site.lock()
    site.uv("lock", "--check")
    silent(site.releaser("update"))
    site.write_dotenv(min_age="12h")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0"), "beta": ("1.1.0", "1.2.0")}


@pytest.mark.slow
def test_law_23_a_commit_that_lowers_is_followed_and_held_and_a_revert_is_not(site: SampleSite) -> None:
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0)
    clone = site.elsewhere()
    site.git("revert", "--no-edit", "HEAD", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.2.0"
    assert re.search(r"alpha 1.2.0 stays: commit \w+ is a revert, which has 1.1.0", shown(site))
    clone = site.elsewhere()
    site.uv("lock", "-P", "alpha==1.0.0", cwd=clone)
    site.git("commit", "--quiet", "--all", "--message", "alpha 1.2 is bad for us", cwd=clone)
    site.git("push", "--quiet", cwd=clone)
    head = site.git("rev-parse", "HEAD", cwd=clone)
    answer = site.json("update")
    assert (changes(answer), site.head()) == ({"alpha": ("1.2.0", "1.0.0")}, head)
    assert [(hold["name"], hold["version"], hold["by"]) for hold in answer["on_hold"]] == [("alpha", "1.2.0", "commit")]
    assert f"lowered by commit {head[:12]}" in shown(site)
    silent(site.releaser("update"))
    site.publish("alpha", "1.3.0")
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"]) == ({"alpha": ("1.0.0", "1.3.0")}, [])


@pytest.mark.slow
def test_law_23_a_requirement_lowers_a_package_also_beside_a_lock_that_has_it_newer(site: SampleSite) -> None:
    site.push_from_elsewhere(
        {"pyproject.toml": (site.path / "pyproject.toml").read_text().replace('"alpha"', '"alpha<1.1"')}
    )
    site.publish("beta", "1.1.0")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.0.0"), "beta": ("1.0.0", "1.1.0")}
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_28_a_hold_that_a_requirement_contradicts_is_named(site: SampleSite) -> None:
    site.releaser("hold", "alpha", check=0)
    site.publish("alpha", "2.0.0")
    site.push_from_elsewhere(
        {"pyproject.toml": (site.path / "pyproject.toml").read_text().replace('"alpha"', '"alpha>=2"')}
    )
    finished = site.releaser("update", check=4)
    assert "without what is on hold: alpha" in finished.stderr
    assert "releaser unhold alpha" in finished.stderr
    site.releaser("unhold", "alpha", check=0)
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "2.0.0")}


@pytest.mark.slow
def test_law_23_what_does_not_build_waits_and_the_others_go_live(site: SampleSite) -> None:
    build_sdist(site.index, "alpha", "1.2.0", "def build_wheel(*args):\n    raise OSError('no compiler')\n")
    site.publish("beta", "1.1.0")
    answer = site.json("update")
    assert changes(answer) == {"beta": ("1.0.0", "1.1.0")}
    (hold,) = answer["on_hold"]
    assert (hold["name"], hold["version"], hold["by"], bool(hold["until"])) == ("alpha", "1.2.0", "build", True)
    assert "alpha==1.2.0" in hold["reason"]
    runs = len(site.test_runs())
    silent(site.releaser("update"))
    assert len(site.test_runs()) == runs
    site.publish("alpha", "1.3.0")
    answer = site.json("update")
    assert (changes(answer), answer["on_hold"]) == ({"alpha": ("1.1.0", "1.3.0")}, [])
