"""The sites file: which sites a host has, whose they are, and which are updated before the others."""

from __future__ import annotations

import contextlib
import os
import pwd
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from releaser.errors import refuse, require
from releaser.site.owners import Trust, find_strangers
from releaser.site.settings import MailSettings, load_settings, read_seconds
from releaser.system.files import BrokenFileError, read_regular_file

SITES = Path("/etc/releaser/sites.toml")
_MOST = 10_000  # sites
_EXAMPLE = "For each site it has the lines `[[site]]`, `path = '/srv/www/shop/site'` and `owner = 'shop'`."
_MAIL = ("updater_admins", "mail_from", "smtp_")


class ListedSite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A site: its project, and the user and group that its commands run as. `first` ones are updated before others."""

    path: Path
    owner: str
    group: str = ""
    first: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a path that depends on where a command is started."""
        if not self.path.is_absolute():
            raise ValueError("Expected an absolute path")
        if "\0" in f"{self.path}{self.owner}{self.group}":
            raise ValueError("Expected names without NUL")


class SitesFile(msgspec.Struct, frozen=True):
    """The content of a sites file: the sites in its order, the seconds that each may take, and who gets the digest."""

    path: Path
    sites: tuple[ListedSite, ...]
    limit: float
    mail: MailSettings


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: tuple[ListedSite, ...]
    limit: str | int = "2h"
    mail: dict[str, Any] = {}


def read_sites(path: Path, environ: Mapping[str, str]) -> SitesFile:
    """Return the content of a sites file; `environ` may have the settings of its mail.

    Raises PreflightError for a mistake, if another user could write the file, or could replace it, and if a site
    belongs to another user than the one that it names.
    """
    path = path.absolute()
    require(find_strangers(Trust(os.geteuid(), os.geteuid()), [path]))
    try:
        data = read_regular_file(Path(os.path.realpath(path)))
        if data is None:
            raise refuse("no-sites", f"`{path}` does not exist.", _EXAMPLE)
        content = msgspec.convert(
            tomllib.loads(data.decode("utf-8-sig")), _Content, dec_hook=lambda kind, value: kind(value)
        )
        limit = read_seconds(content.limit)
        if not limit:
            raise ValueError("`limit` must be more than 0")
        if others := [name for name in content.mail if not name.startswith(_MAIL)]:
            raise ValueError(
                f"`{others[0]}` is no setting of `[mail]`; those are `updater_admins`, `mail_from`, `smtp_…`"
            )
        if not 0 < len({site.path for site in content.site}) == len(content.site) <= _MOST:
            raise ValueError(f"it must have 1 to {_MOST} sites, each once")
    except BrokenFileError as error:
        raise refuse("sites", f"{error}.", "Name another file: `--sites FILE`.") from error
    except (ValueError, RecursionError) as error:  # those of TOML and msgspec, too
        raise refuse("sites", f"{path}: {error}.", f"Correct {path}. {_EXAMPLE}") from error
    settings, wrong = load_settings(environ, {}, content.mail)
    for problem in wrong:
        message = problem.message.replace("pyproject.toml", f"{path}, [mail]", 1)
        raise refuse("sites", message, problem.advice.replace("pyproject.toml", str(path)))
    # An owner who turns a site into a link to that of another user harms no other one: it is refused alone.
    for site in (site for site in content.site if os.path.realpath(site.path) == str(site.path)):
        with contextlib.suppress(OSError, KeyError):  # this one, too
            if (user := site.path.stat().st_uid) != pwd.getpwnam(site.owner).pw_uid:
                message = f"{path}: `{site.path}` belongs to user {user}, and not to `{site.owner}`."
                raise refuse("sites", message, "Correct `owner`, or find out who has changed the site.")
    return SitesFile(path, content.site, limit, settings.mail)
