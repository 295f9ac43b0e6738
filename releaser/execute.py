"""Running a program in the live release, whatever is flipped while it runs."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from releaser.errors import NoSuchReleaseError, UsageError
from releaser.queries import store_of
from releaser.releases import leases
from releaser.tools.environment import inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.project.site import Site


def execute(site: Site, words: Sequence[str]) -> None:
    """Become the program, in the environment of the live release, holding a lease on it; does not return.

    Raises NoSuchReleaseError when none is live, and UsageError when the program cannot be started.
    """
    live = store_of(site).live()
    if live is None:
        message = "no release is live"
        raise NoSuchReleaseError(message, advice="Adopt the project: `releaser init`.")
    with contextlib.suppress(OSError):  # a user who may not write here can still use the release
        os.set_inheritable(leases.take(str(live.directory)), True)
    env = inside(live.venv, site.runner.site_environ)
    try:
        os.execvpe(words[0], list(words), env)  # noqa: S606 - to become another program is the purpose
    except OSError as error:
        message = f"{words[0]} cannot be started in {live.id}: {error.strerror}"
        raise UsageError(message, advice="Check the name; programs of the release come first on PATH.") from error
