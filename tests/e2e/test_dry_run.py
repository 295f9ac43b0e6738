"""`--dry-run` says what would happen, and writes nothing at all: not even beside the checkout."""

import pytest

from tests.e2e.scenes import outer_snapshot
from tests.support.sites import SampleSite, SiteFactory, variables


@pytest.fixture(scope="module")
def site(make_scene: SiteFactory) -> SampleSite:
    """A site with two releases, for which there is a newer package and a commit; nothing here changes it."""
    site = make_scene.adopted("1.1.0", dotenv=variables(keep=0, keep_within=0), due="1.2.0")
    site.push_from_elsewhere({"notes.txt": "news"})
    return site


def dry_run(site: SampleSite, command: str, *args: str, check: int = 0) -> str:
    """Run it, see that nothing is written, and return what it says."""
    before = outer_snapshot(site)
    said = site.releaser(command, "--dry-run", *args, check=check)
    assert outer_snapshot(site) == before
    return said.stdout + said.stderr


@pytest.mark.story
def test_nothing_is_written_for_an_adopted_project(site: SampleSite) -> None:
    arguments = {"pin": [site.live_id()], "unpin": [site.live_id()], "hold": ["alpha"]}
    runs = site.manage_runs("test")
    for command in ("init", "update", "rollback", "prune", "pin", "unpin", "hold"):
        assert dry_run(site, command, *arguments.get(command, []))
    assert site.manage_runs("test") == runs


@pytest.mark.parametrize("venv", [True, False])
@pytest.mark.story
def test_nothing_is_written_for_a_project_that_is_not_adopted(make_site: SiteFactory, venv: bool) -> None:
    site = make_site(venv=venv)
    site.publish("alpha", "1.1.0")
    for command in ("init", "update", "prune"):
        dry_run(site, command)
        assert not site.state_dir.parent.exists()
        assert site.link.exists() == venv
        assert not site.link.is_symlink()


@pytest.mark.story
def test_an_update_and_a_rollback_are_described(site: SampleSite) -> None:
    before = outer_snapshot(site)
    plan = site.json("update", "--dry-run")
    (change,) = plan["changes"]
    assert change | {"name": "alpha", "old": "1.1.0", "new": "1.2.0", "bump": "minor"} == change
    said = site.releaser("update", "--dry-run", check=0).stdout
    assert "dry run: 1 package would change" in said
    assert f"dry run: commit {site.remote_head()[:12]} (Work from elsewhere) would go live" in said
    target, live = site.releases()
    plan = site.json("rollback", "--dry-run")
    assert plan["would"] == [f"would go from {live} to {target}"]
    (change,) = plan["changes"]
    assert change | {"name": "alpha", "old": "1.1.0", "new": "1.0.0", "bump": "minor"} == change
    assert "alpha    1.1.0  1.0.0" in site.releaser("rollback", "--dry-run", check=0).stdout
    assert outer_snapshot(site) == before


def test_pins_and_what_is_not_possible_are_described(site: SampleSite) -> None:
    live = site.live_id()
    assert f"{live} would be pinned" in dry_run(site, "pin", live)
    assert f"{live} is not pinned already" in dry_run(site, "unpin", live)
    for command in ("pin", "rollback"):
        dry_run(site, command, "20200101T000000Z", check=9)


def test_a_damaged_file_of_what_is_kept_out_does_not_end_a_rehearsal(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    dry_run(site, "rollback", check=9)
    (site.state_dir / "blocks.json").write_text("[]", encoding="utf-8")
    assert "1 package would change" in dry_run(site, "update")
    assert "Nothing is on hold" in dry_run(site, "unhold", "alpha", check=2)
