"""Finds untracked files that a move of the checkout would overwrite or remove.

git itself protects only files that it does not ignore. It overwrites ignored files, and removes whole directories of
these where a commit has a file or a symlink (git-reset(1), git-merge(1), `--no-overwrite-ignore`).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from typing import TYPE_CHECKING

from releaser.system.frozen import Frozen
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

_GONE, _SUBMODULE = "000000", "160000"  # modes of git-diff-tree(1)
_REPLACED = "\N{REPLACEMENT CHARACTER}"


class Move(Frozen):
    """One path that a move of the checkout changes, with git's octal modes before and after."""

    old: str
    new: str
    new_id: str
    path: str

    @property
    def writes(self) -> bool:
        """True if the path exists after the move."""
        return self.new != _GONE

    @property
    def is_of_submodule(self) -> bool:
        """True if a submodule is at the path after the move."""
        return self.new == _SUBMODULE

    @property
    def stays_submodule(self) -> bool:
        """True if a submodule is at the path before and after the move."""
        return self.old == self.new == _SUBMODULE


def parse_moves(raw: str) -> list[Move]:
    """Parse the output of `git diff-tree -r -z`."""
    words = raw.split("\0")
    return [
        Move(old=modes[1:7], new=modes[8:14], new_id=modes.split()[3], path=path)
        for modes, path in zip(words[::2], words[1::2], strict=False)
    ]


def find_in_the_way(top: Path, moves: Iterable[Move], tracked: Collection[str]) -> list[str]:
    """List the untracked paths that the moves would overwrite or remove; the path of a directory ends with a slash.

    `top` is the work tree, to which all paths are relative; `tracked` are its tracked files before the move.
    """
    directories = {path[:end] for path in tracked for end in _slashes(path)}
    found = {path: None for move in moves if move.writes for path in _blocking(top, move, tracked, directories)}
    return list(found)


def are_related(path: str, other: str) -> bool:
    """True if two paths are the same, or one is below the other."""
    one, two = f"{path.rstrip('/')}/", f"{other.rstrip('/')}/"
    return one.startswith(two) or two.startswith(one)


def describe_in_the_way(paths: Sequence[str], commit: str) -> str:
    """Name which paths are in the way of a move to a commit."""
    verb, pronoun = ("is", "it") if len(paths) == 1 else ("are", "them")
    return f"{first_few(paths)} {verb} not tracked by git, and commit {commit[:12]} would overwrite or remove {pronoun}"


def advise_in_the_way(paths: Sequence[str], top: Path) -> str:
    """Return the advice for moving the first path out of the way."""
    words = shlex.join(("mv", str(top / paths[0].rstrip("/")), f"{top.parent}/"))
    return f"Move it out of the checkout, for example: `{words}`. Or change the commit."


def _blocking(top: Path, move: Move, tracked: Collection[str], directories: Collection[str]) -> Iterator[str]:
    """Yield the untracked paths at, above and below one path that git will write."""
    for end in _slashes(move.path):
        above = move.path[:end]
        mode = _mode(_find(top, above))
        if mode is None or not stat.S_ISDIR(mode):
            if mode is not None and above not in tracked:
                yield above
            return
    place = _find(top, move.path)
    mode = _mode(place)
    if mode is None:
        return
    if not stat.S_ISDIR(mode):
        if move.path not in tracked:
            yield move.path
    elif move.new == _SUBMODULE:  # git writes no file into an existing directory
        return
    elif move.path not in directories:
        if move.old != _SUBMODULE or os.listdir(place):
            yield f"{move.path}/"
    else:
        yield from (path for path in _files_below(top, move.path) if path not in tracked)


def _files_below(top: Path, directory: str) -> Iterator[str]:
    """Yield all files below a directory, not following symlinks; an unreadable directory is yielded itself."""
    try:
        entries = sorted(os.scandir(_find(top, directory)), key=lambda entry: entry.name)
    except OSError:
        yield f"{directory}/"
        return
    for entry in entries:
        path = f"{directory}/{_decode(entry.name)}"
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(top, path)
        else:
            yield path


def _find(top: Path, path: str) -> Path:
    """Return the place of a path that git printed; in output, bytes that are not UTF-8 are replaced."""
    if _REPLACED not in path:
        return top / path
    place = top
    for name in path.split("/"):
        others: list[str] = []
        with contextlib.suppress(OSError):
            others = [entry for entry in os.listdir(place) if _REPLACED in name and _decode(entry) == name]
        place /= others[0] if others else name
    return place


def _decode(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")


def _slashes(path: str) -> Iterator[int]:
    """Yield the position of each slash in a path."""
    end = path.find("/")
    while end >= 0:
        yield end
        end = path.find("/", end + 1)


def _mode(path: Path) -> int | None:
    """Return the mode of a path itself; None if it is missing or cannot be examined."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None
