"""Questions to the Django of a site, through its `manage.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.site.django_settings import CheckSettings, StaticSettings, is_django

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.site import Site
    from releaser.tools.django import Manage

PATIENCE = 60.0  # seconds for Django to start and to answer


def settings_without_django(site: Site) -> Iterator[Finding]:
    """Find settings that make no sense in a project without manage.py."""
    root = site.project.root
    wanted = {
        "collectstatic": StaticSettings.of(site).collectstatic == "on",
        "django_check": CheckSettings.of(site).django_check != "off",
    }
    for setting in (name for name, is_wanted in wanted.items() if is_wanted and not is_django(root)):
        message = f"`{setting}` is on, but {root} has no manage.py"
        yield Finding("manage-py-missing", message, f"Set `{setting}` to off, or add manage.py.")


def manage(site: Site, venv: Path, *, timeout: float = PATIENCE) -> Manage:
    """Return the site's manage.py, run by the interpreter of `venv`."""
    from releaser.tools.django import Manage

    return Manage(runner=site.runner, project=site.project.root, venv=venv, timeout=timeout)
