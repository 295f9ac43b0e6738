"""A file that releases share was changed in place: no rollback goes to the change, and no change is lost."""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.test_verify import packages_of, problems
from tests.support.sites import SampleSite, SiteFactory, variables

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
    before = site.snapshot()
    plan = site.json("rollback", "--dry-run")
    assert f"would restore shared files of {kept['id']} that a program has changed: {MODULE}" in plan["would"]
    assert f"would go from {live['id']} to {kept['id']}" in plan["would"]
    assert site.snapshot() == before
    report = site.json("rollback")
    assert site.live_id() == kept["id"]
    assert f"that a program had changed: {MODULE}" in str(report["problems"])
    assert site.json("verify")["problems"] == []
    assert problems(site.json("verify", live["id"], check=10)) == {"changed": {str(MODULE)}}
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


def test_an_automatic_rollback_restores_what_other_releases_have_whole(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv=variables(health_retries=0))
    live, _ = site.json("list")
    module, check = packages_of(live) / MODULE, site.outer / "check.sh"
    check.write_text(
        f"test -e {site.outer}/sick || exit 0; rm {site.outer}/sick\n"
        f"ln -f {module} .venv/lib/python*/site-packages/{MODULE}; echo '# edited' >> {module}; exit 1\n",
        encoding="utf-8",
    )
    for version in ("1.2.0", "1.3.0"):
        site.publish("alpha", version)
        env = {"RELEASER_HEALTH_CHECK": f"sh {check}", "RELEASER_TEST_COMMAND": f"touch {site.outer}/sick"}
        report = json.loads(site.releaser("update", "--json", check=6, env=env).stdout)
        assert site.live_id() == live["id"]
        if version == "1.2.0":
            assert f"had changed: {MODULE}" in str(report["problems"])
            assert site.json("verify")["problems"] == []
        # Then no release has a whole copy: it goes back all the same.
        for other in site.state_dir.glob(f"releases/*/venv/lib/python*/site-packages/{MODULE}"):
            if other != module:
                other.unlink()
                other.write_text("other", encoding="utf-8")
    assert f"{MODULE} of {live['id']} cannot be restored" in str(report["problems"])
    assert "was completed anyway" in str(report["problems"])
