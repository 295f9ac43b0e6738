"""What an update tells of each package change: who asks for it, where to read about it."""

import json
from datetime import UTC, datetime, timedelta

from tests.e2e.scenes import body, from_server
from tests.support.simple_index import serving
from tests.support.sites import SiteFactory

CHANGELOG = "https://alpha.example.org/changelog?a=1&b=2"


def test_it_is_told_who_asks_for_a_package_where_to_read_and_how_old_it_is(make_site: SiteFactory) -> None:
    """In the mail, and by `show` and `diff`."""
    packages = {"alpha": "1.0.0", "deep": "1.0.0"}
    site = make_site(packages=packages, dependencies=["alpha"], requires={"alpha": ["deep"]}, venv=True)
    urls = {"Change Log": CHANGELOG, "Homepage": "https://x.example.org"}
    site.publish("alpha", "1.1.0", requires=["deep"], urls=urls)
    site.publish("deep", "2.0.0", urls={"Source": "javascript:alert(1)"})
    uploaded = datetime.now(UTC) - timedelta(days=3, hours=1)
    with serving(site.index.path) as index:
        index.uploaded["alpha", "1.1.0"] = uploaded  # of deep, the index does not know it
        from_server(site, index.url, lock=True)
        site.releaser("update", check=0)
    html = body(site, kind="html")
    assert f'<a class="link" href="{CHANGELOG.replace("&", "&amp;")}">changelog</a>' in html
    assert "javascript" not in html + body(site)
    first = site.json("list")[-1]["id"]
    shown = (site.releaser(*words, check=0).stdout for words in (("show", site.live_id()), ("diff", first)))
    for text in (body(site), *shown):
        lines = [" ".join(line.split()) for line in text.splitlines()]
        alpha = "alpha 1.0.0 1.1.0 minor 3 days the project"
        assert lines[lines.index(alpha) + 1] == CHANGELOG
        assert "deep 1.0.0 2.0.0 major alpha" in lines
    manifest = json.loads((site.state_dir / "releases" / site.live_id() / "manifest.json").read_text(encoding="utf-8"))
    for changes in (manifest["changes"], site.json("show", site.live_id())["changes"], site.json("diff", first)):
        one, other = changes
        assert (one["direct"], one["through"], one["link"]) == (True, [], CHANGELOG)
        assert one["released"] == uploaded.isoformat(timespec="seconds")
        assert (other["direct"], other["through"], other["link"], other["released"]) == (False, ["alpha"], None, None)
