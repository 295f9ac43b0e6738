"""The packages that an update is to bring alone, as the command line names them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from packaging.utils import is_normalized_name

from releaser.errors import PreflightError, UsageError
from releaser.locks.lock import InvalidLockError, LockFile, find_locked
from releaser.locks.versions import normalize_name
from releaser.report import RunLog
from releaser.run import Run, new_run_id
from releaser.site.site import find_site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from releaser.answers import Plan
    from releaser.pipelines.session import Request
    from releaser.report import RunReport
    from releaser.site.site import Site


_FOLLOWS = 'this site takes what git has locked (`upgrade = "none"`), and upgrades no package'


def find_selected(path: Path, environ: Mapping[str, str], names: Sequence[str], *, if_locked: bool) -> frozenset[str]:
    """Return the packages as uv.lock writes them; with `if_locked`, only those that are there.

    Raises UsageError for what is no name, for a package that is not in uv.lock, and where nothing is upgraded.
    """
    spelled = tuple(map(normalize_name, names))
    for name, spelling in zip(names, spelled, strict=True):
        if not is_normalized_name(spelling):
            message = f"{name!r} is not the name of a package"
            raise UsageError(message, advice="Give the name alone, without a version or extras.")
    with contextlib.suppress(PreflightError, OSError, InvalidLockError):  # which the run reports, along with all else
        site = find_site(path, environ)
        if names and site.settings.upgrade == "none":
            if if_locked:
                return frozenset()
            advice = "Update the host that upgrades, or `uv lock --upgrade-package NAME` where you develop; and push."
            raise UsageError(_FOLLOWS, advice=advice)
        lock = LockFile.read(site.project.lock)
        return frozenset(find_locked(lock, name) for name in spelled if name in lock.names or not if_locked)
    return frozenset(spelled)


def report_unaffected(request: Request, names: Sequence[str]) -> RunReport:
    """Say of a site that it has none of these packages, or upgrades none."""
    site, started = find_site(request.path, request.environ), datetime.now(UTC)
    log = RunLog(request.listener, command=request.command, run_id=new_run_id(started), started_at=started)
    log.learn(only=tuple(names))
    return Run(site=site, log=log).report(result="unchanged", exit_code=0, headline=_say_why_unaffected(site, names))


def plan_unaffected(site: Site, names: Sequence[str]) -> Plan:
    """Say the same with `--dry-run`."""
    from releaser.answers import Plan

    return Plan(would=(_say_why_unaffected(site, names),))


def _say_why_unaffected(site: Site, names: Sequence[str]) -> str:
    if site.settings.upgrade == "none":
        return f"left alone, as {_FOLLOWS}"
    return f"left alone, as {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not in uv.lock"
