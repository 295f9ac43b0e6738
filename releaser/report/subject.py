"""The subject of a mail: where it happened and how it ended, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.report.capping import one_line
from releaser.report.security import fixes_phrase
from releaser.report.text import essence

if TYPE_CHECKING:
    from releaser.report.outcome import Blame, RunReport

_LIMIT = 200
_REASON_LIMIT = 80
_TESTS_FAILED = 5
_TAKEN_BACK = 6
_SIGNALLED = 128  # and above: the exit code of what a signal ended
_BLAME: dict[Blame, str] = {
    "": "",
    "update": " (this update broke it)",
    "before": " (it was failing before)",
    "unknown": "",
}
_FALLBACK_REASONS = {
    1: "a bug in releaser",
    3: "preflight",
    4: "build",
    6: "activation",
    7: "follow-up",
    8: "locked",
    9: "no such release",
}


def subject(report: RunReport) -> str:
    """Say in one line where it happened and how it ended."""
    host, project = header_text(report.host, limit=60), header_text(report.project or report.path, limit=80)
    return header_text(f"[{host}] {project}: {_verdict(report)}", limit=_LIMIT)


def header_text(text: str, *, limit: int = _LIMIT) -> str:
    """Make text harmless in a header.

    The email package decodes `=?...?=` in what it is given, and a line break may hide in that.
    """
    return one_line(text.replace("=?", "= ?"), limit=limit)


def _verdict(report: RunReport) -> str:
    if report.exit_code > _SIGNALLED:
        return f"{report.command} interrupted"
    match report.result:
        case "unchanged":
            return _idle(report)
        case "activated":
            return _activated(report)
        case "rolled_back":
            return _taken_back(report)
        case "failed":
            return f"{report.command} failed" + _because(report)
        case "refused":
            return f"{report.command} refused: {_refusal(report)}"


def _refusal(report: RunReport) -> str:
    """The one reason, if the headline tells it, or how many there are."""
    if len(report.problems) > 1 and not essence(report).is_about_a_problem:
        return _problem_count(report)
    return _short(report, report.headline)


def _idle(report: RunReport) -> str:
    if report.exit_code or report.problems:
        return _only_problem(report)
    if report.recovered:
        return "recovered from an interrupted run"
    return _short(report, report.noted) if report.noted else "all clear"


def _activated(report: RunReport) -> str:
    if report.command == "rollback":
        return _went(report)
    if report.command == "update" and not report.live_changed:
        return _only_problem(report) if report.exit_code else "adopted"
    parts = [_done(report)]
    if report.changes:
        parts.append(counted(len(report.changes), "package"))
    if fixes := fixes_phrase(report):
        parts.append(fixes)
    if report.culprits:
        parts.append(f"{len(report.culprits)} held back")
    if report.problems or report.exit_code:
        parts.append(_problem_count(report))
    return ", ".join(parts)


def _done(report: RunReport) -> str:
    if report.rebuilt is not None:
        return f"rebuilt ({_short(report, report.rebuilt)})"
    return "updated" if report.command == "update" else f"{report.command} done"


def _went(report: RunReport) -> str:
    """How a rollback ended that worked; to a named release it may have gone forward."""
    forward = report.release and report.previous and report.release > report.previous
    where = f" to {report.release}" if report.release else ""
    problems = f", {_problem_count(report)}" if report.problems or report.exit_code else ""
    return ("went" if forward else "rolled back") + where + problems


def _taken_back(report: RunReport) -> str:
    if report.live_changed:
        return f"{report.command} failed{_because(report)}, STILL LIVE"
    ill = ", THE RELEASE BEFORE FAILS TOO" if report.is_ill_as_before else ""
    return f"{report.command} {'failed' if report.command == 'rollback' else 'rolled back'}" + _because(report) + ill


def _because(report: RunReport) -> str:
    if report.exit_code == _TESTS_FAILED:
        blamed = "" if report.command == "rebuild" and report.blame == "update" else _BLAME[report.blame]
        return f": {_failed_trial(report)}{blamed}"
    # Going back is what a failure led to, and never its reason.
    failed = [one.step for one in report.steps if one.status == "failed" and one.step != "flip back"]
    reason = failed[-1] if failed else _FALLBACK_REASONS.get(report.exit_code, "")
    return f": {reason}" if reason else ""


def _failed_trial(report: RunReport) -> str:
    """Name what the candidate did not pass; what was tried on the live release comes after it."""
    failed = next((one.step for one in report.steps if one.status == "failed"), "test")
    return {
        "test": "tests",
        "test live release": "tests of the live release",
        "migrations": "migrations not applied",
    }.get(failed, failed)


def _problem_count(report: RunReport) -> str:
    return counted(len(report.problems), "problem") if len(report.problems) > 1 else "problem"


def _only_problem(report: RunReport) -> str:
    if len(report.problems) == 1:
        return f"problem: {_short(report, report.problems[0].message)}"
    return _problem_count(report)


def _short(report: RunReport, reason: str) -> str:
    """Cut a reason for the subject, which names the project already."""
    for known in (f"{report.path}: ", f"{report.path}/"):
        reason = reason.replace(known, "") if report.path else reason
    return one_line(reason, limit=_REASON_LIMIT).removesuffix(".")


def counted(count: int, noun: str) -> str:
    """Say how many of something, in singular or plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
