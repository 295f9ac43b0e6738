"""Whether a venv that is to be adopted is what uv.lock says, and what of it the next release will not have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Unfit
from releaser.locking.installed import groups_in, installed
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
    if not _is_to_be_adopted(site):
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


def left_out(site: Site) -> Iterator[Unfit]:
    """Find packages of a venv that is to be adopted which the next release will not have.

    They are locked, for groups that do not go live. Nothing is said where `unsynced` says nothing.
    """
    venv = site.project.venv
    if not _is_to_be_adopted(site):
        return
    try:
        lock, python = LockFile.read(site.project.lock), version_in(venv) or ""
        group = dependency_group(site.settings, site.pyproject)
        live = installed(lock, group=group, default_groups=default_groups(site), python=python)
        leading = _groups_leading_to(lock, {pin.name for pin in live}, python)
    except (Unfit, OSError, InvalidLockError, KeyError, TypeError, AttributeError):
        return
    named: dict[str, list[str]] = {}
    for name, version in sorted(versions_in(venv).items()):
        if name in leading:
            named.setdefault(leading[name], []).append(f"{name} {version}")
    if named:
        listed = "; ".join(f"{', '.join(packages)} (only in {groups})" for groups, packages in named.items())
        message = f"these packages in {venv.name} will not be in the next release: {listed}"
        yield Unfit(message, advice="Add what the site needs to its dependencies, or to a group that goes live.")


def _groups_leading_to(lock: LockFile, live: set[str], python: str) -> dict[str, str]:
    """Name for each package that does not go live the groups that lead to it."""
    leading: dict[str, list[str]] = {}
    for group in sorted(groups_in(lock)):
        for name in {pin.name for pin in installed(lock, group=group, default_groups=(), python=python)} - live:
            leading.setdefault(name, []).append(f"`{group}`")
    return {name: " and ".join(groups) for name, groups in leading.items()}


def _is_to_be_adopted(site: Site) -> bool:
    """Whether there is a venv, which is no release, and of which all can be seen."""
    is_venv = (site.project.venv / "pyvenv.cfg").is_file()
    return is_venv and not _is_release(site) and not _takes_more_from_elsewhere(site)


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
