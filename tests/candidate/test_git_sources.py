"""Which repositories a project takes packages from, as its files name them."""

import os
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.candidate.git_sources import _fetch_all, find_sources
from releaser.locks.lock import LockFile
from releaser.site.site import Site
from releaser.system.process import Runner
from releaser.tools.git import Git
from tests.support.commands import git_executable, run

COMMIT = "0123456789" * 4
NOTHING = LockFile.parse(b"version = 1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('tool.uv.sources.a = { git = "https://example.org/a", tag = "v1" }', {"https://example.org/a": ("v1",)}),
        ('tool.uv.sources.a = [{ git = "ssh://git@example.org/a", rev = "refs/pull/1/head" }, { path = "b" }]',
         {"ssh://git@example.org/a": ("refs/pull/1/head",)}),
        ('tool.uv.sources.a = { git = "https://ada:secret@example.org/a" }', {"https://ada:secret@example.org/a": ()}),
        ('project.dependencies = ["a @ git+ssh://git@example.org/a.git@v1#subdirectory=b"]',
         {"ssh://git@example.org/a.git": ("v1",)}),
        ('project.dependencies = ["a @ git+ssh://git@example.org/@scope/a"]', {"ssh://git@example.org/@scope/a": ()}),
        ('dependency-groups.dev = ["a @ git+https://example.org/a ; extra"]', {"https://example.org/a": ()}),
        ('project.urls.git = "https://example.org/site"', {}),
        ('# a = { git = "ssh://git@gone.example.org/a" }', {}),
        ('tool.uv.sources.a = { git = "file:///srv/a" }', {}),
        ('tool = 1', {}),
    ],
)  # fmt: skip
def test_repositories_of_a_project_and_what_is_wanted_of_them(text: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert find_sources(tomllib.loads(text), NOTHING) == expected


def test_repositories_of_a_lock() -> None:
    url = f"ssh://git@example.org/a.git?subdirectory=b&rev=main#{COMMIT}"
    lock = f'version = 1\n[[package]]\nname = "a"\nversion = "1"\nsource = {{ git = "{url}" }}\n'
    assert find_sources({}, LockFile.parse(lock.encode())) == {"ssh://git@example.org/a.git": (COMMIT, "main")}


def test_only_the_repository_itself_is_led_to_what_was_fetched(tmp_path: Path) -> None:
    """Not another one whose URL begins like that; and HEAD may lead to a branch that is not there."""
    env = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": "/dev/null"}

    def git(*words: str | Path, more: Mapping[str, str] | None = None) -> str:
        return run([git_executable(), *words], cwd=tmp_path, env={**env, **(more or {})}, check=0).stdout

    for name in ("theme", "theme-data"):
        git("init", "--quiet", "--initial-branch", "main", tmp_path / name)
        git(
            "-C", tmp_path / name, "-c", "user.name=Ada", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", name
        )
    git("-C", tmp_path / "theme", "symbolic-ref", "HEAD", "refs/heads/nowhere")
    head = {name: git("-C", tmp_path / name, "rev-parse", "main").strip() for name in ("theme", "theme-data")}
    there = Git(runner=Runner(environ=env), root=tmp_path, timeout=60.0)
    variables = _fetch_all(
        cast("Site", SimpleNamespace(git=there)), {str(tmp_path / "theme"): ()}, tmp_path / "mirrors"
    )
    shutil.rmtree(tmp_path / "theme")
    for name, commit in head.items():
        assert commit in git("ls-remote", tmp_path / name, more=variables)
