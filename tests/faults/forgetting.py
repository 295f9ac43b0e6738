"""A disk that keeps nothing but what was synced, as POSIX has it: stricter than any file system at hand.

Data of a file lasts once the file is synced, an entry of a directory once the directory is; syncfs(2) makes everything
last. What has not been synced is undone: all of it or, as a file system may write in another order, the oldest alone.
What other programs write is seen only as files that are there: they lose their data, and keep their names.
"""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_EXCHANGE = 2
_HERE = -100
_WITHOUT_DATA = ("logs", "__pycache__", "lock", "lock.holder")  # nothing depends on what is in these


@dataclass(kw_only=True, eq=False)
class _Change:
    """A change of an entry that is not synced; `directory` is the one whose sync makes it last."""

    directory: str
    path: str
    undo: Callable[[], None]
    created: bool = False


@dataclass(kw_only=True, eq=False)
class _Data:
    """Data of a file that is not synced; `before` is what the file held when it last was, None if it never was."""

    path: str
    before: bytes | None


class ForgetfulDisk:
    """Keeps account of what lasts below `root`; the directories `apart` are other machines'."""

    def __init__(self, root: str, *, apart: Collection[str]) -> None:
        self.root = os.path.realpath(root)
        self._apart = frozenset(apart)
        self._kept = tempfile.mkdtemp(prefix="kept-", dir=os.path.dirname(self.root))
        self._number = 0
        self._pending: list[_Change | _Data] = []
        self._lasting: dict[tuple[int, int], tuple[int, int]] = {}
        self.all_is_synced()

    # What happens

    def will(self, event: str, path: str, args: tuple[Any, ...]) -> None:
        """Take note of a change that is about to be made."""
        match event:
            case "open":
                self._will_write(path)
            case "os.rename":
                self._will_rename(path, args[0])
            case "os.remove":
                self._will_remove(path)
            case "os.rmdir":
                self._will_remove_directory(path)
            case "os.mkdir" | "os.symlink" | "os.link":
                self._will_make(path)

    def has_exchanged(self, first: str, second: str) -> None:
        """Take note that two entries have been exchanged."""

        def undo() -> None:
            ctypes.CDLL(None).renameat2(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE)

        self._changes(first, undo)

    def is_synced(self, descriptor: int) -> None:
        """Let the data of a file, or the entries of a directory, last."""
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if os.path.isdir(path):
            self._pending = [one for one in self._pending if isinstance(one, _Data) or one.directory != path]
            return
        self._lasts(path)
        self._pending = [one for one in self._pending if isinstance(one, _Change) or one.path != path]

    def all_is_synced(self) -> None:
        """Let everything last."""
        self._pending.clear()
        for path in self._files():
            self._lasts(path)

    def repository_is_synced(self, checkout: str) -> None:
        """Let what git has written last: it was told to sync it."""
        for path in self._files():
            if path.startswith(f"{checkout}/.git/"):
                self._lasts(path)

    # The cut

    def lose(self, how: str) -> None:
        """Undo what does not last, latest first: all, the oldest that can be, or all but the directory changed last."""
        if how == "reorder":
            self._undo_oldest()
        else:
            entries = [one for one in self._pending if isinstance(one, _Change)]
            kept = entries[-1].directory if how == "newest lasts" and entries else None
            for one in reversed(self._pending):
                if not (isinstance(one, _Change) and one.directory == kept):
                    self._undo(one)
            for path in list(self._files()):
                if not self._is_lasting(path):
                    os.truncate(path, 0)
        shutil.rmtree(self._kept)

    def _undo_oldest(self) -> None:
        noted = {one.path for one in self._pending if isinstance(one, _Data)}
        strange = [path for path in self._files() if not self._is_lasting(path) and path not in noted]
        for one in self._pending:
            if isinstance(one, _Change) and one.created:
                continue  # without what was made later in its place it means nothing
            if self._undo(one):
                return
        for path in strange:
            os.truncate(path, 0)

    def _undo(self, one: _Change | _Data) -> bool:
        if isinstance(one, _Data):
            if not _is_file(one.path) or self._is_lasting(one.path):
                return False
            Path(one.path).write_bytes(one.before or b"")
            self._lasts(one.path)
            return True
        try:
            one.undo()
        except OSError:
            return False  # a later change has built on it
        return True

    # Each kind of change

    def _will_write(self, path: str) -> None:
        if os.path.lexists(path) and not _is_file(path):
            return
        there = os.path.exists(path)
        if not there:
            self._changes(path, lambda: os.unlink(path), created=True)
        before = Path(path).read_bytes() if there and self._is_lasting(path) else None
        if before is not None or not there:
            self._add(_Data(path=path, before=before))

    def _will_rename(self, path: str, old: Any) -> None:
        source = os.path.join(os.path.realpath(os.path.dirname(os.fsdecode(old))), os.path.basename(os.fsdecode(old)))
        made = self._forget_creation(source)
        for one in self._pending:
            if isinstance(one, _Data) and one.path == source:
                one.path = path
        kept = self._keep(path)

        def undo() -> None:
            Path(path).rename(source)
            if kept is not None:
                Path(kept).rename(path)
            if made:
                os.unlink(source)

        self._changes(path, undo)

    def _will_remove(self, path: str) -> None:
        made = self._forget_creation(path)
        kept = self._keep(path)
        if kept is None or made:
            return

        def undo() -> None:
            if os.path.lexists(path):
                raise FileExistsError(path)
            Path(kept).rename(path)

        self._changes(path, undo)

    def _will_remove_directory(self, path: str) -> None:
        mode = os.stat(path).st_mode & 0o7777

        def undo() -> None:
            Path(path).mkdir()
            os.chmod(path, mode)

        self._changes(path, undo)

    def _will_make(self, path: str) -> None:
        if os.path.lexists(path):
            return

        def undo() -> None:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

        self._changes(path, undo, created=True)

    # Accounts

    def _changes(self, path: str, undo: Callable[[], None], *, created: bool = False) -> None:
        self._add(_Change(directory=os.path.dirname(path), path=path, undo=undo, created=created))

    def _forget_creation(self, path: str) -> bool:
        """Tell whether an entry was created and not synced; what follows takes the place of that."""
        made = [one for one in self._pending if isinstance(one, _Change) and one.created and one.path == path]
        self._pending = [one for one in self._pending if one not in made]
        return bool(made)

    def _add(self, one: _Change | _Data) -> None:
        if self._is_ours(one.path):
            self._pending.append(one)

    def _is_ours(self, path: str) -> bool:
        parts = Path(os.path.relpath(path, self.root)).parts
        return parts[0] != ".." and parts[0] not in self._apart and not set(parts) & set(_WITHOUT_DATA)

    def _keep(self, path: str) -> str | None:
        """Keep what a path leads to under another name, for the undoing."""
        if not self._is_ours(path):
            return None
        self._number += 1
        kept = os.path.join(self._kept, str(self._number))
        try:
            os.link(path, kept, follow_symlinks=False)
        except OSError:  # there is nothing, or a directory
            return None
        return kept

    def _files(self) -> Iterator[str]:
        for place, directories, files in os.walk(self.root):
            if place == self.root:
                directories[:] = [name for name in directories if name not in self._apart]
            directories[:] = [name for name in directories if name not in _WITHOUT_DATA]
            for name in set(files) - set(_WITHOUT_DATA):
                path = os.path.join(place, name)
                if _is_file(path):
                    yield path

    def _lasts(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path)
            self._lasting[status.st_dev, status.st_ino] = (status.st_mtime_ns, status.st_size)

    def _is_lasting(self, path: str) -> bool:
        status = os.stat(path)
        if status.st_nlink > 1:  # a link to uv's cache, which was there before: its data is older than its name
            return True
        return self._lasting.get((status.st_dev, status.st_ino)) == (status.st_mtime_ns, status.st_size)


def _is_file(path: str) -> bool:
    return Path(path).is_file() and not os.path.islink(path)
