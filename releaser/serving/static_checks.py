"""The obstacles to collectstatic, found before a change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, Findings, ToolError, how_to_set
from releaser.site.django_settings import StaticSettings
from releaser.tools.django import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.site import Site

from releaser.serving.manage import manage

_OTHERWISE = f"or {how_to_set('collectstatic', 'off')}"


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
    if StaticSettings.of(site).collectstatic == "auto" and found.installed and not found.has_place:
        return f"static files are not collected, because STATIC_ROOT is not set: {found.reason}"
    return ""


def asks_django(site: Site) -> bool:
    """True if static files have to be checked, and a Django exists to ask."""
    python = site.project.venv / "bin" / "python"
    return StaticSettings.of(site).asks(site.project.root) and os.path.exists(python)


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
    if found.place is None or not (is_on or found.has_place):
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
    """Explain why a directory, which may not exist yet, cannot be written to; empty if it can."""
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
