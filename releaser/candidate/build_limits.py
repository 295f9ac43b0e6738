"""How old what builds a package has to be: `min_age` counts for that as well, though no lock names it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.locks.limits import limits_of_builds
from releaser.locks.lock import LockFile
from releaser.locks.versions import Age, uploads_in
from releaser.tools.uv_arguments import limit_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.site.site import Site
    from releaser.tools.uv_arguments import ExcludeNewer

# As uv 0.13 says it of a package that it passed over; of one whose index tells times, it says when it was published.
_PASSED_OVER = re.compile(r"`([^`\s]+)` was filtered by `exclude-newer`(?![^\n]*published at)")


def build_within_limits(site: Site, run: Callable[[list[str]], object]) -> None:
    """Call what installs from the lock of the staging tree with the limits for what uv may build with.

    Once more, without them for packages of which an index tells no times, as far as these are taken. Raises ToolError.
    """
    limits = _limits(site)
    while True:
        try:
            run(limit_arguments(limits))
        except ToolError as error:
            undated = {*_PASSED_OVER.findall(error.output)} - {name for name, one in limits.items() if one is None}
            if not limits or not undated or site.settings.min_age_unknown != "take":
                raise
            limits = {**limits, **dict.fromkeys(undated)}
        else:
            return


def _limits(site: Site) -> ExcludeNewer:
    if site.bundle is not None:  # it has what its packages are built with
        return {}
    settings, now = site.settings, datetime.now(UTC)
    age = Age(least=settings.min_age, packages=settings.min_age_packages, now=now)
    return limits_of_builds(age, uploads_in(LockFile.read(site.project.lock), now))
