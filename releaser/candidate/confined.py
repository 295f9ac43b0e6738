"""The sandbox as the confinement of tests and builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.candidate import sandbox as of_sandbox
from releaser.candidate.lock_builds import lock_builds, lock_sandbox
from releaser.candidate.sandbox_install import sync_in_sandbox
from releaser.core.confinement import Confinement
from releaser.sandbox.choice import INSTALL, bubblewrap_of, find_sandbox
from releaser.sandbox.settings import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from releaser.core.confinement import Purpose
    from releaser.errors import Finding
    from releaser.report import RunLog
    from releaser.site.site import Site
    from releaser.system.process import Attempt, Sandbox
    from releaser.tools.uv import LockBuilds


class Sandboxed(Confinement):
    """Tests and builds run in bubblewrap if that works here."""

    remedy = INSTALL

    def works(self, site: Site) -> bool:
        return bubblewrap_of(site) is not None

    def inside(self, site: Site, venv: Path, *others: Path, what: Purpose = "tests") -> AbstractContextManager[Sandbox]:
        return of_sandbox.sandbox_of(site, venv, *others, what=what)

    def locking(self, site: Site, tree: Path, python: Path) -> AbstractContextManager[Sandbox]:
        return lock_sandbox(site, tree, python)

    def lock_builds(self, site: Site) -> LockBuilds | None:
        return lock_builds(site)

    def sync(
        self,
        site: Site,
        venv: Path,
        run: Callable[..., None],
        words: Sequence[str],
        finish: Callable[[Sandbox], None] | None,
    ) -> None:
        if self.works(site):
            sync_in_sandbox(site, venv, run, words, finish)
        else:
            super().sync(site, venv, run, words, finish)

    def before_tests(self, site: Site, log: RunLog) -> None:
        of_sandbox.report_missing_sandbox(site, log)

    def after_tests(self, site: Site, log: RunLog) -> None:
        of_sandbox.report_discarded_files(site, log)

    def advice(self, site: Site, output: str) -> str:
        return of_sandbox.advice_on(site, output)

    def describe(self, site: Site) -> str:
        return of_sandbox.describe_sandbox(site)

    def describe_access(self, site: Site) -> str:
        return of_sandbox.describe_access(site)

    def why_not(self, site: Site) -> str:
        found = find_sandbox(site)
        return found if isinstance(found, str) else ""

    def writable(self, site: Site) -> tuple[str, ...]:
        return SandboxSettings.of(site).test_writable

    def describe_writes(self, site: Site) -> str:
        outside = of_sandbox.list_discarded_files(site)
        return of_sandbox.describe_discarded_files(outside.values()) if outside else ""

    def probe(self, site: Site) -> tuple[Attempt, ...]:
        from releaser.candidate.sandbox_probe import try_sandbox  # for `releaser check --sandbox` alone

        return try_sandbox(site)

    def warnings(self, site: Site) -> tuple[Finding, ...]:
        return of_sandbox.sandbox_warnings(site)
