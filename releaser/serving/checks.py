"""Checks of a site before a change: its health, and where its static files go."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, Findings, ToolError, how_to_set
from releaser.serving.health_settings import HealthSettings, guess_url
from releaser.site.django_settings import CheckSettings, StaticSettings
from releaser.system.venv_environment import inside
from releaser.tools.django import Manage, StaticFiles, is_django
from releaser.tools.web import is_url, until_good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.site.site import Site

PATIENCE = 60.0  # seconds for Django to start and to answer
_FORCED = ("update", "rebuild")  # commands that continue with --force
_TRIES = 3  # at most, as the live site is not just starting
_OTHERWISE = f"or {how_to_set('collectstatic', 'off')}"


def question(site: Site, check: str, venv: Path) -> Callable[[], str]:
    """Return a function that runs the health check once, a command in `venv`; the function returns a line.

    It raises ToolError if the check fails.
    """
    settings = HealthSettings.of(site)
    if is_url(check):
        return settings.asks_url(check)
    words = shlex.split(check)

    def ask() -> str:
        env = inside(venv, site.runner.live_environ)
        site.runner.run(words, cwd=site.project.root, env=env, timeout=settings.health_timeout)
        return f"{words[0]} passed"

    return ask


def ask_live_site(site: Site, health_check: str) -> str:
    """Run the health check on the live site, with a few tries at most. Raises ToolError if it fails."""
    patience = HealthSettings.of(site).patience()
    ask = question(site, health_check, Path(os.path.realpath(site.project.venv)))
    return until_good(ask, replace(patience, tries=min(patience.tries, _TRIES))).answer


def unhealthy_finding(error: ToolError, health_check: str, command: str) -> Finding:
    """Make the finding that the live site fails its health check before a command changed anything."""
    way_on = f"; to continue anyway, run `releaser {command} --force`" if command in _FORCED else ""
    meant = f"{guess} " if (guess := guess_url(health_check)) else ""
    return Finding(
        "live-unhealthy",
        f"the live site fails its health check: {error.message}",
        f"{meant}Repair the site, or correct `health_check` and the `health_` settings{way_on}.",
        output=error.output,
    )


def live_findings(site: Site, command: str = "update") -> Iterator[Finding]:
    """Check the health of the live site, if it has a health check and a venv."""
    check = HealthSettings.of(site).health_check
    if check is None or not os.path.exists(site.project.venv / "bin" / "python"):
        return
    try:
        ask_live_site(site, check)
    except ToolError as error:
        yield unhealthy_finding(error, check, command)


# Static files, checked before a change


def check_static_files(site: Site, findings: Findings) -> str:
    """Ask the live venv, if there is one, where static files go; return a remark that is no finding, usually empty.

    An error of Django is no finding: the site may be broken, which its tests will report, and the candidate is asked
    again before the flip. A missing STATIC_ROOT is none either, as a new Django project has none.
    """
    if not asks_django(site):
        return ""
    try:
        found = manage(site, Path(os.path.realpath(site.project.venv))).static_files()
    except ToolError as error:
        return f"the directory of static files is not known yet: {error.message}"
    findings.extend(_static_findings(site, found))
    if StaticSettings.of(site).collectstatic == "auto" and found.installed and not found.has_a_place:
        return f"static files are not collected, because STATIC_ROOT is not set: {found.reason}"
    return ""


def asks_django(site: Site) -> bool:
    """True if static files have to be checked, and a Django exists to ask."""
    python = site.project.venv / "bin" / "python"
    return StaticSettings.of(site).asks(site.project.root) and os.path.exists(python)


def settings_without_django(site: Site) -> Iterator[Finding]:
    """Find settings that make no sense in a project without manage.py."""
    root = site.project.root
    wanted = {
        "collectstatic": StaticSettings.of(site).collectstatic == "on",
        "django_check": CheckSettings.of(site).django_check != "off",
    }
    for setting in (name for name, is_wanted in wanted.items() if is_wanted and not is_django(root)):
        message = f"`{setting}` is on, but {root} has no manage.py"
        yield Finding("manage-py-missing", message, f"Set `{setting}` to off, or add manage.py.")


def manage(site: Site, venv: Path, *, timeout: float = PATIENCE) -> Manage:
    """Return the site's manage.py, run by the interpreter of `venv`."""
    return Manage(runner=site.runner, project=site.project.root, venv=venv, timeout=timeout)


def static_findings(site: Site, venv: Path, *, compares: bool = False) -> Iterator[Finding]:
    """Find obstacles to collectstatic, asking the interpreter of `venv`. Raises ToolError.

    `compares` is for a release that was live before: the same question also asks whether its static files are in place,
    and the answer is remembered.
    """
    return _static_findings(site, manage(site, venv).static_files(live=compares, compares=compares))


def _static_findings(site: Site, found: StaticFiles) -> Iterator[Finding]:
    is_on = StaticSettings.of(site).collectstatic == "on"
    if is_on and not found.installed:
        message = "`collectstatic` is on, but django.contrib.staticfiles is not in INSTALLED_APPS"
        yield Finding("staticfiles-not-installed", message, f"Add it, {_OTHERWISE} or auto.")
    elif is_on and found.local and found.place is None:
        message = f"`collectstatic` is on, but STATIC_ROOT is not set: {found.reason}"
        yield Finding(
            "static-root-unset",
            message,
            f"Set STATIC_ROOT in the settings of {site.project.name}, {_OTHERWISE} or auto.",
        )
    if found.place is None or not (is_on or found.has_a_place):
        return
    name, place = "STATIC_ROOT" if found.setting else "the storage of the static files", _in_checkout(site, found.place)
    checkout = site.project.checkout
    if place.is_relative_to(checkout) and not os.access(checkout, os.W_OK):  # another check reports that
        return
    if wrong := _why_unwritable(place):
        advice = f"Give this user write access, correct STATIC_ROOT, {_OTHERWISE}."
        yield Finding(
            "static-root-unwritable", f"{name} is {place}, but collectstatic cannot write there: {wrong}", advice
        )
        return
    for path in found.blocked:
        message = f"{name} is {place}, but collectstatic cannot write {_in_checkout(site, Path(path))}"
        yield Finding("static-root-outside", message, f"Give this user write access to that path, {_OTHERWISE}.")


def _in_checkout(site: Site, place: Path) -> Path:
    """Return the directory for static files, once the code in the staging tree is live."""
    return site.project.of_checkout(place) if place.is_relative_to(site.project.root) else place


def can_collect(place: Path) -> bool:
    """True if this user could write to the directory of the static files."""
    return not _why_unwritable(place)


def _why_unwritable(place: Path) -> str:
    """Say why a directory, which may not exist yet, cannot be written to; empty if it can."""
    if os.path.isdir(place):
        return "" if os.access(place, os.W_OK | os.X_OK) else "this user cannot write there"
    if os.path.islink(place):
        return "it is a symlink that leads to no directory"
    if os.path.lexists(place):
        return "it is not a directory"
    parent = next(directory for directory in place.parents if os.path.lexists(directory))
    if not os.path.isdir(parent):
        return f"{parent} is not a directory"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"it does not exist, and this user cannot write to {parent}"
