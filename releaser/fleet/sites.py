"""The sites file: which sites a host has, whose they are, and which are updated before the others."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from releaser.errors import PreflightError, Problem, refuse, require
from releaser.site.owners import Trust, find_strangers
from releaser.site.settings import MailSettings, load_settings, read_seconds
from releaser.system.files import BrokenFileError, read_regular_file
from releaser.system.text import find_close

SITES = Path("/etc/releaser/sites.toml")
LONGEST = 2 * 3600.0  # seconds for one site
MOST = 10_000  # sites
_KEYS = ("site", "limit", "mail")
_SITE_KEYS: dict[str, type] = {"path": str, "owner": str, "group": str, "first": bool}
_EXAMPLE = "a table for each site, such as:\n[[site]]\npath = '/srv/www/shop/site'\nowner = 'shop'"


class ListedSite(msgspec.Struct, frozen=True):
    """A site: its project, and the user and group that its commands run as. `first` ones are updated before others."""

    path: Path
    owner: str
    group: str = ""
    first: bool = False


class SitesFile(msgspec.Struct, frozen=True):
    """The content of a sites file: the sites in its order, the seconds that each may take, and who gets the digest."""

    path: Path
    sites: tuple[ListedSite, ...]
    limit: float
    mail: MailSettings


def read_sites(path: Path, environ: Mapping[str, str]) -> SitesFile:
    """Return the content of a sites file; `environ` may have the settings of its mail.

    Raises PreflightError with all mistakes, also if another user could write the file, or could replace it.
    """
    path = path.absolute()
    require(find_strangers(Trust(os.geteuid(), os.geteuid()), [path]))
    try:
        data = read_regular_file(Path(os.path.realpath(path)))
        if data is None:
            raise refuse("no-sites", f"`{path}` does not exist.", f"Write it: {_EXAMPLE}")
        content = tomllib.loads(data.decode())
    except BrokenFileError as error:
        raise refuse("sites", f"{error}.", "Name another file: `--sites FILE`.") from error
    except (ValueError, RecursionError) as error:
        raise refuse("sites", f"{path}: {error}.", f"Correct {path}.") from error
    problems = [Problem("sites", f"{path}: {flaw}", f"Correct {path}.") for flaw in _find_flaws(content)]
    if problems:
        raise PreflightError(*problems)
    settings, wrong = load_settings(environ, {}, content.get("mail", {}))
    for problem in wrong:
        message = problem.message.replace("pyproject.toml", f"{path}, [mail]", 1)
        problems.append(Problem("sites", message, problem.advice.replace("pyproject.toml", str(path))))
    require(problems)
    sites = tuple(ListedSite(**{**table, "path": Path(table["path"])}) for table in content["site"])
    return SitesFile(path, sites, read_seconds(content.get("limit", int(LONGEST))), settings.mail)


def _find_flaws(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each mistake in the form of the file."""
    yield from _find_unknown(content, _KEYS, "")
    try:
        read_seconds(content.get("limit", 1))
    except ValueError as error:
        yield f"`limit` must be {error}."
    if not isinstance(content.get("mail", {}), dict):
        yield "`mail` must be a table."
    tables = content.get("site")
    if not isinstance(tables, list) or not tables:
        yield "it has no site. Each begins with the line `[[site]]`."
        return
    if len(tables) > MOST:
        yield f"it has more than {MOST} sites."
    paths = set[str]()
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict):
            yield f"site {number} must be a table."
            continue
        where = f"site {number}, "
        yield from _find_unknown(table, tuple(_SITE_KEYS), where)
        for key, kind in _SITE_KEYS.items():
            if key in table and type(table[key]) is not kind:
                yield f"{where}`{key}` must be {'text' if kind is str else '`true` or `false`'}."
            elif not table.get(key) and key in ("path", "owner"):
                yield f"{where}`{key}` is missing."
        path = os.path.normpath(str(table.get("path", "/")))
        if not path.startswith("/") or "\0" in path:
            yield f"{where}`path` must be an absolute path."
        elif path in paths:
            yield f"{where}`{path}` is listed twice."
        paths.add(path)


def _find_unknown(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> Iterator[str]:
    for key in table.keys() - set(keys):
        close = find_close(key, keys)
        advice = f"Did you mean `{close}`?" if close else f"Known are {', '.join(keys)}."
        yield f"{where}`{key}` is no key. {advice}"
