"""Answers of programs from earlier runs, which count as long as all that they depend on looks the same.

They only save time: each run asks again without them, and the answer has to fit.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from releaser.system.digests import hex_digest
from releaser.system.files import only_files, read_if_there, replace_file
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

UV_VERSION, PYTHON = StateFile(name="answer-uv-version"), StateFile(name="answer-python")
#: The state files.
ANSWERS = (UV_VERSION, PYTHON)
_PROGRAM = b"\x7fELF"  # begins a program; a script may start another program tomorrow


def ask_unless_known(
    file: Path, looks: object, ask: Callable[[], str], *, fits: Callable[[str], object], keeps: bool
) -> str:
    """Return the answer in `file` if it was given for the same `looks`, and fits; otherwise ask.

    A fitting answer is then kept in the file, if `keeps`. Raises the errors of `ask`.
    """
    digest = hex_digest(repr(looks).encode("utf-8", "surrogateescape"))
    with contextlib.suppress(OSError, UnicodeDecodeError):
        given_for, _, known = (read_if_there(file) or b"").decode().partition("\n")
        if given_for == digest and fits(known):
            return known
    answer = ask()
    if keeps and fits(answer):
        with contextlib.suppress(OSError, UnicodeEncodeError):  # such as on a full disk
            replace_file(file, f"{digest}\n{answer}".encode(), private=True)
    return answer


def look_at_files(paths: Iterable[str | Path]) -> tuple[tuple[int, ...] | None, ...]:
    """Return for each file what changes with its content; None if it does not exist. Symlinks are followed."""
    return tuple(map(_look_at, paths))


def look_at_program(path: str | Path) -> tuple[int, ...] | None:
    """Return what changes with a program; None for a script, without one, and for one that may start any other.

    Such a launcher, of snap or mise, has another name: it looks the same whatever it starts.
    """
    try:
        with open(path, "rb", opener=only_files) as file:
            is_program = file.read(len(_PROGRAM)) == _PROGRAM
    except OSError:
        return None
    is_itself = os.path.basename(os.path.realpath(path)).startswith(os.path.basename(path))
    return _look_at(path) if is_program and is_itself else None


def _look_at(path: str | Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # No program can set the change time.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
