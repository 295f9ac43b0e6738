"""What an update tells of each package change: who asks for it, where to read about it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import body, from_server
from tests.support.simple_index import serving

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

CHANGELOG = "https://alpha.example.org/changelog?a=1&b=2"


def updated(make_site: SiteFactory) -> SampleSite:
    """Make a site that has taken a new version of `alpha`, which it asks for, and of `deep`, which alpha asks for."""
    site = make_site(
        packages={"alpha": "1.0.0", "deep": "1.0.0"}, dependencies=["alpha"], requires={"alpha": ["deep"]}, venv=True
    )
    site.publish(
        "alpha", "1.1.0", requires=["deep"], urls={"Change Log": CHANGELOG, "Homepage": "https://x.example.org"}
    )
    site.publish("deep", "2.0.0", urls={"Source": "javascript:alert(1)"})
    site.releaser("update", check=0)
    return site


@pytest.mark.story
def test_the_mail_and_show_and_diff_tell_who_asks_for_a_package_and_where_to_read(make_site: SiteFactory) -> None:
    site = updated(make_site)
    html = body(site, kind="html")
    assert f'<a href="{CHANGELOG.replace("&", "&amp;")}">alpha</a>' in html
    assert "javascript" not in html + body(site)
    first = site.json("list")[-1]["id"]
    for text in (
        body(site),
        site.releaser("show", site.live_id(), check=0).stdout,
        site.releaser("diff", first, check=0).stdout,
    ):
        lines = [" ".join(line.split()) for line in text.splitlines()]
        assert "alpha 1.0.0 1.1.0 minor the project" in lines
        assert lines[lines.index("alpha 1.0.0 1.1.0 minor the project") + 1] == CHANGELOG
        assert "deep 1.0.0 2.0.0 major alpha" in lines
    manifest = site.state_dir / "releases" / site.live_id() / "manifest.json"
    for changes in (
        json.loads(manifest.read_text(encoding="utf-8"))["changes"],
        site.json("show", site.live_id())["changes"],
        site.json("diff", first),
    ):
        alpha, deep = changes
        assert (alpha["direct"], alpha["through"], alpha["link"], alpha["released"]) == (True, [], CHANGELOG, None)
        assert (deep["direct"], deep["through"], deep["link"]) == (False, ["alpha"], None)


def test_the_age_of_a_version_is_told_if_the_index_knows_it(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0")
    uploaded = datetime.now(UTC) - timedelta(days=3, hours=1)
    with serving(site.index.path) as index:
        index.uploaded["alpha", "1.1.0"] = uploaded
        from_server(site, index.url)
        site.uv("lock", "--quiet")
        site.commit("Take packages from a server")
        site.push()
        report = site.json("update")
    alpha, beta = report["changes"]
    assert alpha["released"] == uploaded.isoformat(timespec="seconds")
    assert beta["released"] is None
    lines = [" ".join(line.split()) for line in body(site).splitlines()]
    assert "alpha 1.0.0 1.1.0 minor 3 days the project" in lines
    assert "beta 1.0.0 1.1.0 minor the project" in lines
