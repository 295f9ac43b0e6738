"""Collecting static files, with the interpreter of the release that is live by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.project.static import manage
from releaser.releases.editables import leads_into
from releaser.tools.django import doubt, is_django

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.release import Release
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


def collect_ahead(staged: Run, release: Release) -> bool:
    """Collect the static files of code that is about to go live, from the staging tree; False if that has to wait.

    Else collectstatic would lie between the move of the checkout and the restart, and a process on the earlier release
    that first imports a module in between would have new code beside old. It waits where the files would not go to the
    place of the live site, where packages lead into the checkout, which has other files of theirs, and where it fails:
    then it is tried with the release live, which is taken back.
    """
    settings, project = staged.site.settings, staged.site.project
    if settings.collectstatic == "off" or not is_django(project.root):
        return False
    if leads_into(release.venv, project.of_checkout(staged.site.git.layout.top)):
        return False
    try:
        place = manage(staged.site, release.venv, timeout=settings.collectstatic_timeout).static_files().place
    except ToolError:
        return False
    if place is None or place.resolve().is_relative_to(staged.site.git.layout.top.resolve()):
        return False
    with staged.recorder.step("collectstatic") as step:
        staged.journal.write(staged.entry("building", target=release.id, collected=True))
        try:
            collectstatic(staged, release.venv, step)
        except ToolError as error:
            step.warns(error.message)
        return step.status not in ("warning", "skipped")  # Django may not have answered this time


def _ask(django: Manage, step: Step) -> StaticFiles | None:
    """Ask where the files go, and let collectstatic replace what is not of this release; None without an answer."""
    try:
        return django.static_files(outdates=True)
    except ToolError as error:
        if error.returncode is None:  # it hangs, or cannot be started
            raise
        step.warns(f"no static files are collected: {error.message}")
        return None
