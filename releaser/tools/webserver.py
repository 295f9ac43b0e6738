"""Tells the web server to restart the site, and asks the site how it is."""

from __future__ import annotations

import http.client
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from releaser.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)


def touch(path: Path) -> None:
    """Set the time of a restart file, making it if need be (Passenger restarts when it changes)."""
    try:
        path.touch()
        os.utime(path)
    except OSError as error:
        message = f"{path} cannot be touched: {error.strerror}"
        raise ToolError(message, advice=f"Let this user write {path}, or set `restart_file`.") from error


def passenger_arguments(project: Path) -> list[str]:
    """Arguments that restart one Passenger application by its root, without failing when it is not running yet."""
    return ["passenger-config", "restart-app", "--ignore-app-not-running", str(project)]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How to ask: each try takes at most `timeout` seconds, `tries` of them, `pause` seconds apart."""

    timeout: float
    tries: int
    pause: float


def until_good(ask: Callable[[], str], patience: Patience, *, sleep: Callable[[float], None] = time.sleep) -> str:
    """Ask until there is a good answer and return it; ToolError of the last try when there was none."""
    for left in range(patience.tries - 1, -1, -1):
        try:
            return ask()
        except ToolError as error:
            log.debug("health check: %s", error.message)
            if not left:
                raise
        sleep(patience.pause)
    message = "no health check was made"
    raise ToolError(message, advice="Set `health_retries` to 0 or more.")


def ask_url(url: str, *, timeout: float) -> str:
    """Get a URL once; return a line on its answer. ToolError unless the status is 2xx or 3xx (not followed)."""
    request = Request(url, headers={"User-Agent": "releaser", "Cache-Control": "no-cache"})  # noqa: S310 - checked setting
    try:
        with _opener().open(request, timeout=timeout) as answer:
            return f"{url} answered {answer.status}"
    except HTTPError as error:
        with error:
            if 300 <= error.code < 400:
                return f"{url} answered {error.code}"
            body = error.read(4000).decode("utf-8", errors="replace")
        message = f"{url} answered {error.code} {error.reason}"
        raise ToolError(message, output=body) from error
    except TimeoutError as error:
        message = f"{url} gave no answer within {timeout:g} s"
        raise ToolError(message, timed_out=True) from error
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        message = f"{url} cannot be reached: {reason}"
        raise ToolError(message) from error


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _opener() -> OpenerDirector:
    # The site is asked directly: a proxy could answer for it.
    return build_opener(ProxyHandler({}), _NoRedirects())


def is_url(text: str) -> bool:
    """Tell a URL from a command."""
    return text.startswith(("http://", "https://"))


def restart_file_in(project: Path, candidates: Sequence[str] = ("config/tmp", "tmp")) -> Path | None:
    """Find the restart file: in the first of the candidate directories that is there."""
    for name in candidates:
        if (project / name).is_dir():
            return project / name / "restart.txt"
    return None
