"""Read-only questions about a site: a release, a difference, an audit, the status, and all data of a page."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import ValidationError, convert

from releaser.answers import (
    AuditAnswer,
    CommitOnHold,
    FailedCandidate,
    OnHold,
    OutdatedPackage,
    PackageAnswer,
    ReleaseDetails,
    RunBrief,
    Status,
    WaitingCandidate,
)
from releaser.candidate.audit_settings import OFF, AuditSettings
from releaser.candidate.build import describe_changes
from releaser.candidate.results import failing_live_tests
from releaser.checkout.move import CHECKOUT
from releaser.core.confinement import confinement
from releaser.core.follow_up import read_pending
from releaser.core.run import name_run
from releaser.errors import (
    AuditError,
    ExitCode,
    Finding,
    PreflightError,
    ReleaserError,
    ToolError,
    VulnerableError,
)
from releaser.locks.blocks import Block
from releaser.locks.lock import Change, changes_between
from releaser.locks.versions import uploads_in
from releaser.locks.vulnerabilities import Vulnerability
from releaser.pipelines.due import find_interval, find_next
from releaser.pipelines.repair import diagnose
from releaser.releases.blocks import Blocks, StoredBlock, read_blocks
from releaser.releases.contents import total_bytes
from releaser.releases.integrity import find_damage, without_python
from releaser.releases.journal import Journal, making_runs, read_history, read_notes
from releaser.releases.listing import DriftAnswer, rows, users_of
from releaser.releases.proposal import read_proposal
from releaser.releases.release import Release, lock_of, read_versions, refuse_without_live
from releaser.releases.store import ReleaseStore, store_of
from releaser.report import Outcome
from releaser.reporting.reporters import receivers
from releaser.serving.health import left_behind
from releaser.serving.servers import find_unrestarted
from releaser.site import run_lock
from releaser.site.addresses import MailSettings
from releaser.site.disk import find_misplaced_state
from releaser.site.django_settings import MigrationFacts
from releaser.site.space import free_space
from releaser.site.state_dir import dispute
from releaser.system.files import UnreadableStateError, link_text, plain
from releaser.system.frozen import Frozen
from releaser.system.words import plural
from releaser.tools.certificates import certificate_advice
from releaser.tools.in_the_way import advise_in_the_way, describe_in_the_way

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from releaser.reporting.page import Overview
    from releaser.resolution.outdated import OutdatedReport
    from releaser.site.site import Site


T = TypeVar("T")
_CHANGED_PYTHON = ("replaced", "interpreter")  # uv would start that Python
_UV_TIMEOUT = 10.0  # seconds that the status waits to hear which Pythons are installed


def list_damage(site: Site) -> list[str]:
    """Return the damage by others, with advice; for a state directory of another project, only that.

    Preflight reports a state directory at an impossible place.
    """
    if find_misplaced_state(site.project):
        return []
    if disputed := dispute(site.project):
        return [str(disputed)]
    lost = without_python(site, store_of(site).live())
    first = [str(lost)] if lost else []
    return first + list(map(str, diagnose(store_of(site))))


def list_unfinished(site: Site) -> list[Finding]:
    """Return findings about a run that was cut off, and about files in the way of the run that finishes it."""
    if not _was_interrupted(site.state_dir):
        return []
    try:
        entry = Journal(state_dir=site.state_dir).read()
    except UnreadableStateError as error:
        message = f"an earlier run was interrupted, and its journal cannot be read: {error.reason}"
        return [
            Finding(
                "journal-unreadable",
                message,
                "Run `releaser update`: it moves the journal aside, and repairs the site.",
            )
        ]
    if entry is None or entry.phase == "reporting":
        return []
    message = f"{name_run(entry.command, entry.run_id)} was interrupted"
    found = [Finding("run-cut-off", message, "The next `releaser update` finishes or undoes it.")]
    record = entry.actions.get(CHECKOUT, {})
    before, after = record.get("before"), record.get("after")
    if before and after and before != after:
        with contextlib.suppress(ToolError):
            if paths := site.git.in_the_way(after, before, known=[before]):
                message = describe_in_the_way(paths, before)
                found.append(Finding("git-in-the-way", message, advise_in_the_way(paths, site.git.layout.top)))
    return found


def show(site: Site, release: str) -> ReleaseDetails:
    """Return all facts about one release. Raises NoSuchReleaseError."""
    store = store_of(replace(site, asks=False))
    found = store.find(release)
    run = read_as(_MakingRun, making_runs(read_history(site.state_dir)).get(found.id, {})) or _MakingRun()
    users, damage = users_of(found), find_damage(found)
    return ReleaseDetails(
        **plain(found.manifest),
        state=next(state for one, state in store.snapshot().states() if one.id == found.id),
        live=found.live,
        pinned=found.pinned,
        in_use_by=tuple(user.pid for user in users),
        processes=users,
        path=str(found.venv),
        works=found.works(),
        broken=damage is not None,
        damage=str(damage) if damage is not None else None,
        on_hold=run.on_hold,
        steps=run.steps,
        test_output=found.test_output,
    )


class _MakingRun(Frozen):
    """The facts in the history about the run that made a release."""

    on_hold: tuple[Block, ...] = ()
    steps: tuple[Outcome, ...] = ()


class _AuditingRun(Frozen):
    """The facts in the history about a run that looked up vulnerabilities."""

    vulnerabilities: tuple[Vulnerability, ...] = ()


def read_as(kind: type[T], entry: Mapping[str, Any]) -> T | None:
    """Read an entry of the history; None if releaser cannot have written it."""
    try:
        return convert(entry, kind)
    except ValidationError:
        return None


def audit_error(found: AuditAnswer) -> ReleaserError | None:
    """Return the error for unknown or found vulnerabilities, which sets the exit code; None for none."""
    if found.reason == OFF:
        message = f"{found.release} was not audited: {OFF}"
        return AuditError(message, "Remove that setting. `releaser config vulnerability_service` names its file.")
    if not found.known:
        message = f"the query for known vulnerabilities of {found.release} failed: {found.reason}"
        advice = "Check `vulnerability_service`, the network, and that uv is recent (`uv --version`)."
        return AuditError(message, certificate_advice(found.reason) or advice)
    if not found.vulnerabilities:
        return None
    count = plural(len(found.vulnerabilities), "known vulnerability")
    packages = {vulnerability.name for vulnerability in found.vulnerabilities}
    message = f"{found.release} has {count} in {plural(len(packages), 'package')}"
    advice = "To install available fixes, run `releaser update`. For the others, `releaser outdated` shows the reasons."
    return VulnerableError(message, advice)


def find_release(site: Site, release: str | None) -> Release:
    """Return a release, by default the live one. Raises NoSuchReleaseError."""
    store = store_of(site)
    found = store.find(release) if release else store.live()
    if found is None:
        refuse_without_live(store)
    return found


def audit(site: Site, release: str | None) -> AuditAnswer:
    """Look up the vulnerabilities of a release, by default the live one. Raises NoSuchReleaseError, PreflightError."""
    from releaser.candidate.audit import audit_release

    found = find_release(site, release)
    known = audit_release(site, site.uv.executable, found)
    return AuditAnswer(release=found.id, live=found.live, **plain(known))


def diff(site: Site, first: str, second: str | None) -> tuple[Change, ...]:
    """Return the package changes from `first` to `second`, or to the live release. Raises NoSuchReleaseError."""
    store = store_of(site)
    to = store.find(second) if second else store.live()
    if to is None:
        refuse_without_live(store)
    lock = lock_of(to)
    return describe_changes(changes_between(read_versions(store.find(first)), read_versions(to)), lock, to.venv)


def status(site: Site) -> Status:
    """Return the status of the site."""
    site = replace(site, asks=False)
    store, project = store_of(site), site.project
    live, runs = store.live(), read_history(project.state_dir)
    space, blocks = free_space(project.state_dir), _select_active(read_blocks(project.state_dir), live, store)
    problems, damage = [finding.message for finding in site.findings], find_damage(live) if live is not None else None
    problems += list_damage(site)
    from releaser.candidate.audit import is_asked  # slow to import, like the next one
    from releaser.reporting.outbox import FOR_SMTP, Outbox

    queues = {receiver.queue for receiver in receivers(site)}
    # With sendmail = "none" and no server, people read the mails in the outbox.
    queues |= {FOR_SMTP} if MailSettings.of(site).sends else set()
    queued = [mail for mail in Outbox(project.outbox).list_queued() if mail.queue in queues] if queues else ()
    vulnerable, proposal = known_vulnerabilities(runs), read_proposal(project.state_dir)
    waiting = tuple(_list_waiting(store, proposal.release))
    due = find_next(site)
    return Status(
        interval_seconds=find_interval(site),
        due_at=due.at.isoformat(timespec="seconds") if due else None,
        waits=due.reason if due else "",
        waiting_reason="; ".join(f"{release.release} is ready and waits: {release.reason}" for release in waiting),
        project=project.name,
        path=str(project.root),
        live=live.id if live else None,
        live_age_seconds=(datetime.now(UTC) - live.manifest.created_at).total_seconds() if live else None,
        live_python=live.manifest.python if live else None,
        newer_python=None
        if damage and damage.kind in _CHANGED_PYTHON
        else _newer_python(site, live),  # uv would start it
        releases_bytes=total_bytes(release.manifest for release in store.all()),
        free_bytes=space.bytes,
        free_inodes=space.inodes,
        link=link_text(project.venv),
        last_run=read_as(RunBrief, runs[0]) if runs else None,
        last_deployment=next((read_as(RunBrief, run) for run in runs if _is_deployment(run)), None),
        last_change=next((read_as(RunBrief, run) for run in runs if run.get("live_changed")), None),
        last_success=next((read_as(RunBrief, run) for run in runs if _is_good_update(run)), None),
        vulnerable=len({vulnerability.name for vulnerability in vulnerable}) if vulnerable is not None else None,
        running=run_lock.find_running(project.state_dir),
        interrupted=_was_interrupted(project.state_dir),
        push_pending=read_pending(project.state_dir).push,
        proposal="" if proposal.is_merged_into(live) else proposal.summary,
        mails_pending=len(queued),
        left_behind=left_behind(store),
        drift=DriftAnswer.of(damage.drift) if damage is not None and damage.drift else None,
        asked=blocks.asked,
        failing_live_tests=failing_live_tests(project.state_dir, live),
        blocked=_why_blocked(runs),
        not_restarted=str(find_unrestarted(site) or ""),
        without_sandbox=confinement().was_missing(site),
        problems=tuple(problems),
        on_hold=_answers(OnHold, (*blocks.by("rollback"), *blocks.by("person", "tests"))),
        failed_candidates=_answers(FailedCandidate, blocks.candidates),
        commits_on_hold=_answers(CommitOnHold, blocks.commits),
        waiting=waiting,
        lock_differences=read_notes(project.state_dir).lock_differences,
        is_audited=is_asked(site),
    )


DEPLOYING = ("update", "bundle install", "rebuild", "rollback", "init")


def _is_deployment(run: Mapping[str, Any]) -> bool:
    """True if the command of a run changes the live release, and the run did not only wait for its window."""
    return run.get("command") in DEPLOYING and not run.get("due_at")


def _is_whole_update(run: Mapping[str, Any]) -> bool:
    """True if a run was an update of all packages, and did not only wait."""
    return _is_deployment(run) and run.get("command") in ("update", "bundle install") and not run.get("only")


def _why_blocked(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return why updates cannot go live, from the newest update of all packages that got the project lock."""
    for run in runs:
        if _is_whole_update(run) and run.get("exit_code") != ExitCode.LOCKED:
            has_failed = run.get("exit_code") in (ExitCode.BUILD, ExitCode.TESTS, ExitCode.ROLLED_BACK)
            return str(run.get("blocked") or (run.get("headline") if has_failed else ""))
    return ""


def _list_waiting(store: ReleaseStore, proposed: str) -> Iterator[WaitingCandidate]:
    """Yield the release that is ready and waits, unless it is `proposed`."""
    snapshot = store.snapshot()
    ready = snapshot.find_waiting()
    if ready is not None and ready.id != proposed:
        known, names = snapshot.lifecycles[ready.id], MigrationFacts.of(ready.manifest).migrations
        yield WaitingCandidate(key=ready.key, release=ready.id, reason=known.waits, at=known.since, migrations=names)


def _is_good_update(run: Mapping[str, Any]) -> bool:
    has_stopped = run.get("result") == "no-changes" and (run.get("blocked") or run.get("waits"))
    return _is_whole_update(run) and run.get("exit_code") == 0 and not has_stopped


def known_vulnerabilities(runs: Sequence[Mapping[str, Any]]) -> tuple[Vulnerability, ...] | None:
    """Return the vulnerabilities from the newest known audit; None if the live release has changed since."""
    for run in runs:
        if run.get("audit") == "known":
            found = read_as(_AuditingRun, run)
            return found.vulnerabilities if found else None
        if run.get("live_changed"):
            return None
    return None


def _answers(kind: type[T], blocks: Iterable[StoredBlock]) -> tuple[T, ...]:
    """Return blocks as an answer shows them."""
    return tuple(convert(block, kind, from_attributes=True) for block in blocks)


def _newer_python(site: Site, live: Release | None) -> str | None:
    from releaser.site.pythons import find_newer_python

    try:
        uv = replace(site.uv, timeout=_UV_TIMEOUT)
        return find_newer_python(site, uv, live.manifest.python) if live is not None else None
    except PreflightError:  # there is no uv, as `check` reports
        return None


def _was_interrupted(state_dir: Path) -> bool:
    try:
        return Journal(state_dir=state_dir).read() is not None and run_lock.find_running(state_dir) is None
    except UnreadableStateError:
        return True


def _select_active(found: Blocks, live: Release | None, store: ReleaseStore) -> Blocks:
    """Return the blocks that still count, without those that newer versions or newer code have replaced."""
    contents = attrgetter("manifest.lock_sha256", "manifest.code_key")
    same = [
        release for release in store.all() if live and contents(release) == contents(live)
    ]  # a rebuild makes another
    # Within a second, the ids give the order.
    since = min(
        ((block.manifest.created_at.isoformat(timespec="seconds"), block.id) for block in same), default=("", "")
    )
    current = found.without_older(lock_of(live).versions)
    return current.without(lambda block: block.what == "candidate" and (block.since, block.release) < since)


def overview(site: Site, *, offline: bool) -> Overview:
    """Return all data of a page; unless `offline`, with new answers about versions and vulnerabilities.

    Raises PreflightError.
    """
    from releaser.reporting.page import LastRun, Overview

    now, store = datetime.now(UTC), store_of(site)
    runs, found = read_history(site.state_dir), status(site)
    deployment = next((run for run in runs if run.get("command") in DEPLOYING), {})
    last_audit = next((run for run in runs if run.get("audit")), {})
    unanswered = str(last_audit.get("audit_reason") or "no reason is known")
    unanswered = unanswered if last_audit.get("audit") == "unknown" else ""
    vulnerabilities = known_vulnerabilities(runs) or ()
    outdated, reason = (None, "no query was made") if offline else _ask_for_newer(site)
    if found.live and found.is_audited and not offline:
        answer, unanswered = _ask_for_vulnerabilities(site)
        if answer is not None:
            vulnerabilities = answer
            found = replace(found, vulnerable=len({vulnerability.name for vulnerability in vulnerabilities}))
    return Overview(
        at=now,
        status=found,
        releases=tuple(rows(store)),
        runs=tuple(one for run in runs if (one := read_as(RunBrief, run))),
        last=read_as(LastRun, deployment) or LastRun(),
        outdated=outdated,
        outdated_reason=reason,
        vulnerabilities=vulnerabilities,
        unanswered=unanswered,
        uploaded=tuple(sorted(filter(None, uploads_in(lock_of(store.live()), now).times.values()))),
    )


def _ask_for_newer(site: Site) -> tuple[tuple[OutdatedPackage, ...] | None, str]:
    try:
        return outdated(site).packages, ""
    except ReleaserError as error:
        return None, error.message


def _ask_for_vulnerabilities(site: Site) -> tuple[tuple[Vulnerability, ...] | None, str]:
    try:
        answer = audit(site, None)
    except ReleaserError as error:
        return None, error.message
    return answer.vulnerabilities if answer.known else None, answer.reason


def outdated(site: Site) -> OutdatedReport:
    """Return newer versions than the locked ones, and which of them the next update installs.

    Raises PreflightError, and ResolutionError when the index cannot be reached.
    """
    from releaser.resolution.outdated import survey

    return survey(site, confinement().lock_builds(site), find_fixes=partial(_find_fixes, site)).report()


def why(site: Site, name: str) -> PackageAnswer:
    """Return who requires a package, and why each newer version is not installed.

    Raises UsageError if it is not locked; otherwise as `outdated`.
    """
    from releaser.resolution.outdated import explain_package

    return explain_package(site, name, confinement().lock_builds(site), find_fixes=partial(_find_fixes, site))


def _find_fixes(site: Site) -> Mapping[str, str]:
    from releaser.candidate.audit import audit_release, is_asked

    live = store_of(site).live()
    if live is None or not is_asked(site) or AuditSettings.of(site).security_fixes != "early":
        return {}
    return audit_release(site, site.uv.executable, live).fixes()
