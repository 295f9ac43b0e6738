"""What preflight looks at of the web server: how it is told to restart, and how the site is asked afterwards."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError, Unfit, gist
from releaser.project.settings import Settings
from releaser.tools import health, webserver
from releaser.tools.environment import inside, neutral

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.project.site import Site

_OWN_WORDS = frozenset({"auto", "none", "passenger"})
_OF_URLS = ("health_status", "health_text", "health_socket", "health_host")


def findings(site: Site) -> Iterator[Unfit]:
    """Find what is wrong with the restart and the health check that are set."""
    yield from restart_findings(site)
    yield from health_findings(site.settings)


def restart_file(site: Site) -> Path | None:
    """Find what to touch for `restart = "auto"`; None when there is nothing, or another way to restart is set."""
    settings, root = site.settings, site.project.checkout
    if settings.restart != ("auto",):
        return None
    return root / settings.restart_file if settings.restart_file else webserver.restart_file_in(root)


def app_root(site: Site) -> Path:
    """Return the application root as Passenger knows it: as written, with its symlinks."""
    return site.project.checkout / Path(site.settings.passenger_app_root or ".").expanduser()


def restart_findings(site: Site) -> Iterator[Unfit]:
    """Find what would keep the web server from being told to restart."""
    if site.settings.restart == ("passenger",):
        yield from _passenger_findings(site)
    file = restart_file(site)
    if file is not None:
        yield from _touch_findings(file)


def program_findings(site: Site, venv: Path) -> Iterator[Unfit]:
    """Find the programs of the commands that are set which there are not, neither on PATH nor in a venv."""
    settings, root = site.settings, site.project.root
    path = inside(venv, site.runner.site_environ)["PATH"]
    commands = {"restart": settings.restart[0]} if settings.restart[0] not in _OWN_WORDS else {}
    if settings.health_check and not health.is_url(settings.health_check):
        commands["health_check"] = shlex.split(settings.health_check)[0]
    for key, word in commands.items():
        if shutil.which(root / word if "/" in word else word, path=path) is None:
            yield Unfit(f"{key}: there is no program {word!r}", advice=f"Correct `{key}`, or install the program.")


def _touch_findings(file: Path) -> Iterator[Unfit]:
    """Look whether this user may touch a file, or make it, without doing so."""
    target = Path(os.path.realpath(file))
    if not target.parent.is_dir():
        yield Unfit(
            f"restart_file {file}: there is no directory {target.parent}",
            advice="Make the directory, or correct `restart_file`.",
        )
    elif not _may_touch(target):
        yield Unfit(
            f"restart_file {file} cannot be touched by this user",
            advice=f"Let this user write {target if target.exists() else target.parent}, or set `restart_file`.",
        )


def _may_touch(target: Path) -> bool:
    """The owner may set the time of a file that is not writable (utimensat(2)), unless it is mounted read-only."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return os.access(target.parent, os.W_OK | os.X_OK)
    except OSError:
        return False
    if os.access(target, os.W_OK):
        return True
    return status.st_uid == os.geteuid() and not os.statvfs(target).f_flag & os.ST_RDONLY


def _passenger_findings(site: Site) -> Iterator[Unfit]:
    root = app_root(site)
    if not root.is_dir():
        yield Unfit(f"passenger_app_root {root} is not a directory", advice="Correct `passenger_app_root`.")
    if shutil.which("passenger-config", path=site.runner.environ.get("PATH")) is None:
        yield Unfit(
            "restart is `passenger`, but passenger-config is not on PATH",
            advice="Install it, or set `restart` to auto, to a command or to none.",
        )
        return
    try:
        finished = site.runner.run(
            webserver.passenger_arguments(webserver.NO_APPLICATION),
            cwd=site.project.root,
            env=neutral(site.runner.environ),
            timeout=site.settings.restart_timeout,
        )
        webserver.passenger_result(finished.output)
    except ToolError as error:
        reason = webserver.passenger_error(error.output) or gist(error.output)
        message = ": ".join(filter(None, ("restart is `passenger`, but passenger-config does not work", reason)))
        yield Unfit(message, advice=error.advice or webserver.PASSENGER_ADVICE, output=error.output)


def health_findings(settings: Settings) -> Iterator[Unfit]:
    """Find settings of the health check that do not go together."""
    check, usual = settings.health_check, Settings()
    if check is None or not health.is_url(check):
        why = "health_check is not set" if check is None else "health_check is a command"
        for name in _OF_URLS:
            if getattr(settings, name) != getattr(usual, name):
                yield Unfit(
                    f"{name} is set, but {why}; it is for a URL",
                    advice=f"Set `health_check` to a URL, or remove `{name}`.",
                )
        return
    if settings.health_socket is None:
        return
    if check.lower().startswith("https:"):
        yield Unfit(
            "health_socket is set, but health_check begins with https://",
            advice="Write http://; what listens on a unix socket speaks no TLS.",
        )
    yield from _socket_findings(settings.health_socket)


def _socket_findings(path: str) -> Iterator[Unfit]:
    """Look at a socket that is there; it may be missing, as the server may be down."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        yield Unfit(f"health_socket {path} is not a socket", advice="Correct `health_socket`.")
    elif not os.access(path, os.W_OK):  # what connecting takes (unix(7))
        yield Unfit(
            f"health_socket {path}: this user may not connect to it",
            advice="Let this user write it: by the group of the socket, or of the server that makes it.",
        )
