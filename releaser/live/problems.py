"""Why a release could not go live on a site: how it is restarted, asked, and what hooks run."""

from __future__ import annotations

from releaser.errors import Problem
from releaser.live import health, hooks, restart
from releaser.site.site import Site


def find_problems(site: Site) -> list[Problem]:
    """Return a problem for each program, file or URL of the settings of going live that cannot be right."""
    return [*restart.find_problems(site), *health.find_problems(site), *hooks.find_problems(site)]
