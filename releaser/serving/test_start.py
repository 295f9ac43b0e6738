"""The test start: the server of a release answers on a private socket before the running server changes."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.restart import ServerCommand
from releaser.errors import ToolError, error_line
from releaser.serving.health_settings import HealthSettings
from releaser.serving.restarts import restart_of
from releaser.serving.servers import environ_of_server
from releaser.serving.start_settings import SOCKET, StartSettings
from releaser.site.restart_settings import RestartSettings
from releaser.system.expression import expression
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_directory
from releaser.system.venv_environment import inside
from releaser.tools.web import ask_until_good, listens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.site import Site
    from releaser.system.process import Server

_LONGEST = 107  # bytes of the path of a socket (unix(7))
_POLL = 0.02  # seconds
# Lines of gunicorn: time, process, level. Those about the end of workers name no cause.
_PROGRESS = expression(r"(?m)^\[[^]]+\] \[\d+\] \[(?:DEBUG|INFO)\].*")
_ENDS = expression(
    r"(?m)^\[[^]]+\] \[\d+\] (?:\[(?:DEBUG|INFO)\]|\[ERROR\] (?:Worker \(pid|Shutting down: |Reason: )).*"
)


class TestStart(Frozen):
    """A server that answers well on its own socket; it runs until the block of `start_on_socket` ends."""

    __test__ = False  # for pytest, which would collect it

    socket: Path
    pid: int
    answer: str
    #: Seconds until it answered.
    seconds: float


def command_on_socket(site: Site) -> ServerCommand | None:
    """Return the command that starts the server of the site on a socket; None without one, or without a URL to ask."""
    if not HealthSettings.of(site).checked_url or RestartSettings.of(site).stop:
        return None
    words = StartSettings.of(site).start_on_socket
    return ServerCommand(words=words) if words else restart_of(site).command_on_socket(site)


@contextlib.contextmanager
def start_on_socket(site: Site, command: ServerCommand, venv: Path) -> Iterator[TestStart]:
    """Start the server of the release in `venv` on a private socket, and check that it answers well.

    It has the environment of the running server, and ends with the block. Raises ToolError, with its output, if it
    ends, does not listen within `restart_timeout`, or answers badly.
    """
    with temporary_directory() as place:
        path = place / "s"
        if len(os.fsencode(path)) > _LONGEST:
            message = f"{path} is too long for a socket"
            raise ToolError(message, "Set `TMPDIR` to a directory with a shorter path.")
        argv = [word.replace(SOCKET, str(path)) for word in command.words]
        variables = {**site.runner.live_environ, **environ_of_server(site), **command.variables}
        began = time.monotonic()
        cwd = command.directory or site.project.root
        with site.runner.serving(argv, cwd=cwd, env=inside(venv, variables)) as server:
            try:
                _wait_until_it_listens(server, path, argv[0], RestartSettings.of(site).restart_timeout)
                answer = _ask(site, server, path, argv[0])
            except ToolError as error:
                output = server.output()
                raise ToolError(_explain(error.message, output), error.advice, output=error.output or output) from error
            seconds = time.monotonic() - began
            yield TestStart(socket=path, pid=server.pid, answer=answer, seconds=seconds)


def _wait_until_it_listens(server: Server, path: Path, name: str, limit: float) -> None:
    ends_at = time.monotonic() + limit
    while not listens(path):
        _refuse_ended(server, name)
        if time.monotonic() > ends_at:
            message = f"{name} did not listen on its socket within {limit:g} s"
            raise ToolError(message, f"Let the server listen on {SOCKET}, or raise `restart_timeout`.", timed_out=True)
        time.sleep(_POLL)


def _ask(site: Site, server: Server, path: Path, name: str) -> str:
    """Run the health check on the socket; return the answer. Raises ToolError."""
    settings = HealthSettings.of(site)
    ask = settings.asks_url(settings.checked_url, str(path))

    def pause(seconds: float) -> None:
        _refuse_ended(server, name)
        time.sleep(seconds)

    try:
        return ask_until_good(ask, settings.patience(), sleep=pause).answer.replace(f" through {path}", "")
    except ToolError as error:
        _refuse_ended(server, name)
        raise ToolError(error.message.replace(f" through {path}", ""), error.advice, output=error.output) from error


def _refuse_ended(server: Server, name: str) -> None:
    """Raise ToolError if the server has ended."""
    if end := server.end():
        message = f"{name} ended before it answered ({end})"
        raise ToolError(message)


def _explain(message: str, output: str) -> str:
    """Return a message with the last line of the output that may be the cause; gunicorn ends it with others."""
    found = (error_line(noise.sub("", output)) for noise in (_ENDS, _PROGRESS))
    line = next(filter(None, found), "")
    return f"{message}: {line[:200]}" if line and line not in message else message
