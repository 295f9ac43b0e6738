"""Asking what is known to be wrong with the packages of a lock; whatever goes wrong with that, no run fails over it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.locking.installed import installed
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.locking.vulnerabilities import Audit, parse_audit, unknown
from releaser.project.settings import NO_SERVICE
from releaser.project.test_groups import live_default_groups, unasked_groups
from releaser.tools.audit import run_audit, write_stand_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from releaser.locking.installed import Pin
    from releaser.project.site import Site
    from releaser.releases.release import Release


def audit(site: Site, uv: Path, lock: LockFile, *, group: str | None, python: str) -> Audit:
    """Ask about the third-party packages of a lock that are installed for `group` and `python`, a version.

    `uv` is the executable. Raises nothing: what cannot be found out is unknown.
    """
    if site.settings.vulnerability_service == NO_SERVICE:
        return unknown("vulnerability_service is none")
    try:
        pins = installed(lock, group=group, default_groups=default_groups(site), python=python)
        answer = _ask(site, uv, pins) if pins else Audit(known=True)
    except (InvalidLockError, KeyError, TypeError, AttributeError) as error:
        return unknown(f"the lock cannot be read: {error}")
    except ToolError as error:
        late = f"no answer within {site.settings.audit_timeout:g} s"
        return unknown(late if error.timed_out else site.redactor.clean(error.message))
    except OSError as error:
        return unknown(str(error))
    return answer.without(site.settings.audit_ignore)


def audit_release(site: Site, uv: Path, release: Release) -> Audit:
    """Ask about the packages of a release. Raises nothing."""
    try:
        lock = LockFile.read(release.lock)
    except (OSError, InvalidLockError) as error:
        return unknown(f"the lock of {release.id} cannot be read: {error}")
    return audit(site, uv, lock, group=release.manifest.group, python=release.manifest.python)


def _ask(site: Site, uv: Path, pins: tuple[Pin, ...]) -> Audit:
    settings = site.settings
    with tempfile.TemporaryDirectory(prefix="releaser-audit-", ignore_cleanup_errors=True) as name:
        write_stand_in(Path(name), pins, site.pyproject.table("tool", "uv"))
        finished = run_audit(
            site.runner, uv, Path(name), service=settings.vulnerability_service, timeout=settings.audit_timeout
        )
    return parse_audit(finished.stdout, packages=len(pins))


def default_groups(site: Site) -> Iterable[str] | None:
    """Return uv's default groups that go live; None if these are all groups of the project."""
    unasked, tests = unasked_groups(site.pyproject), site.settings.test_groups
    if unasked is None:
        return live_default_groups(site.settings, site.pyproject) if tests else None
    return tuple(name for name in unasked if name not in tests)
