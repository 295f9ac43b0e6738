"""The service and the timer of systemd that update a site each night: of this user, or of the system."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
from pathlib import Path

from releaser.errors import PreflightError, ToolError, refuse
from releaser.site.crontab import choose_time, find_program
from releaser.site.site import Site
from releaser.system import process
from releaser.system.files import replace_file

_LIMIT = 30.0  # seconds for a question
_SYSTEM = Path("/etc/systemd/system")
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


def make_environment(site: Site) -> dict[str, str]:
    """Return the environment of `systemctl`: cron's has not the directory in which the user's systemd listens."""
    env = site.tool_environment()
    if os.path.isdir(directory := f"/run/user/{os.geteuid()}"):
        env.setdefault("XDG_RUNTIME_DIR", directory)
    return env


def make_units(site: Site, *, is_of_system: bool) -> dict[Path, str]:
    """Return the timer and its service, by their paths; those of the system run as the owner. Raises PreflightError."""
    project = site.paths.project
    hour, minute = choose_time(site)
    words = [str(find_program("systemd")), "update", "--project", str(project)]
    description, command = str(project).replace("%", "%%"), " ".join(_quote(word).replace("$", "$$") for word in words)
    user = f"User={pwd.getpwuid(project.stat().st_uid).pw_name}\n" if is_of_system else ""
    path = _quote(f"PATH={_PATH}:{site.uv.parent}")
    timer, service = _list_paths(site, _SYSTEM if is_of_system else _find_own_place(site))
    return {
        timer: _TIMER.format(description=description, hour=hour, minute=minute),
        service: _SERVICE.format(description=description, user=user, path=path, command=command),
    }


def _quote(text: str) -> str:
    """Return a word as units take it."""
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%"))


def _find_own_place(site: Site) -> Path:
    return Path(site.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "systemd/user")


def _list_paths(site: Site, directory: Path) -> tuple[Path, Path]:
    """Return the paths of the timer and of its service in a directory."""
    project = site.paths.project
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:6]
    name = f"releaser-{re.sub(r'[^A-Za-z0-9_.-]', '-', project.name)}-{digest}"
    return directory / f"{name}.timer", directory / f"{name}.service"


def install_units(site: Site, units: dict[Path, str]) -> str:
    """Write the units and start the timer; return `added`, `replaced` or `unchanged`. Raises PreflightError."""
    timer = next(iter(units))
    if timer.parent == _SYSTEM and os.geteuid() != 0:
        message = "Only root may install units of the system."
        raise refuse("not-root", message, "Leave out `--system`, or write what it prints to the paths that it names.")
    if not shutil.which("systemctl", path=site.environ["PATH"]):
        raise refuse("no-systemd", "This host has no program `systemctl`.", "Run `releaser schedule cron --install`.")
    before = {path: path.read_text("utf-8") for path in units if path.is_file()}
    _run(site, timer, "daemon-reload")  # it must answer before anything is written
    for path, content in units.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.encode(), mode=0o644)
    _run(site, timer, "daemon-reload")
    _run(site, timer, "enable", "--now", timer.name)
    return "unchanged" if before == units else "replaced" if before else "added"


def list_units(site: Site) -> list[Path]:
    """Return the units of a site that this user may remove."""
    places = (_find_own_place(site), _SYSTEM) if os.geteuid() == 0 else (_find_own_place(site),)
    return [path for place in places for path in _list_paths(site, place) if os.path.lexists(path)]


def remove_units(site: Site) -> list[str]:
    """Stop and delete the timer of a site, if this user may; return the paths that are gone. Raises OSError."""
    units = list_units(site)
    for path in units:
        if path.suffix == ".timer":
            with contextlib.suppress(PreflightError):  # without systemd, nothing of it runs
                _run(site, path, "disable", "--now", path.name)
        path.unlink()
    return [*map(str, units)]


def find_timer_of_root(site: Site) -> str:
    """Return the name of the timer of the system that only root may remove; empty if there is none."""
    timer = _list_paths(site, _SYSTEM)[0]
    return timer.name if timer.exists() and os.geteuid() != 0 else ""


def _run(site: Site, timer: Path, *words: str) -> None:
    """Run systemctl for the system or this user, by the place of a timer. Raises PreflightError."""
    command = ["systemctl", *([] if timer.parent == _SYSTEM else ["--user"]), *words]
    try:
        process.run(command, cwd=Path("/"), env=make_environment(site), timeout=_LIMIT)
    except ToolError as error:
        advice = "Run `releaser schedule cron --install` instead."
        if "--user" in command:
            advice = f"Run `sudo loginctl enable-linger $(id -un)`, then this again. {advice}"
        raise refuse("no-systemd", f"systemd did not take the timer: {error.message}", advice) from error
