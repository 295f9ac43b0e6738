"""Two sites of one repository: each has its own branch, and no work tree is shared."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.scenes import silent
from tests.support.commands import Finished, console_script, run
from tests.support.sites import SampleSite, SiteFactory


def _in_project(site: SampleSite, project: Path, *words: str, **env: str) -> Finished:
    return run([console_script(), *words, "--project", project], cwd=site.outer, env=site.environment(env))


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site in whose work tree lies another project, `blog`, with a venv of its own and the same settings."""
    site = make_site(venv=True)
    (site.path / "blog").mkdir()
    for name in ("pyproject.toml", "uv.lock", "manage.py", "run_tests.py", "site_settings.py"):
        if (site.path / name).exists():
            shutil.copy(site.path / name, site.path / "blog" / name)
    site.push_commit("Add a blog")
    shutil.copytree(site.link, site.path / "blog" / ".venv", symlinks=True)
    (site.path / ".git" / "info" / "exclude").write_text("/.env\n.venv*\n/.releaser/\n", encoding="utf-8")
    site.releaser("init", check=0)
    shutil.copy(site.outer / ".env", site.path / ".env")
    return site


def test_a_second_project_in_one_work_tree_is_refused_until_the_first_is_not_adopted_any_more(
    site: SampleSite,
) -> None:
    for command in ("check", "init", "update", "prune"):
        finished = _in_project(site, site.path / "blog", command)
        assert finished.returncode == 3, (command, finished)
        assert f"the work tree {site.path} belongs to the project {site.path} " in finished.stderr
        assert "Use a separate checkout for each project" in finished.stderr
    silent(site.releaser("update"))
    shutil.copytree(site.link.resolve(), site.path / ".venv-real", symlinks=True)
    site.link.unlink()
    (site.path / ".venv-real").rename(site.link)
    assert "the work tree" not in _in_project(site, site.path / "blog", "check").stderr


def test_two_sites_on_branches_of_one_repository_keep_apart_what_they_have_seen(make_site: SiteFactory) -> None:
    """A merge that a person has made in one of them is no commit that the remote has lost."""
    site = make_site.adopted()
    site.git("push", "--quiet", "origin", "main:production")
    site.git("fetch", "--quiet")
    other = site.outer / "production"
    site.git("worktree", "add", "--quiet", "-b", "production", other, "origin/production")
    shutil.copytree(site.link.resolve(), other / ".venv", symlinks=True)
    (site.path / ".git" / "info" / "exclude").write_text(".venv\n", encoding="utf-8")
    assert _in_project(site, other, "init", RELEASER_BRANCH="production").returncode == 0
    site.push_from_elsewhere({"notes.txt": "news"})
    site.releaser("update", check=0)
    site.git("-C", other, "merge", "--quiet", "--ff-only", "main")
    finished = _in_project(site, other, "update", RELEASER_BRANCH="production")
    assert "moved back" not in finished.stderr, finished
    assert finished.returncode in (0, 7), finished
    assert site.git("ls-remote", "origin", "refs/heads/production").split()[0] != site.head(), "theirs to push"
