"""`bootstrap`: a file that starts an application where neither it nor releaser is installed yet."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from packaging.requirements import Requirement

from releaser.errors import UsageError
from releaser.site import values
from releaser.system.files import read_if_there
from releaser.system.frozen import Frozen
from releaser.system.words import secrets_in_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TEMPLATE = Path(__file__).parent.parent / "tools" / "starter.py"
_DOWNLOAD = _TEMPLATE.with_name("starter_s3.py")
_IS_THERE = "python -c \"import importlib.metadata as m; m.version('{}')\""
T = TypeVar("T")
_MADE = "# Made by `releaser bootstrap`. SHA-256 of what follows: "


class Starter(Frozen):
    """The options of a starter: the application to start, and the packages of its environment."""

    name: str
    requirements: Sequence[str]
    find_links: Sequence[str] = ()
    run: str = ""
    index: str = ""
    state: str = ""
    refresh: str = "daily"
    limit: str = "5s"
    test: str = ""
    min_age: str = "3d"
    build: bool = False

    def text(self) -> str:
        """Return the text of the file. Raises UsageError."""
        wanted = [_parse_option("--requirement", requirement, Requirement) for requirement in self.requirements]
        first = wanted[0].name
        if not re.fullmatch(r"\w[\w .-]*", self.name, re.ASCII):
            message = f"{self.name!r} cannot name an application and its directory"
            raise UsageError(message, "Use letters and digits in the file name, such as shop.py.")
        if self.name in sys.stdlib_module_names:
            message = (
                f"{self.name!r} is a module of Python, and programs in the same directory would import the file instead"
            )
            raise UsageError(message, "Give the file another name, such as start_it.py.")
        if "://" in self.index and secrets_in_urls(self.index):
            message = "--index contains a password, which everyone who reads the file would see"
            raise UsageError(message, "Remove the password, and write it to ~/.netrc, where uv and pip read it.")
        sources = [link for link in self.find_links if link.startswith(values.S3)]
        directories = [link for link in self.find_links if link not in sources]
        sources = [*_parse_option("--find-links", ",".join(sources), values.s3_prefixes)]
        if remote := [link for link in directories if "://" in link]:
            message = f"--find-links {remote[0]} is neither a directory nor a place in S3"
            raise UsageError(message, "Name a directory or s3://BUCKET/PREFIX, or name an index with --index.")
        if self.refresh not in ("daily", "weekly"):
            _parse_option("--refresh", self.refresh, values.interval)
        _parse_option("--limit", self.limit, values.duration)
        settings = {
            "NAME": self.name,
            "REQUIREMENTS": [*self.requirements],
            "COMMAND": [*_parse_option("--run", self.run or first, values.command)],
            "INDEX": self.index,
            "FIND_LINKS": directories,
            "SOURCES": sources,
            "STATE": self.state,
            "REFRESH": self.refresh,
            "WAIT": self.limit,
            "TEST": [*_parse_option("--test", self.test or _IS_THERE.format(first), values.command)],
            "MIN_AGE": _parse_option("--min-age", self.min_age, values.duration) / 86400,
            # A package given by URL or path may need a build.
            "BUILD": self.build
            or any(requirement.url and not requirement.url.endswith(".whl") for requirement in wanted),
        }
        body = ""
        template = _TEMPLATE.read_text(encoding="utf-8").replace("NAME", self.name, 2)  # in the docstring
        for line in template.splitlines():
            before, is_set, _ = line.partition(" = ")
            name = before.partition(":")[0]
            if name == "_DOWNLOAD" and sources:
                body += f"_DOWNLOAD = r'''{_DOWNLOAD.read_text(encoding='utf-8')}'''\n"
            else:
                body += f"{before} = {settings[name]!r}\n" if is_set and name in settings else f"{line}\n"
        return f"#!/usr/bin/env python3\n{_MADE}{_digest(body)}\n{body}"


def _parse_option(option: str, text: str, read: Callable[[str], T]) -> T:
    try:
        return read(text)
    except ValueError as error:
        message = f"{option} {text}: {error}"
        raise UsageError(message, "See `releaser bootstrap --help`.") from error


def is_unchanged(text: str) -> bool:
    """True if a starter is as releaser made it."""
    first, _, rest = text.partition("\n")
    digest, _, body = rest.partition("\n")
    return first.startswith("#!") and digest == f"{_MADE}{_digest(body)}"


def write_starter(path: Path, text: str) -> None:
    """Write the file atomically. Raises UsageError."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise UsageError(message, "Name a file in an existing directory to which this user can write.") from error


def refuse_edited(path: Path, *, force: bool) -> None:
    """Refuse to overwrite anything but an unedited starter. Raises UsageError."""
    if force and not path.is_dir():
        return
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        message = f"{path} is not a file"
        raise UsageError(message, "Name another file.")
    try:
        content = read_if_there(path)
    except OSError as error:
        message = f"{path} cannot be read: {error}"
        raise UsageError(message, "Name another file.") from error
    if content is not None and not is_unchanged(content.decode("utf-8", errors="replace")):
        message = f"{path} exists, and was edited, or was not written by releaser"
        raise UsageError(message, "Name another file. To overwrite this one, add --force.")


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
