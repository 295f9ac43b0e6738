"""`restart = "passenger"`: Passenger's processes are exchanged, or passenger-config restarts the application."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.restart import Restart
from releaser.errors import Finding, ToolError, error_line, how_to_set
from releaser.serving.health_settings import HealthSettings
from releaser.serving.restarts.command import ask_program, run_restart
from releaser.site.restart_settings import RestartSettings
from releaser.system.environment import find_own_program
from releaser.system.own_code import text_of
from releaser.system.signals import is_own
from releaser.system.words import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.report import Step
    from releaser.serving.restarts.passenger_pool import Application
    from releaser.site.site import Site

_LOADER = os.path.join(os.path.dirname(__file__), "load_application.py")
# No application runs below this path. A restart of it shows whether passenger-config works, and restarts nothing.
NO_APPLICATION = Path("/dev/null/releaser")
PASSENGER_ADVICE = (
    "Run releaser as the user of the application. If Passenger keeps its instances elsewhere, set"
    " "
    "PASSENGER_INSTANCE_REGISTRY_DIR. Or set `restart` to auto, so that releaser touches a file."
)


class Passenger(Restart):
    """Starts a new process for each old one, and then lets that end.

    If Passenger does not show its processes to this user, runs `passenger-config restart-app`, and checks that it
    restarted the application. It takes a prefix of paths, so applications of sites inside this one are restarted, too.
    """

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
        if exchanged := exchange_processes(site, venv):
            step.says(exchanged)
            return
        try:
            output = run_restart(site, passenger_arguments(app_root(site)), venv)
        except ToolError as error:
            passenger_result(error.output)  # passenger-config does not print its reason where others do
            raise
        step.says(": ".join(filter(None, ("passenger-config", passenger_result(output)))))


def exchange_processes(site: Site, venv: Path) -> str:
    """Exchange the processes of the application, and return a line on it; empty if Passenger does not show them.

    Raises ToolError if the application does not load, or a new process does not start; then processes that ran before
    still answer visitors.
    """
    from releaser.serving.restarts.passenger_pool import Exchange, PoolError, pools_in  # slow to import
    from releaser.serving.servers import is_of_another  # which imports the restart methods

    try:
        listed = run_restart(site, ["passenger-config", "list-instances", "--json"], venv)
    except ToolError:
        return ""  # `restart-app` finds the reason
    if not (pools := [*pools_in(listed)]):
        return ""
    root, ask, limit = app_root(site), _page_of(site), RestartSettings.of(site).restart_timeout
    count, has_waited = 0, False
    try:
        for pool in pools:
            for application in pool.applications(root):
                if any(is_of_another(worker.pid, site.project.venv) for worker in application.workers):
                    continue
                check_that_it_loads(site, venv, application)
                number, waits = Exchange(pool=pool, name=application.name, ask=ask, limit=limit).run()
                count, has_waited = count + number, has_waited or waits
    except PoolError:
        return ""
    if not count:
        return f"Passenger runs no process of {root} now"
    replaced = f"Passenger replaced {count} {'process' if count == 1 else 'processes'}"
    return f"{replaced}; visitors waited for a new one" if has_waited else f"{replaced} without a gap"


def check_that_it_loads(site: Site, venv: Path, application: Application) -> None:
    """Load the application on the release, in the environment of a process that runs. Raises ToolError if that fails.

    The code of a site runs as the user who runs releaser, so nothing is loaded if its processes belong to another.
    """
    path, owned = Path(application.startup_file), [worker for worker in application.workers if is_own(worker.pid)]
    if path.suffix != ".py" or not owned:
        return
    given = [str(path), application.root, str(owned[0].pid)]
    try:
        run_restart(site, [str(venv / "bin/python"), "-c", text_of(_LOADER), *given], venv)
    except ToolError as error:
        reason = ": ".join(filter(None, (f"{path} does not load with the new packages", error_line(error.output))))
        raise ToolError(reason, output=error.output) from error


def _page_of(site: Site) -> Callable[[], None] | None:
    """Return a function that asks the page of the health check, whatever it answers; None if that is no page."""
    settings = HealthSettings.of(site)
    if not settings.health_check or not is_url(settings.health_check):
        return None
    ask = settings.asks_url(settings.health_check)

    def ask_page() -> None:
        with contextlib.suppress(ToolError):
            ask()

    return ask_page


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
