"""What a run notes for later ones, so that each thing is told once; what is lost here is told again."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from releaser.system.files import load_state, write_state

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

T = TypeVar("T")
logger = logging.getLogger(__name__)

LITTER = "litter.json"
LAST_MAIL = "mail.json"
LEFT_BEHIND = "left-behind.json"
VULNERABILITIES = "vulnerabilities.json"
VULNERABILITIES_UNKNOWN = "vulnerabilities-unknown.json"


@dataclass(frozen=True, kw_only=True)
class Litter:
    """Files that the project's own work left in the work tree, relative to its top."""

    paths: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class LastMail:
    """When somebody last got a mail; None if nobody has."""

    last: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What people have been told of, by a name for each."""

    told: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class UnknownSince:
    """That people have been told that vulnerabilities are not known."""

    since: str = ""


def recall(path: Path, default: T) -> T:
    """Read a note; the default if there is none that can be read."""
    with contextlib.suppress(OSError):
        return load_state(path, default)
    return default


def note(path: Path, content: object) -> None:
    """Write a note; on a full disk there is none, so that people are told once more."""
    try:
        write_state(path, content)
    except OSError as error:
        logger.warning("%s cannot be written: %s", path, error)
