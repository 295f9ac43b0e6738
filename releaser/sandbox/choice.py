"""The choice of a sandbox for the tests and builds of a site."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import BuildError
from releaser.sandbox.bubblewrap import Bubblewrap, find_bubblewrap
from releaser.sandbox.settings import INSTALL, SandboxSettings

if TYPE_CHECKING:
    from releaser.site.site import Site


def bubblewrap_of(site: Site) -> Bubblewrap | None:
    """Return the sandbox of a site's tests and builds; None if none works here, or with `sandbox = "off"`.

    Raises BuildError with `sandbox = "bwrap"` if bubblewrap does not work.
    """
    found = find_sandbox(site)
    if isinstance(found, Bubblewrap):
        return found
    if SandboxSettings.of(site).sandbox == "bwrap":
        message = f'`sandbox = "bwrap"`: {found}'
        raise BuildError(message, f'{INSTALL}, or set `sandbox` to "auto" or "off".')
    return None


def find_sandbox(site: Site) -> Bubblewrap | str:
    """Return the sandbox that works here for a site, or the reason why there is none. It is tried once in a run."""
    if SandboxSettings.of(site).sandbox == "off":
        return '`sandbox` is "off"'
    outside = site.outside.project
    return find_bubblewrap(site.runner, (outside.outer, outside.state_dir))
