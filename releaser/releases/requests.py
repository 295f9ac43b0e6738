"""The requests of the page of `releaser serve`: the directory in which they wait, and the record of those taken.

The page publishes each request as a file, by a rename. A run trusts neither the directory nor the files: it checks who
could have written there, follows no link, reads little, and deletes a request before it acts on it.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from releaser.errors import Finding, os_reason
from releaser.system.files import UnreadableStateError, encode_state, read_state, replace_file
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile
from releaser.system.trusted_files import find_other_writer

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

#: Requests that wait longer are not carried out: a nightly run has come and gone.
OLDEST = timedelta(hours=26)
#: The most requests that wait for one site before the page refuses more.
MOST_WAITING = 20
_FILE = r"[0-9a-f]{32}\.json"
_LISTED = 1000  # entries of the directory that one look reads
_LARGEST = 8192  # bytes of a request
_KEPT = 50  # requests in the record


class TakenRequest(Frozen):
    """A request that a run has taken, and its result."""

    id: str
    #: The request in a few words.
    what: str
    #: The person, as far as known, and the user of the page.
    by: str
    #: When it was made, as ISO 8601.
    at: str
    #: The result of its run; `refused` also for a request that no run began for, empty until the run ends.
    result: str = ""
    #: The exit code of its run; null without one.
    exit_code: int | None = None
    headline: str = ""


class TakenRequests(Frozen):
    """The record of the requests that were taken, newest first."""

    requests: tuple[TakenRequest, ...] = ()

    def with_request(self, new: TakenRequest) -> TakenRequests:
        """Return the record with one more request, or with another result of a known one."""
        others = (one for one in self.requests if one.id != new.id)
        return TakenRequests(requests=(new, *itertools.islice(others, _KEPT - 1)))


REQUESTS = StateFile(name="requests.json", type=TakenRequests, substitute=TakenRequests())


def read_taken(state_dir: Path) -> TakenRequests:
    """Return the record; an empty one if it is missing or unreadable. Raises OSError."""
    try:
        return read_state(state_dir / REQUESTS, TakenRequests) or TakenRequests()
    except UnreadableStateError:
        return TakenRequests()


def find_unsafe(directory: Path, owner: int) -> Finding | None:
    """Return why requests in a directory cannot be trusted to come from `owner` or a group that the owner chose."""
    right = (
        f"`install -d -m 0700 {directory}`, or, for a page of another user, `install -d -m 3770 -g GROUP {directory}`"
    )
    advice = f"As the owner of the site, make the directory: {right}. Let that user be the only member of GROUP."
    try:
        found = os.lstat(directory)
        above = find_other_writer(directory.parent, owner)
    except OSError as error:
        message = f"request_dir {directory} cannot be used: {os_reason(error)}"
        return Finding("request-dir-unusable", message, advice)
    flaws = {
        "is not a directory": not stat.S_ISDIR(found.st_mode),
        "does not belong to the owner of the site": found.st_uid != owner,
        "is writable by all users": found.st_mode & stat.S_IWOTH,
        "lets each member of its group replace other members' requests": (found.st_mode & stat.S_IWGRP)
        and not found.st_mode & stat.S_ISVTX,
    }
    flaw = next((words for words, applies in flaws.items() if applies), "")
    if flaw:
        return Finding("request-dir-unsafe", f"request_dir {directory} {flaw}", advice)
    return above


class Waiting(Frozen):
    """A file with a request. The content is None if it cannot be used, and `flaw` says why."""

    id: str
    at: datetime
    #: The user who wrote it.
    user: int
    content: bytes | None = None
    flaw: str = ""


class Requests:
    """The open directory in which requests wait. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self.descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def waiting(self) -> list[Waiting]:
        """Return the requests that wait, oldest first. Other files are ignored."""
        with os.scandir(self.descriptor) as entries:
            names = [entry.name for entry in itertools.islice(entries, _LISTED) if re.fullmatch(_FILE, entry.name)]
        return sorted(filter(None, map(self._read, names)), key=lambda one: (one.at, one.id))

    def take(self, one: Waiting) -> bool:
        """Delete a request, before it is carried out: no crash can repeat it. False if it is gone already."""
        try:
            os.unlink(f"{one.id}.json", dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        os.fsync(self.descriptor)
        return True

    def _read(self, name: str) -> Waiting | None:
        try:
            seen = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:  # taken meanwhile
            return None
        at = datetime.fromtimestamp(seen.st_ctime, UTC)  # which no program can set
        made = Waiting(id=name.removesuffix(".json"), at=at, user=seen.st_uid)
        if not stat.S_ISREG(seen.st_mode):
            return _with_flaw(made, "it is not a regular file")
        try:
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.descriptor
            )
        except OSError as error:
            return _with_flaw(made, f"it cannot be read: {error.strerror}")
        try:
            found, content = os.fstat(descriptor), os.read(descriptor, _LARGEST + 1)
        finally:
            os.close(descriptor)
        flaws = {
            "it is not a regular file": not stat.S_ISREG(found.st_mode),
            "it has more than one hard link": found.st_nlink > 1,
            "other users can write to it": found.st_mode & (stat.S_IWGRP | stat.S_IWOTH),
            f"it is larger than {_LARGEST} bytes": len(content) > _LARGEST,
        }
        flaw = next((words for words, applies in flaws.items() if applies), "")
        return _with_flaw(made, flaw) if flaw else Waiting(id=made.id, at=at, user=found.st_uid, content=content)


def _with_flaw(made: Waiting, flaw: str) -> Waiting:
    return Waiting(id=made.id, at=made.at, user=made.user, flaw=flaw)


def decode(content: bytes, kind: type[T]) -> T | None:
    """Return a request of this type from the content of its file; None if it is not one."""
    import msgspec

    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def leave(directory: Path, wanted: object) -> str:
    """Publish a request, and return its id. Raises OSError.

    The owner of the site may be no member of the group of the page, so the directory alone keeps others from reading.
    """
    import secrets  # slow to import, for an update

    number = secrets.token_hex(16)
    replace_file(directory / f"{number}.json", encode_state(wanted), mode=0o644)
    return number
