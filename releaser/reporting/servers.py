"""The states of the sites of other servers, from the JSON that `releaser report --publish` writes there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from releaser.errors import ToolError, os_reason
from releaser.reporting.many_sites import SiteAnswer
from releaser.system.files import read_file
from releaser.system.frozen import Frozen
from releaser.system.signals import call_within
from releaser.system.words import age, is_url, one_line
from releaser.tools.download import credentials_for, is_loopback
from releaser.tools.web import get

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = 20.0  # seconds for one server
_AT_ONCE = 8  # servers
_LARGEST = 8 << 20  # bytes: some hundred sites
#: A server that publishes every night is never older, even if a night takes longer.
OLDEST = timedelta(hours=26)
_AHEAD = timedelta(minutes=10)  # by which the clock of a server may be ahead


class ServerReport(Frozen):
    """The states of the sites of one server at one moment."""

    #: The host name of the server.
    host: str
    at: datetime
    #: The `status` of each site.
    sites: tuple[SiteAnswer, ...]


PUBLISHED = (ServerReport,)  # the JSON of `report`


class Server(Frozen):
    """A server on the page: its name there, and its report; without one, `problem` says why."""

    name: str
    #: The path or the URL of its report; empty for this host.
    place: str = ""
    report: ServerReport | None = None
    problem: str = ""

    def find_problem(self, now: datetime) -> str:
        """Return why the report does not say how the sites are now; empty if it does."""
        if self.report is None:
            return self.problem
        since = now - self.report.at
        if since > OLDEST:
            return f"the report is {age(since.total_seconds())} old"
        if -since > _AHEAD:
            return f"the clock of the server is {age(-since.total_seconds())} ahead"
        return ""


def read_servers(places: Mapping[str, str], environ: Mapping[str, str]) -> list[Server]:
    """Read the report of each server, given by name, several at a time; what fails is the problem of that server."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda name: _read_server(name, places[name], environ), places))


def _read_server(name: str, place: str, environ: Mapping[str, str]) -> Server:
    try:
        report = msgspec.json.decode(_read(place, environ), type=ServerReport)
        problem = "" if report.at.tzinfo else "its report has a time without a zone"
        return Server(name=name, place=place, report=None if problem else report, problem=problem)
    except ToolError as error:
        problem = error.message
    except TimeoutError:
        problem = f"its report cannot be read within {_TIMEOUT:g} s"
    except OSError as error:
        problem = f"its report cannot be read: {os_reason(error)}"
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        problem = f"this is no report of `releaser report --publish`: {one_line(str(error), limit=200)}"
    return Server(name=name, place=place, problem=problem)


def _read(place: str, environ: Mapping[str, str]) -> bytes:
    if not is_url(place):
        return call_within(_TIMEOUT, lambda _: read_file(place, _LARGEST))  # a network share may hang
    parts = urlsplit(place)
    is_secret = parts.scheme == "https" or is_loopback(parts.hostname or "")
    home = {name: value for name, value in environ.items() if name in ("HOME", "NETRC")}
    login = credentials_for(place, home, {}) if is_secret else None
    return get(place, login=login, environ=environ, timeout=_TIMEOUT, most=_LARGEST)
