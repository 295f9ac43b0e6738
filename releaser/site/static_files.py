"""Where Django would put static files, and whether it can: asked before anything is changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, ToolError
from releaser.tools.django import Manage, StaticFiles, is_django

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.errors import Findings
    from releaser.site.site import Site


PATIENCE = 60.0  # seconds for Django to start and to answer a question
_OTHERWISE = "or set `collectstatic` to off"


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
    findings.extend(_findings(site, found))
    if site.settings.collectstatic == "auto" and found.installed and not found.has_a_place:
        return f"static files are not collected, as STATIC_ROOT is not set: {found.reason}"
    return ""


def asks_django(site: Site) -> bool:
    """Whether there is a Django to ask where static files go, and reason to."""
    python = site.project.venv / "bin" / "python"
    return site.settings.collectstatic != "off" and is_django(site.project.root) and os.path.exists(python)


def without_django(site: Site) -> Iterator[Finding]:
    """Say which settings make no sense in a project that has no manage.py."""
    if is_django(site.project.root):
        return
    wanted = {"collectstatic": site.settings.collectstatic == "on", "django_check": site.settings.django_check != "off"}
    for setting in (name for name, is_wanted in wanted.items() if is_wanted):
        yield Finding(
            f"`{setting}` is switched on, but {site.project.root} has no manage.py",
            advice=f"Set `{setting}` to off, or see that manage.py is there.",
        )


def manage(site: Site, venv: Path, *, timeout: float = PATIENCE) -> Manage:
    """Return the site's manage.py, run by the interpreter of `venv`."""
    return Manage(runner=site.runner, project=site.project.root, venv=venv, timeout=timeout)


def static_findings(site: Site, venv: Path) -> Iterator[Finding]:
    """Say what would keep collectstatic from its work, as far as the interpreter of `venv` knows. Raises ToolError."""
    return _findings(site, manage(site, venv).static_files())


def _findings(site: Site, found: StaticFiles) -> Iterator[Finding]:
    if site.settings.collectstatic == "on":
        yield from _not_collectable(site, found)
    elif not found.has_a_place:
        return
    place = found.place
    if place is not None:
        place = Path(_in_checkout(site, str(place)))
    if place is not None and not _is_told_already(site, place):
        blocked = tuple(_in_checkout(site, path) for path in found.blocked)
        yield from _unwritable(replace(found, blocked=blocked), place)


def _in_checkout(site: Site, path: str) -> str:
    """Return where collectstatic will write, once the code in the staging tree is live."""
    place = Path(path)
    return str(site.project.of_checkout(place)) if place.is_relative_to(site.project.root) else path


def _is_told_already(site: Site, place: Path) -> bool:
    """Whether the place cannot be written because nothing in the project can, which is a finding of its own."""
    return place.is_relative_to(site.project.checkout) and not os.access(site.project.checkout, os.W_OK)


def _not_collectable(site: Site, found: StaticFiles) -> Iterator[Finding]:
    if not found.installed:
        yield Finding(
            "`collectstatic` is on, but django.contrib.staticfiles is not in INSTALLED_APPS",
            advice=f"Add it, {_OTHERWISE} or auto.",
        )
    elif found.local and found.place is None:
        yield Finding(
            f"`collectstatic` is on, but it has no place to put files, as STATIC_ROOT is not set: {found.reason}",
            advice=f"Set STATIC_ROOT in the settings of {site.project.name}, {_OTHERWISE} or auto.",
        )


def _unwritable(found: StaticFiles, place: Path) -> Iterator[Finding]:
    name = "STATIC_ROOT" if found.setting else "the storage of the static files"
    wrong = _wrong_with(place)
    if wrong:
        advice = f"Let this user write there, correct STATIC_ROOT, {_OTHERWISE}."
        yield Finding(f"{name} is {place}, where collectstatic cannot write: {wrong}", advice=advice)
        return
    for path in found.blocked:
        advice = f"Let this user write there, as collectstatic does, {_OTHERWISE}."
        yield Finding(f"{name} is {place}, in which collectstatic cannot write {path}", advice=advice)


def _wrong_with(place: Path) -> str:
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
