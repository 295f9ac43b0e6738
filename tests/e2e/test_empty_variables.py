"""A variable that is empty in `.env` takes back what pyproject.toml sets, for this host alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory


def test_an_empty_state_dir_is_the_usual_one(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"state_dir": "../elsewhere"}, dotenv={"RELEASER_STATE_DIR": ""})
    site.releaser("init", check=0)
    assert (site.state_dir / "releases" / site.live_id()).is_dir()
    assert site.live_id() in site.releaser("list", check=0).stdout
