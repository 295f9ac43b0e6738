"""The subject of a mail: where it happened and how it ended, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import ExitCode
from releaser.reporting.changes import fixes_phrase
from releaser.reporting.text import summarize
from releaser.system.words import one_line, plural

if TYPE_CHECKING:
    from releaser.report import Blame, RunReport

_LIMIT = 200
_REASON_LIMIT = 80
_BLAME: dict[Blame, str] = {
    "": "",
    "update": " (this update broke it)",
    "before": " (it was failing before)",
    "unknown": "",
}
_TRIALS = {
    "test": "tests",
    "test live release": "tests of the live release",
    "migrations": "migrations not applied",
}
_REASONS: dict[int, str] = {
    ExitCode.BUG: "a bug in releaser",
    ExitCode.PREFLIGHT: "preflight",
    ExitCode.BUILD: "build",
    ExitCode.ROLLED_BACK: "activation",
    ExitCode.FOLLOW_UP: "follow-up",
    ExitCode.LOCKED: "locked",
    ExitCode.NO_RELEASE: "no such release",
}


def subject(report: RunReport) -> str:
    """Say in one line where it happened and how it ended."""
    host, project = header_text(report.host, limit=60), header_text(report.project or report.path, limit=80)
    return header_text(f"[{host}] {project}: {_result(report)}", limit=_LIMIT)


def header_text(text: str, *, limit: int = _LIMIT) -> str:
    """Make text harmless in a header.

    The email package decodes `=?...?=` in what it is given, and a line break may hide in that.
    """
    return one_line(text.replace("=?", "= ?"), limit=limit)


def _result(report: RunReport) -> str:
    command, problems = report.command, report.problems
    if report.exit_code > ExitCode.SIGNALLED:
        return f"{command} interrupted"
    match report.result:
        case "unchanged":
            if report.exit_code or problems:
                return _only_problem(report)
            if report.recovered:
                return "recovered from an interrupted run"
            return _shorten(report, report.noted) or "all clear"
        case "activated":
            return _activated(report)
        case "rolled_back" if report.live_changed:
            return f"{command} failed{_because(report)}, STILL LIVE"
        case "rolled_back":
            before = ", THE RELEASE BEFORE FAILS TOO" if report.earlier_release_fails_too else ""
            return f"{command} {'failed' if command == 'rollback' else 'rolled back'}{_because(report)}{before}"
        case "failed":
            return f"{command} failed{_because(report)}"
        case "refused":  # the one reason, if the headline tells it, or how many there are
            one = len(problems) <= 1 or summarize(report).is_about_a_problem
            return f"{command} refused: {_shorten(report, report.headline) if one else _problem_count(report)}"


def _activated(report: RunReport) -> str:
    problems = [_problem_count(report)] if report.problems or report.exit_code else []
    if report.command == "rollback":  # to a named release it may have gone forward
        is_forward = report.release and report.previous and report.release > report.previous
        where = f" to {report.release}" if report.release else ""
        return ", ".join([("went" if is_forward else "rolled back") + where, *problems])
    if report.command == "update" and not report.live_changed:
        return _only_problem(report) if report.exit_code else "adopted"
    done = "updated" if report.command == "update" else f"{report.command} done"
    parts = [
        done if report.rebuilt is None else f"rebuilt ({_shorten(report, report.rebuilt)})",
        plural(len(report.changes), "package") if report.changes else "",
        fixes_phrase(report),
        f"{len(report.culprits)} held back" if report.culprits else "",
        *problems,
    ]
    return ", ".join(filter(None, parts))


def _because(report: RunReport) -> str:
    # Going back is what a failure led to, and never its reason.
    failed = [one.step for one in report.steps if one.status == "failed" and one.step != "flip back"]
    if report.exit_code != ExitCode.TESTS:
        reason = failed[-1] if failed else _REASONS.get(report.exit_code, "")
        return f": {reason}" if reason else ""
    first = failed[0] if failed else "test"  # what was tried on the live release comes later
    blame = "" if report.command == "rebuild" and report.blame == "update" else _BLAME[report.blame]
    return f": {_TRIALS.get(first, first)}{blame}"


def _problem_count(report: RunReport) -> str:
    return plural(len(report.problems), "problem") if len(report.problems) > 1 else "problem"


def _only_problem(report: RunReport) -> str:
    if len(report.problems) == 1:
        return f"problem: {_shorten(report, report.problems[0].message)}"
    return _problem_count(report)


def _shorten(report: RunReport, reason: str) -> str:
    """Cut a reason for the subject, which names the project already."""
    for known in (f"{report.path}: ", f"{report.path}/"):
        reason = reason.replace(known, "") if report.path else reason
    return one_line(reason, limit=_REASON_LIMIT).removesuffix(".")
