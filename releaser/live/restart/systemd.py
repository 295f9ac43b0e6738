"""A restart of units of systemd, of the system or of this user. Their sockets stay up, so no request is refused."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from releaser.errors import ChangeError, Problem, ToolError
from releaser.live.programs import find_missing_program, run_restart
from releaser.site.site import Site
from releaser.site.timer import make_environment
from releaser.system import process, signals
from releaser.system.text import join_few

_LIMIT = 20.0  # seconds for a question
_SETTLE = 3.0  # seconds in which a service ends that cannot start
_OFTEN = 10  # times that systemd starts what ends when its work is done, rather than what has failed now and then
_STARTED = ("simple", "exec", "idle")  # types of services that systemd calls started before they are


def list_units(words: tuple[str, ...]) -> list[str]:
    """Return the units of a setting, `systemd:UNIT,…`, with their type."""
    names = map(str.strip, ",".join(words).partition(":")[2].replace(",,", ",").split(","))
    return [name if "." in name else f"{name}.service" for name in names]


def make_command(site: Site, unit: str) -> list[str]:
    """Return `systemctl` with the scope of a unit: that of this user, unless it is root, or the system has the unit."""
    system = ["systemctl", "--no-ask-password"]
    is_of_system = os.geteuid() == 0 or ask(site, system, unit, "LoadState") not in ("", "not-found")
    return system if is_of_system else ["systemctl", "--user"]


def ask(site: Site, command: list[str], unit: str, name: str) -> str:
    """Return a property of a unit; empty if systemd does not answer."""
    return _run(site, [*command, "show", "--value", f"--property={name}", unit])


def _run(site: Site, words: list[str]) -> str:
    with contextlib.suppress(ToolError):
        env = make_environment(site)
        return process.run(words, cwd=site.paths.project, env=env, timeout=_LIMIT, is_question=True).stdout.strip()
    return ""


def advise_start(site: Site, words: tuple[str, ...]) -> str:
    """Return the command by which a person starts the units."""
    units = list_units(words)
    return " ".join([*make_command(site, units[0]), "restart", *units]).replace(" --no-ask-password", "")


def find_problems(site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
    """Return a problem for each unit that systemd does not know, also if that does not answer."""
    problems = find_missing_program(site, setting, "systemctl")
    for unit in [] if problems else list_units(words):
        command = " ".join(make_command(site, unit))
        state = ask(site, command.split(), unit, "LoadState")
        if state != "loaded":
            message = f"The setting `{setting}` names `{unit}`, which is {state or 'out of reach'} for `{command}`."
            advice = f"Correct `{setting}`: `{command} list-units` names units."
            linger = "Run `sudo loginctl enable-linger $(id -un)`, or set a command."
            advice = advice if state else linger if os.geteuid() else "Set a command: systemd does not answer."
            problems.append(Problem("no-unit", message, advice))
    return problems


def find_failed(site: Site, words: tuple[str, ...]) -> list[str]:
    """Return the units that failed, or that systemd is about to start again after a failure."""
    return [unit for unit in list_units(words) if _has_failed(site, make_command(site, unit), unit)]


def _has_failed(site: Site, command: list[str], unit: str) -> bool:
    state = ask(site, command, unit, "SubState")
    # One that ends when its work is done, and is started again, is well.
    is_again = state.startswith("auto-restart") and ask(site, command, unit, "Result") != "success"
    return state == "failed" or is_again


def _count_starts(site: Site, command: list[str], unit: str) -> int:
    """Return how often systemd has started a unit again by itself."""
    count = ask(site, command, unit, "NRestarts")
    return int(count) if count.isdecimal() else 0


def advise_log(site: Site, units: list[str]) -> str:
    """Return what shows why units failed."""
    command = " ".join(make_command(site, units[0])).replace(" --no-ask-password", "")
    return f"See `{command} status {' '.join(units)}`."


def restart(site: Site, words: tuple[str, ...], release: Path) -> str:
    """Restart the units, but sockets are only started if they are down. Raises ChangeError.

    A unit that failed by too many starts in a short time, and its socket with it, would refuse each further one.
    """
    started: list[str] = []
    for unit in list_units(words):
        command = make_command(site, unit)
        ends_often = _count_starts(site, command, unit) >= _OFTEN
        sockets = [name for name in ask(site, command, unit, "TriggeredBy").split() if name.endswith(".socket")]
        _run(site, [*command, "reset-failed", unit, *sockets])
        _run(site, [*command, "start", *sockets]) if sockets else None
        verb = "start" if unit.endswith(".socket") else "restart"
        run_restart(site, [*command, verb, unit], make_environment(site))
        started += [unit] if not ends_often and ask(site, command, unit, "Type") in _STARTED else []
    _require_running(site, words, started)
    return f"restarted {', '.join(list_units(words))}"


def _require_running(site: Site, words: tuple[str, ...], started: list[str]) -> None:
    """Wait for services that systemd calls started before they are. Raises ChangeError if one of the units failed."""
    deadline = time.monotonic() + _SETTLE
    while not (failed := find_failed(site, words)) and started and time.monotonic() < signals.limit(deadline):
        signals.wait(_SETTLE / 6)
    again = [unit for unit in started if _count_starts(site, make_command(site, unit), unit)]
    if failed := [*dict.fromkeys([*failed, *again])]:
        raise ChangeError(f"After its start, `{join_few(failed)}` failed.", advise_log(site, failed))
