"""The actions of a change, in their order: what each does, and what undoes it or repeats it.

The flip is the commit point. An action before it can be undone; the flip and each one after it can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from releaser.checkout.move import move_checkout, repair_checkout
from releaser.checkout.repository import Repository
from releaser.errors import ChangeError, Problem, ToolError
from releaser.live import health, hooks, restart
from releaser.live.django import collect_static_files, has_static_files
from releaser.live.programs import may_restart
from releaser.releases.journal import Entry
from releaser.releases.link import exchange_for_directory, exchange_for_link, flip, make_link_text, read_link
from releaser.releases.venv import ask_python_version, find_python
from releaser.site.site import Site
from releaser.system import signals

_PAUSE = 2.0  # seconds before a restart of the way back is tried again


class Action(msgspec.Struct, frozen=True):
    """A step of a change. `do` returns words about its result and may be repeated; `undo` is for those before the flip.

    A site for which `applies` is False does not have the step.
    `do` raises PreflightError, ToolError and OSError before the flip, ChangeError after it.
    """

    name: str
    do: Callable[[Site, Repository, Entry], str]
    undo: Callable[[Site, Repository, Entry], str] | None = None
    applies: Callable[[Site], bool] = lambda site: True


def _checkout(site: Site, repository: Repository, entry: Entry) -> str:
    if entry.goes_back:
        return move_again(site, repository, entry, back=True)
    move_checkout(site, repository, entry, back=False)
    return entry.commit[:12]


def move_again(site: Site, repository: Repository, entry: Entry, *, back: bool) -> str:
    """Move a checkout that may have stopped half-way; if a git fails or is killed meanwhile, once more.

    Raises PreflightError, ToolError, BuildError and OSError.
    """
    commit = entry.head if back else entry.commit
    for is_last in (False, True):
        try:
            repair_checkout(site, repository, entry, commit)
            move_checkout(site, repository, entry, back=back)
            break
        except ToolError:
            if is_last:
                raise
    return commit[:12]


def _undo_checkout(site: Site, repository: Repository, entry: Entry) -> str:
    return move_again(site, repository, entry, back=True)


def _flip(site: Site, repository: Repository, entry: Entry) -> str:
    link, before, release = read_link(site.paths), entry.link, str(entry.final)
    if entry.goes_back and entry.release:
        before = make_link_text(site.paths, entry.release, other_than=entry.link) if link.text else None  # or is gone
    if entry.plain:
        exchange_for_directory(site.paths, Path(entry.plain), before=None if entry.goes_back else entry.link)
    elif link.kind == "foreign" and not link.is_symlink and entry.replaces:
        exchange_for_link(site.paths, release, Path(entry.replaces))
    elif link.text != make_link_text(site.paths, release, other_than=before):
        flip(site.paths, release, before=before)
    if not ask_python_version(site, find_python(site.paths.link)):
        raise ChangeError(f"The Python of release {release} does not start through `{site.paths.link}`.")
    return "a plain directory" if entry.plain and not entry.goes_back else release


@signals.hurry_on_signals()
def _restart(site: Site, repository: Repository, entry: Entry) -> str:
    deadline = time.monotonic() + (site.settings.live.health_timeout if entry.goes_back else 0.0)
    while True:
        try:
            words = restart.restart(site, site.paths.releases / str(entry.final))
            break
        except ChangeError:  # systemd may need a while; the site is down until then
            if time.monotonic() + _PAUSE >= signals.limit(deadline):
                raise
        signals.wait(_PAUSE)
    if not (may_restart(site) and site.settings.live.health_check):
        health.wait_for_first(site, entry.change)
    if may_restart(site) and not site.settings.live.health_check:
        health.wait_for_start(site, entry.change)
    return words


def _check_health(site: Site, repository: Repository, entry: Entry) -> str:
    return health.check_health(site, entry.change if may_restart(site) else None)


def find_problems(site: Site) -> list[Problem]:
    """Return a problem for each program, file or URL of the settings of going live that cannot be right."""
    return [*restart.find_problems(site), *health.find_problems(site), *hooks.find_problems(site)]


ACTIONS = (
    Action("checkout", _checkout, undo=_undo_checkout),
    Action("flip", _flip),
    Action("static files", collect_static_files, applies=has_static_files),
    Action("before_restart", hooks.run_before_restart, applies=lambda site: bool(site.settings.live.before_restart)),
    Action("restart", _restart, applies=lambda site: may_restart(site) or bool(site.settings.live.restart_workers)),
    Action("health", _check_health, applies=lambda site: bool(site.settings.live.health_check)),
)
BEFORE_FLIP = ACTIONS[:1]
UP_TO_FLIP = ACTIONS[:2]
FROM_FLIP = ACTIONS[1:]
_, FLIP, STATIC_FILES, BEFORE_RESTART, RESTART, HEALTH = ACTIONS
AFTER_STATIC_FILES = ACTIONS[4:]
