"""Fixtures for the tests of the tools."""

import shutil
from pathlib import Path

import pytest

from tests.tools.repository import Repository


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkout with one commit, its remote, and another clone of that."""
    base = tmp_path_factory.mktemp("repositories").resolve()
    found = Repository(base)
    found.path.mkdir()
    found.call("init", "--quiet", "--bare", "--template=", "../remote.git")
    found.call("init", "--quiet", "--template=")
    found.commit({"uv.lock": "one", "code.py": "one", ".gitignore": "*.log\n"}, "Begin")
    found.call("remote", "add", "origin", "../remote.git")
    found.call("push", "--quiet", "--set-upstream", "origin", "main")
    found.call("clone", "--quiet", "../remote.git", "../elsewhere")
    Repository(base, "elsewhere").call("remote", "set-url", "origin", "../remote.git")
    return base


@pytest.fixture
def repository(repositories: Path, tmp_path: Path) -> Repository:
    """Copy the checkout and its remote."""
    for name in ("site", "remote.git"):
        shutil.copytree(repositories / name, tmp_path.resolve() / name)
    return Repository(tmp_path.resolve())


@pytest.fixture
def elsewhere(repositories: Path, repository: Repository) -> Repository:
    """Copy the other clone."""
    shutil.copytree(repositories / "elsewhere", repository.path.parent / "elsewhere")
    return Repository(repository.path.parent, "elsewhere")
