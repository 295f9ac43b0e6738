"""The start of Python as an action: the symlink leads to a venv that works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.action import Action
from releaser.releases.release import is_missing_or_dangling
from releaser.releases.store import store_of
from releaser.releases.venv import start_through

if TYPE_CHECKING:
    from releaser.core.change import Change
    from releaser.report import Step


class PythonStart(Action):
    """Checks that `.venv/bin/python` starts, with the live release as its venv."""

    name = "python start"
    is_noted = False

    def do(self, change: Change, step: Step) -> None:
        """Start it."""
        site, release, link = change.site, change.release, change.site.project.venv
        if store_of(site).live_id() != release.id and not is_missing_or_dangling(link):
            step.warns(f"{link} no longer leads to {release.id}")  # its Python says nothing about the release
            return
        start_through(site.runner, link, release.venv, cwd=site.project.root)
        step.says(str(link / "bin" / "python"))
