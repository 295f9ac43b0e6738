"""Answers of git about a checkout: its layout, branch, changed files and commits."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from releaser.system.expression import expression
from releaser.system.files import read_if_there, read_text
from releaser.system.frozen import Frozen

# Files that exist while an operation waits for a person; see gitrepository-layout(5) and the source of `git status`.
_IN_PROGRESS = {
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}
# References that only releaser uses. They belong to one work tree (git-worktree(1), "REFS"), as another work tree of
# the same repository may be another site, on another branch.
OURS = "refs/worktree/releaser/"
WHOLE_ID = expression(r"[0-9a-f]{40}|[0-9a-f]{64}")  # of SHA-1 and SHA-256
_FIELDS = {"1 ": 8, "2 ": 9, "u ": 10}  # fields before the path, by the kind of line of `git status`
_READ_FIRST = (
    "HEAD", "index", "config", "config.worktree", "packed-refs", "shallow", "info/exclude", "info/attributes",
    "objects/info/alternates",
)  # fmt: skip


class Layout(Frozen):
    """The top of the work tree, and the directories of the repository."""

    top: Path
    git_directory: Path
    common_directory: Path

    @classmethod
    def usual(cls, root: Path) -> Layout | None:
        """Return the layout if `root` has a whole repository of this user in `.git`; None if only git can find it.

        Git takes that directory first (gitrepository-layout(5)), but its settings may name another work tree.
        """
        top = Path(os.path.realpath(root))
        own = top / ".git"
        found = cls(top=top, git_directory=own, common_directory=own)
        try:
            is_own = {top.stat().st_uid, own.lstat().st_uid} == {os.geteuid()}  # of others, git takes few
            is_whole = all(stat.S_ISDIR(place.lstat().st_mode) for place in (own, own / "objects", own / "refs"))
        except OSError:
            return None
        has_head = found.branch() is not None or found.read("HEAD") is not None
        return found if is_own and is_whole and has_head and not os.path.lexists(own / "commondir") else None

    def read(self, name: str) -> str | None:
        """Return the commit of HEAD, of a branch or a reference of releaser; None if only git can read it.

        HEAD names a branch, which has a file unless it is packed (gitrepository-layout(5)).
        """
        is_shared = name.startswith(("refs/heads/", "refs/remotes/"))
        if name != "HEAD" and not is_shared and not name.startswith(OURS):
            return None
        with contextlib.suppress(OSError):
            text = read_text((self.common_directory if is_shared else self.git_directory) / name, errors="replace")
            if text.startswith("ref: refs/heads/"):
                text = read_text(self.common_directory / text[5:].rstrip("\n"), errors="replace")
            return text[:-1] if WHOLE_ID.fullmatch(text[:-1]) else None
        return None

    def branch(self) -> str | None:
        """Return the branch of HEAD; None without one, or if only git can read it, as with the format reftable."""
        with contextlib.suppress(OSError):
            kind, _, name = read_text(self.git_directory / "HEAD", errors="replace").partition("refs/heads/")
            return name.rstrip("\n") if kind == "ref: " and not name.startswith(".") else None
        return None

    def in_progress(self) -> str | None:
        """Return the operation that waits for a person to finish it; None without one."""
        return next((words for name, words in _IN_PROGRESS.items() if (self.git_directory / name).exists()), None)


class Commit(Frozen):
    """One commit: its id, the first line of its message, and who wrote it."""

    id: str
    subject: str
    author: str


class Listing(Frozen):
    """The untracked and the overlooked files of a work tree, relative to its top."""

    #: The untracked files, ignored or not. A directory without tracked files is one entry, which ends with a slash.
    unknown: tuple[str, ...]
    #: The tracked files whose edits `git status` does not show (git-update-index(1)).
    overlooked: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Listing:
        """Parse `git ls-files -v --cached --others --directory -z`: a letter and a space precede each path."""
        lines = [line for line in text.split("\0") if line]
        overlooked = tuple(line[2:] for line in lines if line[0].islower() or line[0] == "S")
        return cls(unknown=tuple(line[2:] for line in lines if line[0] == "?"), overlooked=overlooked)


class CheckoutState(Frozen):
    """The answer of `git status`, and the listing if git was asked for it.

    `branch` is None on a detached HEAD, `head` None before the first commit. `dirty` and `untracked` hold paths
    relative to the top of the work tree.
    """

    branch: str | None
    head: str | None
    dirty: tuple[str, ...]
    untracked: tuple[str, ...]
    listing: Listing | None = None


def parse_status(text: str) -> CheckoutState:
    """Parse `git status --porcelain=v2 --branch -z` (git-status(1), "Porcelain Format Version 2")."""
    branch: str | None = None
    head: str | None = None
    dirty: list[str] = []
    untracked: list[str] = []
    fields = iter(text.split("\0"))
    for line in fields:
        if line.startswith("# branch.head "):
            name = line.removeprefix("# branch.head ")
            branch = None if name == "(detached)" else name
        elif line.startswith("# branch.oid "):
            oid = line.removeprefix("# branch.oid ")
            head = None if oid == "(initial)" else oid
        elif line.startswith("? "):
            untracked.append(line[2:])
        elif line[:2] in _FIELDS:
            dirty.append(line.split(" ", _FIELDS[line[:2]])[-1])
            if line.startswith("2 "):
                next(fields, None)  # the old path of a renamed file
    return CheckoutState(branch=branch, head=head, dirty=tuple(dirty), untracked=tuple(untracked))


def files_of_git(root: Path) -> list[Path]:
    """List the files that git reads for any command in a checkout, even a linked work tree.

    See gitrepository-layout(5). Some commands, such as a fetch, also read files of other branches.
    """
    top = next((place for place in (root, *root.parents) if os.path.lexists(place / ".git")), None)
    files = [place / name for place in {root, top or root} for name in (".gitignore", ".gitattributes")]
    if top is None:
        return files
    own = top / ".git"
    if not own.is_dir():
        files.append(own)
        own = top / _line(own).removeprefix("gitdir: ")
    common = Path(os.path.normpath(own / _line(own / "commondir")))
    files += (place / name for place in dict.fromkeys((own, common)) for name in _READ_FIRST)
    return [*files, own / "commondir", common / _line(own / "HEAD").removeprefix("ref: "), *(own / OURS).rglob("*")]


def _line(file: Path) -> str:
    """Return the content of a file of one line; empty if it cannot be read."""
    return os.fsdecode(read_if_there(file) or b"").strip().replace("\0", "")
