"""Questions about a site that change nothing: one release, a difference, the status, the history."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from releaser.candidate.changes import described
from releaser.candidate.live_tests import red_tests
from releaser.candidate.space import free_space
from releaser.checkout.publish import push_is_due_in
from releaser.deployment.processes import left_behind
from releaser.errors import AuditError, Finding, NoSuchReleaseError, PreflightError, VulnerableError
from releaser.locks.changes import Change, LockDiff
from releaser.pipelines.repair import diagnose
from releaser.releases import leases
from releaser.releases.contents import total_bytes
from releaser.releases.integrity import find_damage, find_interpreter_damage, has_lost_python
from releaser.releases.journal import Journal
from releaser.releases.quarantine import Constraints
from releaser.releases.store import store_of
from releaser.reporting import history
from releaser.resolution.resolve import lock_of
from releaser.resolution.rules import list_rejected
from releaser.site import mutex
from releaser.site.disk import find_misplaced_state
from releaser.site.recipients import carrier_of
from releaser.site.state_dir import dispute
from releaser.system.files import UnreadableStateError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.candidate.live_tests import RedTests
    from releaser.errors import ReleaserError
    from releaser.locks.vulnerabilities import Audit
    from releaser.releases.drift import Drift
    from releaser.releases.leases import Process
    from releaser.releases.quarantine import Hold, Holds, Quarantine
    from releaser.releases.release import Release
    from releaser.report import LeftBehind
    from releaser.site.mutex import Holder
    from releaser.site.site import Site


_UV_TIMEOUT = 10.0  # seconds that the status waits to hear which Pythons are installed


@dataclass(frozen=True, kw_only=True)
class ReleaseDetails:
    """One release whole; `run` is the history's entry of the run that made it, None if that is gone."""

    release: Release
    users: tuple[Process, ...]
    run: Mapping[str, Any] | None
    own_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return what `show --json` prints."""
        release, found = self.release, find_damage(self.release)
        return {
            **release.manifest.as_json(),
            "state": release.state,
            "live": release.live,
            "own_bytes": self.own_bytes,
            "pinned": release.pinned,
            "in_use_by": [process.pid for process in self.users],
            "processes": [process.as_json() for process in self.users],
            "path": str(release.venv),
            "works": release.works(),
            "broken": found is not None,
            "damage": str(found) if found is not None else None,
            "held_back": _left_out(self.run or {}),
            "steps": list(self.run["steps"]) if self.run else [],
            "test_output": release.test_output,
        }


def _left_out(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what an entry of the history says that the run has left out; an earlier releaser said less."""
    entries = run.get("held_back", [])
    return [
        {
            **{key: str(one.get(key, "")) for key in ("name", "version", "reason", "by", "since", "release", "output")},
            **{key: [str(item) for item in one.get(key) or ()] for key in ("tests", "together")},
        }
        for one in (entries if isinstance(entries, list) else ())
        if isinstance(one, dict)
    ]


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a site stands; lengths of time are in seconds.

    `releases_bytes` is what the releases take together, see `total_bytes`; free is what this user may take where
    they lie; `free_inodes` is None where the file system does not count them. `link` is where the symlink leads,
    `last_run` the newest entry of the history, `last_change` the newest that changed what is live; `interrupted` says
    that a run was cut off, which the next one repairs. `drift` is how the files of the live release differ from what
    was sealed, None if they do not. `red_tests` tells that its tests fail, None if that is not known.
    """

    project: str
    path: str
    live: str | None
    live_age_seconds: float | None
    live_python: str | None
    #: The newest Python that is installed and that the project admits; None if the site runs on that.
    newer_python: str | None
    releases_bytes: int
    free_bytes: int
    free_inodes: int | None
    link: str | None
    last_run: Mapping[str, Any] | None
    last_change: Mapping[str, Any] | None
    running: Holder | None
    interrupted: bool
    push_pending: bool
    mails_pending: int
    left_behind: tuple[LeftBehind, ...]
    quarantine: Quarantine
    holds: Holds
    drift: Drift | None
    red_tests: RedTests | None
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what `status --json` prints."""
        content = asdict(self)
        quarantine = content.pop("quarantine")
        failed = [{**entry, "by": "activation", "tests": [], "together": []} for entry in quarantine["versions"]]
        held = [_held_back(entry) for entry in self.holds.entries]
        del content["holds"]
        content["drift"] = self.drift.as_json() if self.drift is not None else None
        waiting = [entry for entry in quarantine["candidates"] if entry["migrations"]]
        quarantined = [entry for entry in quarantine["candidates"] if not entry["migrations"]]
        for entry in quarantined:
            del entry["migrations"]
        lists = {
            "quarantined": quarantined,
            "rejected_commits": quarantine["commits"],
            "waiting": waiting,
        }
        return {**content, "held_back": failed + held, **lists}


def _held_back(hold: Hold) -> dict[str, Any]:
    return {
        "name": hold.name,
        "version": hold.version,
        "release": hold.release,
        "reason": hold.reason,
        "at": hold.at,
        "by": hold.by,
        "tests": list(hold.tests),
        "together": list(hold.together),
    }


def damaged(site: Site) -> list[str]:
    """Say what others have damaged, each with what to do; of a state directory of another project, just that.

    Where none can be, preflight says so.
    """
    if find_misplaced_state(site.project):
        return []
    if disputed := dispute(site.project):
        return [str(disputed)]
    lost = without_python(site)
    first = [str(lost)] if lost else []
    return first + list(map(str, diagnose(store_of(site))))


def without_python(site: Site) -> Finding | None:
    """Say what brings a site back that has lost its interpreter, if no update does so by itself; None if one does."""
    store = store_of(site)
    live = store.live()
    found = find_interpreter_damage(live) if live is not None else None
    if live is None or found is None or not found.fatal or not has_lost_python(live, found):
        return None
    from releaser.site.pythons import choose  # which takes long to import, and nobody needs on other days

    try:
        choose(site, site.uv())
    except PreflightError as error:
        return error.finding
    return None


def show(site: Site, release: str) -> ReleaseDetails:
    """Return one release whole; NoSuchReleaseError when it is not there."""
    store = store_of(site)
    found = store.find(release)
    runs = [
        entry
        for entry in history.read(site.state_dir)
        if entry.get("release") == found.id
        and entry.get("command") in ("update", "init", "rebuild", "update --override")
        and entry.get("steps")
    ]
    return ReleaseDetails(
        release=found,
        users=tuple(leases.users(str(found.directory))),
        run=runs[-1] if runs else None,
        own_bytes=found.manifest.own_bytes,
    )


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What is known to be wrong with the packages of a release."""

    release: str
    live: bool
    audit: Audit

    def as_json(self) -> dict[str, Any]:
        """Return what `audit --json` prints."""
        return {"release": self.release, "live": self.live, **asdict(self.audit)}

    def failure(self) -> ReleaserError | None:
        """Return what the exit code is to tell; None when nothing is known to be wrong."""
        found = self.audit
        if not found.known:
            message = f"could not determine whether {self.release} has known vulnerabilities: {found.reason}"
            return AuditError(
                message, advice="Check `vulnerability_service`, the network, and that uv is a recent one."
            )
        if not found.vulnerabilities:
            return None
        count, packages = len(found.vulnerabilities), len({one.name for one in found.vulnerabilities})
        what = f"{count} known {'vulnerability' if count == 1 else 'vulnerabilities'}"
        message = f"{self.release} has {what} in {packages} {'package' if packages == 1 else 'packages'}"
        advice = "Run `releaser update` to install available fixes. `releaser outdated` shows what blocks the rest."
        return VulnerableError(message, advice=advice)


def audit(site: Site, release: str | None) -> Audited:
    """Ask what is known to be wrong with a release, or the live one. Raises NoSuchReleaseError, or PreflightError."""
    from releaser.candidate.audit import audit_release

    store = store_of(site)
    found = store.find(release) if release else store.live()
    if found is None:
        message = "no release is live"
        raise NoSuchReleaseError(message, advice="Adopt the project first: `releaser init`.")
    return Audited(release=found.id, live=found.live, audit=audit_release(site, site.uv().executable, found))


def diff(site: Site, first: str, second: str | None) -> tuple[Change, ...]:
    """Return the package changes from `first` to `second`, or to the live release. Raises NoSuchReleaseError."""
    store = store_of(site)
    to = store.find(second) if second else store.live()
    if to is None:
        message = "no release is live"
        raise NoSuchReleaseError(message, advice="Name a second release, or adopt the project: `releaser init`.")
    lock = lock_of(to)
    return described(LockDiff.between(lock_of(store.find(first)), lock).changes, lock, to.venv)


def status(site: Site) -> Status:
    """Return how the site stands."""
    store, project = store_of(site), site.project
    live, runs = store.live(), history.read(project.state_dir)
    space, constraints = free_space(project.state_dir), Constraints.read(project.state_dir)
    problems = [finding.message for finding in site.findings]
    problems += damaged(site)
    return Status(
        project=project.name,
        path=str(project.root),
        live=live.id if live else None,
        live_age_seconds=(datetime.now(UTC) - live.manifest.created_at).total_seconds() if live else None,
        live_python=live.manifest.python if live else None,
        newer_python=_newer_python(site, live),
        releases_bytes=total_bytes(one.manifest for one in store.all()),
        free_bytes=space.bytes,
        free_inodes=space.inodes,
        link=_link(project.venv),
        last_run=_brief(runs[0]) if runs else None,
        last_change=next((_brief(run) for run in runs if run.get("live_changed")), None),
        running=mutex.running(project.state_dir),
        interrupted=_interrupted(project.state_dir),
        push_pending=push_is_due_in(project.state_dir),
        mails_pending=_mails(project.outbox) if carrier_of(site.settings, project.root, site.runner) else 0,
        left_behind=left_behind(store),
        quarantine=_still_out(constraints.quarantine, live),
        holds=constraints.holds.without_older(lock_of(live).versions),
        drift=_drift(live),
        red_tests=red_tests(project.state_dir, live),
        problems=tuple(problems),
    )


def _newer_python(site: Site, live: Release | None) -> str | None:
    from releaser.site.pythons import find_newer_python

    try:
        uv = replace(site.uv(), timeout=_UV_TIMEOUT)
        return find_newer_python(site, uv, live.manifest.python) if live is not None else None
    except PreflightError:  # there is no uv, which `check` tells
        return None


def _drift(live: Release | None) -> Drift | None:
    found = find_damage(live) if live is not None else None
    return found.drift if found is not None and found.drift else None


def _link(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def _brief(run: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: run.get(key) for key in ("command", "run_id", "started_at", "seconds", "result", "exit_code", "headline")
    }


def _interrupted(state_dir: Path) -> bool:
    try:
        return Journal(state_dir=state_dir).read() is not None and mutex.running(state_dir) is None
    except UnreadableStateError:
        return True


def _mails(outbox: Path) -> int:
    from releaser.reporting.outbox import Outbox

    return len(Outbox(outbox).queued())


def _still_out(found: Quarantine, live: Release | None) -> Quarantine:
    """Return what is still kept out; what a newer version or a newer release has replaced is of interest no more."""
    waiting = {(one.name, one.version) for one in list_rejected(found, lock_of(live))}
    since = live.manifest.created_at.isoformat(timespec="seconds") if live else ""
    return replace(
        found,
        versions=tuple(one for one in found.versions if (one.name, one.version) in waiting),
        candidates=tuple(one for one in found.candidates if one.at >= since),
    )
