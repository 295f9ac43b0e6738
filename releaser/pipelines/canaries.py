"""What sites that go first say of versions: what is in doubt there does not come to the others meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from releaser.errors import ExitCode
from releaser.reporting.many_sites import SiteAnswer, part

# A release that is live while a follow-up failed may be one that does not come up, where nothing could run before.
_FAILED = (ExitCode.BUILD, ExitCode.TESTS, ExitCode.ROLLED_BACK, ExitCode.FOLLOW_UP)
_WELL = (ExitCode.OK, ExitCode.FOLLOW_UP)
_LONGEST = 7 * 86400.0  # seconds that a run may have taken
Version = tuple[str, str]  # name and version


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What a site that goes first has trouble with: these versions, or with a `reason` nobody knows which."""

    site: str
    versions: frozenset[Version] = frozenset()
    reason: str = ""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.versions or self.reason)


def doubt_of(answer: SiteAnswer, ask: Callable[..., object]) -> Doubt:
    """Find out what is in doubt after the update of a site that goes first; `ask` returns what a command says of it.

    That is what has just failed, what updates leave out there, and what is in candidates that have failed since the
    site last changed. A site that came to no end says nothing of any version.
    """
    failed = versions_of(answer.answer) if answer.exit_code in _FAILED else frozenset[Version]()
    if answer.exit_code not in _WELL and not failed:
        return Doubt(site=answer.site, reason=f"its update ended with exit code {answer.exit_code}")
    if part(answer.answer, "due_at", str):
        return Doubt(site=answer.site, reason="it waits itself")
    status = ask("status")
    if not isinstance(status, dict):
        return Doubt(site=answer.site, reason="its state cannot be read")
    held = {
        (part(one, "name", str), part(one, "version", str))
        for one in part(status, "held_back", list)
        if part(one, "by", str) != "person" and part(one, "version", str)
    }
    change = part(status, "last_change", dict)
    changed = _time(change, "started_at") + timedelta(seconds=min(part(change, "seconds", float), _LONGEST))
    later = [one for one in part(status, "quarantined", list) if _time(one, "at") > changed]
    tried = [versions_of(ask("show", part(one, "release", str))) for one in later]
    if not all(tried):
        return Doubt(site=answer.site, reason="what fails there is not known")
    return Doubt(site=answer.site, versions=frozenset({*failed, *held}).union(*tried))


def find_reason_to_wait(plan: SiteAnswer, doubts: Iterable[Doubt]) -> str:
    """Say why a site with this plan waits; empty if it does not."""
    return next(_reasons(versions_of(plan.answer), doubts), "")


def _reasons(versions: frozenset[Version], doubts: Iterable[Doubt]) -> Iterator[str]:
    for doubt in doubts if versions else ():
        if doubt.reason:
            yield f"it waits for {doubt.site}, which goes first: {doubt.reason}"
        for name, version in sorted(versions & doubt.versions):
            yield f"it waits, as {doubt.site}, which goes first, has failed with {name} {version}"


def _time(found: object, name: str) -> datetime:
    try:
        return datetime.fromisoformat(part(found, name, str)).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime(1970, 1, 2, tzinfo=UTC)


def versions_of(answer: object) -> frozenset[Version]:
    """Return the packages that a run, a plan or a release is about, with their new versions."""
    changes = part(answer, "changes", list)
    found = ((part(one, "name", str), new) for one in changes for new in part(one, "new", str).split(", "))
    return frozenset(one for one in found if all(one))
