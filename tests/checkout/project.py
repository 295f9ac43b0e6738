"""A project under git with a remote, for checks and the choice of a commit, which need neither uv nor a venv."""

import os
from collections.abc import Mapping
from pathlib import Path

from releaser.site.site import Site, open_site
from tests.tools.repository import Repository

PYPROJECT = '[project]\nname = "a"\n'
FILES = {"pyproject.toml": PYPROJECT, "uv.lock": "version = 1\n", "code.py": "", ".gitignore": "*.ini\n*.db\n"}


class Project(Repository):
    """The checkout `outer/site`, whose remote has all that it has, and another clone of that."""

    def __init__(self, base: Path, files: Mapping[str, str] = FILES) -> None:
        super().__init__(base.resolve() / "outer")
        self.path.mkdir(parents=True)
        self.call("init", "--quiet", "--initial-branch=main")
        self.first = self.commit(files)
        self.call("clone", "--quiet", "--bare", ".", "../remote.git")
        self.call("remote", "add", "origin", "../remote.git")
        self.call("fetch", "--quiet")
        self.call("clone", "--quiet", "../remote.git", "../elsewhere")
        self.elsewhere = Repository(self.path.parent, "elsewhere")

    def site(self, **variables: str) -> Site:
        """Return the site, with a state directory, as a run has it."""
        site = open_site(self.path, {**self.env, "PATH": os.environ["PATH"], **variables})
        site.state_dir.mkdir(parents=True, exist_ok=True)
        return site

    def push_from_elsewhere(self, files: Mapping[str, str]) -> str:
        """Commit and push files from the other clone, on top of what the remote has; return the commit."""
        self.elsewhere.call("fetch", "--quiet")
        self.elsewhere.call("reset", "--quiet", "--hard", "origin/main")
        commit = self.elsewhere.commit(files)
        self.elsewhere.call("push", "--quiet")
        return commit

    def move_remote(self, commit: str) -> None:
        self.call("--git-dir=../remote.git", "update-ref", "refs/heads/main", commit)
