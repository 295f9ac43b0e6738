"""How a site serves its visitors: its health check and its static files, and the checks of both."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, Findings, ToolError
from releaser.serving.health_settings import HealthSettings
from releaser.site.django_settings import CheckSettings, StaticSettings
from releaser.system.venv_environment import inside
from releaser.tools.django import Manage, StaticFiles, is_django
from releaser.tools.web import is_url, until_good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.site.site import Site

PATIENCE = 60.0  # seconds for Django to start and to answer a question
_FORCED = ("update", "rebuild")  # commands that go on by --force
_TRIES = 3  # at the most, for a site that is not just starting
_OTHERWISE = "or set `collectstatic` to off"


def question(site: Site, check: str, venv: Path) -> Callable[[], str]:
    """Return what asks the site once; a command runs in `venv`. It returns a line, or raises ToolError."""
    settings = HealthSettings.of(site)
    if is_url(check):
        return settings.asks_url(check)
    words = shlex.split(check)

    def ask() -> str:
        env = inside(venv, site.runner.live_environ)
        site.runner.run(words, cwd=site.project.root, env=env, timeout=settings.health_timeout)
        return f"{words[0]} says yes"

    return ask


def ask_live_site(site: Site, health_check: str) -> str:
    """Ask the site as it runs now, a few times at the most: it is not starting. Raises ToolError if it is not well."""
    patience = HealthSettings.of(site).patience()
    ask = question(site, health_check, Path(os.path.realpath(site.project.venv)))
    return until_good(ask, replace(patience, tries=min(patience.tries, _TRIES))).answer


def unhealthy_finding(error: ToolError, command: str) -> Finding:
    """Say that the site is not well before anything has been changed by a command."""
    way_on = f"; `releaser {command} --force` continues anyway" if command in _FORCED else ""
    return Finding(
        "live-unhealthy",
        f"the live site fails its health check: {error.message}",
        f"Find out why, or correct `health_check` and the settings that go with it{way_on}.",
        output=error.output,
    )


def live_findings(site: Site, command: str = "update") -> Iterator[Finding]:
    """Ask the site as it runs now, if there is a health check and a venv that it may run from."""
    check = HealthSettings.of(site).health_check
    if check is None or not os.path.exists(site.project.venv / "bin" / "python"):
        return
    try:
        ask_live_site(site, check)
    except ToolError as error:
        yield unhealthy_finding(error, command)


# Static files, asked for before anything is changed


def check_static_files(site: Site, findings: Findings) -> str:
    """Ask the venv that is live now, if there is any; return a remark on what is no finding, mostly empty.

    That it does not answer is none: the site may be ill, which its tests will tell, and a candidate is asked again
    before the flip. Nor is a STATIC_ROOT that is not set, as a new Django project has none.
    """
    if not asks_django(site):
        return ""
    try:
        found = manage(site, Path(os.path.realpath(site.project.venv))).static_files()
    except ToolError as error:
        return f"where static files go is not known yet: {error.message}"
    findings.extend(_static_findings(site, found))
    if StaticSettings.of(site).collectstatic == "auto" and found.installed and not found.has_a_place:
        return f"static files are not collected, as STATIC_ROOT is not set: {found.reason}"
    return ""


def asks_django(site: Site) -> bool:
    """Whether there is a Django to ask where static files go, and reason to."""
    python = site.project.venv / "bin" / "python"
    return StaticSettings.of(site).asks(site.project.root) and os.path.exists(python)


def settings_without_django(site: Site) -> Iterator[Finding]:
    """Say which settings make no sense in a project that has no manage.py."""
    root = site.project.root
    wanted = {
        "collectstatic": StaticSettings.of(site).collectstatic == "on",
        "django_check": CheckSettings.of(site).django_check != "off",
    }
    for setting in (name for name, is_wanted in wanted.items() if is_wanted and not is_django(root)):
        message = f"`{setting}` is switched on, but {root} has no manage.py"
        yield Finding("manage-py-missing", message, f"Set `{setting}` to off, or make sure that manage.py is there.")


def manage(site: Site, venv: Path, *, timeout: float = PATIENCE) -> Manage:
    """Return the site's manage.py, run by the interpreter of `venv`."""
    return Manage(runner=site.runner, project=site.project.root, venv=venv, timeout=timeout)


def static_findings(site: Site, venv: Path, *, compares: bool = False) -> Iterator[Finding]:
    """Say what would keep collectstatic from its work, as far as the interpreter of `venv` knows. Raises ToolError.

    `compares` asks in the same breath whether there is any work for it, which is remembered: of what was live before.
    """
    return _static_findings(site, manage(site, venv).static_files(live=compares, compares=compares))


def _static_findings(site: Site, found: StaticFiles) -> Iterator[Finding]:
    is_on = StaticSettings.of(site).collectstatic == "on"
    if is_on and not found.installed:
        message = "`collectstatic` is on, but django.contrib.staticfiles is not in INSTALLED_APPS"
        yield Finding("staticfiles-not-installed", message, f"Add it, {_OTHERWISE} or auto.")
    elif is_on and found.local and found.place is None:
        message = f"`collectstatic` is on, but it has no place to put files, as STATIC_ROOT is not set: {found.reason}"
        yield Finding(
            "static-root-unset",
            message,
            f"Set STATIC_ROOT in the settings of {site.project.name}, {_OTHERWISE} or auto.",
        )
    if found.place is None or not (is_on or found.has_a_place):
        return
    name, place = "STATIC_ROOT" if found.setting else "the storage of the static files", _in_checkout(site, found.place)
    checkout = site.project.checkout
    if place.is_relative_to(checkout) and not os.access(checkout, os.W_OK):  # which is a finding of its own
        return
    if wrong := _why_unwritable(place):
        advice = f"Let this user write there, correct STATIC_ROOT, {_OTHERWISE}."
        yield Finding("static-root-unwritable", f"{name} is {place}, where collectstatic cannot write: {wrong}", advice)
        return
    for path in found.blocked:
        message = f"{name} is {place}, in which collectstatic cannot write {_in_checkout(site, Path(path))}"
        yield Finding(
            "static-root-outside", message, f"Let this user write there, as collectstatic does, {_OTHERWISE}."
        )


def _in_checkout(site: Site, place: Path) -> Path:
    """Return where collectstatic will write, once the code in the staging tree is live."""
    return site.project.of_checkout(place) if place.is_relative_to(site.project.root) else place


def can_collect(place: Path) -> bool:
    """Whether this user could write where static files have gone so far."""
    return not _why_unwritable(place)


def _why_unwritable(place: Path) -> str:
    """Say what is wrong with a directory to write in, which need not be there yet; empty when nothing is."""
    if os.path.isdir(place):
        return "" if os.access(place, os.W_OK | os.X_OK) else "this user cannot write there"
    if os.path.islink(place):
        return "it is a symlink that leads to no directory"
    if os.path.lexists(place):
        return "it is not a directory"
    parent = next(one for one in place.parents if os.path.lexists(one))
    if not os.path.isdir(parent):
        return f"{parent} is not a directory"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"it cannot be made, as this user cannot write {parent}"
