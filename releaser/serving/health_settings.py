"""The settings of the health check."""

import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.site.declaring import Part
from releaser.site.values import (
    Duration,
    Host,
    Limit,
    SocketPath,
    Statuses,
    UrlOrCommand,
    Visible,
)
from releaser.system.words import is_url

if TYPE_CHECKING:
    from releaser.site.site import Site
    from releaser.tools.web import Patience

_OF_URLS = ("health_status", "health_text", "health_socket", "health_host")


class HealthSettings(Part):
    """The conditions under which the site is healthy."""

    #: The check that the site works: a URL that must answer, or a command that must exit with 0.
    health_check: UrlOrCommand | None = None
    #: The HTTP statuses that pass: `200`, a class such as `2xx`, a range such as `200-204`.
    health_status: Statuses = (range(200, 300), range(300, 400))
    #: A text that the page's source must contain in its first 1,000,000 bytes.
    health_text: Visible | None = None
    #: The absolute path of a unix socket through which releaser asks the URL.
    health_socket: SocketPath | None = None
    #: The host in the header `Host` and in the certificate, if it differs from that of the URL.
    health_host: Host | None = None
    #: The time limit of one try of the health check.
    health_timeout: Limit = 10.0
    #: How many times at most to repeat the health check until it passes.
    health_retries: int = 7
    #: The pause between two tries of the health check.
    health_pause: Duration = 2.0
    #: How long the health check must pass if releaser cannot see which release answers; 0 asks once.
    health_seconds: Duration = 10.0

    def patience(self) -> "Patience":
        """Return how often and how long to ask."""
        from releaser.tools.web import Patience

        return Patience(timeout=self.health_timeout, tries=self.health_retries + 1, pause=self.health_pause)

    @property
    def checked_url(self) -> str:
        """The URL of the health check; empty if it is a command, or not set."""
        check = self.health_check or ""
        return check if check.startswith(("http://", "https://")) else ""

    def asks_url(self, url: str, socket: str | None = None) -> Callable[[], str]:
        """Return a function that asks a URL once, through another `socket` if given.

        A socket has no TLS, so that `https://` becomes `http://` there, with the header that a proxy adds. The function
        returns a line, or raises ToolError.
        """
        from releaser.tools.web import Check, ask_url

        is_plain = socket is not None and url.lower().startswith("https:")
        wanted = Check(
            url=f"http{url[len('https') :]}" if is_plain else url,
            statuses=self.health_status,
            text=self.health_text,
            socket=socket or self.health_socket,
            host=self.health_host,
            headers=(("X-Forwarded-Proto", "https"),) if is_plain else (),
        )
        return lambda: ask_url(wanted, timeout=self.health_timeout)

    def check_stays_good(self, ask: Callable[[], str]) -> str:
        """Ask again for `health_seconds`, and return that in words. Raises ToolError at the first bad answer."""
        from releaser.tools.web import check_stays_good

        seconds = self.health_seconds
        check_stays_good(ask, seconds=seconds, pause=self.health_pause)
        return f", and kept answering well for {seconds:g} s" if seconds else ""


def ask_page(site: "Site", url: str) -> str:
    """Ask the URL of the health check once, and return the answer in a line. Raises ToolError for a bad one."""
    return HealthSettings.of(site).asks_url(url)()


def guess_url(check: str) -> str:
    """Ask whether a person meant a URL by a command that looks like a host; return an empty text for other commands."""
    host = check.partition("/")[0].partition(":")[0]
    looks_so = "." in host.strip(".") and "://" not in check and " " not in check
    return f"Did you mean `https://{check}`?" if looks_so else ""


def health_findings(site: "Site") -> Iterator[Finding]:
    """Find settings of the health check that contradict each other."""
    settings, usual = HealthSettings.of(site), HealthSettings()
    check = settings.health_check
    if check is None or not is_url(check):
        why = "health_check is not set" if check is None else "health_check is a command"
        for name in _OF_URLS:
            if getattr(settings, name) != getattr(usual, name):
                message = f"{name} is set, but {why}; it is for a URL"
                yield Finding("health-not-url", message, f"Set `health_check` to a URL, or remove `{name}`.")
        return
    if settings.health_socket is None:
        return
    if check.lower().startswith("https:"):
        message = "health_socket is set, but health_check begins with https://"
        yield Finding("health-socket-https", message, "Write http:// instead: servers on unix sockets do not use TLS.")
    yield from _socket_findings(settings.health_socket)


def _socket_findings(path: str) -> Iterator[Finding]:
    """Check an existing socket; a missing one is no finding, as the server may be down."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        yield Finding("health-socket-invalid", f"health_socket {path} is not a socket", "Correct `health_socket`.")
    elif not os.access(path, os.W_OK):  # connecting needs it (unix(7))
        yield Finding(
            "health-socket-denied",
            f"health_socket {path}: this user is not permitted to connect",
            "Give this user write access to the socket, for example through its group.",
        )
