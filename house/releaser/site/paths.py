"""Every path of a site, once."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Paths(msgspec.Struct, frozen=True):
    """The paths of a site: `project` is the checkout's directory with pyproject.toml, `top` that of its repository.

    `link` is the symlink to the live release, `state` the state directory.
    """

    project: Path
    top: Path
    link: Path
    state: Path

    @property
    def outer(self) -> Path:
        """The parent of the project."""
        return self.project.parent

    @property
    def dotenv(self) -> Path:
        """The settings of this host."""
        return self.outer / ".env"

    @property
    def pyproject(self) -> Path:
        """The project's metadata."""
        return self.project / "pyproject.toml"

    @property
    def lockfile(self) -> Path:
        """The committed uv.lock."""
        return self.project / "uv.lock"

    @property
    def lockfile_in_tree(self) -> str:
        """The path of uv.lock as git has it."""
        return self.lockfile.relative_to(self.top).as_posix()

    @property
    def releases(self) -> Path:
        """One directory for each release."""
        return self.state / "releases"

    @property
    def run_lock(self) -> Path:
        """The lock of the site; never deleted."""
        return self.state / "lock"

    @property
    def journal(self) -> Path:
        """The change in progress."""
        return self.state / "journal.json"

    @property
    def holds(self) -> Path:
        """Versions and commits that updates skip."""
        return self.state / "holds.json"

    @property
    def pending(self) -> Path:
        """Commits that are not pushed yet."""
        return self.state / "pending.json"

    @property
    def history(self) -> Path:
        """One line for each run."""
        return self.state / "history.jsonl"

    @property
    def logs(self) -> Path:
        """One file for each run."""
        return self.state / "logs"

    @property
    def cache(self) -> Path:
        """The cache of uv, for releases alone."""
        return self.state / "cache"

    @property
    def reserve(self) -> Path:
        """Files that are deleted to make room on a full disk."""
        return self.state / "reserve"

    @property
    def replaced(self) -> Path:
        """Directories that stood in the place of the link, kept for their owner."""
        return self.state / "replaced"

    def shadow(self, run: str) -> Path:
        """Return the directory of the shadow of a run."""
        return self.state / f"shadow-{run}"
