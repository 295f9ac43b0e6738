"""uv.lock: names and versions."""

from __future__ import annotations

import functools
import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from releaser.errors import refuse

_LOCAL = ("virtual", "editable", "directory", "path")


class Lock(msgspec.Struct, frozen=True):
    """The packages of a lock: their versions by name, several where a lock has forks; `local` are directories."""

    versions: Mapping[str, frozenset[str]]
    local: frozenset[str]
    sha256: str

    @property
    def names(self) -> list[str]:
        """The names of the packages that come from an index, sorted."""
        return sorted(self.versions.keys() - self.local)


@functools.lru_cache(maxsize=8)
def parse_lock(text: str, source: str = "uv.lock") -> Lock:
    """Return the packages of a lock. Raises PreflightError if it is no lock."""
    versions: dict[str, set[str]] = {}
    local = set()
    try:
        content: dict[str, Any] = tomllib.loads(text)
        for package in content.get("package", []):
            versions.setdefault(package["name"], set()).add(str(package.get("version", "")))
            if any(kind in package.get("source", {}) for kind in _LOCAL):
                local.add(package["name"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        message = f"{source} is not a lock of uv: {error}."
        raise refuse("wrong-lock", message, "Run `uv lock`, and commit it.") from error
    frozen = {name: frozenset(values) for name, values in versions.items()}
    return Lock(frozen, frozenset(local), hashlib.sha256(text.encode()).hexdigest())


def read_lock(path: Path) -> Lock:
    """Return the packages of a lock file. Raises PreflightError."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse("no-lock", f"{path} cannot be read: {error}.", "Run `uv lock`, and commit it.") from error
    return parse_lock(text, str(path))
