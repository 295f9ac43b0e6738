"""Which code of a site a failing test touches, and whether that has changed since."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from releaser.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.releases.quarantine import Hold
    from releaser.site.site import Site


_LONGEST_NAME = 1000  # characters; no path is longer that tests name
_MOST_FILES = 100  # of the project that a failure may name
# Both begin where a word begins, as they would look at a very long one from each of its characters else.
_FILE = re.compile(r"(?<![^\s\"'():,])[^\s\"'():,]+\.(?:py|html|txt|jinja2?|toml|cfg)\b")
_STAGING = re.compile(r"\.releaser-staging(?=/|$)")
_OF_TESTS = re.compile(r"tests?|conftest|tests?_.*|.*_tests?")
_MODULE = re.compile(r"(?<![A-Za-z_])[A-Za-z_]\w*(?:\.\w+)+")


@dataclass
class Code:
    """The code of a site, read when somebody asks."""

    site: Site
    _digest: str | None = None

    def has_changed(self, hold: Hold) -> bool:
        """Whether the code is another one than that with which a version failed, as far as its tests touch it.

        Where a failure names no file but those of tests, which may have asked for a page, all Python counts.
        """
        root = self.site.project.root
        if any(_digest_of(root / name) != digest for name, digest in hold.files.items()):
            return True
        if not hold.code or not all(map(_is_of_tests, hold.files)):
            return False
        if self._digest is None:
            self._digest = code_digest(self.site)
        return self._digest not in ("", hold.code)


def code_digest(site: Site) -> str:
    """Return a digest of all Python that git tracks in the commit that is checked out; empty if nobody can tell."""
    try:
        return site.git.code_key((), ends=".py")
    except ToolError:
        return ""


def named_files(output: str, root: Path) -> dict[str, str]:
    """Map the files of the project that the output of a failed test names to digests of them."""
    found = {}
    for name in _names_in(output, root):
        digest = _digest_of(root / name)
        if digest:
            found[name] = digest
        if len(found) == _MOST_FILES:
            break
    return found


def _names_in(output: str, root: Path) -> Iterator[str]:
    """Yield paths below the project that the output may mean, as paths and as names of modules."""
    tops = {str(root), os.path.realpath(root)}
    tops |= {_STAGING.sub(".releaser-staging-beside", top) for top in tops}  # where tests may run at the same time
    for text in dict.fromkeys(name for name in _FILE.findall(output) if len(name) < _LONGEST_NAME):
        below = next((os.path.relpath(text, top) for top in tops if text.startswith(f"{top}/")), text)
        if not below.startswith(("/", "..")) and "site-packages" not in below:
            yield os.path.normpath(below)
    for text in dict.fromkeys(name for name in _MODULE.findall(output) if len(name) < _LONGEST_NAME):
        parts = text.split(".")
        for end in range(len(parts), 0, -1):  # `shop.tests.Shop.test_price` is in shop/tests.py
            path = "/".join(parts[:end])
            if (root / f"{path}.py").is_file():
                yield f"{path}.py"
                break


def _is_of_tests(name: str) -> bool:
    """Whether a file only starts the tests or holds them, by its name."""
    path = PurePath(name)
    return path.name == "manage.py" or any(_OF_TESTS.fullmatch(part) for part in (*path.parts[:-1], path.stem))


def _digest_of(path: Path) -> str:
    """Return the digest of a file; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    except OSError:
        return ""
