"""The test start as an action: the release's own workers must start and answer before those of the site are touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.action import Action
from releaser.errors import ActivationError, ToolError
from releaser.serving.restarts import missing_programs
from releaser.serving.start_settings import StartSettings, start_findings
from releaser.serving.test_start import command_on_socket, start_on_socket
from releaser.system.words import elapsed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.core.change import Change
    from releaser.errors import Finding
    from releaser.report import Step
    from releaser.site.site import Site


class TestStart(Action):
    """Starts the server on a private socket, and asks it. A release whose workers do not start gets no request.

    Its record says whether the release `failed`. Then the previous release is tried as well: if it fails too, the
    release is not to blame. A rollback by hand goes to a release that has served the site, and does not wait for it.
    """

    __test__ = False  # for pytest, which would collect it

    name = "test start"

    def is_due(self, change: Change) -> bool:
        """True if a command for that is known."""
        return not change.flip.goes_back and command_on_socket(change.site) is not None

    def findings(self, site: Site, venv: Path | None, *, goes_back: bool) -> Iterator[Finding]:
        """Yield settings that contradict each other, and a program that is missing."""
        if goes_back:
            return
        yield from start_findings(site)
        words = StartSettings.of(site).start_on_socket
        if venv is not None and words is not None:
            yield from missing_programs(site.with_own_settings, venv, {"start_on_socket": words[0]})

    def do(self, change: Change, step: Step) -> None:
        """Start the server, ask it, and end it."""
        command = command_on_socket(change.site)
        if command is None:
            step.skip("the server of the site has ended")
            return
        try:
            with start_on_socket(change.site, command, change.release.venv) as found:
                step.says(f"{found.answer} after {elapsed(found.seconds)}")
        except ToolError:
            change.note(self.name, failed=True)
            raise

    def do_for_previous(self, change: Change) -> bool:
        """Try the previous release, if the new one failed."""
        if not change.record(self.name).get("failed"):
            return True
        return super().do_for_previous(change)

    def failure_for_previous(self, change: Change, reason: str) -> ActivationError:
        """Name the settings."""
        message = f"the test start of the previous release failed too: {reason}"
        advice = "Correct `start_on_socket`, or the settings of the health check."
        return ActivationError(message, advice)
