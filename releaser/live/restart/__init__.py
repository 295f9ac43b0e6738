"""The ways to restart a site and its workers: one dict, and a module of functions for each way."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from releaser.errors import ChangeError, Problem
from releaser.live.programs import NONE
from releaser.live.restart import command, gunicorn, passenger, systemd, touch
from releaser.site.site import Site


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


def advise_start(site: Site) -> str:
    """Return how a person starts a site that does not answer."""
    words = site.settings.live.restart
    way = find_way(words)
    if way in (systemd, command):  # a command may have secrets
        start = f"`{systemd.advise_start(site, words)}`" if way is systemd else "the command of `restart`"
        return f"Start the site: run {start}."
    return "Start the site by hand, as when this host boots."
