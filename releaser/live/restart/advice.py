"""Which way to restart fits a site: by the processes that serve it, their units, and their command lines."""

from __future__ import annotations

import os
import re

from releaser.live.programs import RELOAD
from releaser.live.restart import gunicorn
from releaser.releases.lease import list_users
from releaser.site.site import Site
from releaser.system import proc
from releaser.system.text import escape

PID_FILE = re.compile("\0(?:-p\0?|--pid[=\0])([^\0]+)")  # in a command line, as /proc has it
_RELOADING = re.compile("gunicorn|uvicorn|hypercorn|granian")


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
