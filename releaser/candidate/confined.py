"""The sandbox as the confinement of tests and builds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.candidate.lock_builds import lock_builds, lock_sandbox
from releaser.core.confinement import Confinement
from releaser.errors import BuildError, Finding
from releaser.sandbox.settings import INSTALL, SandboxSettings
from releaser.system.later import Later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from releaser.candidate import sandbox as of_sandbox
    from releaser.core.confinement import Purpose
    from releaser.report import RunLog
    from releaser.sandbox import choice
    from releaser.site.site import Site
    from releaser.system.process import Attempt, Sandbox
    from releaser.tools.uv import LockBuilds
else:
    choice, of_sandbox = Later("releaser.sandbox.choice"), Later("releaser.candidate.sandbox")


def sandbox_findings(site: Site) -> Iterator[Finding]:
    """Yield the problems of a site's sandbox settings."""
    site = site.with_own_settings
    settings = SandboxSettings.of(site)
    for place in settings.writable_places(site.project.checkout):
        if not place.exists():
            message, advice = f"`test_writable`: {place} does not exist", "Make it, or remove it from `test_writable`."
            yield Finding("test-writable-missing", message, advice)
    for socket in settings.test_sockets:
        from releaser.sandbox.sockets import is_of_manager

        if is_of_manager(os.path.join("/", socket)):
            message = f"`test_sockets`: a program that reaches {socket} can start programs outside of the sandbox"
            yield Finding("test-sockets-unsafe", message, "Remove it from `test_sockets`.")
    if settings.sandbox == "bwrap":  # the other values accept a missing sandbox
        try:
            choice.bubblewrap_of(site)
        except BuildError as error:
            yield error.finding


class Sandboxed(Confinement):
    """Tests and builds run in bubblewrap if that works here."""

    remedy = INSTALL

    def works(self, site: Site) -> bool:
        return choice.bubblewrap_of(site) is not None

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
            from releaser.candidate.sandbox_install import sync_in_sandbox

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
        found = choice.find_sandbox(site)
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
