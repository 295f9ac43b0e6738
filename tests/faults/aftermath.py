"""What comes after a fault: what must hold at once, and the next update, after which all must be well."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import pytest

from tests.faults.invariants import Witness, unless
from tests.faults.scenes import SCENES, UPDATED, Scene
from tests.support.commands import Finished
from tests.support.sites import SampleSite


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What one mail, or `several`, are to tell, and what is to be live, after the next update; None: whatever comes."""

    told: str | None
    versions: Mapping[str, str] | None
    several: bool = False


@dataclass(frozen=True, kw_only=True)
class Eyewitness:
    """Somebody who has seen the site of a scene before the fault."""

    site: SampleSite
    scene: Scene
    witness: Witness
    link: str

    @classmethod
    def of(cls, site: SampleSite, name: str) -> Self:
        """Look at the site before the fault."""
        scene = SCENES[name]
        rows = site.json("prune", "--dry-run") if scene.prunes else []
        may_go = [row["release"] for row in rows if row["action"] != "keep"]
        return cls(site=site, scene=scene, witness=Witness.of(site, may_go=may_go), link=_link(site))

    def broken(self, update: Callable[[], Finished] | None = None) -> list[str]:
        """Name what does not hold right after the fault or, if all is well, after the next update.

        `update` runs that update in another way.
        """
        try:
            return self.witness.at_once() or self.after_next_update(update=update) + _static(self.site)
        except pytest.fail.Exception as error:  # a program by which one looks at the site does not work any more
            return [str(error)]

    def after_next_update(
        self, wanted: Expected | None = None, *, update: Callable[[], Finished] | None = None
    ) -> list[str]:
        """Update; name what does not hold then. It is to come to what is `wanted`, or else to what the scene tells."""
        if wanted is None and self.scene.command == "rollback" and _link(self.site) == self.link:
            wanted = Expected(told=None, versions=UPDATED)  # it was cut off before it began, and has nothing to tell
        wanted = wanted or Expected(told=self.scene.told, versions=self.scene.versions)
        finished = update() if update else self.site.releaser("update")
        if self.scene.code and finished.returncode == self.scene.code:
            finished = self.site.releaser("update")  # the fault came before the verdict on what does not work
        return self.witness.after_update(finished, told=wanted.told, versions=wanted.versions, several=wanted.several)


def _static(site: SampleSite) -> list[str]:
    """Compare the static files with what is live."""
    try:
        static = site.static_versions()
    except ValueError as error:
        return [f"static files: {error}"]
    if static is None or not site.link.exists() or "COLLECTSTATIC='off'" in (site.outer / ".env").read_text("utf-8"):
        return []
    live = {name: site.live_version(name) for name in static}
    return unless(static == live, f"static files: of {static}, but {live} is live")


def _link(site: SampleSite) -> str:
    return os.readlink(site.link) if site.link.is_symlink() else ""
