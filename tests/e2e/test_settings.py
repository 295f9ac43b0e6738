"""Settings and the project: where they are found, and what is said about wrong ones."""

import os
from pathlib import Path

import pytest

from tests.e2e.scenes import mostly_slow, refused, says, silent
from tests.support.sites import SampleSite, SiteFactory


def test_all_wrong_settings_are_reported_at_once_with_file_key_value_and_suggestion(site: SampleSite) -> None:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    wrong = '[tool.releaser]\nkeep = "many"\nupgrade = "al"\nhelth_check = "true"\ntest_command = 5\n'
    site.push_commit("Wrong settings", {"pyproject.toml": f"{text}\n{wrong}"})
    site.write_dotenv({"RELEASER_TEST_TIMEOUT": "soon", "RELEASER_GIT_PUSSH": "on"})
    finished = refused(site, "update", env={"RELEASER_GIT_PULL": "perhaps"})
    says(finished, "pyproject.toml", "keep", "many", "upgrade", "'al'", "all", "helth_check", "health_check")
    says(finished, ".env", "RELEASER_TEST_TIMEOUT", "soon", "RELEASER_GIT_PUSSH", "RELEASER_GIT_PUSH")
    says(finished, "RELEASER_GIT_PULL", "perhaps", "test_command")
    answer = site.json("update", check=3, env={"RELEASER_GIT_PULL": "perhaps"})
    assert len(answer["problems"]) == 7
    assert site.releaser("list").returncode == 0  # questions still answer
    site.edit("../.env", "export RELEASER_HEALTH_CHECK='curl https://example.org\nset -a\n")
    says(refused(site, "update"), "Line 1 of", ".env", "cannot be read")
    os.truncate(site.outer / ".env", 17 << 20)
    says(refused(site, "update"), ".env", "larger than 16 MiB")


@pytest.mark.slow
def test_the_strongest_source_counts(make_site: SiteFactory) -> None:
    """Process environment, then .env, then pyproject.toml."""
    site = make_site.live(settings={"upgrade": "none"}, due="1.1.0")
    site.edit("../.env", f"{(site.outer / '.env').read_text('utf-8')}set -a\nif [ -f /x ]; then\n  . /x\nfi\n")
    silent(site.releaser("update"))
    site.write_dotenv(upgrade="all")
    silent(site.releaser("update", env={"RELEASER_UPGRADE": "none"}))
    assert site.json("update")["result"] == "updated"


@pytest.mark.parametrize("variable", mostly_slow(["AUTO_UPDTR__UV_PATH", "RELEASER_UV"], "RELEASER_UV"))
def test_law_36_a_uv_that_is_too_old_gives_way_to_that_of_releaser(make_site: SiteFactory, variable: str) -> None:
    site = make_site.live(due="1.1.0")
    (old := site.edit("../old/uv", "#!/bin/sh\necho uv 0.8.3\n")).chmod(0o755)
    site.releaser("update", env={variable: str(old), "PATH": f"{old.parent}:{site.env['PATH']}"}, check=0)
    assert site.version("alpha") == "1.1.0"


def test_the_project_is_found(site: SampleSite) -> None:
    link = site.base / "link"
    link.symlink_to(site.path)
    for place, env in (
        (site.path, {}),
        (site.path / "config" / "tmp", {}),
        (link, {}),
        (Path("/"), {"RELEASER_PROJECT": str(site.path)}),
    ):
        answer = site.releaser("list", "--json", project=None, cwd=place, env=env, check=0)
        assert site.live() in answer.stdout, place


@pytest.mark.parametrize(
    "command", mostly_slow(["update", "list", "init", "rollback", "status", "check"], "update", "list")
)
def test_outside_of_a_project_nothing_is_done(tmp_path: Path, fresh: SampleSite, command: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for finished in (
        fresh.releaser(command, project=None, cwd=empty, check=3),
        fresh.releaser(command, project=empty, check=3),
        fresh.releaser(command, project=tmp_path / "nowhere", check=3),
    ):
        says(finished, "--project")
    assert list(empty.iterdir()) == []
