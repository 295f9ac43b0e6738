"""A project without git, which answers what git is asked elsewhere: its code is what lies there, without commits."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from releaser.errors import ToolError
from releaser.system.files import read_file, read_if_there, replace_file
from releaser.tools.git import Git, Weight
from releaser.tools.git_state import CheckoutState, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURES = (".py", ".env", ".toml", ".ini", ".cfg", ".yaml", ".yml")  # files of code and configuration
_CODE = (*CONFIGURES, ".html", ".jinja", ".jinja2")  # a site writes files of other kinds while it runs
_DATA = frozenset({"media", "static", "staticfiles", "uploads"})  # where visitors and collectstatic bring other files
NOTES = ("staging", "staging-live", "staging-beside")  # of staging trees, in the state directory
SMALL = 1024 * 1024  # bytes; a file that is larger is linked into a staging tree, and not copied
# Never of any use to the tests of another commit, and some would be written to.
CACHES = (
    "__pycache__", "*.pyc", "*.egg-info", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".nox", ".hypothesis",
    ".coverage", ".coverage.*", ".git", ".releaser", ".*.releaser-staging*",
)  # fmt: skip


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of these patterns is for a path: for all of it if the pattern has a slash, else for its last part."""
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name if "/" in one else last, one.rstrip("/")) for one in patterns)


def is_code(name: str) -> bool:
    """Whether a file is code or configuration: below a directory of data, only Python and templates are."""
    above = name.split("/")[:-1]
    is_data = not _DATA.isdisjoint(above) and "templates" not in above
    return name.endswith(".py" if is_data else _CODE)


class PlainDirectory(Git):
    """The project at `root`. A commit is named by the empty text; what cannot be answered raises ToolError."""

    state_dir: Path
    #: The patterns of what is linked into a staging tree or left out of it, and of what is copied in any case.
    left_out: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    #: The symlink and the state directory.
    own: frozenset[Path] = frozenset()

    @functools.cached_property
    def layout(self) -> Layout:
        """The directory itself; what git keeps beside the files, releaser keeps in the state directory."""
        return Layout(top=self.root, git_directory=self.state_dir, common_directory=self.state_dir)

    def state(self) -> CheckoutState:
        """Tell of no branch, no commit and no edit."""
        return CheckoutState(branch=None, head=None, dirty=(), untracked=())

    def commit(self, name: str) -> str:  # noqa: ARG002 - as of git
        """Return what stands for the code that lies here."""
        return ""

    def subject(self, commit: str) -> str:  # noqa: ARG002
        """Return no message."""
        return ""

    def content(self, commit: str, path: str) -> str | None:  # noqa: ARG002
        """Know no earlier content of any file."""
        return None

    def reference(self, name: str) -> str | None:  # noqa: ARG002
        """Know no reference."""
        return None

    def remove_dead_locks(self, since: float, *, index: bool = True) -> bool:  # noqa: ARG002
        """Have no lock files."""
        return True

    def unknown_files(self) -> list[str]:
        """List all files, except what is linked, left out, or releaser's own."""
        return [name for name, _ in self._walk()]

    def read_code(self) -> dict[str, str]:
        """Map the files of code and configuration to digests of what they hold now, links to directories included."""
        found = {}
        for name, entry in self._walk(links=True):
            is_link = entry.is_symlink() and entry.is_dir()
            if is_link or is_code(name):
                with contextlib.suppress(OSError):  # it goes meanwhile, or is not for this user
                    data = os.fsencode(os.readlink(entry.path)) if is_link else read_file(entry.path, most=None)
                    found[name] = hashlib.sha256(data).hexdigest()
        return found

    def _tree(self, commit: str) -> list[str]:  # noqa: ARG002
        """List the code as git does that of a commit; it is the same for all of a run."""
        remembered, question = self.runner.remembered, ("code", str(self.root))
        if question not in remembered:
            remembered[question] = "\0".join(f"100644 blob {one}\t{name}" for name, one in self.read_code().items())
        return remembered[question].split("\0")

    def weigh(self) -> dict[str, Weight]:
        """Tell what is copied into a staging tree, by the entry of the project."""
        found: dict[str, Weight] = {}
        for name, entry in self._walk():
            with contextlib.suppress(OSError):
                size, top = entry.stat(follow_symlinks=False).st_size, name.partition("/")[0]
                if size <= SMALL:
                    so_far = found.get(top, Weight())
                    found[top] = Weight(files=so_far.files + 1, bytes=so_far.bytes + size)
        return found

    def _walk(self, directory: str = "", *, links: bool = False) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield the files below a directory by their paths in the project, and `links` to directories if asked."""
        try:
            entries = sorted(os.scandir(self.root / directory), key=lambda one: one.name)
        except OSError:  # it goes meanwhile, or is not for this user
            return
        for entry in entries:
            name = f"{directory}{entry.name}"
            if self._is_apart(name, entry):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(f"{name}/", links=links)
            elif entry.is_file() or (links and entry.is_dir()):
                yield name, entry

    def _is_apart(self, name: str, entry: os.DirEntry[str]) -> bool:
        if self.root / name in self.own or matches(name, self.left_out):
            return True
        is_cache = matches(name, CACHES) or os.path.lexists(os.path.join(entry.path, "pyvenv.cfg"))
        return is_cache and not matches(name, self.copied)

    # The staging trees, which are copies

    def add_work_tree(self, place: Path, commit: str) -> None:  # noqa: ARG002
        """Make a directory, and note that it is releaser's. Raises OSError."""
        replace_file(self._note_of(place), str(place).encode(), private=True)
        place.mkdir()

    def has_work_tree(self, place: Path) -> bool:
        """Whether releaser has made the directory, or was about to."""
        return read_if_there(self._note_of(place)) == str(place).encode()

    def forget_work_tree(self, place: Path) -> None:
        """Delete the note of a directory. Raises OSError."""
        self._note_of(place).unlink(missing_ok=True)

    def _note_of(self, place: Path) -> Path:
        return self.state_dir / place.name.rpartition(".releaser-")[2]  # one of NOTES

    def clone_submodules(self, commit: str, place: Path) -> None:
        """Remember the code that has been copied to `place`, before anything runs there."""
        replace(self, root=place)._tree(commit)

    def shadow(self, place: Path) -> Git:  # noqa: ARG002
        """Return this one, as nothing is written where nothing is fetched."""
        return self

    def fill_shadow(self, place: Path, commit: str) -> None:
        """Check nothing out: all files are copied."""

    def _run(self, *words: str, **_: object) -> NoReturn:
        message = f"{self.root} is not under git, and `git {words[0]}` was asked for"
        raise ToolError(message, advice="Put the project under git for that: `git init`.")
