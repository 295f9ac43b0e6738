"""The interface of a confinement: it keeps the tests and builds of a candidate away from the live site."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Literal

from releaser.capabilities import make
from releaser.system.process import NO_SANDBOX, Attempt, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from releaser.errors import Finding
    from releaser.report import RunLog
    from releaser.site.site import Site
    from releaser.tools.uv import LockBuilds

Purpose = Literal["tests", "builds", "own builds"]  # the last are those of the project's own packages


class Confinement:
    """This one confines nothing: tests and builds have the rights of the user. Subclasses override methods."""

    #: The advice for a host for which `why_not` gives a reason.
    remedy = "Use a version of releaser that has a sandbox"

    def works(self, site: Site) -> bool:
        """True if tests and builds are confined here. Raises BuildError if the settings require it."""
        return False

    def inside(self, site: Site, venv: Path, *others: Path, what: Purpose = "tests") -> AbstractContextManager[Sandbox]:
        """Return a sandbox that may write to `venv`, `others` and the staging tree. Raises ToolError at the end."""
        return contextlib.nullcontext(NO_SANDBOX)

    def locking(self, site: Site, tree: Path, python: Path) -> AbstractContextManager[Sandbox]:
        """Return a sandbox for a uv that builds packages to make a lock in `tree`. Raises ToolError."""
        return contextlib.nullcontext(NO_SANDBOX)

    def lock_builds(self, site: Site) -> LockBuilds | None:
        """Return how uv builds packages to learn their dependencies; None if it builds them as always."""

    def sync(
        self,
        site: Site,
        venv: Path,
        run: Callable[..., None],
        words: Sequence[str],
        finish: Callable[[Sandbox], None] | None,
    ) -> None:
        """Install into a venv by `run`, which takes the arguments of uv and a sandbox. Raises ToolError.

        At the end, `finish` compiles the modules, in a sandbox. An override calls `mark_tried` before code may write to
        the staging tree, which is then made again.
        """
        run(words)
        if finish is not None:
            finish(NO_SANDBOX)

    def before_tests(self, site: Site, log: RunLog) -> None:
        """Report, before tests run, a protection that they lack."""

    def after_tests(self, site: Site, log: RunLog) -> None:
        """Report, after tests ran, the changes that were prevented."""

    def advice(self, site: Site, output: str) -> str:
        """Return what to do if the confinement made tests fail, by their output; empty if it did not."""
        return ""

    def describe(self, site: Site) -> str:
        """Name the confinement for `releaser check`; empty without one."""
        return ""

    def describe_access(self, site: Site) -> str:
        """Say, before the tests of a site first run, which files and services of this host they can change."""
        return "The tests run without a sandbox: they can write to every file that this user can write to."

    def why_not(self, site: Site) -> str:
        """Return why tests and builds are not confined here; empty if they are."""
        return "there is no sandbox"

    def writable(self, site: Site) -> tuple[str, ...]:
        """Return the paths that the settings let tests and builds write, besides their own."""
        return ()

    def describe_writes(self, site: Site) -> str:
        """Report where the tests of this run wrote outside of the staging tree; empty if they did not."""
        return ""

    def probe(self, site: Site) -> tuple[Attempt, ...]:
        """Try to reach files and services of this host, and return the results."""
        return ()

    def warnings(self, site: Site) -> tuple[Finding, ...]:
        """Return warnings for `releaser check`."""
        return ()


@functools.cache
def confinement() -> Confinement:
    """Return the confinement of tests and builds."""
    return next(iter(make("confinements")), Confinement())
