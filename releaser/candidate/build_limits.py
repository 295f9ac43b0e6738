"""The packages that uv has to build, and the permitted age of their build requirements."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.locks.limits import limits_of_builds
from releaser.locks.lock import LockFile
from releaser.resolution.newest import uploads_within_limits
from releaser.resolution.version_settings import VersionSettings
from releaser.system.environment import all_settings_of_uv
from releaser.system.expression import expression
from releaser.tools.uv_arguments import limit_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.site.site import Site

# uv 0.13 says this of a package that it skipped; if the index has upload times, it adds the time.
_PASSED_OVER = expression(r"`([^`\s]+)` was filtered by `exclude-newer`(?![^\n]*published at)")


def build_within_limits(site: Site, run: Callable[[list[str]], object]) -> None:
    """Call `run`, which installs from the lock of the staging tree, with uv's limits for build requirements.

    With `min_age_unknown = "take"`, repeats it without limits for packages whose index has no upload times. Raises
    ToolError.
    """
    now, limits = datetime.now(UTC), dict[str, datetime | None]()
    if site.supply.asks_others:  # else the supply includes the build requirements
        limits |= limits_of_builds(
            VersionSettings.of(site).age(now), uploads_within_limits(site, LockFile.read(site.project.lock), now)
        )
    while True:
        try:
            run(limit_arguments(limits))
        except ToolError as error:
            undated = {*_PASSED_OVER.findall(error.output)} - {name for name, one in limits.items() if one is None}
            if not limits or not undated or VersionSettings.of(site).min_age_unknown != "take":
                raise
            limits = {**limits, **dict.fromkeys(undated)}
        else:
            return


def packages_built_from_source(site: Site, lock: LockFile) -> set[str]:
    """Return the packages of a lock for which uv's settings forbid wheels; uv builds them in spite of `--no-build`."""
    found = set[str]()
    for settings in all_settings_of_uv(site.project.root, site.runner.environ):
        if settings.get("no-binary"):
            return {*lock.names}
        found |= {*settings.get("no-binary-package", ())}
    return found
