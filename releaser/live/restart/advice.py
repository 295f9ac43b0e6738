"""Which way to restart fits a site: by the processes that serve it, their units, and their command lines."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path

from releaser.errors import Problem
from releaser.live.restart import systemd
from releaser.releases.lease import list_users
from releaser.site.site import Site
from releaser.system import proc

_PID_FILE = re.compile(r"(?:-p|--pid)[ =](\S+)")
_RELOADING = re.compile("gunicorn|uvicorn|hypercorn|granian")
_SUPERVISORS = ("supervisord", "runsv", "circusd", "s6-supervise")
_LINE = """def on_starting(server): server.START_CTX[0], server.START_CTX["args"][:2] = \
"{0}/python", ["{0}/python", "{0}/gunicorn"]"""


def find_supervisor(site: Site, master: int) -> str:
    """Return the way of what watches the id of a process; empty if nothing does."""
    unit, words = proc.find_unit(master), " ".join(proc.read_words(proc.find_parent(master)))
    if unit and systemd.ask(site, systemd.make_command(site, unit), unit, "MainPID") == str(master):
        return f"`systemd:{unit}`"
    return "the command of that supervisor" if any(name in words for name in _SUPERVISORS) else ""


def find_pin(site: Site, master: int) -> list[Problem]:
    """Return a problem if the configuration of a gunicorn keeps its next master on the release of this one.

    Its file is found by the command line. Where that does not name it, nothing is known.
    """
    words = proc.read_words(master) if master else []
    name = next((name for word, name in itertools.pairwise(words) if word in ("-c", "--config")), "gunicorn.conf.py")
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{master}/cwd", name).read_text(encoding="utf-8", errors="replace")
        if "START_CTX" in text or len(words) == 1 or any(":" in word and "--config" in word for word in words):
            return []
    message = "A new gunicorn would run the Python of the old one, not that of the live release."
    line = _LINE.format(site.paths.link / "bin")
    return [Problem("pinned", message, f"Write into gunicorn.conf.py, then stop and start gunicorn, once: `{line}`")]


def recommend(site: Site) -> str:
    """Return a hint about the way that fits what serves the site; empty if that is set, or nothing is known."""
    users = [pid for release in site.paths.releases.glob("*") for pid in list_users(release)]
    setting = " ".join(site.settings.live.restart)
    for master in users:
        if not proc.may_answer(master) or proc.find_parent(master) in users:
            continue
        text, is_reload = proc.describe_command(master), "HUP" in setting or "reload" in setting
        file = _PID_FILE.search(text)
        way = find_supervisor(site, master) or ("`passenger`" if "assenger" in text else "")
        way = way or (f"`gunicorn:{file[1]}`" if file and "gunicorn" in text else "")
        way = way or ("a command that ends it and starts it again" if is_reload and _RELOADING.search(text) else "")
        if way and (is_reload or setting in ("auto", "none")) and way != f"`{setting}`":
            words = "A reload keeps the release. " if is_reload else ""
            return f"{words}The site is served by process {master}, `{text}`: set `restart` to {way}."
    return ""
