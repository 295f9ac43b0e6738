"""Finds the files of a commit with which uv resolves, if it certainly reads no others.

`uv lock` of a project with static metadata opens `pyproject.toml`, `uv.lock`, `uv.toml` and `.venv` there, and no other
file, even with a `[build-system]`, a readme or license files (`strace -f -e trace=%file`, uv 0.12.0 and
0.13.8). It reads more for `dynamic` metadata, which it builds, for members of a workspace, and for local packages and
indexes; and it builds a project whose dependencies only Poetry knows.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from releaser.resolution.version_settings import VersionSettings
from releaser.site.project import local_sources
from releaser.system.digests import blob_id
from releaser.system.earlier_answers import look_at_program
from releaser.system.environment import files_of_uv
from releaser.system.expression import expression
from releaser.system.files import read_file, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.site.site import Site

_LOCKED = ("pyproject.toml", "uv.lock")
_SETTINGS = ("uv.toml", ".python-version", ".python-versions")
_FOR_LOCK = (
    ("project", "dependencies"), ("project", "optional-dependencies"), ("build-system",), ("dependency-groups",),
    ("tool", "uv"),
)  # fmt: skip
# `.` is the project itself. A `\b` at the start would find the same in a lock of uv, and take 7 ms more in a long one.
_IN_LOCK = expression(r'(?:path|directory|editable|virtual|registry) = "(?!\.")([^"]+)"')
_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "NETRC")  # variables with paths, which uv reads
_TABLES = (("project",), ("build-system",), ("dependency-groups",), ("tool", "uv"))  # of pyproject.toml, for uv
_FILE_MODES = ("100644", "100755")  # not symlinks


def files_to_lock(site: Site, commit: str) -> Mapping[str, bytes] | None:
    """Return the files that uv reads of the commit that is checked out, by name; None if it may read others, too.

    `pyproject.toml` and `uv.lock` are as in the checkout, where releaser may have put another lock. In doubt, returns
    None, such as for a project below the top of its repository, a sparse checkout, or a changed file. Raises ToolError.
    """
    top, layout = site.git.layout.top, site.git.layout
    is_usual = site.project.checkout == top and site.project.lock == top / "uv.lock"
    if not is_usual or (layout.git_directory / "info" / "sparse-checkout").exists() or not site.state_dir.is_dir():
        return None
    if not _is_static(site) or not _is_plain(site.uv.executable, top) or _may_lead_inside(site):
        return None
    entries = site.git.entries(commit, (*_LOCKED, *_SETTINGS))
    names = {*entries, *(name for name in (*_LOCKED, *_SETTINGS) if os.path.lexists(top / name))}
    if not names.issuperset(_LOCKED) or any(entries.get(name, [""])[0] not in _FILE_MODES for name in names):
        return None
    try:
        files = {name: read_file(top / name) for name in names}
    except OSError:
        return None  # a person may have deleted a file that the commit has
    if any(blob_id(files[name]) != entries[name][1] for name in names.difference(_LOCKED)):
        return None
    return files if not site.git.submodules(commit) else None


def _is_static(site: Site) -> bool:
    """True if uv learns the dependencies of the project, which is not a workspace, without building anything there."""
    project = site.pyproject.table("project")
    is_static = bool(project.get("name") and project.get("version")) and not project.get("dynamic")
    is_known = "dependencies" in project or "poetry" not in site.pyproject.table("tool")
    return is_static and is_known and "workspace" not in site.pyproject.table("tool", "uv")


def _is_plain(uv: Path, top: Path) -> bool:
    """True for a uv outside of the checkout; no script or launcher, which read files such as `.tool-versions`."""
    return look_at_program(uv) is not None and not Path(os.path.realpath(uv.parent)).is_relative_to(top)


def _may_lead_inside(site: Site) -> bool:
    """True if dependencies, settings of uv or variables may refer to a path in the checkout."""
    top, environ = site.git.layout.top, site.runner.environ
    if any(path_within(source, top, ".") for source in local_sources(site.pyproject)):  # it may not exist yet
        return True
    texts = [*read_references(site, top, _FOR_LOCK)]
    shared = [file for file in files_of_uv(top, environ) if file.name == "uv.toml" and file.parent != top]
    for file in (*shared, *map(Path, filter(None, [environ.get("UV_CONFIG_FILE")]))):
        texts += _strings_in_file(file)
    for name, value in environ.items():
        if name.startswith("UV_"):  # such as the list of UV_FIND_LINKS, or the NAME=URL of UV_INDEX
            texts += [word for word in re.split(r"[\s,=]+", value) if word and not word.startswith("/")]
    if any("${" in text or "\\" in text for text in texts):  # variables of uv, and characters by their number
        return True
    if any(text and not text.strip("./") for text in texts):  # the project itself, as a directory of wheels
        return True
    parts = (unquote(part.strip()) for text in texts for part in (text, *re.split("[@#;]", text)))
    paths = {*filter(None, (path_within(part, top, ".") for part in parts))}
    given = (environ.get(name, "") for name in ("PYTHONPATH", *_FILES))
    own = filter(None, os.pathsep.join(given).split(os.pathsep))
    return any(os.path.lexists(top / path) for path in paths) or any(
        not path.startswith("/") or Path(path).is_relative_to(top) for path in own
    )


def read_references(site: Site, root: Path, tables: Iterable[tuple[str, ...]] = _TABLES) -> Iterator[str]:
    """Yield texts that may be paths: in these tables of pyproject.toml, in uv's files at `root`, and in settings."""
    yield from filter(None, [VersionSettings.of(site).constraints])
    for path in tables:
        table: Any = site.pyproject.content
        for part in path:
            table = table.get(part, {}) if isinstance(table, dict) else {}
        yield from _strings_in(table)
    yield from _strings_in_file(root / "uv.toml")
    with contextlib.suppress(OSError):
        yield from _IN_LOCK.findall(read_text(root / "uv.lock", errors="replace"))


def _strings_in_file(file: Path) -> Iterator[str]:
    """Yield the texts in settings of uv; none of a file that uv refuses, or that does not exist."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        text = read_text(file).removeprefix("\ufeff")
        import tomli  # most sites have no such file

        yield from _strings_in(tomli.loads(text))


def _strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _strings_in(entry)
    elif isinstance(value, list):
        for one in value:
            yield from _strings_in(one)


def path_within(text: str, top: Path, base: str) -> str | None:
    """Return the path that a text refers to, relative to the top; None for the whole project, or a path elsewhere."""
    text = re.sub("^file:(//)?", "", text.rpartition(" @ ")[2].partition(" ;")[0])
    text = re.sub(r"^/?\$\{PROJECT_ROOT\}/", "", text)
    if "://" in text or "\n" in text:
        return None
    place = os.path.relpath(text, top) if text.startswith("/") else os.path.normpath(os.path.join(base, text))
    return None if place in (".", base) or place.split("/")[0] == ".." else place
