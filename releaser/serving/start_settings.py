"""The settings of the test start."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.serving.health_settings import HealthSettings
from releaser.site.declaring import Part
from releaser.site.restart_settings import RestartSettings
from releaser.site.values import Command

if TYPE_CHECKING:
    from releaser.site.site import Site

#: The word in the command that becomes the path of the socket.
SOCKET = "{socket}"


class StartSettings(Part):
    """The test start of the site's server, on a private socket."""

    #: A command that starts the site's server on the unix socket `{socket}`, for a check of the release before the
    #: restart.
    start_on_socket: Command | None = None


def start_findings(site: "Site") -> Iterator[Finding]:
    """Find settings that contradict the test start."""
    words = StartSettings.of(site).start_on_socket
    if words is None:
        return
    if not any(SOCKET in word for word in words):
        message = f"start_on_socket has no {SOCKET}, so releaser could not reach the server"
        advice = f"Write {SOCKET} where the command takes the path of a socket, as in `--bind unix:{SOCKET}`."
        yield Finding("start-without-socket", message, advice)
    if not HealthSettings.of(site).checked_url:
        message = "start_on_socket is set, but health_check is not a URL"
        yield Finding("start-without-url", message, "Set `health_check` to a URL, or remove `start_on_socket`.")
    if RestartSettings.of(site).stop:
        message = "start_on_socket and `stop` are both set, but a test start would prolong the downtime"
        yield Finding("start-and-stop", message, "Remove `start_on_socket`, or use `restart` instead of `stop`.")
