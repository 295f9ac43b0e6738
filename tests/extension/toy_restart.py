"""A way to restart a site that releaser does not have: it writes what went live into a file of the site."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.serving import restarts
from releaser.serving.restarts.base import Restart

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.report import Step
    from releaser.site.site import Site


class Toy(Restart):
    """Writes `restarted` beside the project; only if there is a file `bell`."""

    word = "ring"

    def findings(self, site: Site) -> Iterator[Finding]:
        if not (site.project.outer / "bell").exists():
            yield Finding("there is no bell", advice="Buy one.")

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        (site.project.outer / "restarted").write_text(os.path.realpath(venv), encoding="utf-8")
        step.says("rang the bell")


def register() -> None:
    restarts.RESTARTS = (*restarts.RESTARTS, Toy())
