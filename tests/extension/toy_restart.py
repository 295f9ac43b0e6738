"""A restart method that releaser does not have: it writes the path of the live release into a file of the site."""

import os
from collections.abc import Iterator
from pathlib import Path

from releaser.core.restart import Restart
from releaser.errors import Finding
from releaser.report import Step
from releaser.serving import restarts
from releaser.site.site import Site


class Toy(Restart):
    """Writes the file that the setting names beside the project, if there is a file `bell`."""

    word = "ring:FILE"

    def __init__(self, name: str = "") -> None:
        self.name = name

    def selected_by(self, setting: tuple[str, ...]) -> Restart | None:
        word, _, name = setting[0].partition(":")
        return Toy(name) if word == "ring" and name else None

    def findings(self, site: Site) -> Iterator[Finding]:
        if not (site.project.outer / "bell").exists():
            yield Finding("toy-bell", "there is no bell", advice="Buy one.")

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        (site.project.outer / self.name).write_text(os.path.realpath(venv), encoding="utf-8")
        step.says("rang the bell")


def register() -> None:
    restarts.RESTARTS = (*restarts.RESTARTS, Toy())
