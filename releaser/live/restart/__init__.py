"""The ways to restart a site and its workers: one dict, a module of functions for each way, and which of them fits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

from releaser.errors import ChangeError, Problem
from releaser.live.programs import NONE, RELOAD, may_restart
from releaser.live.restart import command, gunicorn, passenger, systemd, touch
from releaser.releases.lease import list_users
from releaser.site.site import Site
from releaser.system import proc
from releaser.system.text import escape, join_few

PID_FILE = re.compile("\0(?:-p\0?|--pid[=\0])([^\0]+)")  # in a command line, as /proc has it
_RELOADING = re.compile("gunicorn|uvicorn|hypercorn|granian")


class Way(Protocol):
    """A way to restart; `words` are the value of a setting."""

    def find_problems(self, site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
        """Return why the value of a setting cannot be right."""

    def restart(self, site: Site, words: tuple[str, ...], release: Path) -> str:
        """Restart what runs, on the release in this directory, and return how. May be repeated. Raises ChangeError."""


#: By the value of the setting, or by its beginning with the colon; any other value is a command.
WAYS: dict[str, Way] = {"auto": touch, "passenger": passenger, "systemd:": systemd, "gunicorn:": gunicorn}


def find_way(words: tuple[str, ...]) -> Way:
    """Return the way of a setting."""
    first, colon, _ = words[0].partition(":")
    return WAYS.get(first + colon, command) if colon or len(words) == 1 else command


def _list_settings(site: Site) -> list[tuple[str, tuple[str, ...]]]:
    live = site.settings.live
    values = [("restart", live.restart), ("restart_workers", live.restart_workers)]
    return [(name, words) for name, words in values if words not in NONE]


def find_problems(site: Site) -> list[Problem]:
    """Return why the site, or its workers, cannot be restarted as it is set."""
    return [each for name, words in _list_settings(site) for each in find_way(words).find_problems(site, name, words)]


def restart(site: Site, release: Path) -> str:
    """Restart the site, then its workers, on a release; return how, in words. May be repeated. Raises ChangeError."""
    done = []
    for name, words in _list_settings(site):
        try:
            done.append(find_way(words).restart(site, words, release))
        except ChangeError as error:
            message = f"The restart failed, by `{name}`: {error.message}"
            failure = type(error)(message, error.advice, output=error.output)
            failure.is_of_workers = name == "restart_workers"
            raise failure from error
    return "; ".join(done)


def find_failed(site: Site) -> list[Problem]:
    """Return a problem for the units of each setting that have failed since their restart."""
    failed = [systemd.find_failed(site, words) for _, words in _list_settings(site) if find_way(words) is systemd]
    message = "`{}` has failed, and does not run."
    return [
        Problem("failed-unit", message.format(join_few(units)), systemd.advise_log(site, units))
        for units in failed
        if units
    ]


def advise_start(site: Site) -> str:
    """Return how a person starts a site that does not answer."""
    words = site.settings.live.restart
    way = find_way(words) if may_restart(site) else None
    if way in (systemd, command):  # a command may have secrets
        start = f"`{systemd.advise_start(site, words)}`" if way is systemd else "the command of `restart`"
        return f"Start the site: run {start}."
    return "Start the site by hand, as when this host boots."


def recommend(site: Site) -> str:
    """Return a hint about the way that fits what serves the site; empty if that is set, or nothing is known."""
    if " ".join(site.settings.live.restart).startswith("gunicorn:"):
        return gunicorn.find_hint(site, site.settings.live.restart)
    return _find_way(site)[1]


def find_setting(site: Site) -> str:
    """Return the value of `restart` that fits what serves the site; empty if nothing is known."""
    value = re.search(r"`(.+)`", _find_way(site)[0])
    return value[1] if value else ""


def _find_way(site: Site) -> tuple[str, str]:
    """Return the way that fits what serves the site, and a hint about it; both are empty if nothing is known."""
    users = [pid for release in site.paths.releases.glob("*") for pid in list_users(release)]
    users = users or proc.find_working_in(site.paths.project)  # before the first release
    setting = " ".join(site.settings.live.restart)
    for master in users:
        if not proc.list_addresses(master) or proc.find_parent(master) in users:
            continue
        text, is_reload = proc.describe_command(master), RELOAD.search(setting)
        way = "`passenger`" if "assenger" in text else gunicorn.find_supervisor(site, master)
        if not way and "gunicorn" in text and (file := PID_FILE.search("\0".join(proc.read_words(master)))):
            way = f"`gunicorn:{escape(os.path.realpath(os.path.join(f'/proc/{master}/cwd', file[1])))}`"
        way = way or ("a command that ends it and starts it again" if is_reload and _RELOADING.search(text) else "")
        if way and (is_reload or setting in ("auto", "none")) and way != f"`{setting}`":
            words = "A reload keeps the release. " if is_reload else ""
            return way, f"{words}The site is served by process {master}, `{text}`: set `restart` to {way}."
    return "", ""
