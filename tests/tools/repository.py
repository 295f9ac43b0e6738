"""A real repository, and ways to change it from outside of the code that is tested."""

from collections.abc import Mapping
from pathlib import Path

from releaser.system.process import Runner
from releaser.tools.git import Git
from tests.support.commands import clean_environment, git_executable, run
from tests.support.templates import write_files

SECONDS = 60.0


class Repository:
    """A checkout, `site` unless it has another name, and the git that is tested."""

    def __init__(self, base: Path, name: str = "site") -> None:
        self.path = base / name
        self.env = clean_environment(base / "home", base / "cache")
        self.git = Git(runner=Runner(environ=self.env), root=self.path, timeout=SECONDS, hooks=True)

    def call(self, *words: str | Path) -> str:
        return run([git_executable(), *words], cwd=self.path, env=self.env, check=0).stdout.strip()

    def commit(self, files: Mapping[str, str], message: str = "Work") -> str:
        write_files(self.path, files)
        self.call("add", "--all")
        self.call("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "--quiet", "-m", message)
        return self.call("rev-parse", "HEAD")

    def hook(self, name: str, script: str) -> Path:
        path = self.path / ".git" / "hooks" / name
        write_files(self.path, {f".git/hooks/{name}": f"#!/bin/sh\n{script}\n"})
        path.chmod(0o755)
        return path
