"""What an update does about known vulnerabilities: it asks, lets fixes pass, and tells what stays and why."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, check_types, read_json, write_json
from releaser.locking.diff import LockDiff
from releaser.locking.policy import is_older
from releaser.locking.vulnerabilities import Audit, fixed_by
from releaser.project.settings import NO_SERVICE
from releaser.report.outcome import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.locking.vulnerabilities import Vulnerability
    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.report.outcome import HeldBack, RunReport
    from releaser.run import Run
    from releaser.steps.build import Candidate

TOLD = "vulnerabilities.json"
UNKNOWN_TOLD = "vulnerabilities-unknown.json"
_BY = {
    "person": "somebody holds it back",
    "ignore": "the setting `ignore` keeps it out",
    "tests": "the tests fail with it",
    "activation": "it was backed out",
}
_STUCK = "it cannot come in, not even early, as what goes with it is kept out too, or would have to be older"
_ADVICE = {
    "person": "Lift the hold: `releaser unhold {name}`; or accept the vulnerability: add its id to `audit_ignore`.",
    "ignore": "Take it out of `ignore`; or accept the vulnerability: add its id to `audit_ignore`.",
    "tests": "Fix the site or its tests for the newer version; it is tried again when the code changes.",
    "activation": "Find out why it was backed out; `releaser update --force` takes it in again.",
}
_STUCK_ADVICE = (
    "See what `uv lock --upgrade-package '{name}>={fix}'` changes in a checkout of your own, and commit that if it is"
    " right; or accept the vulnerability: add its id to `audit_ignore`."
)


def audit_live(run: Run, fitness: Fitness, live: Release | None) -> Audit | None:
    """Ask, once in a run, what is known to be wrong with what is live; None if nothing is, or no service is set."""
    if run.draft.audit_before is None and live is not None and _is_asked(run):
        from releaser.steps.security import audit_release  # which a night without anything new need not import

        with run.recorder.step("audit") as step:
            run.draft.audit_before = found = audit_release(run.site, fitness.uv.executable, live)
            step.says(summed_up(found)) if found.known else step.warns(summed_up(found))
    return run.draft.audit_before


def fixes_due(run: Run, fitness: Fitness, live: Release | None) -> dict[str, str]:
    """Return the packages of what is live that have a known vulnerability, with the lowest version free of it."""
    if run.site.settings.security_fixes != "early":
        return {}
    found = audit_live(run, fitness, live)
    return found.fixes() if found else {}


def with_fixes(run: Run, fitness: Fitness, candidate: Candidate) -> Candidate:
    """Say of each change which vulnerabilities it fixes; the report gets what is known of what is to be live.

    That of what is live must have been asked for before.
    """
    before, resolution = run.draft.audit_before, candidate.resolution
    if not _is_asked(run):
        return candidate
    if before is not None and not before.known:  # whoever does not answer need not be asked twice
        run.draft.audit_after = before
        return candidate
    from releaser.steps.security import audit

    with run.recorder.step("audit candidate") as step:
        key = candidate.key
        after = audit(run.site, fitness.uv.executable, resolution.lock, group=key.group, python=key.python)
        run.draft.audit_after = after
        step.says(summed_up(after)) if after.known else step.warns(summed_up(after))
    note_unfixed(run, only_new=False)
    if before is None:
        return candidate
    fixed: dict[str, list[str]] = {}
    for one in fixed_by(before, after):
        fixed.setdefault(one.name, []).append(one.id)
    changes = tuple(replace(change, fixes=tuple(fixed.get(change.name, ()))) for change in resolution.diff)
    run.draft.changes = changes
    return replace(candidate, resolution=replace(resolution, diff=LockDiff(changes=changes)))


def _is_asked(run: Run) -> bool:
    return run.site.settings.vulnerability_service != NO_SERVICE


def summed_up(found: Audit) -> str:
    """Return an answer in a few words."""
    if not found.known:
        return f"unknown: {found.reason}"
    count = len(found.vulnerabilities)
    return f"{count or 'no'} known {'vulnerability' if count == 1 else 'vulnerabilities'}"


def look_at_what_is_held(run: Run, fitness: Fitness, live: Release | None) -> None:
    """See, in a night without anything new, whether what is held back would fix something; no other night asks."""
    if run.draft.held_back:
        audit_live(run, fitness, live)
        note_unfixed(run, only_new=True)


def note_unfixed(run: Run, *, only_new: bool) -> None:
    """Report the vulnerabilities whose fixes are there but held back, by others than the rules that let them pass.

    Those rules count where the fix was to come early, and could not. With `only_new`, when nothing else is to be told,
    nobody is told twice.
    """
    found = run.draft.audit_after or run.draft.audit_before
    if found is None or not found.known:
        return
    held = {one.name: one for one in run.draft.held_back if one.by in _BY or _was_to_come_early(run, one)}
    stuck = [one for one in found.vulnerabilities if one.name in held and _is_due(run, one, held[one.name])]
    state_dir = run.site.project.state_dir
    told = _read_told(state_dir)
    for one in stuck:
        if not only_new or _key(one) not in told:
            run.draft.problems.append(_problem(one, held[one.name]))
    _write_told(state_dir, stuck, told)


def tell_unknown_once(run: Run, report: RunReport) -> RunReport:
    """Mark a report if it has been told before that the service does not answer, and forget that once it does."""
    told = run.site.project.state_dir / UNKNOWN_TOLD
    if report.audit == "known":
        with contextlib.suppress(OSError):
            told.unlink(missing_ok=True)
    if report.audit != "unknown" or not report.noteworthy:
        return report
    if not told.exists():
        with contextlib.suppress(OSError):  # then somebody is told twice
            write_json(told, {"since": run.now_iso()})
        return report
    steps = tuple(
        replace(one, status="skipped", detail="not known")
        if one.step.startswith("audit") and one.status == "warning"
        else one
        for one in report.steps
    )
    return replace(report, audit_told=True, steps=steps)


def _was_to_come_early(run: Run, held: HeldBack) -> bool:
    return run.site.settings.security_fixes == "early" and held.by in ("policy", "age")


def _is_due(run: Run, one: Vulnerability, held: HeldBack) -> bool:
    """Whether there is a fix; one to come early must have been known of when this was decided, and be on offer."""
    if one.fix is None or held.by in _BY:
        return one.fix is not None
    before = run.draft.audit_before
    return before is not None and one.is_in(before.vulnerabilities) and not is_older(held.version, one.fix)


def _problem(one: Vulnerability, held: HeldBack) -> Problem:
    if held.by not in _BY:
        why, advice = _STUCK, _STUCK_ADVICE
    else:
        why, advice = f"{_BY[held.by]}: {held.reason}", _ADVICE[held.by]
    message = f"{one.name} {one.version} has the known vulnerability {one.id}; {one.fix} is free of it, but {why}"
    return Problem(message=message, advice=advice.format(name=one.name, fix=one.fix))


def _key(one: Vulnerability) -> str:
    return f"{one.name} {one.version} {one.id}"


def _read_told(state_dir: Path) -> frozenset[str]:
    try:
        content = read_json(state_dir / TOLD)
        if content is None:
            return frozenset()
        check_types(content, {"told": list})
    except (UnreadableStateError, OSError, KeyError, TypeError):  # then somebody is told twice
        return frozenset()
    return frozenset(map(str, content["told"]))


def _write_told(state_dir: Path, stuck: Iterable[Vulnerability], told: frozenset[str]) -> None:
    keys = frozenset(map(_key, stuck))
    if keys != told:
        with contextlib.suppress(OSError):
            write_json(state_dir / TOLD, {"told": sorted(keys)})
