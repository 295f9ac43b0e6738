"""A file that releases share was changed in place: no rollback goes to the change, and no change is lost."""

import os
from pathlib import Path

import pytest

from tests.e2e.test_verify import packages_of, problems
from tests.support.sites import SampleSite, SiteFactory

MODULE = Path("beta/__init__.py")


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site whose live release has a module that is a hard link to the one of the release before it, and edited."""
    site = make_site.adopted("1.1.0", "1.2.0")
    live, kept, _ = (packages_of(row) / MODULE for row in site.json("list"))
    live.unlink()
    live.hardlink_to(kept)
    live.chmod(0o444)
    assert site.json("verify")["problems"] == []
    with live.open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    return site


def test_a_rollback_restores_what_its_release_shares(site: SampleSite) -> None:
    live, kept, _ = site.json("list")
    assert "A rollback restores these shared files" in str(site.json("status")["problems"])
    assert problems(site.json("verify", kept["id"], check=10)) == {"changed": {str(MODULE)}}
    report = site.json("rollback")
    assert site.live_id() == kept["id"]
    assert f"that a program had changed: {MODULE}" in str(report["problems"])
    assert site.json("verify")["problems"] == []
    (saved,) = Path(kept["path"]).with_name("changed").rglob("__init__.py")
    for edited in (saved, packages_of(live) / MODULE):
        assert edited.read_text(encoding="utf-8").endswith("# edited\n")


def test_a_rebuild_of_the_live_release_restores_the_others(site: SampleSite) -> None:
    live, kept, _ = site.json("list")
    site.json("update")
    assert site.live_id() != live["id"]
    assert site.json("verify", kept["id"])["problems"] == []
    assert os.lstat(packages_of(live) / MODULE).st_nlink == 2, "the edit stays where a person made it, and is kept"


def test_without_a_whole_copy_the_rollback_names_the_file(site: SampleSite) -> None:
    _, kept, adopted = site.json("list")
    for wheel in site.index.path.glob("beta-*"):
        wheel.unlink()
    (packages_of(adopted) / MODULE).write_text("other", encoding="utf-8")
    report = site.releaser("rollback", check=9, env={"UV_CACHE_DIR": str(site.outer / "empty")})
    assert f"{MODULE} of {kept['id']} cannot be restored" in report.stderr
