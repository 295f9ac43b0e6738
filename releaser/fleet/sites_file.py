"""The sites of a host, in one file: their paths, groups and settings, in which order, and which ones go first."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomli

from releaser.errors import Finding, PreflightError, os_reason, refuse, refuse_any
from releaser.site.addresses import Address, MailSettings, addresses
from releaser.site.loading import load
from releaser.site.location import DEFAULT_VENV
from releaser.site.project import Project
from releaser.site.settings import PREFIX, SPECS
from releaser.site.state_dir import OWNER
from releaser.system.files import read_text
from releaser.system.frozen import Frozen, field, replace
from releaser.system.trusted_files import find_other_writer, way_to
from releaser.system.words import is_url

_KEYS = {"jobs": int, "mail_to": list, "mail": dict, "first": list, "settings": dict, "site": list, "servers": dict}
_SITE_KEYS = {"path": str, "group": str, "settings": dict}
_KINDS = {int: "a whole number", list: "a list", dict: "a table", str: "text"}
_OF_MAIL = ("mail_from", "sendmail", *(name for name in SPECS if name.startswith("smtp_")))
_OF_ONE = ("state_dir", "venv")  # which other commands must find as well


class ListedSite(Frozen):
    """One site; `settings` are environment variables for it."""

    path: Path
    groups: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    goes_first: bool = False


class SitesFile(Frozen):
    """The content of the file."""

    sites: tuple[ListedSite, ...]
    #: The number of sites that are updated at once.
    jobs: int = 1
    #: The recipients of the summary of an update, and the settings that send it.
    mail_to: tuple[Address, ...] = ()
    mail: MailSettings = field(default_factory=MailSettings)
    #: The path or the URL of the report of each other server that the page shows, by the name of the server.
    servers: Mapping[str, str] = field(default_factory=dict)
    #: One sentence for each entry that was ignored, with the reason.
    warnings: tuple[str, ...] = ()
    #: The warnings about sites that releaser would update if they were safe, by their paths.
    refused: Mapping[str, str] = field(default_factory=dict)


def read_sites(file: Path, environ: Mapping[str, str] | None = None) -> SitesFile:
    """Read the file. Raises PreflightError with all its mistakes.

    The summary is sent as the mails of the sites are: by `[mail]`, then `[settings]`, then `environ`.
    """
    real = os.path.realpath(file)
    try:
        refuse_any(find_other_writer(file))
        table = tomli.loads(read_text(Path(real)))
    except (OSError, ValueError, RecursionError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        advice = "Correct that file, or name another one with --sites."
        raise PreflightError(Finding("sites-unreadable", f"{file} cannot be read: {reason}", advice)) from error
    problems = [Finding("sites-invalid", f"{file}: {flaw}", "Correct that file.") for flaw in _wrong(table)]
    # Secrets are for the summary alone: each site's own programs could read them.
    of_mail = {f"{PREFIX}{name.upper()}" for name in _OF_MAIL}
    given = {name: value for name, value in (environ or {}).items() if name in of_mail}
    for part in () if problems else (table.get("settings", {}), table.get("mail", {})):
        given |= {name: value for name, value in _variables(part).items() if name in of_mail}
    own = load(table={}, pyproject=file, env_file=None, environ=given)
    refuse_any(*problems, *own.problems)
    sites, warnings, refused = _list(table)
    return SitesFile(
        sites=sites,
        jobs=table.get("jobs", 1),
        mail_to=addresses(table.get("mail_to", [])),
        mail=MailSettings.of(own),
        servers=table.get("servers", {}),
        warnings=tuple(warnings),
        refused=refused,
    )


def _list(table: Mapping[str, Any]) -> tuple[tuple[ListedSite, ...], list[str], dict[str, str]]:
    """Return the sites, a warning for each entry that is ignored, and those warnings that are about refused sites."""
    found, warnings, refused = dict[str, ListedSite](), list[str](), dict[str, str]()
    common = _variables(table.get("settings", {}))
    first = [{"path": one, "first": True} for one in table.get("first", [])]
    for entry in [*first, *table.get("site", [])]:
        paths = [entry["path"]] if not glob.has_magic(entry["path"]) else list(_match(entry["path"], warnings, refused))
        for written in paths:
            path = os.path.realpath(written)
            if led := _describe_foreign_parent(written):
                if "first" in entry:
                    refuse(
                        "sites-first",
                        f"first: {led}",
                        "Correct the owner of that directory, or remove the site from `first`.",
                    )
                warnings.append(led)
                refused[written] = led
                continue
            known = found.get(path) or ListedSite(path=Path(path), settings=common)
            groups = known.groups | ({entry["group"]} if "group" in entry else frozenset())
            settings = {**known.settings, **_variables(entry.get("settings", {}))}
            goes_first = known.goes_first or "first" in entry
            found[path] = replace(known, groups=groups, settings=settings, goes_first=goes_first)
    return tuple(found.values()), warnings, refused


def _describe_foreign_parent(path: str) -> str:
    """Report that a directory above a site belongs neither to root nor to the owner of the site."""
    try:
        owner = os.stat(path).st_uid
        for place in way_to(path):
            if os.lstat(place).st_uid not in (0, owner, os.geteuid()):
                return f"{path} is ignored: {place} does not belong to the owner of the site"
    except OSError:
        pass  # which is said by the run for that site
    return ""


def _match(pattern: str, warnings: list[str], refused: dict[str, str]) -> Iterator[str]:
    """Yield the sites that releaser keeps already and to which a pattern leads, without symlinks on its way."""
    fixed = pattern[: min(pattern.index(character) for character in "*?[" if character in pattern)].rpartition("/")[0]
    count = 0
    for path in sorted(glob.iglob(pattern)):  # noqa: PTH207 - Path.glob follows other rules for what cannot be read
        path = os.path.normpath(path)
        straight = os.path.join(os.path.realpath(fixed or "/"), os.path.relpath(path, fixed or "/"))
        try:
            is_kept = (Project.at(Path(path), state_dir=None, venv=DEFAULT_VENV).state_dir / OWNER).is_file()
            if os.path.realpath(path) != straight:
                warnings.append(f"{path} is ignored: it is a symlink; write the path that it leads to")
                if is_kept:  # it was a site, before a person moved it
                    refused[path] = warnings[-1]
            elif is_kept:
                count += 1
                yield path
            elif os.path.lexists(os.path.join(path, "pyproject.toml")):
                warnings.append(
                    f"{path} is ignored: releaser has no releases of it; to adopt the site, run `releaser init`"
                )
        except OSError as error:
            warnings.append(f"{path} is ignored: {os_reason(error)}")
    if not count:
        warnings.append(f"{pattern} matches no site")


def _wrong(table: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrong_keys(table, _KEYS, "")
    if isinstance(jobs := table.get("jobs", 1), int) and not 1 <= jobs <= 64:
        yield f"jobs must be from 1 to 64 (it is {jobs})"
    if isinstance(people := table.get("mail_to", []), list):
        try:
            addresses(people)
        except ValueError as error:
            yield f"mail_to {error}"
    yield from _wrong_settings(table.get("mail"), "mail: ", of_mail=True)
    yield from _wrong_settings(table.get("settings"), "settings: ")
    first = table.get("first", [])
    for one in first if isinstance(first, list) else ():
        if not _is_path(one) or glob.has_magic(one):
            yield f"first: {one!r} is not an absolute path of a site"
    entries = table.get("site", [])
    yield from _wrong_servers(table.get("servers"))
    if not (entries or first or table.get("servers")):
        yield "it lists no site; begin each site with [[site]]"
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        where = f"[[site]] {number}: "
        if not isinstance(entry, dict):
            yield f"{where}must be a table"
            continue
        yield from _wrong_keys(entry, _SITE_KEYS, where)
        yield from _wrong_settings(entry.get("settings"), f"{where}settings: ")
        if not _is_path(entry.get("path")):
            yield f"{where}path must be an absolute path (it is {entry.get('path')!r})"


def _wrong_servers(servers: object) -> Iterator[str]:
    for name, place in servers.items() if isinstance(servers, dict) else ():
        if not isinstance(place, str) or not (_is_path(place) or _is_full_url(place)):
            yield f"servers: {name} must be an absolute path, or a URL with https:// or http:// (it is {place!r})"
        elif is_url(place) and "@" in urlsplit(place).netloc:
            yield f"servers: {name} must not contain a user or a password; write them to ~/.netrc"


def _is_full_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return is_url(text) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/") and "\0" not in value


def _wrong_keys(table: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> Iterator[str]:
    for key, value in table.items():
        if key not in kinds:
            yield f"{where}unknown key {key}; the keys are {', '.join(kinds)}"
        elif not isinstance(value, kinds[key]) or isinstance(value, bool):
            yield f"{where}{key} must be {_KINDS[kinds[key]]}"


def _wrong_settings(settings: object, where: str, *, of_mail: bool = False) -> Iterator[str]:
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if name not in SPECS or (of_mail and name not in _OF_MAIL):
            yield f"{where}unknown setting {name}" + (f"; the settings are {', '.join(_OF_MAIL)}" if of_mail else "")
        elif not of_mail and (SPECS[name].secret or name in _OF_ONE):
            yield f"{where}{name} belongs in the .env of the site"
        elif not isinstance(value, str | int | float):
            yield f"{where}{name} must be written as in a variable: text, a number, true or false"
        else:
            try:
                SPECS[name].kind(_text(value))
            except ValueError as error:
                shown = "" if SPECS[name].secret else f" (it is {_text(value)[:80]!r})"
                yield f"{where}{name} {error}{shown}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    return {f"{PREFIX}{name.upper()}": _text(value) for name, value in settings.items()}
