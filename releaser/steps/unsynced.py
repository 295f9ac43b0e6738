"""Whether a venv that is to be adopted is what uv.lock says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Unfit
from releaser.locking.installed import installed
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.project.base_python import version_in
from releaser.project.group import dependency_group
from releaser.releases.agreement import package_findings
from releaser.releases.installed import versions_in
from releaser.steps.security import default_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.project.site import Site

_MOST_NAMED = 5


def unsynced(site: Site) -> Iterator[Unfit]:
    """Find that packages are locked for the site and are not in its venv, or in another version.

    Of a venv that is a release already, or that is none, nothing is said, nor where something else is wrong.
    """
    venv, group = site.project.venv, None
    if not (venv / "pyvenv.cfg").is_file() or _is_release(site) or _takes_more_from_elsewhere(site):
        return
    try:
        group = dependency_group(site.settings, site.pyproject)
        lock = LockFile.read(site.project.lock)
        pins = installed(lock, group=group, default_groups=default_groups(site), python=version_in(venv) or "")
    except (Unfit, OSError, InvalidLockError, KeyError, TypeError, AttributeError):
        return
    found = versions_in(venv)
    differences = [f"{one.package}: {one.message}" for one in package_findings(pins, found, {}, locked=found)]
    if not differences:
        return
    more = f"; and {len(differences) - _MOST_NAMED} more" if len(differences) > _MOST_NAMED else ""
    sync = f"uv sync --frozen{f' --group {group}' if group else ''}"
    yield Unfit(
        f"{venv} is not what uv.lock says: {'; '.join(differences[:_MOST_NAMED])}{more}",
        advice=f"`{sync}` installs what is locked; `releaser init --force` adopts it as it is.",
    )


def _is_release(site: Site) -> bool:
    return os.path.realpath(site.project.venv).startswith(os.path.realpath(site.project.releases) + os.sep)


def _takes_more_from_elsewhere(site: Site) -> bool:
    """Whether packages of the system count, too, which cannot be seen here."""
    try:
        text = (site.project.venv / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    words = "".join(text.split()).lower()
    return "include-system-site-packages=true" in words
