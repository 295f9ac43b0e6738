"""What files are by their names and sizes: code and configuration, caches, and what is small enough to be copied."""

from __future__ import annotations

import fnmatch

CONFIGURES = (".py", ".env", ".toml", ".ini", ".cfg", ".yaml", ".yml")  # files of code and configuration
_CODE = (".py", ".toml", ".ini", ".cfg", ".yaml", ".yml", ".html", ".jinja", ".jinja2")  # a site writes other kinds
_DATA = frozenset({"media", "static", "staticfiles", "uploads"})  # where visitors and collectstatic bring other files
SMALL = 1024 * 1024  # bytes; a file that is larger is linked into a staging tree, and not copied
# Never of any use to the tests of another commit, and some would be written to.
CACHES = (
    "__pycache__", "*.pyc", "*.egg-info", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".nox", ".hypothesis",
    ".coverage", ".coverage.*", ".git", ".releaser", ".*.releaser-staging*",
)  # fmt: skip


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of these patterns is for a path: for all of it if the pattern has a slash, else for its last part."""
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name if "/" in one else last, one.rstrip("/")) for one in patterns)


def is_code(name: str) -> bool:
    """Whether a file is code or templates: below a directory of data, only Python and templates are."""
    above = name.split("/")[:-1]
    is_data = not _DATA.isdisjoint(above) and "templates" not in above
    return name.endswith(".py" if is_data else _CODE)
