"""Collecting static files, with the interpreter of the release that is live by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.project.static import manage
from releaser.tools.django import doubt, is_django

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.report.recorder import Step
    from releaser.run import Run
    from releaser.tools.django import Manage, StaticFiles


def collectstatic(run: Run, venv: Path, step: Step) -> None:
    """Collect static files, if the project has any to collect and a place for them. Raises ToolError."""
    settings, root = run.site.settings, run.site.project.root
    if settings.collectstatic == "off" or (settings.collectstatic == "auto" and not is_django(root)):
        step.skipped("switched off" if settings.collectstatic == "off" else "no manage.py")
        return
    django = manage(run.site, venv, timeout=settings.collectstatic_timeout)
    found = _ask(django, step)
    if settings.collectstatic == "auto" and (found is None or not found.has_a_place):
        if found is not None:
            step.skipped("staticfiles is not installed, or STATIC_ROOT is not set")
        return
    place = found.place if found is not None else None
    since = run.draft.cut_off_since
    if since is not None and place is not None and not root.is_relative_to(place):
        doubt(place, since=since.timestamp())
    lines = django.collectstatic(place).stdout.strip().splitlines()
    step.says(lines[-1] if lines else "")


def _ask(django: Manage, step: Step) -> StaticFiles | None:
    """Ask where the files go, and let collectstatic replace what is not of this release; None without an answer."""
    try:
        return django.static_files(outdates=True)
    except ToolError as error:
        if error.returncode is None:  # it hangs, or cannot be started
            raise
        step.warns(f"no static files are collected: {error.message}")
        return None
