"""A parsed uv.lock: which packages, in which versions, from where."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from releaser.locking.sameness import key_of_lock, lock_the_same

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.tags import Tag

_LOCAL = ("editable", "directory", "virtual")


class InvalidLockError(ValueError):
    """The text is not a uv.lock."""


@dataclass(frozen=True, kw_only=True)
class LockFile:
    """One lock: its text as it is on disk, and the versions of its packages by name.

    A package that is locked in several versions (for several platforms or Pythons) shows them all, comma-separated; a
    local package without a static version shows `local`. `local` names the packages that are directories, the project
    itself among them: their versions are a matter of the code.
    """

    data: bytes
    versions: Mapping[str, str]
    local: frozenset[str] = frozenset()

    @property
    def sha256(self) -> str:
        """The digest of the text."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def key(self) -> str:
        """A digest of what is installed here, as `same_packages` compares it. Raises InvalidLockError."""
        return key_of_lock(_content(self.data)) if self.data else ""

    @property
    def names(self) -> frozenset[str]:
        """The names of all packages."""
        return frozenset(self.versions)

    @property
    def content(self) -> Mapping[str, Any]:
        """All that the text says, parsed again each time. Raises InvalidLockError."""
        return _content(self.data)

    def same_packages(self, other: LockFile, *, tags: frozenset[Tag] = frozenset()) -> bool:
        """Whether the same is installed from both, as `lock_the_same` tells; `tags` are those of the Python here."""
        return self.data == other.data or lock_the_same(_content(self.data), _content(other.data), tags)

    @classmethod
    def parse(cls, data: bytes) -> LockFile:
        """Parse the text of a uv.lock; InvalidLockError when it is none."""
        packages = _packages(data)
        versions: dict[str, list[str]] = {}
        for package in packages:
            versions.setdefault(package["name"], []).append(_version(package))
        return cls(
            data=data,
            versions={name: ", ".join(sorted(found)) for name, found in versions.items()},
            local=frozenset(package["name"] for package in packages if is_local(package)),
        )

    @classmethod
    def read(cls, path: Path) -> LockFile:
        """Parse the uv.lock at `path`; OSError when it cannot be read, InvalidLockError when it is none."""
        return cls.parse(path.read_bytes())


EMPTY = LockFile(data=b"", versions={})


def packages_of(lock: LockFile) -> list[Mapping[str, Any]]:
    """Return the packages of a lock as they stand there; none of an empty one. Raises InvalidLockError."""
    return _packages(lock.data) if lock.data else []


def _content(data: bytes) -> Mapping[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # beside what TOML forbids: numbers too long, nesting too deep
        raise InvalidLockError(str(error)) from error


def _packages(data: bytes) -> list[Mapping[str, Any]]:
    content = _content(data)
    packages = content.get("package", [])
    if "version" not in content or not isinstance(packages, list):
        message = "it has no version or no packages"
        raise InvalidLockError(message)
    for package in packages:
        _check_package(package)
    return packages


def _check_package(package: Any) -> None:
    if not isinstance(package, Mapping) or not isinstance(package.get("name"), str):
        message = "a [[package]] has no name"
    elif not isinstance(package.get("version", ""), str):
        message = f"the version of {package['name']} is not a string"
    elif not isinstance(package.get("source", {}), Mapping):
        message = f"the source of {package['name']} is not a table"
    else:
        return
    raise InvalidLockError(message)


def is_local(package: Mapping[str, Any]) -> bool:
    """Whether a package is a directory, such as the project itself."""
    return any(kind in package.get("source", {}) for kind in _LOCAL)


def _version(package: Mapping[str, Any]) -> str:
    if is_local(package):
        return str(package.get("version", "local"))
    version = str(package.get("version", "unknown"))
    source = package.get("source", {})
    if "git" in source:
        return f"{version} ({str(source['git']).rpartition('#')[2][:9]})"
    return version
