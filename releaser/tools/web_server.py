"""Tells the web server to reload the site."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What no application lies below: to see whether passenger-config works for this user, without an effect.
NO_APPLICATION = Path("/dev/null/releaser")
PASSENGER_ADVICE = (
    "Run releaser as the user that the application runs as, and set PASSENGER_INSTANCE_REGISTRY_DIR if Passenger keeps"
    " its instances elsewhere; or set `restart` to auto, so that a file is touched."
)


def touch(path: Path) -> None:
    """Set the time of a restart file, making one for the group if need be (Passenger restarts when it changes)."""
    try:
        is_new = not path.exists()
        path.touch()
        os.utime(path)
        if is_new:
            path.chmod(0o664)  # whatever the umask is: another one of the group may be the next to touch it
    except OSError as error:
        message = f"{path} cannot be touched: {error.strerror}"
        raise ToolError(message, advice=f"Let this user write {path}, or set `restart_file`.") from error


def passenger_arguments(root: Path) -> list[str]:
    """Arguments that restart the Passenger applications below a root, without failing when none of them runs yet.

    The root is a prefix of characters: `/srv/shop` means `/srv/shop2` too (`passenger-config restart-app --help`).
    """
    return ["passenger-config", "restart-app", "--ignore-app-not-running", str(root)]


def passenger_result(output: str) -> str:
    """Return in a line what passenger-config did. Raises ToolError when it only seems to have worked.

    With `--ignore-app-not-running` it ends with status 0 as well when this user may not ask for the applications
    (config/restart_app_command.rb of Passenger 6.0.17).
    """
    if error := passenger_error(output):
        message = f"passenger-config restarted nothing: {error}"
        raise ToolError(message, advice=PASSENGER_ADVICE, output=output)
    return "; ".join(line.strip() for line in output.splitlines() if line.strip())


def passenger_error(output: str) -> str:
    """Return what passenger-config calls an error, its first sentence; empty when there is nothing of that kind."""
    found = (line.partition("*** ERROR:")[2].strip() for line in output.splitlines())
    return next(filter(None, found), "").partition(". ")[0]


def restart_file_in(project: Path, candidates: Sequence[str] = ("config/tmp", "tmp")) -> Path | None:
    """Find the restart file: in the first of the candidate directories that is there."""
    for name in candidates:
        if (project / name).is_dir():
            return project / name / "restart.txt"
    return None
