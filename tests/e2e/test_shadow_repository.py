"""The repository in the state directory that has the code of a project that is not under git."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.scenes import silent, states
from tests.e2e.test_without_git import without_git
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    return without_git(make_site(venv=True))


def shadow(site: SampleSite) -> Path:
    return site.state_dir / "shadow.git"


def without_git_program(site: SampleSite) -> dict[str, str]:
    """Return a PATH with all programs of the host but git."""
    place = site.outer / "programs"
    place.mkdir()
    for directory in site.env["PATH"].split(os.pathsep):
        for name in os.listdir(directory):
            if not name.startswith("git"):
                with contextlib.suppress(FileExistsError):
                    (place / name).symlink_to(f"{directory}/{name}")
    return {"PATH": str(place)}


def test_a_project_that_comes_under_git_needs_it_no_more(site: SampleSite) -> None:
    site.releaser("update", check=0)
    first = site.live_id()
    assert shadow(site).is_dir()
    site.write_dotenv({"RELEASER_GIT_PULL": "false", "RELEASER_GIT_PUSH": "false"})
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        site.git("-c", "user.name=a", "-c", "user.email=a@example.org", *words)
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert (report["result"], report["problems"]) == ("updated", [])
    assert report["commit"] == site.git("rev-parse", "HEAD^")
    assert not shadow(site).exists()
    site.releaser("rollback", first, check=0)
    assert site.live_id() == first


def test_without_the_program_an_update_says_what_to_install_and_a_rollback_works(site: SampleSite) -> None:
    site.releaser("update", check=0)
    first = site.live_id()
    site.update_to("alpha", "1.1.0")
    gone = without_git_program(site)
    for command in ("update", "check", "rebuild"):
        (told,) = site.json(command, check=3, env=gone)["problems"]
        assert told.startswith("git is not on PATH"), told
        assert "apt install git" in told
    assert site.json("status", env=gone)["problems"] == []
    report = site.json("rollback", env=gone)
    assert (report["release"], report["problems"], site.live_version("alpha")) == (first, [], "1.0.0")
    site.releaser("prune", check=0, env=gone)


def test_of_releases_from_before_it_the_code_is_not_known(site: SampleSite) -> None:
    """An earlier version has recorded other digests of the code, and left notes of its staging trees."""
    site.releaser("update", check=0)
    first = site.live_id()
    site.update_to("alpha", "1.1.0")
    for manifest in site.state_dir.glob("releases/*/manifest.json"):
        text = manifest.read_text(encoding="utf-8").replace('"code_key": "', '"code_key": "0')
        manifest.write_text(text, encoding="utf-8")
    shutil.rmtree(shadow(site))
    (site.state_dir / "staging-live").write_text(f"{site.outer}/.site.releaser-staging-live", encoding="utf-8")
    silent(site.releaser("update"))
    assert site.json("rollback")["problems"] == []
    assert [*states(site).values()] == ["rolled-back", "live"]
    assert site.live_id() == first
    site.releaser("uninstall", "--yes", check=0)
    assert not [*site.state_dir.glob("s*")]
