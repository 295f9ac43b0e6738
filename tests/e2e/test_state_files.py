"""The state directory: each file that runs leave there is declared, so that it can be repaired, and uninstalled."""

import json
from pathlib import Path

from releaser.capabilities import state_files
from tests.support.sites import SampleSite, SiteFactory


def undeclared(site: SampleSite) -> list[str]:
    """Return what lies in the state directory, and is not declared."""
    declared = {one.name for one in state_files()}
    return sorted(name for one in site.state_dir.iterdir() if (name := one.name) not in declared)


def unread(site: SampleSite) -> list[str]:
    """Return the files of JSON in the state directory without a declared type, so that nobody would notice damage."""
    typed = {one.name for one in state_files() if one.type is not None}
    found = (one for one in site.state_dir.glob("*.json") if isinstance(json.loads(one.read_text()), dict))
    return sorted({one.name for one in found} - typed)


def test_what_updates_failures_and_rollbacks_leave_is_declared(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted(dotenv={"RELEASER_CULPRITS": "hold", "RELEASER_BEFORE_BUILD": "mkdir -p out"})
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0", broken=True)
    assert [one["name"] for one in site.json("update")["changes"]] == ["alpha"]
    site.releaser("hold", "beta", check=0)
    site.releaser("bundle create", "--no-installer", "--output", tmp_path / "one.bundle", check=0)
    site.releaser("rollback", check=0)
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=5, env={"RELEASER_TEST_COMMAND": "false", "RELEASER_CULPRITS": "off"})
    assert undeclared(site) == []
    assert unread(site) == ["project.json"]  # which each run reads, and refuses


def test_what_proposals_and_projects_without_git_leave_is_declared(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0", outer="proposing", dotenv={"RELEASER_UPGRADE": "none"})
    site.releaser("propose", check=0)
    assert (site.state_dir / "proposals.json").is_file()
    other = make_site.adopted(due="1.1.0", outer="other", dotenv={"RELEASER_GIT": "false"})
    (other.path / ".git").rename(other.outer / "kept")
    other.releaser("update", check=0)
    assert (other.state_dir / "shadow.git").is_dir()
    assert [*undeclared(site), *undeclared(other)] == []
