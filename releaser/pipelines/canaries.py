"""What failed on the sites that go first, which the others do not install meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from releaser.errors import ExitCode
from releaser.locks.failed_elsewhere import SiteFailure, Version, is_version
from releaser.reporting.many_sites import SiteAnswer, part

# A release that is live while a follow-up failed may be one that does not come up, where nothing could run before.
_FAILED = (ExitCode.BUILD, ExitCode.TESTS, ExitCode.ROLLED_BACK, ExitCode.FOLLOW_UP)
_WELL = (ExitCode.OK, ExitCode.FOLLOW_UP)
_LONGEST = 7 * 86400.0  # seconds that a run may have taken
_NEVER = datetime(1970, 1, 2, tzinfo=UTC)


def find_failures(answer: SiteAnswer, ask: Callable[..., object]) -> SiteFailure:
    """Find out what failed on a site that goes first, after its update; `ask` returns what a command says of it.

    That is what has just failed, what updates leave out there, and what is in candidates that have failed since an
    update last went live. A site that came to no end says nothing of any version. One that waits for its own time says
    what it has said before.
    """
    failed = versions_of(answer.answer) if answer.exit_code in _FAILED else frozenset[Version]()
    if answer.exit_code not in _WELL and not failed:
        return SiteFailure(site=answer.site, reason=f"its update ended with exit code {answer.exit_code}")
    status = ask("status")
    if not isinstance(status, dict):
        return SiteFailure(site=answer.site, reason="its state cannot be read")
    held = {
        (part(one, "name", str), version)
        for one in part(status, "held_back", list)
        for version in part(one, "version", str).split(", ")
        if part(one, "by", str) != "person" and version
    }
    quarantined = part(status, "quarantined", list)
    changed = _last_updated(ask("history", "-n", "200")) if quarantined else _NEVER
    tried = [versions_of(ask("show", part(one, "release", str))) for one in quarantined if _time(one, "at") > changed]
    versions = frozenset({*failed, *held}).union(*tried)
    if not all(tried) or not all(is_version(*one) for one in versions):
        return SiteFailure(site=answer.site, reason="what fails there is not known")
    return SiteFailure(site=answer.site, versions=versions)


def _last_updated(runs: object) -> datetime:
    """Return when the last update ended that went live; a rollback or a rebuild tells nothing of what failed."""
    for run in runs if isinstance(runs, list) else ():
        if (part(run, "command", str), part(run, "result", str)) == ("update", "activated"):
            return _time(run, "started_at") + timedelta(seconds=min(part(run, "seconds", float), _LONGEST))
    return _NEVER


def _time(found: object, name: str) -> datetime:
    try:
        return datetime.fromisoformat(part(found, name, str)).astimezone(UTC)
    except (ValueError, OverflowError):
        return _NEVER


def versions_of(answer: object) -> frozenset[Version]:
    """Return the packages that a run, a plan or a release is about, with their new versions."""
    changes = part(answer, "changes", list)
    found = ((part(one, "name", str), new) for one in changes for new in part(one, "new", str).split(", "))
    return frozenset(one for one in found if all(one))
