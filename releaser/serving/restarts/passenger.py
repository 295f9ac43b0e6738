"""`restart = "passenger"`: passenger-config restarts the application."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.restart import Restart
from releaser.errors import Finding, ToolError, error_line, how_to_set
from releaser.serving.restarts.command import ask_program, run_restart
from releaser.site.restart_settings import RestartSettings
from releaser.system.environment import find_own_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.report import Step
    from releaser.site.site import Site

# No application runs below this path. A restart of it shows whether passenger-config works, and restarts nothing.
NO_APPLICATION = Path("/dev/null/releaser")
PASSENGER_ADVICE = (
    "Run releaser as the user of the application. If Passenger keeps its instances elsewhere, set"
    " "
    "PASSENGER_INSTANCE_REGISTRY_DIR. Or set `restart` to auto, so that releaser touches a file."
)


class Passenger(Restart):
    """Runs `passenger-config restart-app`, and checks that it restarted the application."""

    word = "passenger"

    def findings(self, site: Site) -> Iterator[Finding]:
        """Check that passenger-config is installed and works for this user, and that the application root exists."""
        if not (root := app_root(site)).is_dir():
            yield Finding(
                "passenger-root",
                f"passenger_app_root {root} is not a directory",
                "Correct `passenger_app_root`.",
            )
        if find_own_program("passenger-config", site.runner.environ) is None:
            message = "restart is `passenger`, but passenger-config is not on PATH"
            yield Finding("passenger-missing", message, f"Install it, or {how_to_set('restart', 'auto')}.")
            return
        try:
            passenger_result(ask_program(site, passenger_arguments(NO_APPLICATION)))
        except ToolError as error:
            reason = passenger_error(error.output) or error_line(error.output)
            message = ": ".join(filter(None, ("restart is `passenger`, but passenger-config does not work", reason)))
            yield Finding("passenger-broken", message, error.advice or PASSENGER_ADVICE, output=error.output)

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Restart the application. Raises ToolError."""
        try:
            output = run_restart(site, passenger_arguments(app_root(site)), venv)
        except ToolError as error:
            passenger_result(error.output)  # passenger-config does not print its reason where others do
            raise
        step.says(": ".join(filter(None, ("passenger-config", passenger_result(output)))))


def app_root(site: Site) -> Path:
    """Return the application root as Passenger knows it: as written, with its symlinks."""
    return site.project.checkout / Path(RestartSettings.of(site).passenger_app_root or ".").expanduser()


def passenger_arguments(root: Path) -> list[str]:
    """Return the arguments that restart the applications below a root, without failing if none of them runs yet.

    The root is a prefix of characters: `/srv/shop` means `/srv/shop2` too (`passenger-config restart-app --help`).
    """
    return ["passenger-config", "restart-app", "--ignore-app-not-running", str(root)]


def passenger_result(output: str) -> str:
    """Return in a line what passenger-config did. Raises ToolError if it only seems to have worked.

    With `--ignore-app-not-running` it ends with status 0 even if this user may not list the applications
    (config/restart_app_command.rb of Passenger 6.0.17).
    """
    if error := passenger_error(output):
        message = f"passenger-config restarted nothing: {error}"
        raise ToolError(message, PASSENGER_ADVICE, output=output)
    return "; ".join(line.strip() for line in output.splitlines() if line.strip())


def passenger_error(output: str) -> str:
    """Return the first sentence of the error that passenger-config prints; empty without an error."""
    found = (line.partition("*** ERROR:")[2].strip() for line in output.splitlines())
    return next(filter(None, found), "").partition(". ")[0]
