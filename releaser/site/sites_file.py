"""The sites of a host, in one file: their paths, groups and settings, in which order, and which ones go first."""

from __future__ import annotations

import glob
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from releaser.errors import Finding, PreflightError, os_reason
from releaser.site.addresses import Address, addresses
from releaser.site.loading import load
from releaser.site.settings import PREFIX, SPECS, Settings
from releaser.system.files import read_text

_KEYS = {"jobs": int, "mail_to": list, "first": list, "settings": dict, "site": list}
_SITE_KEYS = {"path": str, "group": str, "settings": dict}
_KINDS = {int: "a whole number", list: "a list", dict: "a table", str: "text"}


@dataclass(frozen=True, kw_only=True)
class ListedSite:
    """One site; `settings` are environment variables for it."""

    path: Path
    groups: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    goes_first: bool = False


@dataclass(frozen=True, kw_only=True)
class SitesFile:
    """What the file says."""

    sites: tuple[ListedSite, ...]
    #: How many at once.
    jobs: int = 1
    #: Who gets the summary of an update, which is sent by the `settings` for all sites.
    mail_to: tuple[Address, ...] = ()
    settings: Settings = field(default_factory=Settings)
    #: Paths that lead to no site.
    missing: tuple[str, ...] = ()


def read_sites(file: Path) -> SitesFile:
    """Read the file. Raises PreflightError with all that is wrong with it."""
    if found := _unsafe(file):
        raise PreflightError(found)
    try:
        table = tomllib.loads(read_text(file))
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise PreflightError(Finding(f"{file} cannot be read: {reason}", advice="Correct that file.")) from error
    problems = [f"{file}: {one}" for one in _wrong(table)]
    if problems:
        raise PreflightError(*(Finding(one, advice="Correct that file.") for one in problems))
    jobs, first = table.get("jobs", 1), [os.path.normpath(one) for one in table.get("first", [])]
    found_sites, missing = dict[str, ListedSite](), list[str]()
    for entry in [*({"path": one} for one in first), *table.get("site", [])]:
        paths = _paths(entry["path"])
        missing += [entry["path"]] if not paths else []
        for path in paths:
            known = found_sites.get(path) or ListedSite(path=Path(path), goes_first=path in first)
            groups = known.groups | ({entry["group"]} if "group" in entry else frozenset())
            settings = {**known.settings, **_variables(entry.get("settings", {}))}
            found_sites[path] = replace(known, groups=groups, settings=settings)
    common = _variables(table.get("settings", {}))
    sites = tuple(replace(one, settings={**common, **one.settings}) for one in found_sites.values())
    own = load(table={}, pyproject=file, env_file=None, environ=common)
    mail_to = addresses(table.get("mail_to", []))
    return SitesFile(sites=sites, jobs=jobs, mail_to=mail_to, settings=own.settings, missing=tuple(missing))


def _unsafe(file: Path) -> Finding | None:
    """Say that there is no such file, or that somebody else could write what root would then run."""
    real = os.path.realpath(file)
    try:
        places = [(place, os.stat(place)) for place in (real, os.path.dirname(real))]
    except OSError as error:
        return Finding(f"{file} cannot be read: {os_reason(error)}", advice="Write it, or name another by --sites.")
    for place, status in places:
        is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()):
            return Finding(f"{place} belongs to uid {status.st_uid}", advice=f"Look at it; then: `chown root {place}`.")
        if status.st_mode & stat.S_IWOTH and not is_sticky:
            return Finding(f"{place} can be written by everybody", advice=f"Look at it; then: `chmod o-w {place}`.")
    return None


def _wrong(table: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong_keys(table, _KEYS, "")
    if isinstance(jobs := table.get("jobs", 1), int) and not 1 <= jobs <= 64:
        yield f"jobs must be from 1 to 64 (it is {jobs})"
    if isinstance(people := table.get("mail_to", []), list):
        try:
            addresses(people)
        except ValueError as error:
            yield f"mail_to {error}"
    first = table.get("first", [])
    if isinstance(first, list):
        yield from (f"first: {one!r} is no absolute path of a site" for one in first if not _is_path(one))
    entries = table.get("site", [])
    if not entries and not first:
        yield "it names no site; each one begins with [[site]]"
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        where = f"[[site]] {number}: "
        if not isinstance(entry, dict):
            yield f"{where}must be a table"
            continue
        yield from _wrong_keys(entry, _SITE_KEYS, where)
        if not _is_path(entry.get("path")):
            yield f"{where}path must be an absolute path (it is {entry.get('path')!r})"


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/")


def _wrong_keys(table: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> Iterator[str]:
    for key, value in table.items():
        if key not in kinds:
            yield f"{where}there is no key {key}; the keys are {', '.join(kinds)}"
        elif not isinstance(value, kinds[key]) or isinstance(value, bool):
            yield f"{where}{key} must be {_KINDS[kinds[key]]}"
    settings = table.get("settings", {})
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if name not in SPECS:
            yield f"{where}settings: there is no setting {name}"
        elif not isinstance(value, str | int | float):
            yield f"{where}settings: {name} must be written as in a variable: text, a number, true or false"
        else:
            try:
                SPECS[name].parse(_text(value))
            except ValueError as error:
                shown = "" if SPECS[name].secret else f" (it is {_text(value)[:80]!r})"
                yield f"{where}settings: {name} {error}{shown}"


def _paths(pattern: str) -> list[str]:
    """Return the directories that a path or a pattern leads to: of a pattern, those with a pyproject.toml."""
    if not glob.has_magic(pattern):
        return [os.path.normpath(pattern)]
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    return [os.path.normpath(one) for one in found if (one / "pyproject.toml").is_file()]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    return {f"{PREFIX}{name.upper()}": _text(value) for name, value in settings.items()}
