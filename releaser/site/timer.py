"""The service and the timer of systemd that update a site each night: of this user, or of the system."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
from pathlib import Path

import msgspec

from releaser.errors import PreflightError, ToolError, refuse
from releaser.site.crontab import choose_time, find_program
from releaser.site.site import Site
from releaser.system import process
from releaser.system.files import replace_file

_LIMIT = 30.0  # seconds for a question
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SERVICE = """\
[Unit]
Description=Nightly update of {description}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
{user}Environment=LANG=C.UTF-8 {path}
ExecStart={command}
# A server that a restart has started lives on.
KillMode=process
"""
_TIMER = """\
[Unit]
Description=Nightly update of {description}

[Timer]
OnCalendar=*-*-* {hour:02}:{minute:02}
Persistent=true

[Install]
WantedBy=timers.target
"""


class Timer(msgspec.Struct, frozen=True):
    """The units of a site by their paths, the timer first; `scope` are the words of systemctl that reach them."""

    units: dict[Path, str]
    scope: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the timer."""
        return next(iter(self.units)).name

    @property
    def text(self) -> str:
        """The units, each after a comment with its path."""
        return "\n".join(f"# {path}\n{content}" for path, content in self.units.items())


def make_environment(site: Site) -> dict[str, str]:
    """Return the environment of `systemctl`: cron's has not the directory in which the user's systemd listens."""
    env = site.tool_environment()
    if os.path.isdir(directory := f"/run/user/{os.geteuid()}"):
        env.setdefault("XDG_RUNTIME_DIR", directory)
    return env


def make_timer(site: Site, *, is_of_system: bool) -> Timer:
    """Return the units for a site; those of the system run as its owner. Raises PreflightError."""
    program, project = find_program("systemd"), site.paths.project
    if re.search(r"[\n\r]", str(project)):
        raise refuse("odd-path", f"A unit cannot name `{project}`: it has a line break.", "Rename the directory.")
    hour, minute = choose_time(site)
    owner = pwd.getpwuid(project.stat().st_uid).pw_name if is_of_system else ""
    words = [str(program), "update", "--project", str(project)]
    fields = {
        "description": str(project).replace("%", "%%"),
        "user": f"User={owner}\n" if owner else "",
        "path": _quote(f"PATH={_PATH}:{site.uv.parent}"),
        "command": " ".join(_quote(word).replace("$", "$$") for word in words),
    }
    timer = _TIMER.format(description=fields["description"], hour=hour, minute=minute)
    paths = list_paths(site, is_of_system=is_of_system)
    units = dict(zip(paths, (timer, _SERVICE.format(**fields)), strict=True))
    return Timer(units, ("systemctl",) if is_of_system else ("systemctl", "--user"))


def _quote(text: str) -> str:
    """Return a word as units take it."""
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%"))


def list_paths(site: Site, *, is_of_system: bool) -> list[Path]:
    """Return the paths of the timer and of its service."""
    project = site.paths.project
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:6]
    name = f"releaser-{re.sub(r'[^A-Za-z0-9_.-]', '-', project.name)}-{digest}"
    home = site.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    directory = Path("/etc/systemd/system") if is_of_system else Path(home, "systemd/user")
    return [directory / f"{name}{kind}" for kind in (".timer", ".service")]


def install_timer(site: Site, timer: Timer) -> str:
    """Write the units and start the timer; return `added`, `replaced` or `unchanged`. Raises PreflightError."""
    if timer.scope == ("systemctl",) and os.geteuid() != 0:
        message = "Only root may install units of the system."
        raise refuse("not-root", message, "Leave out `--system`, or write what it prints to the paths that it names.")
    if not shutil.which("systemctl", path=site.environ["PATH"]):
        raise refuse("no-systemd", "This host has no program `systemctl`.", "Run `releaser schedule cron --install`.")
    before = {path: path.read_text("utf-8") for path in timer.units if path.is_file()}
    _run(site, timer, "daemon-reload")  # it must answer before anything is written
    for path, content in timer.units.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.encode(), mode=0o644)
    _run(site, timer, "daemon-reload")
    _run(site, timer, "enable", "--now", timer.name)
    return "unchanged" if before == timer.units else "replaced" if before else "added"


def remove_timer(site: Site) -> list[str]:
    """Stop and delete the timer of a site, if this user may; return the paths that are gone. Raises OSError."""
    removed = []
    for is_of_system in (False, True):
        paths = [path for path in list_paths(site, is_of_system=is_of_system) if os.path.lexists(path)]
        if not paths or (is_of_system and os.geteuid() != 0):
            continue
        timer = Timer(dict.fromkeys(paths, ""), ("systemctl",) if is_of_system else ("systemctl", "--user"))
        with contextlib.suppress(PreflightError):  # without systemd, nothing of it runs
            _run(site, timer, "disable", "--now", timer.name)
        for path in paths:
            path.unlink()
            removed.append(str(path))
    return removed


def _run(site: Site, timer: Timer, *words: str) -> None:
    """Run systemctl. Raises PreflightError."""
    command = [*timer.scope, *words]
    try:
        process.run(command, cwd=Path("/"), env=make_environment(site), timeout=_LIMIT)
    except ToolError as error:
        advice = "Run `releaser schedule cron --install` instead."
        if "--user" in command:
            advice = f"Run `sudo loginctl enable-linger $(id -un)`, then this again. {advice}"
        raise refuse("no-systemd", f"systemd did not take the timer: {error.message}", advice) from error
