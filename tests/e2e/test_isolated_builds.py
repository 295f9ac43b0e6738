"""A build that does not work in isolation: it goes without if just that version is live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.scenes import edit_pyproject
from tests.support.wheels import build_sdist

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory


def test_what_is_live_is_built_without_isolation_if_need_be_and_nothing_else(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    mark = site.outer / "mark"  # which no build in isolation may write
    build_sdist(site.index.path, "evil", "1.0", mark=mark)
    site.edit("pyproject.toml", edit_pyproject(site, '"alpha"', '"alpha", "evil"'))
    site.push_commit("Take evil", lock=True)
    site.uv("sync", "--quiet", "--group", "local")
    site.write_dotenv({"RELEASER_TEST_WRITABLE": None})
    site.releaser("init", check=0)
    site.publish("alpha", "8.0")
    finished = site.releaser("update", check=0)
    assert "evil 1.0, which is live, cannot be built in isolation" in finished.stderr
    site.publish("alpha", "9.0")
    build_sdist(site.index.path, "evil", "2.0", mark=mark)
    refused = site.releaser("update", check=4).stderr  # to learn what it needs, it would have to be built as well
    assert "evil 2.0 fails to build" in refused
    assert "`releaser hold evil` lets the other packages be updated" in refused
    site.releaser("hold", "evil", check=0)
    assert "evil 1.0, which is live" not in site.releaser("update", check=0).stderr, "it is told once"
    assert (site.live_version("alpha"), site.live_version("evil")) == ("9.0", "1.0")
