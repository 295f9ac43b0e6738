"""Upgrades that cannot be built: the others come in without them."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from tests.e2e.scenes import body, silent, states
from tests.e2e.test_culprits import adopted, held, live_versions, passed_whole, publish

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

BUILD = '[build-system]\nrequires = []\nbuild-backend = "nope"\nbackend-path = ["."]\n'


def publish_unbuildable(site: SampleSite, name: str, version: str = "1.1.0") -> None:
    """Offer a version as source alone, of which the build fails."""
    files = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": f'[project]\nname = "{name}"\nversion = "{version}"\n{BUILD}',
        "nope.py": "raise ImportError('there is no compiler')\n",
    }
    with tarfile.open(site.index.path / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


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
    publish(site, "b", version="1.1.1")
    assert [one["new"] for one in site.json("update")["changes"]] == ["1.1.1"]


def test_if_there_is_nothing_else_the_failure_is_told_once(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish_unbuildable(site, "b")
    before = site.snapshot()
    assert held(site.json("update", check=4)) == {"b": "1.1.0"}
    assert site.snapshot() == before
    assert len(list((site.state_dir / "releases").iterdir())) == 1
    silent(site.releaser("update"))
    site.releaser("unhold", "b", check=0)
    site.releaser("update", check=4)


def test_without_a_release_to_compare_with_nothing_counts_as_changed(make_site: SiteFactory) -> None:
    site = make_site(packages={"a": "1.0.0", "b": "1.0.0"})
    publish(site, "a")
    publish_unbuildable(site, "b")
    report = site.json("update")
    assert live_versions(site, "ab") == {"a": "1.1.0", "b": "1.0.0"}
    assert (held(report), report["changes"]) == ({"b": "1.1.0"}, [])


def test_if_nothing_is_to_be_held_the_failure_is_told(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", settings={"culprits": "report"})
    publish(site, "a")
    publish_unbuildable(site, "b")
    assert held(site.json("update", check=4)) == {}
