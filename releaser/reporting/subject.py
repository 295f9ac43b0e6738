"""The result of a run: as the subject of its mail, with the outcome first, and as one word, its badge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.errors import ExitCode
from releaser.locks.bisect import CulpritsSection
from releaser.locks.vulnerabilities import SecuritySection
from releaser.releases.journal import MailSection
from releaser.reporting.text import summarize
from releaser.system.words import one_line, plural

if TYPE_CHECKING:
    from releaser.report import RunReport

LONGEST = 60  # characters; more is cut off on a phone
_LONGEST_SITE, _LONGEST_HOST = 20, 12  # if there is no room for more
_TRIALS = {"test": "tests fail", "migrations": "migrations not applied"}
_OF_LIVE = "test live release"
#: The good news once a problem is solved, by its name.
SOLVED = {
    "bug": "no more errors in releaser",
    "preflight": "updates are no longer refused",
    "build": "releases can be built again",
    "tests": "the tests pass with a newer release",
    "before_live": "before_live admits a newer release",
    "migrations": "migrations no longer block a newer release",
    "live tests": "the tests of the site pass again",
    "rollback": "a newer release works",
    "follow-up": "no follow-up is pending any more",
    "restart": "updates restart the site again",
}


@dataclass(frozen=True)
class Badge:
    """An outcome: its mark, the word for it, and the colour of its badge."""

    mark: str
    word: str
    colour: str

    @classmethod
    def good(cls, word: str) -> Badge:
        """All went well."""
        return cls("✓", word, "green")

    @classmethod
    def fair(cls, word: str) -> Badge:
        """A person should look at something."""
        return cls("!", word, "amber")

    @classmethod
    def bad(cls, word: str) -> Badge:
        """It failed."""
        return cls("✗", word, "red")

    @classmethod
    def back(cls) -> Badge:
        """An earlier release is live again."""
        return cls("↩", "Rolled back", "blue")


def choose_badge(report: RunReport) -> Badge:
    """Return the badge for the result of a run."""
    if report.exit_code > ExitCode.SIGNALLED:
        return Badge.bad("Interrupted")
    match report.result:
        case "refused":
            return Badge.bad("Refused")
        case "failed":
            return Badge.bad("Refused" if _is_refused_by_tests(report) else "Failed")
        case "rolled-back" if report.is_automatic_rollback and report.live_changed:
            return Badge.bad("Still live")
        case "rolled-back" if report.is_automatic_rollback:
            return Badge.bad("Rolled back") if report.earlier_release_fails_too else Badge.back()
        case "updated-not-restarted":
            return Badge.fair("Not restarted")
        case _ if report.exit_code or report.problems:
            return Badge.fair("Follow-up" if report.exit_code else "Problem")
        case "updated" | "rolled-back":
            return _judge_release(report)
        case "proposed":
            return Badge.good("Proposed")
        case _:
            return _judge_silence(report)


def _judge_release(report: RunReport) -> Badge:
    if report.is_rollback:
        return Badge.back()
    if CulpritsSection.of(report).culprits:
        return Badge.fair("On hold")
    if report.rebuilt is not None:
        return Badge.good("Rebuilt")
    return Badge.good("Updated" if report.live_changed else "Adopted")


def _judge_silence(report: RunReport) -> Badge:
    if report.recovered:
        return Badge.fair("Recovered")
    if MailSection.of(report).solved:
        return Badge.good("Solved")
    return Badge.fair("Note") if report.noted else Badge.good("All clear")


def subject(report: RunReport) -> str:
    """Return the subject: result, project and host on one line."""
    return make_subject(choose_badge(report).mark, report.project or report.path, _result(report), host=report.host)


def make_subject(mark: str, site: str, what: str, *, host: str) -> str:
    """Return a subject of at most `LONGEST` characters; if space is short, `what` is cut."""
    line = header_text(f"{mark} {header_text(site, limit=_LONGEST_SITE)}: {what}")
    room = max(LONGEST - len(line) - len(" []"), _LONGEST_HOST)
    end = f" [{name}]" if (name := header_text(host, limit=room)) else ""
    return header_text(line, limit=LONGEST - len(end)) + end


def header_text(text: str, *, limit: int = 200) -> str:
    """Make text harmless in a header.

    The email package decodes `=?...?=`, which may hide a line break.
    """
    return one_line(text.replace("=?", "= ?"), limit=limit)


def _result(report: RunReport) -> str:
    command, problems = report.command, report.problems
    if report.exit_code > ExitCode.SIGNALLED:
        return f"{command} interrupted"
    if report.is_done:
        return _activated(report)
    match report.result:
        case "no-changes":
            return _unchanged(report)
        case "proposed":
            return f"proposed, {plural(len(report.changes), 'package')} to review"
        case "rolled-back" if report.live_changed:
            return f"{command} failed, STILL LIVE{_because(report)}"
        case "rolled-back":
            why = ", RELEASE BEFORE FAILS TOO" if report.earlier_release_fails_too else _because(report)
            return f"{command} {'failed' if command == 'rollback' else 'rolled back'}{why}"
        case "failed":
            return _failed(report)
        case _:  # refused: the headline if it is about one problem, or the number of problems
            one = len(problems) <= 1 or summarize(report).is_about_a_problem
            return f"{command} refused, {_shorten(report, report.headline) if one else _problem_count(report)}"


def _unchanged(report: RunReport) -> str:
    if report.exit_code or report.problems:
        return _only_problem(report)
    if report.recovered:
        return "recovered from an interrupted run"
    solved = ", ".join(SOLVED[one] for one in MailSection.of(report).solved)
    return _shorten(report, report.noted) or (f"solved, {solved}" if solved else "all clear")


def _activated(report: RunReport) -> str:
    problems = [_problem_count(report)] if report.problems or report.exit_code else []
    if report.result == "updated-not-restarted":
        problems = ["not restarted", *(problems if len(report.problems) > 1 else ())]
    if report.is_rollback:  # a rollback to a named release may go forward
        is_forward = report.release and report.previous and report.release > report.previous
        where = f" to {report.release}" if report.release else ""
        return ", ".join([("went" if is_forward else "rolled back") + where, *problems])
    if report.is_update and not report.live_changed:
        return _only_problem(report) if report.exit_code else "adopted"
    done = "updated" if report.is_update else f"{report.command} done"
    culprits = CulpritsSection.of(report).culprits
    fixes = len({(one.name, one.id) for one in SecuritySection.of(report).fixed})
    parts = [  # the mail has the parts that are cut off
        done if report.rebuilt is None else "rebuilt",
        *problems,
        plural(len(report.changes), "package") if report.changes else "",
        f"{len(culprits)} on hold" if culprits else "",
        f"fixes {plural(fixes, 'vulnerability')}" if fixes else "",
        "solved" if MailSection.of(report).solved else "",
        _shorten(report, report.rebuilt or ""),
    ]
    return ", ".join(filter(None, parts))


def _failed(report: RunReport) -> str:
    if report.exit_code != ExitCode.TESTS:
        failed = _failed_steps(report)
        if failed or report.exit_code in (ExitCode.BUILD, ExitCode.FOLLOW_UP):
            at = failed[-1] if failed else "build" if report.exit_code == ExitCode.BUILD else "a follow-up"
            return f"{report.command} failed at {at}"
        return f"{report.command} failed" + (", a bug in releaser" if report.exit_code == ExitCode.BUG else "")
    first, *_ = (*_failed_steps(report), "test")  # trials on the live release come later
    if first == _OF_LIVE:
        return f"{report.command} failed, tests of the live release fail"
    fails = _TRIALS.get(first, f"{first} fails")
    if _is_refused_by_tests(report):
        return f"{report.command} refused, {fails}{_with_what(report)}"
    return f"{report.command} failed, {fails}{' without it too' if report.blame == 'before' else ''}"


def _is_refused_by_tests(report: RunReport) -> bool:
    return report.exit_code == ExitCode.TESTS and report.blame == "update" and report.command != "rebuild"


def _with_what(report: RunReport) -> str:
    """Name the new packages that the tests fail with, or the commits if there are none."""
    new = [f"{one.name} {one.new}" for one in report.changes if one.new]
    if len(new) == 1:
        return f" with {new[0]}"
    if report.changes:
        return f" with {plural(len(report.changes), 'package')}"
    return f" with {plural(report.pulled.count, 'new commit')}" if report.pulled else ""


def _failed_steps(report: RunReport) -> list[str]:
    # Going back follows from a failure, and is never its reason.
    return [one.step for one in report.steps if one.status == "failed" and one.step != "flip back"]


def _because(report: RunReport) -> str:
    failed = _failed_steps(report)
    return f", {failed[-1]} failed" if failed else ""


def _problem_count(report: RunReport) -> str:
    return plural(len(report.problems), "problem") if len(report.problems) > 1 else "problem"


def _only_problem(report: RunReport) -> str:
    if len(report.problems) == 1:
        return _shorten(report, report.problems[0].message)
    return _problem_count(report)


def _shorten(report: RunReport, reason: str) -> str:
    """Remove from a reason the path that the subject names already."""
    for known in (f"{report.path}: ", f"{report.path}/"):
        reason = reason.replace(known, "") if report.path else reason
    return reason.removesuffix(".")
