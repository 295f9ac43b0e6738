"""The log of a run: everything, in a file of its own in the state directory; the newest ones are kept."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import TextIOWrapper
    from pathlib import Path

    from releaser.redaction import Redactor

KEPT = 30
_MODE = 0o660  # whatever the umask is


class _CleanFormatter(logging.Formatter):
    """Formats a record, exceptions included, without any secret."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.clean(super().format(record))


class _LogFile(logging.FileHandler):
    """A log that cannot be written, as on a full disk, is done without: what matters can still be said."""

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        os.fchmod(stream.fileno(), _MODE)
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging gives it
        """Say nothing."""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def run_log(directory: Path, run_id: str, redactor: Redactor) -> Iterator[Path]:
    """Log everything that happens inside to `<directory>/<run_id>.log`; keep the newest `KEPT` logs."""
    path = directory / f"{run_id}.log"
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        _remove_old(directory, keep=KEPT - 1)
    handler = _LogFile(path, encoding="utf-8", errors="replace", delay=True)
    handler.setFormatter(_CleanFormatter(redactor))
    logger = logging.getLogger("releaser")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def _remove_old(directory: Path, *, keep: int) -> None:
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in logs[keep:]:
        with contextlib.suppress(OSError):
            path.unlink()
