"""Questions about a site that change nothing: one release, a difference, the status, the history."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from releaser.durable import UnreadableStateError
from releaser.errors import AuditError, NoSuchReleaseError, Unfit, VulnerableError
from releaser.locking.diff import Change, LockDiff
from releaser.project import mutex
from releaser.project.ownership import dispute
from releaser.project.room import free_room
from releaser.project.telling import carrier_of
from releaser.releases import leases
from releaser.releases.disk_use import disk_use, together
from releaser.releases.holds import Hold, Holds, read_holds
from releaser.releases.journal import Journal
from releaser.releases.quarantine import Quarantine, read_quarantine
from releaser.releases.soundness import damage, interpreter_damage
from releaser.releases.store import ReleaseStore
from releaser.report import history
from releaser.report.text import sentences
from releaser.steps.diagnosis import diagnose, lost_python
from releaser.steps.left_behind import left_behind
from releaser.steps.live_tests import red_tests
from releaser.steps.particulars import described
from releaser.steps.publish import push_is_due_in
from releaser.steps.resolve import left_out, lock_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.errors import ReleaserError
    from releaser.locking.vulnerabilities import Audit
    from releaser.project.mutex import Holder
    from releaser.project.site import Site
    from releaser.releases.drift import Drift
    from releaser.releases.processes import Process
    from releaser.releases.release import Release
    from releaser.report.outcome import LeftBehind
    from releaser.steps.live_tests import RedTests


@dataclass(frozen=True, kw_only=True)
class ReleaseDetails:
    """One release whole; `run` is the history's entry of the run that made it, None if that is gone."""

    release: Release
    users: tuple[Process, ...]
    run: Mapping[str, Any] | None
    own_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return what `show --json` prints."""
        release, found = self.release, damage(self.release)
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

    `releases_bytes` is what the releases take together, see `disk_use.together`; free is what this user may take where
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
            "refused_pythons": quarantine["pythons"],
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


def store_of(site: Site) -> ReleaseStore:
    """Return the releases of a site."""
    return ReleaseStore(state_dir=site.project.state_dir, link=site.project.venv)


def damaged(site: Site) -> list[str]:
    """Say what others have damaged, each with what to do; of a state directory of another project, just that."""
    if disputed := dispute(site.project):
        return [sentences(disputed.message, disputed.advice)]
    lost = without_python(site)
    first = [sentences(lost.message, lost.advice)] if lost else []
    return first + [sentences(one.message, one.advice) for one in diagnose(store_of(site))]


def without_python(site: Site) -> Unfit | None:
    """Say what brings a site back that has lost its interpreter, if no update does so by itself; None if one does."""
    store = store_of(site)
    live = store.live()
    found = interpreter_damage(live) if live is not None else None
    if live is None or found is None or not found.fatal or not lost_python(live, found):
        return None
    from releaser.project.pythons import choose  # which takes long to import, and nobody needs on other days

    try:
        choose(site, site.uv())
    except Unfit as error:
        return error
    return None


def show(site: Site, release: str) -> ReleaseDetails:
    """Return one release whole; NoSuchReleaseError when it is not there."""
    store = store_of(site)
    found = store.find(release)
    runs = [
        entry
        for entry in history.read(site.project.state_dir)
        if entry.get("release") == found.id
        and entry.get("command") in ("update", "init", "rebuild", "update --override")
        and entry.get("steps")
    ]
    return ReleaseDetails(
        release=found,
        users=tuple(leases.users(str(found.directory))),
        run=runs[-1] if runs else None,
        own_bytes=disk_use(store)[found.id].own_bytes,
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
            message = f"it could not be found out whether {self.release} has known vulnerabilities: {found.reason}"
            return AuditError(
                message, advice="Check `vulnerability_service`, the network, and that uv is a recent one."
            )
        if not found.vulnerabilities:
            return None
        count, packages = len(found.vulnerabilities), len({one.name for one in found.vulnerabilities})
        what = f"{count} known {'vulnerability' if count == 1 else 'vulnerabilities'}"
        message = f"{self.release} has {what} in {packages} {'package' if packages == 1 else 'packages'}"
        advice = "`releaser update` brings the available fixes; `releaser outdated` tells what keeps the others out."
        return VulnerableError(message, advice=advice)


def audit(site: Site, release: str | None) -> Audited:
    """Ask what is known to be wrong with a release, or with the live one. Raises NoSuchReleaseError, or Unfit."""
    from releaser.steps.security import audit_release

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
    room = free_room(project.state_dir)
    problems = [finding.message for finding in site.findings]
    problems += damaged(site)
    return Status(
        project=project.name,
        path=str(project.root),
        live=live.id if live else None,
        live_age_seconds=(datetime.now(UTC) - live.manifest.created_at).total_seconds() if live else None,
        live_python=live.manifest.python if live else None,
        releases_bytes=together(disk_use(store).values()),
        free_bytes=room.bytes,
        free_inodes=room.inodes,
        link=_link(project.venv),
        last_run=_brief(runs[0]) if runs else None,
        last_change=next((_brief(run) for run in runs if run.get("live_changed")), None),
        running=mutex.running(project.state_dir),
        interrupted=_interrupted(project.state_dir),
        push_pending=push_is_due_in(project.state_dir),
        mails_pending=_mails(project.outbox) if carrier_of(site.settings, project.root, site.runner) else 0,
        left_behind=left_behind(store),
        quarantine=_quarantine(site, live),
        holds=_holds(site, live),
        drift=_drift(live),
        red_tests=red_tests(project.state_dir, live),
        problems=tuple(problems),
    )


def _drift(live: Release | None) -> Drift | None:
    found = damage(live) if live is not None else None
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
    from releaser.report.outbox import Outbox

    return len(Outbox(outbox).queued())


def _holds(site: Site, live: Release | None) -> Holds:
    """Return what is held, but for the versions that something newer has replaced."""
    try:
        found = read_holds(site.project.state_dir)
    except UnreadableStateError:  # which is among the problems
        return Holds()
    return found.without_older(lock_of(live).versions)


def _quarantine(site: Site, live: Release | None) -> Quarantine:
    """Return what is still kept out; what a newer version or a newer release has replaced is of interest no more."""
    try:
        found = read_quarantine(site.project.state_dir)
    except UnreadableStateError:  # which is among the problems
        return Quarantine()
    waiting = {(one.name, one.version) for one in left_out(found, lock_of(live))}
    since = live.manifest.created_at.isoformat(timespec="seconds") if live else ""
    return replace(
        found,
        versions=tuple(one for one in found.versions if (one.name, one.version) in waiting),
        candidates=tuple(one for one in found.candidates if one.at >= since),
    )
