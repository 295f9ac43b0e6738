"""A restart of units of systemd, of the system or of this user. Their sockets stay up, so no request is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from releaser.errors import ChangeError, Problem, ToolError
from releaser.live.programs import find_missing_program, run_restart
from releaser.site.site import Site
from releaser.system import process

_LIMIT = 20.0  # seconds for a question


def list_units(words: tuple[str, ...]) -> list[str]:
    """Return the units of a setting, `systemd:UNIT,…`, with their type."""
    names = ",".join(words).partition(":")[2].split(",")
    return [name if "." in name else f"{name}.service" for name in filter(None, map(str.strip, names))]


def make_command(site: Site, unit: str) -> list[str]:
    """Return `systemctl` with the scope of a unit: that of the user, if it is not root and the system has none.

    Raises ToolError if the program cannot be started.
    """
    system = ["systemctl", "--no-ask-password"]
    is_systems = os.geteuid() == 0 or ask(site, system, unit, "LoadState") not in ("", "not-found")
    return system if is_systems else ["systemctl", "--user"]


def ask(site: Site, command: list[str], unit: str, name: str) -> str:
    """Return a property of a unit; empty if systemd does not answer. Raises ToolError."""
    words, env = [*command, "show", "--value", f"--property={name}", unit], _make_environment(site)
    finished = process.run(words, cwd=site.paths.project, env=env, timeout=_LIMIT, check=False, is_question=True)
    return finished.stdout.strip() if finished.status == 0 else ""


def _make_environment(site: Site) -> dict[str, str]:
    """Return the environment of `systemctl`: cron's has not the directory in which the user's systemd listens."""
    env = site.tool_environment()
    if os.path.isdir(directory := f"/run/user/{os.geteuid()}"):
        env.setdefault("XDG_RUNTIME_DIR", directory)
    return env


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return a problem if systemd does not answer, and for each unit that it does not know."""
    units = list_units(words)
    if not units:
        message = f"The setting `{setting}` names no unit: `{words[0]}`."
        return [Problem("no-unit", message, "Set it to `systemd:UNIT`: `systemctl list-units` names them.")]
    if not shutil.which("systemctl", path=_make_environment(site)["PATH"]):
        return find_missing_program(site, setting, "systemctl")
    return [problem for unit in units for problem in _find_unit_problems(site, setting, unit)]


def _find_unit_problems(site: Site, setting: str, unit: str) -> list[Problem]:
    try:
        command = make_command(site, unit)
        state = ask(site, command, unit, "LoadState")
    except ToolError as error:
        return [Problem("no-systemd", f"systemd does not answer: {error.message}", f"Correct `{setting}`.")]
    if state == "loaded":
        return []
    if state == "":
        message = f"`{' '.join(command)}` reaches no systemd, and the setting `{setting}` names `{unit}`."
        advice = "Run `sudo loginctl enable-linger $(id -un)`, or set a command, such as `sudo -n systemctl restart …`."
        return [Problem("no-systemd", message, advice)]
    message = f"The setting `{setting}` names `{unit}`, which is {state} for `{' '.join(command)}`."
    return [Problem("no-unit", message, f"Correct `{setting}`: `{' '.join(command)} list-units` names them.")]


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Restart the units, but for sockets, which are only started if they are down. Raises ChangeError.

    A unit, and its socket, that failed by too many starts in a short time would refuse each further one.
    """
    units, env = list_units(words), _make_environment(site)
    try:
        for unit in units:
            command = make_command(site, unit)
            sockets = [name for name in ask(site, command, unit, "TriggeredBy").split() if name.endswith(".socket")]
            is_socket = unit.endswith(".socket")
            for more in (["reset-failed", unit, *sockets], ["start", *sockets] if sockets else []):
                if more:
                    process.run([*command, *more], cwd=site.paths.project, env=env, timeout=_LIMIT, check=False)
            run_restart(site, [*command, "start" if is_socket else "restart", unit], env)
    except ToolError as error:
        raise ChangeError(f"The restart failed: {error.message}", error.advice, output=error.output) from error
    return f"restarted {', '.join(units)}"
