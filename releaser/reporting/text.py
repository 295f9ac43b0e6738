"""Reports, releases and answers as plain text."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from releaser.core.status import Line, Remark, shown
from releaser.errors import ExitCode, Finding
from releaser.locks.blocks import Block
from releaser.locks.rules import find_command
from releaser.releases.journal import MailSection
from releaser.reporting.changes import changes_table, security_text
from releaser.site.restart_settings import OutageSection
from releaser.system.frozen import Frozen, replace
from releaser.system.words import age, elapsed, first_few, one_line, plural, size, table, truncate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from releaser.answers import NewerVersion, OutdatedPackage, PackageAnswer, ReleaseDetails, Status
    from releaser.locks.origins import Deviation
    from releaser.releases.verify import Verified
    from releaser.report import Outcome, RunReport

ADVICE = "  what to do: "
_ADVICE: dict[int, str] = {
    ExitCode.BUILD: "Nothing went live. Read the end of the output and the log. The next update tries again.",
    ExitCode.ROLLED_BACK: (
        "Read the output and the log. `releaser status` lists the versions on hold; `releaser update --force` tries"
        " them again."
    ),
    ExitCode.FOLLOW_UP: "The release is live and works; the next run retries the failed steps.",
}
NOTHING_RESTARTS = "restart-nothing"  # the code of a finding
_ROLLBACK_FAILED = "Read the output and the log. `releaser list` shows the other releases."
_SEE_STATUS = "Read the output and the log. `releaser status` shows the state of the site."


class Summary(Frozen):
    """The content of a report, without repetitions."""

    headline: str
    advice: str
    #: The problems that are not in the headline.
    others: tuple[Finding, ...]
    #: True if the headline names one of the problems, instead of summing them up.
    is_about_a_problem: bool


def summarize(report: RunReport) -> Summary:
    """Sort the content of a report. A problem that begins with the headline says more, and replaces it."""
    main = next(
        (one for one in report.problems if f"{one.message}: ".startswith(f"{report.headline}: ")),
        None,
    )
    advice = report.advice or (main.advice if main else "")
    others = dict.fromkeys(one for one in report.problems if one != main)
    is_automatic = report.is_automatic_rollback
    if report.exit_code and not advice and (is_automatic or not any(one.advice for one in others)):
        is_rollback = is_automatic and report.is_rollback
        advice = _ROLLBACK_FAILED if is_rollback else _ADVICE.get(report.exit_code, _SEE_STATUS)
    return Summary(
        headline=main.message if main else report.headline,
        advice=advice,
        others=tuple(replace(one, advice="") if one.advice == advice else one for one in others),
        is_about_a_problem=main is not None,
    )


def report_text(report: RunReport) -> list[str]:
    """Return a whole run as text."""
    return [
        *changes_table(report.changes, now=report.started_at).lines,
        *output_lines(report.output),
        *closing_lines(report),
    ]


_LEAVE_LIVE = ("accept", "hold", "pin", "prune", "unhold", "unpin")  # commands that do not change the live release


def closing_lines(report: RunReport) -> list[str]:
    """Return the last lines about a run: what happened, why, whether the live release changed, what to do."""
    summary = summarize(report)
    lines = [f"releaser {report.request}: {one_line(report.project)}: {summary.headline}"]
    if summary.advice:
        lines.append(f"{ADVICE}{summary.advice}")
    for problem in summary.others:
        lines.append(f"problem: {problem.message}")
        if problem.advice:
            lines.append(f"{ADVICE}{problem.advice}")
    lines += security_text(report)
    for answer in report.failed_health_checks:
        lines.append(f"answer with {answer.release}: {'good' if answer.good else 'BAD'}: {answer.text}")
        if answer.body and answer.body != report.output:
            lines += [f"  {line}" for line in truncate(answer.body, head_lines=5, tail_lines=5).splitlines()]
    lines += filter(None, (outage_sentence(report), report.recovered, report.noted))
    if report.exit_code and (report.command not in _LEAVE_LIVE or report.live_differs or report.recovered):
        lines.append(live_line(report))
    if mail := MailSection.of(report).mail:
        lines.append(f"mail: {mail}")
    if report.exit_code and report.log_file:
        lines.append(f"log: {report.log_file}")
    return lines


def outage_sentence(report: RunReport) -> str:
    """Describe how long the service was stopped; empty if it was not."""
    seconds = OutageSection.of(report).outage_seconds
    return f"The service was stopped for {elapsed(seconds)}." if seconds is not None else ""


def live_line(report: RunReport) -> str:
    """Say whether the live release has changed."""
    if report.exit_code != ExitCode.ROLLED_BACK:
        if report.live_differs and not report.live_changed:
            return "live: changed, but not by releaser; see the problems"
        return f"live: now {report.release}" if report.live_changed else "live: unchanged"
    if report.live_changed:
        return f"live: still {report.release}"
    before = "; THE PREVIOUS RELEASE FAILS TOO" if report.earlier_release_fails_too else ""
    return f"live: as before; the new release was live briefly and was rolled back{before}"


def step_line(outcome: Outcome) -> str:
    """Return one step as one line."""
    detail = f": {outcome.detail}" if outcome.detail else ""
    return f"{outcome.step}: {outcome.status} ({elapsed(outcome.seconds)}){detail}"


def output_lines(output: str) -> list[str]:
    """Return the end of the output of a program, indented; empty without any."""
    if not output:
        return []
    shown = truncate(output, head_lines=5, tail_lines=40)
    return ["end of the output:", *(f"  {line}" for line in shown.splitlines())]


def on_hold_lines(on_hold: Iterable[Block], *, commands: bool = True) -> list[str]:
    """Return the versions that were skipped, a line for each reason, with the command that shows more.

    Of many versions with one reason, as after a rollback, the first few are named.
    """
    groups: dict[tuple[str, str], list[Block]] = defaultdict(list)
    for held in on_hold:
        see = f"; see `releaser show {held.release}`" if commands and held.release else ""
        lifted_by = held.by if commands and find_command(held.by, held.name) else ""
        groups[held.why + see, lifted_by].append(held)
    return [
        f"{_versions([*map(_with_together, held)])}: {one_line(reason)}{_describe_remedy(by, held)}"
        for (reason, by), held in groups.items()
    ]


def _with_together(held: Block) -> str:
    together = f", with {first_few(held.together)}" if held.together else ""
    return one_line(f"{held.name} {held.version}".strip() + together, limit=100)


def _describe_remedy(by: str, held: Iterable[Block]) -> str:
    remedy = find_command(by, " ".join(dict.fromkeys(one_line(one.name) for one in held)))
    return f"; to allow it: {remedy}" if remedy else ""


def on_hold_passages(on_hold: Iterable[Block], *, since: datetime) -> list[tuple[str, str]]:
    """Return the same lines, each with the end of the test output if the hold is not older than `since`."""
    groups: dict[str, list[Block]] = defaultdict(list)
    for held in on_hold:
        is_new = bool(held.since) and datetime.fromisoformat(held.since) >= since.replace(microsecond=0)
        groups[held.output if is_new else ""].append(held)
    return [(line, output) for output, group in groups.items() for line in on_hold_lines(group)]


def _versions(names: Sequence[str]) -> str:
    named = first_few(names)
    return named if named == ", ".join(names) else f"{len(names)} versions ({named})"


_NEWER_PYTHON = "newer Python: {0} is installed; `releaser rebuild --python {0}` moves the site to it"
_SHOWN_OF_A_KIND = 10
_LONGEST_PROBLEM = 600  # characters
_KINDS = {  # of problems that `verify` finds, in the order in which they are shown
    "interpreter": "interpreter", "start": "start", "lock": "lock", "package": "packages", "changed": "changed",
    "missing": "missing", "unexpected": "unexpected", "shared": "shared with others", "permissions": "group and mode",
    "check": "manage.py check", "tests": "tests", "health": "health check",
}  # fmt: skip


def release_text(details: ReleaseDetails) -> list[str]:
    """Return the text of `show` for people."""
    facts = (
        "id", "state", "pinned", "created_at", "origin", "python", "group", "tests", "tests_run", "commit", "subject",
        "previous", "lock_sha256", "size_bytes", "own_bytes", "path", "in_use_by",
    )  # fmt: skip
    rows = [[f"{fact}:", _word(getattr(details, fact))] for fact in facts]
    rows += [["remark:", one] for one in details.remarks]
    rows += [["override:", one] for one in details.overrides]
    rows += [["staging:", f"{one} (copied)"] for one in details.staging_copied]
    rows += [["staging:", f"{one} (linked)"] for one in details.staging_linked]
    lines = table(rows)
    if details.processes:
        rows = [[str(one.pid), one.user, one.since, one.command] for one in details.processes]
        lines += ["", *table([["PROCESS", "USER", "SINCE", "COMMAND"], *rows])]
    if details.changes:
        lines += ["", *changes_table(details.changes, now=details.created_at).lines]
    if details.on_hold:
        lines += ["", "on hold:", *(f"  {line}" for line in on_hold_lines(details.on_hold, commands=False))]
    if details.steps:
        rows = [[one.step, one.status, elapsed(one.seconds), one.detail] for one in details.steps]
        lines += ["", *table([["STEP", "STATUS", "TIME", ""], *rows])]
    if output := details.test_output.strip():
        lines += ["", "end of the test output:", *(f"  {line}" for line in output.splitlines())]
    return lines


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "-"
    if isinstance(value, datetime):
        return value.isoformat()
    return "-" if value is None else str(value)


HISTORY = ("RUN (UTC)", "COMMAND", "RESULT", "CODE", "TIME", "WHAT")


def history_rows(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row for each run."""
    return [
        [
            str(run.get("run_id", "")),
            " ".join([str(run.get("command", "")), *map(str, run.get("only") or ())]),
            *(str(run.get(key, "")) for key in ("result", "exit_code")),
            elapsed(float(run.get("seconds") or 0)),
            str(run.get("headline", "")),
        ]
        for run in runs
    ]


def status_text(status: Status) -> list[str]:
    """Return the text of `status` for people."""
    old = age(status.live_age_seconds or 0.0)
    lacking = "no release" if status.last_change else "no release yet. Run `releaser init` to adopt the project."
    return [
        f"project: {status.project} ({status.path})",
        "live: " + (f"{status.live} ({old} old, Python {status.live_python})" if status.live else lacking),
        *(_NEWER_PYTHON.format(version) for version in (status.newer_python,) if version),
        f"disk: the releases take {size(status.releases_bytes)}, {size(status.free_bytes)} are free",
        *_runs(status),
        *(line.text for line in shown(status, Line, *_lines(status))),
    ]


def _runs(status: Status) -> Iterator[str]:
    for title, run in (("last run", status.last_run), ("last change", status.last_change)):
        if run:
            when = run.started_at[:19].replace("T", " ")
            bad = f" {run.result.replace('-', ' ')} (exit code {run.exit_code})" if run.exit_code else ""
            yield f"{title}: {when} UTC, {' '.join([run.command, *run.only])}{bad}: {run.headline}"


def _lines(status: Status) -> Iterator[Line]:
    yield from shown(status, Remark)
    if holder := status.running:
        yield Line(f"running now: releaser {holder.command}, pid {holder.pid}, since {holder.since}", 20)
    for text in _list_asked(status.asked):
        yield Line(text, 30)
    if red := status.failing_live_tests:
        failing = ", ".join(red.failing[:5])
        yield Line(f"tests of {red.release} have been failing since {red.since[:10]}: {failing}", 30)
    if status.blocked:
        yield Line(f"updates cannot go live: {status.blocked}", 30)
    if status.interrupted:
        yield Line("pending: an earlier run was interrupted; the next run finishes or undoes it", 50)
    if status.push_pending:
        yield Line("pending: a commit is not pushed yet", 54)
    for difference in status.lock_differences:
        yield Line(f"not as committed: {difference}", 60)
    for problem in status.problems:
        yield Line(f"problem: {problem}", 70)


def _list_asked(asked: Sequence[Deviation]) -> Iterator[str]:
    for one in asked[:_SHOWN_OF_A_KIND]:
        since = f" (since {one.since[:10]})" if one.since else ""
        yield f"to be accepted: {one}; `releaser accept {one.name}`{since}"
    if asked[_SHOWN_OF_A_KIND:]:
        yield f"to be accepted: {len(asked) - _SHOWN_OF_A_KIND} more; `--json` shows all"


def verified_text(verified: Verified, *, whole: bool) -> list[str]:
    """Return the problems of one release by kind; all of them if `whole`."""
    order = list(_KINDS)
    problems = sorted(verified.problems, key=lambda one: order.index(one.kind))
    lines = [f"{verified.release}: {plural(len(problems), 'problem')}"]
    for kind, group in itertools.groupby(problems, key=lambda one: one.kind):
        found = list(group)
        lines.append(f"  {_KINDS[kind]} ({len(found)}):")
        shown = found if whole else found[:_SHOWN_OF_A_KIND]
        for one in shown:
            name = one.package or (one.path or "").rpartition("/site-packages/")[2]
            lines.append(f"    {one_line(': '.join(filter(None, (name, one.message))), limit=_LONGEST_PROBLEM)}")
        if len(found) > len(shown):
            lines.append(f"    and {len(found) - len(shown)} more; -v shows all")
    return lines


def sound_text(verified: Verified) -> str:
    """Report that nothing is wrong with a release."""
    read = f"{plural(verified.files, 'file')} read in {elapsed(verified.seconds)}"
    more = "" if verified.started else "; it was not started, because it failed its tests"
    return f"{verified.release} is unchanged since it was sealed: {read}{more}"


def describe_next(one: OutdatedPackage) -> str:
    """Return the end of a sentence that says what the next update installs of a package; empty for nothing."""
    which = "it" if not one.blocked_by else one_line(one.next) if one.next else ""
    return f"; the next update installs {which}" if which else ""


def outdated_text(packages: Sequence[OutdatedPackage]) -> list[str]:
    """Return the text of `outdated` for people: a line for each package, reasons below."""
    rows = [
        [
            *(one_line(one.name), one.locked, one.latest),
            f"{', '.join(dict.fromkeys(blocker.by for blocker in one.blocked_by)) or 'nothing'}{describe_next(one)}",
        ]
        for one in packages
    ]
    heading, *lines = table([["PACKAGE", "LOCKED", "LATEST", "BLOCKED BY"], *rows])
    reasons = ([f"    {one_line(blocker.reason)}" for blocker in one.blocked_by] for one in packages)
    return [heading, *itertools.chain.from_iterable([line, *below] for line, below in zip(lines, reasons, strict=True))]


def package_text(found: PackageAnswer) -> list[str]:
    """Return the text of `why` for people."""
    lines = [f"{found.name} {found.version}: {f'live in {found.release}' if found.release else 'locked'}"]
    lines += [f"newest: {found.latest}"] if found.latest else []
    lines += [f"required: {one_line(one)}" for one in found.required_by]
    if not found.newer:
        unknown = "no index has it, so newer versions are not known"
        return [*lines, "It is at its newest version." if found.latest else unknown]
    for alike, group in itertools.groupby(found.newer, key=_blocks_alike):
        versions = list(group)
        own = [(block.by, block.reason, block.remedy) for block in versions[0].blocked_by]
        blocked_by = alike if versions[1:] else own
        named = first_few([one_line(one.version) for one in versions], 3)
        uploaded = f" (uploaded {versions[0].uploaded[:10]})" if versions[0].uploaded else ""
        by = ", ".join(dict.fromkeys(by for by, *_ in blocked_by))
        lines.append(f"{named}{uploaded}: {by or 'nothing; the next update installs it'}")
        for _, reason, remedy in blocked_by:
            lines.append(f"    {one_line(reason)}")
            lines += [f"    to allow it: {one_line(remedy)}"] if remedy else []
    return [*lines, *(["older versions are not shown"] if found.more else ())]


def _blocks_alike(one: NewerVersion) -> tuple[tuple[str, str, str], ...]:
    """Return the blocks of a version without its number."""
    parts = ((block.by, block.reason, block.remedy) for block in one.blocked_by)
    return tuple(
        (by, reason.replace(one.version, "it"), remedy.replace(one.version, "VERSION")) for by, reason, remedy in parts
    )
