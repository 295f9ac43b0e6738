"""uv.lock: each package with its version and its source."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from releaser.errors import refuse
from releaser.releases.venv import label_version
from releaser.system.text import word

#: The kinds of sources that uv.lock knows (uv 0.13); the last four are directories and files beside the project.
SourceKind = Literal["registry", "git", "url", "virtual", "editable", "directory", "path"]
_KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
#: The tables of options in the text of a lock.
OPTIONS = re.compile(r"^\[options(?:\.[\w-]+)?\]\n.*?(?=^\[)", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(
    r'^exclude-newer-span = "P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?"', re.MULTILINE
)
_TIME = re.compile(r'^exclude-newer = "([^"]*)"', re.MULTILINE)
#: The commands that make the first lock.
FIRST_LOCK = "With the installed versions: `releaser init --from-venv`, or `releaser init --from-requirements FILE`."
_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})( |$)")
_USER = re.compile(r"(?<=://)[^/@]*@")


class Source(msgspec.Struct, frozen=True):
    """The source of a package: an index, a repository at a `commit`, a URL, or a path."""

    kind: SourceKind
    location: str
    commit: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """The facts by which two sources are the same. The URL of an index is not one: a host may have a mirror."""
        return (self.kind, "") if self.kind == "registry" else (self.kind, self.commit or self.location)

    @property
    def place(self) -> str:
        """The index, repository, URL or path, without user, password, branch and commit."""
        location = without_users(self.location.partition("#")[0])
        return (location.partition("?")[0] if self.kind == "git" else location).rstrip("/")

    @property
    def is_local(self) -> bool:
        """True if the package lies beside the project."""
        return self.kind in _KINDS[3:]


def without_users(text: str) -> str:
    """Return a text whose URLs have no user and password."""
    return _USER.sub("", text)


class Package(msgspec.Struct, frozen=True):
    """An entry of a lock. `upload_time` is that of its newest file; `markers` say in which forks it is installed."""

    name: str
    version: str
    source: Source
    upload_time: str = ""
    markers: tuple[str, ...] = ()
    #: The names of its files, with their hashes.
    files: frozenset[tuple[str, str]] = frozenset()
    #: The names of the packages that it needs.
    needs: frozenset[str] = frozenset()

    @property
    def hashes(self) -> frozenset[str]:
        """The hashes of its files."""
        return frozenset(digest for _, digest in self.files)

    @property
    def label(self) -> str:
        """The version, with the commit of a package from git."""
        return label_version(self.version, self.source.commit)

    @property
    def identity(self) -> tuple[str, str, tuple[str, str]]:
        """Name, version and source: another one of these is another package."""
        return self.name, self.version, self.source.identity


class Lock(msgspec.Struct, frozen=True, dict=True):
    """The packages of a lock, in its order, and its text."""

    packages: tuple[Package, ...]
    text: str = ""

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @functools.cached_property
    def versions(self) -> Mapping[str, frozenset[str]]:
        """The labels of the versions of each package, several where a lock has forks."""
        versions: dict[str, frozenset[str]] = {}
        for package in self.packages:
            versions[package.name] = versions.get(package.name, frozenset()) | {package.label}
        return versions

    @functools.cached_property
    def local(self) -> frozenset[str]:
        """The names of the packages that lie beside the project."""
        return frozenset(package.name for package in self.packages if package.source.is_local)

    @functools.cached_property
    def direct(self) -> frozenset[str]:
        """The names of the packages that the project, or another package beside it, needs itself."""
        return frozenset(name for package in self.packages if package.source.is_local for name in package.needs)

    @functools.cached_property
    def names(self) -> list[str]:
        """The names of the packages that do not lie beside the project, sorted."""
        return sorted(self.versions.keys() - self.local)

    @functools.cached_property
    def identities(self) -> frozenset[tuple[str, str, tuple[str, str]]]:
        """Name, version and source of each package."""
        return frozenset(package.identity for package in self.packages)

    def find(self, name: str) -> tuple[Package, ...]:
        """Return the entries of a package: several where a lock has forks."""
        return tuple(package for package in self.packages if package.name == name)


def parse_lock(text: str, source: str = "uv.lock") -> Lock:
    """Return the packages of a lock. Raises PreflightError if it is no lock."""
    try:
        return _parse(text)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        message = f"{source} is not a lock of uv: {_explain_text(text) or error}."
        advice = "Take an earlier one, run `uv lock`, and commit: `git checkout HEAD~ -- uv.lock`."
        raise refuse("wrong-lock", message, advice) from error


def _explain_text(text: str) -> str:
    """Return what a text is that people commit in the place of a lock; empty if that is not known."""
    if marked := [number for number, line in enumerate(text.splitlines(), 1) if _CONFLICT.match(line)]:
        return f"line {marked[0]} is a conflict marker of git"
    if text.startswith("version https://git-lfs"):
        return "it is a pointer of git-lfs, which has to be installed here, or must not track it"
    if text.startswith("\ufeff"):
        return "line 1 begins with a byte order mark"
    return "" if text.strip() else "it is empty"


@functools.lru_cache(maxsize=8)
def _parse(text: str) -> Lock:
    content: dict[str, Any] = tomllib.loads(text)
    packages = tuple(map(_read_package, content.get("package", [])))
    if not packages and "version" not in content:
        raise ValueError("it has no version")
    return Lock(packages, text)


def _read_package(entry: Mapping[str, Any]) -> Package:
    files = [file for file in (entry.get("sdist"), *entry.get("wheels", ())) if file]
    groups = [*entry.get("optional-dependencies", {}).values(), *entry.get("dev-dependencies", {}).values()]
    needs = [*entry.get("dependencies", ()), *(dependency for group in groups for dependency in group)]
    return Package(
        name=entry["name"],
        version=str(entry.get("version", "")),
        source=_read_source(entry.get("source", {})),
        upload_time=max((str(file["upload-time"]) for file in files if "upload-time" in file), default=""),
        markers=tuple(entry.get("resolution-markers", ())),
        files=frozenset((name_file(file), file["hash"]) for file in files if "hash" in file),
        needs=frozenset(dependency["name"] for dependency in needs),
    )


def name_file(file: Mapping[str, Any]) -> str:
    """Return the name of a file of an entry."""
    location = str(file.get("filename") or file.get("url") or file.get("path", ""))
    return location.partition("#")[0].rpartition("/")[2]


def _read_source(source: Mapping[str, Any]) -> Source:
    kind = next((kind for kind in _KINDS if kind in source), _KINDS[0])
    location = str(source.get(kind, ""))
    return Source(kind, location, urlsplit(location).fragment if kind == "git" else "")


def read_lock(path: Path, name: str = "") -> Lock:
    """Return the packages of a lock file, which messages call by its path, or by a name. Raises PreflightError."""
    if not os.path.lexists(path):
        message = f"{name or f'`{path}`'} does not exist."
        back = f"If git has it: `git -C {word(path.parent)} checkout HEAD -- {path.name}`."
        advice = "Revert that commit." if name else f"{back} {FIRST_LOCK} The newest ones: `uv lock`; commit it."
        raise refuse("no-lock", message, advice)
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{name or path} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise refuse("no-lock", message, "Run `uv lock`, and commit it.") from error
    return parse_lock(text, name or str(path))


def read_options(text: str) -> str:
    """Return the options of a lock, as it has them."""
    return "".join(OPTIONS.findall(text))


def read_cutoff(options: str, now: datetime) -> datetime | None:
    """Return the time of `exclude-newer` in the options of a lock, also as a span before `now`; None without it.

    A span that leads into the future is none.
    """
    if span := _SPAN.search(options):
        weeks, days, hours, minutes, seconds = (int(each or 0) for each in span.groups())
        try:
            return now - timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        except OverflowError:  # before the year 1
            return datetime.min.replace(tzinfo=now.tzinfo)
    time = None if "exclude-newer-span" in options else _TIME.search(options)
    return datetime.fromisoformat(time[1]) if time else None
