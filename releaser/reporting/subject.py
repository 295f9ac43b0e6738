"""The result of a run: as the subject of its mail, with the outcome first, and as one word, its badge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from releaser.errors import ExitCode
from releaser.locks.blocks import CulpritsSection
from releaser.locks.vulnerabilities import SecuritySection
from releaser.releases.blocks import FailedTestsSection
from releaser.releases.journal import MailSection
from releaser.reporting.changes import name_changes
from releaser.reporting.text import NOTHING_RESTARTS, summarize
from releaser.system.frozen import Frozen, replace
from releaser.system.words import one_line, plural

if TYPE_CHECKING:
    from releaser.report import RunReport

LONGEST = 60  # characters; more is cut off on a phone
_LONGEST_SITE, _LONGEST_HOST = 20, 12  # if there is no room for more
_TRIALS = {"test": "tests fail", "migrations": "migrations not applied"}
_PROGRAMS = ("git", "uv", "releaser", "systemctl")
_OF_LIVE = "test live release"
#: The good news once a problem is solved, by its name.
SOLVED = {
    "bug": "no more errors in releaser",
    "preflight": "updates are no longer refused",
    "build": "releases can be built again",
    "tests": "the tests pass with a newer release",
    "before_live": "before_live accepts a newer release",
    "migrations": "migrations no longer block a newer release",
    "live tests": "the tests of the site pass again",
    "rollback": "a newer release works",
    "follow-up": "no follow-up is pending any more",
    "restart": "updates restart the site again",
}


class Badge(Frozen):
    """An outcome: its mark, the word for it, and the colour of its badge."""

    mark: str
    word: str
    colour: str

    @classmethod
    def good(cls, word: str) -> Badge:
        """All went well."""
        return cls(mark="✓", word=word, colour="green")

    @classmethod
    def fair(cls, word: str) -> Badge:
        """A person should look at something."""
        return cls(mark="!", word=word, colour="amber")

    @classmethod
    def bad(cls, word: str) -> Badge:
        """It failed."""
        return cls(mark="✗", word=word, colour="red")

    @classmethod
    def back(cls) -> Badge:
        """An earlier release is live again."""
        return cls(mark="↩", word="Rolled back", colour="blue")


def choose_badge(report: RunReport) -> Badge:
    """Return the badge for the result of a run."""
    if report.exit_code > ExitCode.SIGNALLED:
        return Badge.bad("Interrupted")
    match report.result:
        case "refused":
            return Badge.bad("Refused")
        case "failed":
            return Badge.bad("Failed")
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
    if _culprits(report):
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


def headline(report: RunReport) -> str:
    """Return the first line of the mail: the changed packages, or those that break the tests, else that of the run."""
    return begin_sentence(_headline(report))


def begin_sentence(text: str) -> str:
    """Return a text with a capital letter, unless it begins with a path, a setting or the name of a program."""
    word = re.match(r"[a-z]+(?=[ :,])", text)
    return text if word is None or word[0] in _PROGRAMS else text[0].upper() + text[1:]


def _headline(report: RunReport) -> str:
    if _names_packages(report):
        lines = [_named(report), *(f"on hold: {', '.join(found)}" for found in [_culprits(report)] if found)]
        but = [
            *(["the site was not restarted"] if report.result == "updated-not-restarted" else ()),
            *(["a follow-up failed"] if report.headline.endswith("a follow-up failed") else ()),
        ]
        return "; ".join(lines) + (f", but {' and '.join(but)}" if but else "")
    if _is_refused_by_tests(report):
        return _what_breaks(report, whole=True)
    return summarize(report).headline


def _names_packages(report: RunReport) -> bool:
    is_new = report.is_done and report.is_update and report.live_changed and not report.is_rollback
    return is_new and report.rebuilt is None and bool(_named(report))


def _named(report: RunReport) -> str:
    """Name the package changes of a run, else count its commits; empty without both."""
    if report.changes:
        return name_changes(report.changes)
    return count_commits(report)


def count_commits(report: RunReport) -> str:
    """Count the new commits of a run; empty without any."""
    return plural(report.pulled.count, "new commit") if report.pulled and report.pulled.count else ""


def _culprits(report: RunReport) -> tuple[str, ...]:
    return CulpritsSection.of(report).culprits


def _of(report: RunReport, result: str) -> str:
    """Return a result, after the command unless that is `update`."""
    return result if report.is_update else f"{report.command} {result}"


def _result(report: RunReport) -> str:
    if report.exit_code > ExitCode.SIGNALLED:
        return _of(report, "interrupted")
    if report.is_done:
        return _updated(report)
    match report.result:
        case "no-changes":
            return _unchanged(report)
        case "proposed":
            return f"proposed, {plural(len(report.changes), 'package')} to review"
        case "rolled-back" if report.live_changed:
            return f"FAILED RELEASE IS LIVE{_because(report)}"
        case "rolled-back":
            why = ", PREVIOUS RELEASE FAILS TOO" if report.earlier_release_fails_too else _because(report)
            return f"{'rollback failed' if report.command == 'rollback' else _of(report, 'rolled back')}{why}"
        case "failed":
            return _failed(report)
        case _ if report.exit_code == ExitCode.TESTS:
            return _refused_after_the_build(report)
        case _:  # refused by preflight: the headline if it is about one problem, or the number of problems
            is_one = report.problem_count <= 1 or summarize(report).is_about_a_problem
            why = _shorten(report, report.headline) if is_one else _problem_count(report)
            return f"{_of(report, 'refused')}, {why}"


def _unchanged(report: RunReport) -> str:
    if report.exit_code or report.problems:
        return _only_problem(report)
    if report.recovered:
        return "recovered from an interrupted run"
    solved = ", ".join(SOLVED[name] for name in MailSection.of(report).solved)
    return _shorten(report, report.noted) or (f"solved, {solved}" if solved else "all clear")


def _updated(report: RunReport) -> str:
    """Return the subject of a run that did its work; the mail has the parts that are cut off."""
    problems = [_problem_count(report)] if report.problems or report.exit_code else []
    if report.result == "updated-not-restarted":
        others = replace(report, problems=tuple(one for one in report.problems if one.code != NOTHING_RESTARTS))
        problems = ["not restarted", *([_problem_count(others)] if others.problems else ())]
    if report.is_rollback:  # a rollback to a named release may go forward
        is_forward = report.release and report.previous and report.release > report.previous
        where = f" to {report.release}" if report.release else ""
        return ", ".join([("switched" if is_forward else "rolled back") + where, *problems])
    if report.is_update and not report.live_changed:
        return _only_problem(report) if report.exit_code else "adopted"
    culprits, named = _culprits(report), _named(report)
    fixes = len({(one.name, one.id) for one in SecuritySection.of(report).fixed})
    notes = [
        *problems,
        *([f"{culprits[0] if len(culprits) == 1 else len(culprits)} on hold"] if culprits else ()),
        *(["security fix" if fixes == 1 else f"{fixes} security fixes"] if fixes else ()),
    ]
    done = "updated" if report.is_update else f"{report.command} done"
    begin = ", ".join([done if report.rebuilt is None else "rebuilt", *notes])
    rest = ["solved" if MailSection.of(report).solved else "", _shorten(report, report.rebuilt or "")]
    joined = begin if not named else f"{begin} {named}" if begin == "updated" else f"{begin}, {named}"
    return ", ".join(filter(None, [joined, *rest]))


def _failed(report: RunReport) -> str:
    failed = _failed_steps(report)
    if failed or report.exit_code in (ExitCode.BUILD, ExitCode.FOLLOW_UP):
        at = failed[-1] if failed else "build" if report.exit_code == ExitCode.BUILD else "a follow-up"
        return _of(report, f"failed at {at}")
    return _of(report, "failed" + (", a bug in releaser" if report.exit_code == ExitCode.BUG else ""))


def _refused_after_the_build(report: RunReport) -> str:
    first = _first_failed_trial(report)
    if first == _OF_LIVE:
        return _of(report, "refused, tests of the live release fail")
    if _is_refused_by_tests(report):
        return f"{_of(report, 'refused')}, {_what_breaks(report)}"
    fails = _TRIALS.get(first, f"{first} fails")
    return _of(report, f"refused, {fails}{' without the update too' if report.blame == 'before' else ''}")


def _is_refused_by_tests(report: RunReport) -> bool:
    return report.exit_code == ExitCode.TESTS and report.blame == "update" and report.command != "rebuild"


def _what_breaks(report: RunReport, *, whole: bool = False) -> str:
    """Name which new package, or commit, breaks which test; `whole` gives the full name of the test."""
    if len(report.changes) == 1:
        (only,) = report.changes
        what, breaks = f"{only.name} {only.new}" if only.new else f"the removal of {only.name}", "breaks"
    elif report.changes:
        what, breaks = f"one of {plural(len(report.changes), 'package')}", "breaks"
    elif report.pulled:
        what, breaks = plural(report.pulled.count, "new commit"), "breaks" if report.pulled.count == 1 else "break"
    else:
        what, breaks = "the new release", "fails"
    return f"{what} {breaks} {_broken(report, whole=whole)}"


def _broken(report: RunReport, *, whole: bool) -> str:
    step, tests = _first_failed_trial(report), FailedTestsSection.of(report).failed_tests
    if step not in _TRIALS:  # such as `django check`
        return step
    if not tests:
        return "the tests"
    name = f"`{full_name_of(tests[0])}`" if whole else short_name_of(tests[0])
    if len(tests) == 1:
        return name
    return f"{name} and {plural(len(tests) - 1, 'other test')}" if whole else plural(len(tests), "test")


def short_name_of(test: str) -> str:
    """Return the last part of the name of a test: `test_basket`."""
    return test.rpartition("::")[2] if "::" in test else test.partition(" ")[0]


def full_name_of(test: str) -> str:
    """Return the name with which a runner starts a test; unittest prints it in brackets."""
    name, _, rest = test.partition(" (")
    place = rest.partition(")")[0]
    return test if "::" in test or not place else place if place.endswith(f".{name}") else f"{place}.{name}"


def _first_failed_trial(report: RunReport) -> str:
    first, *_ = (*_failed_steps(report), "test")  # trials on the live release come later
    return first


def _failed_steps(report: RunReport) -> list[str]:
    # Going back follows from a failure, and is never its reason.
    return [one.step for one in report.steps if one.status == "failed" and one.step != "flip back"]


def _because(report: RunReport) -> str:
    failed = _failed_steps(report)
    return f", {failed[-1]} failed" if failed else ""


def _problem_count(report: RunReport) -> str:
    return plural(report.problem_count, "problem") if report.problem_count > 1 else "problem"


def _only_problem(report: RunReport) -> str:
    if report.problem_count == 1:
        return _shorten(report, report.problems[0].message)
    return _problem_count(report)


def _shorten(report: RunReport, reason: str) -> str:
    """Remove from a reason the path that the subject names already."""
    for known in (f"{report.path}: ", f"{report.path}/"):
        reason = reason.replace(known, "") if report.path else reason
    return reason.removesuffix(".")
