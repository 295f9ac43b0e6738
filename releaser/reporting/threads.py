"""Threads of mails about the same problem, and when that problem is solved."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import TYPE_CHECKING

from releaser.core.follow_up import read_pending
from releaser.errors import ExitCode, HookError, MigrationsError
from releaser.locks.vulnerabilities import SecuritySection
from releaser.releases.blocks import HoldsSection, read_blocks
from releaser.releases.journal import MailSection, Thread, note, read_notes
from releaser.site.windows import DueSection
from releaser.system.digests import hex_digest
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.releases.journal import Notes
    from releaser.report import RunReport
    from releaser.site.site import Site

_PROBLEMS: dict[int, str] = {
    ExitCode.BUG: "bug",
    ExitCode.PREFLIGHT: "preflight",
    ExitCode.BUILD: "build",
    ExitCode.TESTS: "tests",
    ExitCode.ROLLED_BACK: "rollback",
    ExitCode.FOLLOW_UP: "follow-up",
}
#: The problems of a candidate whose tests pass, by the code of the finding.
_REFUSED = {HookError.code: "before_live", MigrationsError.code: "migrations"}
_HELD_BY = ("tests", "rollback", "undecided")


def problem_of(report: RunReport) -> str:
    """Return the name of the problem that made an update fail; empty if no later update could solve it."""
    if not report.is_update:
        return ""
    if report.result == "updated-not-restarted":
        return "restart"
    problem = _PROBLEMS.get(report.exit_code, "")
    if problem == "tests":
        refused = (_REFUSED[one.code] for one in report.problems if one.code in _REFUSED)
        return "live tests" if report.blame == "before" else next(refused, problem)
    return problem


def find_solved(
    report: RunReport, threads: Iterable[Thread], *, failed_at: Iterable[str], has_commits_on_hold: bool, is_due: bool
) -> tuple[str, ...]:
    """Return the reported problems that this update proves to be solved.

    `failed_at`: when the blocked candidates failed, as ISO 8601. `is_due`: True if a follow-up is due. An update of
    some packages proves nothing about others.
    """
    is_whole = report.is_update and not report.only and DueSection.of(report).due_at is None
    if not is_whole or report.exit_code not in (0, ExitCode.FOLLOW_UP):
        return ()
    is_out = has_commits_on_hold or any(one.by in _HELD_BY for one in (*report.on_hold, *HoldsSection.of(report).holds))
    is_new = report.is_done and report.live_changed
    is_well = any(one.step == "test live release" and one.status == "ok" for one in report.steps)
    failed = [datetime.fromisoformat(one) for one in failed_at]

    def is_solved(thread: Thread) -> bool:
        match thread.problem:
            case "preflight" | "bug":
                return True
            case "build":
                return is_new or not any(one >= thread.since for one in failed)
            case "live tests":
                return is_new or is_well
            case "restart":
                return is_new and report.result != "updated-not-restarted"
            case "follow-up":
                return not report.exit_code and not is_due
            case _:
                return is_new and not is_out

    return tuple(one.problem for one in threads if is_solved(one))


def with_solved(site: Site, report: RunReport, notes: Notes) -> RunReport:
    """Add the reported problems that are solved."""
    with contextlib.suppress(OSError):  # reported elsewhere; a later run reports the solution
        if threads := notes.threads:
            out, due = read_blocks(site.state_dir), read_pending(site.state_dir)
            is_due = due.commit or due.push or due.pending_steps is not None
            at = [one.at for one in out.candidates]
            solved = find_solved(report, threads, failed_at=at, has_commits_on_hold=bool(out.commits), is_due=is_due)
            return report.with_section(replace(MailSection.of(report), solved=solved))
    return report


def message_id(report: RunReport) -> str:
    """Return the Message-ID of the mail about a run, which depends only on host, run and path of the project."""
    run = re.sub(r"[^A-Za-z0-9]+", "-", report.run_id).strip("-")[:60]
    host = re.sub(r"[^A-Za-z0-9-]+", ".", report.host)[:100].strip(".-")
    return f"<{run or 'run'}.{digest_of(report)}@{host or 'localhost'}>"


def digest_of(report: RunReport) -> str:
    """Return a few characters that identify the mail of a run."""
    return _digest(report.host, report.run_id, report.path)


def digest_of_problems(report: RunReport) -> str:
    """Return a few characters that differ if the problems of a report do."""
    return _digest(*(f"{problem.code} {problem.message}" for problem in report.problems))


def _digest(*facts: str) -> str:
    return hex_digest("\0".join(facts).encode("utf-8", "surrogatepass"))[:16]


def root_of(report: RunReport) -> str:
    """Return a Message-ID for the root of a thread without state to name its first mail; no mail has that ID."""
    return f"<{_digest(report.host, report.path, problem_of(report))}@thread.releaser.invalid>"


def references_of(report: RunReport, state_dir: Path) -> tuple[str, ...]:
    """Return the Message-IDs of the earlier mails in the threads of the mail about this run."""
    problems = (*MailSection.of(report).solved, problem_of(report))
    return tuple(one.message_id for one in read_notes(state_dir).threads if one.problem in problems)


def open_thread(report: RunReport, state_dir: Path) -> None:
    """Record the thread that the mail about this run starts, if any."""
    problem = problem_of(report)
    begun = Thread(problem=problem, message_id=message_id(report), since=report.started_at.replace(microsecond=0))
    threads = read_notes(state_dir).threads
    if problem and problem not in (one.problem for one in threads):
        note(state_dir, threads=(*threads, begun))


def close_threads(report: RunReport, state_dir: Path) -> None:
    """Record that the solution of problems has been reported."""
    if solved := MailSection.of(report).solved:
        threads = read_notes(state_dir).threads
        note(state_dir, threads=tuple(one for one in threads if one.problem not in solved))


def report_unknown_once(site: Site, report: RunReport, notes: Notes) -> RunReport:
    """Mark a report if an earlier one has said that the service does not answer; forget that once it does."""
    found, is_reported = SecuritySection.of(report), notes.audit_unknown
    if found.audit == "known":
        note(site.state_dir, audit_unknown=False)
    if found.audit != "unknown" or not report.noteworthy:
        return report
    if not is_reported:
        note(site.state_dir, audit_unknown=True)
        return report
    steps = tuple(
        replace(one, status="skipped", detail="not known")
        if one.step.startswith("audit") and one.status == "warning"
        else one
        for one in report.steps
    )
    return replace(report.with_section(replace(found, audit_told=True)), steps=steps)
