"""Two sites of one repository: each has its own branch, and no work tree is shared."""

import shutil
from pathlib import Path

from tests.e2e.scenes import silent
from tests.support.commands import Finished, console_script, git_executable, run
from tests.support.sites import SampleSite, SiteFactory


def _in_project(site: SampleSite, project: Path, *words: str, **env: str) -> Finished:
    return run([console_script(), *words, "--project", project], cwd=site.outer, env=site.environment(env))


def _second_project(site: SampleSite) -> Path:
    """Commit and push a project in a subdirectory of the site's work tree, with a venv of its own."""
    inner = site.path / "blog"
    inner.mkdir()
    for name in ("pyproject.toml", "uv.lock", "manage.py", "run_tests.py", "site_settings.py"):
        if (site.path / name).exists():
            shutil.copy(site.path / name, inner / name)
    site.git("add", "blog")
    site.push_commit("Add a blog")
    shutil.copytree(site.link, inner / ".venv", symlinks=True)
    return inner


def test_a_second_project_in_one_work_tree_is_refused(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    inner = _second_project(site)
    site.releaser("init", check=0)
    (site.path / ".env").write_text((site.outer / ".env").read_text(encoding="utf-8"), encoding="utf-8")
    (site.path / ".git" / "info" / "exclude").write_text("/.env\n.venv\n/.releaser/\n", encoding="utf-8")
    for command in ("check", "init", "update", "prune"):
        finished = _in_project(site, inner, command)
        assert finished.returncode == 3, (command, finished)
        assert f"the work tree {site.path} belongs to the project {site.path} " in finished.stderr
        assert "Use a separate checkout for each project" in finished.stderr
    silent(site.releaser("update"))


def test_a_project_that_is_not_adopted_any_more_gives_its_work_tree_away(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    inner = _second_project(site)
    (site.path / ".git" / "info" / "exclude").write_text("/.env\n.venv*\n", encoding="utf-8")
    site.releaser("init", check=0)
    shutil.copytree(site.link.resolve(), site.path / ".venv-real", symlinks=True)
    site.link.unlink()
    (site.path / ".venv-real").rename(site.link)
    (site.path / ".env").write_text((site.outer / ".env").read_text(encoding="utf-8"), encoding="utf-8")
    assert "the work tree" not in _in_project(site, inner, "check").stderr


def test_two_sites_on_branches_of_one_repository_keep_apart_what_they_have_seen(make_site: SiteFactory) -> None:
    """A merge that a person has made in one of them is no commit that the remote has lost."""
    site = make_site.adopted()
    site.git("push", "--quiet", "origin", "main:production")
    site.git("fetch", "--quiet")
    other = site.outer / "production"
    site.git("worktree", "add", "--quiet", "-b", "production", str(other), "origin/production")
    shutil.copytree(site.link.resolve(), other / ".venv", symlinks=True)
    (site.path / ".git" / "info" / "exclude").write_text(".venv\n", encoding="utf-8")
    assert _in_project(site, other, "init", RELEASER_BRANCH="production").returncode == 0
    site.push_from_elsewhere({"notes.txt": "news"})
    site.releaser("update", check=0)
    run([git_executable(), "-C", other, "merge", "--quiet", "--ff-only", "main"], cwd=other, env=site.env, check=0)
    finished = _in_project(site, other, "update", RELEASER_BRANCH="production")
    assert "moved back" not in finished.stderr, finished
    assert finished.returncode in (0, 7), finished
    assert site.git("ls-remote", "origin", "refs/heads/production").split()[0] != site.head(), "theirs to push"
