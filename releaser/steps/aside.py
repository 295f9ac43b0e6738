"""Trying a release where nothing of the site is touched: a copy of its venv, and the code, in a temporary directory."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import BuildError, ToolError
from releaser.releases.editables import lead_elsewhere
from releaser.report.recorder import Recorder, Silence
from releaser.run import Run, new_run_id
from releaser.steps.live_copy import copied
from releaser.steps.staging import link_venv, stage_aside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.tools.git import Git

_ROOM = "Make room in the temporary directory, or set TMPDIR to another one."


@dataclass(frozen=True, kw_only=True)
class Aside:
    """The commit that is checked out, in a tree of its own in the directory `base`; `run` is as it is there."""

    run: Run
    base: Path
    tree: Path

    @property
    def site(self) -> Site:
        """The site as it is in the tree."""
        return self.run.site

    @contextlib.contextmanager
    def copy_of(self, release: Release) -> Iterator[Path]:
        """Copy the venv of a release, and let it belong to the tree. Raises BuildError where it cannot be copied."""
        with contextlib.ExitStack() as stack:
            try:
                venv = stack.enter_context(copied(self.site, release, place=self.base / "copy"))
                lead_elsewhere(venv, self.run.outside.site.git.layout.top, self.tree)
            except (ToolError, OSError, ValueError) as error:
                message = f"it cannot be copied to be tried: {getattr(error, 'message', error)}"
                raise BuildError(message, advice=_ROOM, output=getattr(error, "output", "")) from error
            link_venv(self.run, venv)
            yield venv


@contextlib.contextmanager
def tree_aside(site: Site, command: str) -> Iterator[Aside]:
    """Check out the commit of the checkout in a temporary directory, for a command. Raises BuildError."""
    now, top = datetime.now(UTC), site.git.layout.top
    run = Run(site=site, command=command, run_id=new_run_id(now), started_at=now, recorder=Recorder(Silence()))
    with tempfile.TemporaryDirectory(prefix="releaser-", ignore_cleanup_errors=True) as name:
        base = Path(name).resolve()
        tree = base.joinpath("tree", *top.parts[1:])
        tree.mkdir(parents=True)
        shadow = shadow_of(site.git, tree, {})
        yield Aside(run=stage_aside(run, shadow, tree, site.git.commit("HEAD")), base=base, tree=tree)


def shadow_of(git: Git, place: Path, references: Mapping[str, str | None]) -> Git:
    """Make a shadow of the repository at `place`, with these references of ours. Raises BuildError."""
    try:
        shadow = git.shadow(place)
        for name, commit in references.items():
            if commit is not None:
                shadow.set_reference(name, commit)
    except (ToolError, OSError) as error:
        message = f"the commit cannot be looked at in {place}: {getattr(error, 'message', error)}"
        raise BuildError(message, advice=_ROOM, output=getattr(error, "output", "")) from error
    return shadow
