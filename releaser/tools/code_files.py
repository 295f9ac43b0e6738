"""Kinds of files, by names and sizes: code and configuration, caches, and files small enough to copy."""

from __future__ import annotations

import fnmatch

CONFIGURES = (".py", ".env", ".toml", ".ini", ".cfg", ".yaml", ".yml")  # files of code and configuration
_CODE = (".py", ".toml", ".ini", ".cfg", ".yaml", ".yml", ".html", ".jinja", ".jinja2")  # a site writes others
_DATA = frozenset({"media", "static", "staticfiles", "uploads"})  # visitors and collectstatic put other files there
SMALL = 1024 * 1024  # bytes; a larger file is linked into a staging tree, not copied
# Useless for the tests of another commit, which might even write to them.
CACHES = (
    "__pycache__", "*.pyc", "*.egg-info", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".nox", ".hypothesis",
    ".coverage", ".coverage.*", ".git", ".releaser", ".*.releaser-staging*",
)  # fmt: skip


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """True if a pattern matches a path: the whole path if the pattern has a slash, else its last part."""
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name if "/" in pattern else last, pattern.rstrip("/")) for pattern in patterns)


def is_code(name: str) -> bool:
    """True if a file is code or a template; in a data directory, only Python files and templates are."""
    above = name.split("/")[:-1]
    is_data = not _DATA.isdisjoint(above) and "templates" not in above
    return name.endswith(".py" if is_data else _CODE)
