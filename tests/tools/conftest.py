"""Fixtures for the tests of the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tools.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a checkout with one commit, which is pushed."""
    found = Repository(tmp_path.resolve())
    found.path.mkdir()
    found.call("init", "--quiet", "--bare", "--template=", "../remote.git")
    found.call("init", "--quiet", "--template=")
    found.commit({"uv.lock": "one", "code.py": "one", ".gitignore": "*.log\n"}, "Begin")
    found.call("remote", "add", "origin", "../remote.git")
    found.call("push", "--quiet", "--set-upstream", "origin", "main")
    return found


@pytest.fixture
def elsewhere(repository: Repository) -> Repository:
    """Make another clone."""
    found = Repository(repository.path.parent, "elsewhere")
    repository.call("clone", "--quiet", "../remote.git", "../elsewhere")
    return found
