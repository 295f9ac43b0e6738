"""An action that releaser does not have: it purges a cache in front of the site after each flip, there and back."""

from collections.abc import Iterator
from pathlib import Path

from releaser.core import change
from releaser.core.action import Action
from releaser.core.change import Change, Deployment
from releaser.errors import Finding, ToolError
from releaser.releases.journal import Record
from releaser.report import Step
from releaser.site.site import Site


class Toy(Action):
    """Writes the live release into the file `cache` beside the project, which must exist."""

    name = "purge the cache"

    def findings(self, site: Site, venv: Path | None, *, goes_back: bool) -> Iterator[Finding]:
        if not (site.project.outer / "cache").exists():
            yield Finding("toy-cache", "there is no cache", advice="Create it.")

    def record(self, change: Change, deployment: Deployment) -> Record:
        return {"before": (change.site.project.outer / "cache").read_text(encoding="utf-8")}

    def do(self, change: Change, step: Step) -> None:
        cache = change.site.project.outer / "cache"
        if change.release.id in cache.read_text(encoding="utf-8"):
            full = "the cache is full"
            raise ToolError(full)
        cache.write_text(f"{change.record(self.name)['before']}{change.release.id}\n", encoding="utf-8")
        step.says("purged it")


def register() -> None:
    change.ACTIONS = (*change.ACTIONS, Toy())
