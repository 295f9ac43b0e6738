"""Collecting static files as an action."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.core.action import Action
from releaser.errors import ToolError
from releaser.serving.static_checks import static_findings
from releaser.serving.static_files import COLLECT, are_in_place, collect_ahead, collectstatic, restore_static_files
from releaser.site.django_settings import StaticSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.core.change import Change
    from releaser.errors import Finding
    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


class Collectstatic(Action):
    """Collects the static files of a release."""

    name = COLLECT

    def findings(self, site: Site, venv: Path | None, *, goes_back: bool) -> Iterator[Finding]:
        """Yield what would keep collectstatic from its work: a pull may have changed STATIC_ROOT, or a package."""
        if venv is None or not StaticSettings.of(site).asks(site.project.root):
            return
        if not (goes_back and are_in_place(site, venv)):
            with contextlib.suppress(ToolError):  # which collectstatic will say
                yield from static_findings(site, venv, compares=goes_back)

    def do_ahead(self, site: Site, log: RunLog, release: Release) -> bool:
        """Collect them from the staging tree."""
        return collect_ahead(site, log, release)

    def do(self, change: Change, step: Step) -> None:
        """Collect them."""
        collectstatic(change.site, change.log, change.release.venv, step)

    def undo(self, change: Change) -> None:
        """Collect the files of the live release again, if the files of another were collected ahead of its flip."""
        if change.record(self.name).get("ahead"):
            restore_static_files(change.site, change.log)
