"""The facts for a bug report about releaser, its host and the files of a site; other commands know the rest."""

from __future__ import annotations

import contextlib
import grp
import locale
import os
import platform
import stat
import sys
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from releaser import __version__
from releaser.capabilities import gather
from releaser.core.run import begun_at
from releaser.errors import ReleaserError, ToolError
from releaser.site.ownership import name_of
from releaser.site.site import Site, find_site, open_site
from releaser.site.space import free_space
from releaser.system.environment import kind_of
from releaser.system.files import link_text, nearest_existing, read_end, read_text
from releaser.system.process import Runner
from releaser.system.words import (
    Redactor,
    plural,
    secrets_in_environment,
    secrets_in_variables,
    size,
    time_of_file,
)
from releaser.tools.uv import find_uv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LOGS, _END_OF_LOG = 3, 16_000  # bytes
_MOST_FILES = 40  # of each directory in the state directory: its newest releases and logs
_TIMEOUT = 10.0  # seconds, for the version of a program
_SHORTEST = 8  # characters: shorter values of variables may be ordinary words
_NO_SECRETS = ("PWD", "OLDPWD")  # a name that ends with PWD is mostly that of a password
_SETTINGS_OF_HOST = ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME")


def open_incomplete_site(path: Path, environ: Mapping[str, str]) -> Site | None:
    """Return the site at a path, also if pyproject.toml or the lock is missing; None if it may not be opened."""
    for opening in (find_site, open_site):
        with contextlib.suppress(ReleaserError, OSError):
            return opening(path, environ)
    return None


def redactor_of(site: Site | None, environ: Mapping[str, str]) -> Redactor:
    """Return a redactor that knows the secrets of the site, and of all variables."""
    given = {name: value for name, value in environ.items() if name not in _NO_SECRETS}
    known = {value for name, value in given.items() if kind_of(name, value) and len(value) >= _SHORTEST}
    known |= secrets_in_variables(given) | secrets_in_environment(given)
    return Redactor(known | (site.redactor.secrets if site else frozenset()))


def diagnostic_parts(site: Site | None, environ: Mapping[str, str]) -> Mapping[str, Callable[[], Iterator[str]]]:
    """Return functions that yield lines, by the title of their part; each may raise any error."""
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "releaser": _describe_releaser,
        "host": lambda: _describe_host(environ),
        "programs": lambda: _describe_programs(site, environ),
    }
    if site is None:
        return parts
    for describe in gather("described"):
        parts[describe.__name__.removeprefix("describe_")] = partial(describe, site)
    return parts | {
        "disk": lambda: _describe_disk(site),
        "files": lambda: _describe_files(site),
        "logs": lambda: _read_logs(site),
    }


def _describe_releaser() -> Iterator[str]:
    yield f"releaser {__version__} in {Path(__file__).parents[1]}"
    yield f"Python {sys.version} at {sys.executable}"
    yield from sorted(f"{one.name} {one.version}" for one in distributions(path=sys.path))


def _describe_host(environ: Mapping[str, str]) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield platform.freedesktop_os_release().get("PRETTY_NAME", "")
    yield f"{platform.platform()}, {plural(os.cpu_count() or 0, 'CPU')}"
    yield f"time: {datetime.now(UTC).isoformat(timespec='seconds')}, here {datetime.now().astimezone():%H:%M %Z}"
    os.umask(umask := os.umask(0o077))
    yield f"user: {_user(os.geteuid())}, groups {' '.join(map(_group, os.getgroups()))}, umask {umask:03o}"
    yield f"encodings: {locale.getpreferredencoding()}, {sys.getfilesystemencoding()}"
    yield from (f"{name}={environ[name]}" for name in _SETTINGS_OF_HOST if name in environ)
    yield f"other variables, without their values: {' '.join(sorted(environ.keys() - {*_SETTINGS_OF_HOST}))}"


def _describe_programs(site: Site | None, environ: Mapping[str, str]) -> Iterator[str]:
    runner = site.runner if site else Runner(environ=environ, redactor=redactor_of(site, environ))
    root = site.project.root if site else Path("/")

    def version_of(program: Path | str) -> str:
        try:
            return f"{program}: {runner.run([program, '--version'], cwd=root, timeout=_TIMEOUT).output}"
        except ToolError as error:
            return f"{program}: {error.reason}"

    yield from map(version_of, ("git", "bwrap"))
    yield version_of(site.uv.executable if site else find_uv(None, environ=environ, project=root) or "uv")


def _describe_disk(site: Site) -> Iterator[str]:
    mounts = [line.split() for line in read_text(Path("/proc/self/mountinfo"), errors="replace").splitlines()]
    for what, place in (("checkout", site.project.checkout), ("state", site.state_dir), ("venv", site.project.venv)):
        real, free = os.path.realpath(nearest_existing(place)), free_space(place)
        over = max(
            (one for one in mounts if f"{real}/".startswith(f"{one[4].rstrip('/')}/")), key=lambda one: len(one[4])
        )
        kind = over[over.index("-") + 1]
        yield f"{what}: {place}: {kind} at {over[4]} ({over[5]}), {size(free.bytes)} and {free.inodes} inodes are free"


def _describe_files(site: Site) -> Iterator[str]:
    yield f"{site.project.venv} leads to {link_text(site.project.venv)}"
    yield from map(_describe_file, (site.project.outer, site.project.checkout, site.state_dir))
    for path in sorted(site.state_dir.iterdir()):
        yield from map(_describe_file, (path, *(sorted(path.iterdir())[-_MOST_FILES:] if path.is_dir() else ())))


def _describe_file(path: Path) -> str:
    try:
        found = path.lstat()
        kind, owner = stat.filemode(found.st_mode), f"{_user(found.st_uid)} {_group(found.st_gid)}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    at = time_of_file(found.st_mtime).isoformat(timespec="seconds")
    return f"{kind} {owner} {found.st_size} {at} {path}"


def _user(number: int) -> str:
    return f"{name_of(number) or '?'}({number})"


def _group(number: int) -> str:
    with contextlib.suppress(KeyError):
        return f"{grp.getgrgid(number).gr_name}({number})"
    return f"?({number})"


def _read_logs(site: Site) -> Iterator[str]:
    logs = (path for path in site.project.logs.iterdir() if path.suffix == ".log" and begun_at(path.stem))
    for path in sorted(logs, reverse=True)[:_LOGS]:
        yield f"{path}, its end:"
        if not path.is_symlink():
            yield read_end(path, _END_OF_LOG).decode(errors="replace")
