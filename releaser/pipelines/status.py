"""Read-only questions about a site: a release, a difference, an audit, the status, and all data of a page."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.answers import AuditAnswer, OutdatedPackage, PackageAnswer, ReleaseDetails, RunBrief, Status
from releaser.candidate.audit_settings import OFF, AuditSettings
from releaser.candidate.audit_status import AuditStatus, count_packages, known_vulnerabilities
from releaser.candidate.build import describe_changes
from releaser.candidate.results import failing_live_tests
from releaser.capabilities import gather
from releaser.checkout.move import CHECKOUT
from releaser.core.confinement import confinement
from releaser.core.follow_up import read_pending
from releaser.core.run import name_run
from releaser.core.status import Look
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
from releaser.locks.changes import Change, changes_between
from releaser.locks.versions import uploads_in
from releaser.locks.vulnerabilities import Vulnerability
from releaser.pipelines.repair import diagnose
from releaser.releases.blocks import read_blocks
from releaser.releases.contents import own_sizes, total_bytes
from releaser.releases.integrity import find_damage, without_python
from releaser.releases.journal import journal_of, list_limits, making_runs, read_entry, read_history, read_notes
from releaser.releases.listing import DriftAnswer, remarks_by_release, rows, users_of
from releaser.releases.release import Release, lock_of, read_versions, refuse_without_live
from releaser.releases.store import store_of
from releaser.report import Outcome
from releaser.site import run_lock
from releaser.site.disk import find_misplaced_state
from releaser.site.space import free_space
from releaser.site.state_dir import dispute
from releaser.system.files import UnreadableStateError, link_text, plain
from releaser.system.frozen import Frozen, replace
from releaser.system.words import plural
from releaser.tools.certificates import certificate_advice
from releaser.tools.in_the_way import advise_in_the_way, describe_in_the_way

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from releaser.reporting.page import Overview
    from releaser.resolution.outdated import OutdatedReport
    from releaser.site.site import Site

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
    return list(map(str, filter(None, [lost, *diagnose(store_of(site))])))


def list_unfinished(site: Site) -> list[Finding]:
    """Return findings about a run that was cut off, and about files in the way of the run that finishes it."""
    if not _was_interrupted(site):
        return []
    try:
        entry = journal_of(site).read()
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
    run = read_entry(_MakingRun, making_runs(read_history(site.state_dir)).get(found.id, {})) or _MakingRun()
    users, damage, snapshot = users_of(found), find_damage(found), store.snapshot()
    own = own_sizes(release.manifest for release in snapshot.releases)
    return ReleaseDetails(
        **{**plain(found.manifest), "own_bytes": own[found.id]},
        state=next(state for one, state in snapshot.states() if one.id == found.id),
        live=found.live,
        pinned=found.pinned,
        in_use_by=tuple(user.pid for user in users),
        processes=users,
        path=str(found.venv),
        works=found.works(),
        remarks=remarks_by_release(site.state_dir, (found,)).get(found.id, ()),
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
    to = find_release(site, second)
    changes = changes_between(read_versions(store_of(site).find(first)), read_versions(to))
    return describe_changes(changes, lock_of(to), to.venv)


def status(site: Site) -> Status:
    """Return the status of the site."""
    site = replace(site, asks=False)
    store, project = store_of(site), site.project
    live, runs = store.live(), read_history(project.state_dir)
    at, space = Look(site=site, store=store, live=live, runs=runs), free_space(project.state_dir)
    problems, damage = [finding.message for finding in site.findings], find_damage(live) if live is not None else None
    problems += list_damage(site)
    return Status(
        **{name: fact for section in gather("statuses") for name, fact in vars(section.look(at)).items()},
        project=project.name,
        path=str(project.root),
        live=live.id if live else None,
        live_age_seconds=(datetime.now(UTC) - live.manifest.created_at).total_seconds() if live else None,
        live_python=live.manifest.python if live else None,
        newer_python=_newer_python(site, live)
        if live and not (damage and damage.kind in _CHANGED_PYTHON)  # uv would start it
        else None,
        releases_bytes=total_bytes(release.manifest for release in store.all()),
        free_bytes=space.bytes,
        free_inodes=space.inodes,
        link=link_text(project.venv),
        last_run=_find_run(runs[:1], bool),
        last_deployment=_find_run(runs, _is_deployment),
        last_change=_find_run(runs, lambda run: run.get("live_changed")),
        last_success=_find_run(runs, _is_good_update),
        running=run_lock.find_running(project.state_dir),
        interrupted=_was_interrupted(site),
        push_pending=read_pending(project.state_dir).push,
        drift=DriftAnswer.of(damage.drift) if damage is not None and damage.drift else None,
        asked=read_blocks(project.state_dir).asked,
        failing_live_tests=failing_live_tests(project.state_dir, live),
        blocked=_explain_block(runs),
        problems=tuple(problems),
        lock_differences=read_notes(project.state_dir).lock_differences,
    )


DEPLOYING = ("update", "bundle install", "rebuild", "rollback", "init")


def _find_run(runs: Sequence[Mapping[str, Any]], is_wanted: Callable[..., object]) -> RunBrief | None:
    return next((read_entry(RunBrief, run) for run in runs if is_wanted(run)), None)


def _is_deployment(run: Mapping[str, Any]) -> bool:
    """True if the command of a run changes the live release, and the run did not only wait for its window.

    A failed `rebuild --tests-only` says nothing about the site, nor about updates.
    """
    is_trial = run.get("command") == "rebuild" and bool(list_limits(run))
    return run.get("command") in DEPLOYING and not run.get("due_at") and not is_trial


def _is_whole_update(run: Mapping[str, Any]) -> bool:
    """True if a run was an update of all packages, and did not only wait."""
    return _is_deployment(run) and run.get("command") in ("update", "bundle install") and not run.get("only")


def _explain_block(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return why updates cannot go live, from the newest update of all packages that got the project lock."""
    for run in runs:
        if _is_whole_update(run) and run.get("exit_code") != ExitCode.LOCKED:
            has_failed = run.get("exit_code") in (ExitCode.BUILD, ExitCode.TESTS, ExitCode.ROLLED_BACK)
            return str(run.get("blocked") or (run.get("headline") if has_failed else ""))
    return ""


def _is_good_update(run: Mapping[str, Any]) -> bool:
    has_stopped = run.get("result") == "no-changes" and (run.get("blocked") or run.get("waits"))
    return _is_whole_update(run) and run.get("exit_code") == 0 and not has_stopped


def _newer_python(site: Site, live: Release) -> str | None:
    from releaser.site.pythons import find_newer_python

    try:
        return find_newer_python(site, replace(site.uv, timeout=_UV_TIMEOUT), live.manifest.python)
    except PreflightError:  # there is no uv, as `check` reports
        return None


def _was_interrupted(site: Site) -> bool:
    try:
        return journal_of(site).read() is not None and run_lock.find_running(site.state_dir) is None
    except UnreadableStateError:
        return True


def overview(site: Site, *, offline: bool) -> Overview:
    """Return all data of a page; unless `offline`, with new answers about versions and vulnerabilities.

    Raises PreflightError.
    """
    from releaser.reporting.page import LastRun, Overview

    now, store = datetime.now(UTC), store_of(site)
    runs, found = read_history(site.state_dir), status(site)
    deployment = next((run for run in runs if run.get("command") in DEPLOYING), {})
    last_audit = next((run for run in runs if run.get("audit")), {})
    is_unanswered = last_audit.get("audit") == "unknown"
    unanswered = str(last_audit.get("audit_reason") or "no reason is known") if is_unanswered else ""
    vulnerabilities = known_vulnerabilities(runs) or ()
    outdated, reason = (None, "no query was made") if offline else _ask_for_newer(site)
    if found.live and isinstance(found, AuditStatus) and found.is_audited and not offline:
        answer, unanswered = _ask_for_vulnerabilities(site)
        if answer is not None:
            vulnerabilities = answer
            found = replace(found, **vars(AuditStatus(vulnerable=count_packages(answer))))
    return Overview(
        at=now,
        status=found,
        releases=tuple(rows(store)),
        runs=tuple(one for run in runs if (one := read_entry(RunBrief, run))),
        last=read_entry(LastRun, deployment) or LastRun(),
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
