"""The ways to restart a site and its workers: one dict, and a module of functions for each way."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Protocol

from releaser.errors import Problem
from releaser.live.restart import command, gunicorn, none, passenger, systemd, touch
from releaser.site.site import Site

SETTINGS = ("restart", "restart_workers")


class Way(Protocol):
    """A way to restart; `words` are the value of a setting, `auto` for example, or a command."""

    def find_problems(self, site: Site, setting: str, words: tuple[str, ...]) -> list[Problem]:
        """Return why the value of a setting cannot be right."""

    def restart(self, site: Site, words: tuple[str, ...], release: Path) -> str:
        """Restart what runs, on the release of this directory; return how, in words. May be repeated.

        Raises ChangeError.
        """


#: By the whole value, or, with a colon, by its beginning; everything else is a command.
WAYS: dict[str, Way] = {"auto": touch, "passenger": passenger, "systemd:": systemd, "gunicorn:": gunicorn, "none": none}


def find_way(words: tuple[str, ...]) -> Way:
    """Return the way of a setting."""
    first, colon, _ = words[0].partition(":") if words else ("none", "", "")
    is_whole = len(words) < 2 or bool(colon)
    return WAYS.get(first + colon, command) if is_whole else command


def find_problems(site: Site) -> list[Problem]:
    """Return why the site, or its workers, cannot be restarted as it is set."""
    values = [(name, site.settings.get(name)) for name in SETTINGS]
    return [problem for name, words in values for problem in find_way(words).find_problems(site, name, words)]


def restart(site: Site, release: Path) -> str:
    """Restart the site, then its workers, on a release; return how, in words. May be repeated. Raises ChangeError."""
    done = []
    for name in SETTINGS:
        words = site.settings.get(name)
        done.append(find_way(words).restart(site, words, release))
    return "; ".join(filter(None, done))


def is_at_next_request(site: Site) -> bool:
    """Return True if the site restarts when it is asked, at most once in ten seconds, as Passenger does."""
    return find_way(site.settings.live.restart) in (touch, passenger)


def advise_start(site: Site) -> str:
    """Return how a person starts a site that does not answer."""
    words = site.settings.live.restart
    if find_way(words) is systemd:
        units = " ".join(systemd.list_units(words))
        return f"Start the site: `systemctl reset-failed {units}; systemctl restart {units}` (`--user` for your own)."
    if find_way(words) is command:
        return f"Start the site: run `{shlex.join(words)}` in {site.paths.project}."
    return "Start the site by hand, as this host does when it boots."
