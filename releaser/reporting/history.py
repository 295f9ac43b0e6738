"""The history: one JSON object a line, one line a run, oldest first."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from releaser.system.files import IrregularFileError, plain, read_text, sync_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.report import RunReport

HISTORY = "history.jsonl"
_LEFT_OUT = ("output",)  # it is in the log and, for tests, in the release


def report_as_json(report: RunReport) -> dict[str, Any]:
    """Return a report as `--json` prints it."""
    return {**plain(report), "problems": list(map(str, report.problems))}


def append(state_dir: Path, report: RunReport) -> None:
    """Add a run, durably. A line that a crash cut off is closed first. Raises OSError."""
    line = {key: value for key, value in report_as_json(report).items() if key not in _LEFT_OUT}
    is_new = not (state_dir / HISTORY).exists()
    descriptor = os.open(state_dir / HISTORY, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o664)
    try:
        with contextlib.suppress(PermissionError):  # it is another user's, who has opened it to the group
            os.fchmod(descriptor, 0o664)
        size = os.fstat(descriptor).st_size
        cut_off = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if cut_off else b"") + _encode(line) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(state_dir)


def _encode(line: Mapping[str, Any]) -> bytes:
    # Bytes of a path that are not UTF-8 become escapes that JSON knows.
    return json.dumps(line, ensure_ascii=False, default=plain).encode(errors="backslashreplace")


def read(state_dir: Path) -> list[dict[str, Any]]:
    """Return every run that can be read, newest first; damaged lines are skipped.

    What is no file counts as no history; a run moves it aside.
    """
    try:
        text = read_text(state_dir / HISTORY, errors="replace")
    except (FileNotFoundError, IsADirectoryError, IrregularFileError):
        return []
    found = []
    for line in reversed(text.split("\n")):  # and not at what else Unicode takes for the end of a line
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            found.append(content)
    return found
