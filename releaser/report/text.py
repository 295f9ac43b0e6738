"""Reports and answers as plain text: for terminals, cron's mail, and pipes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from releaser.releases.listing import size
from releaser.report.capping import cap, one_line
from releaser.report.changes import changes_table
from releaser.report.security import security_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from releaser.report.outcome import HeldBack, LeftBehind, Outcome, Problem, RunReport

_TAKEN_BACK = 6
_WITHOUT_ADVICE = {
    4: "Live is untouched; see the end of the output and the log. The next update tries again.",
    6: (
        "Find out why from the output and the log. `releaser status` tells which versions are left out of updates from"
        " now on; `releaser update --force` lifts that."
    ),
    7: "The release is live and good; the next run retries what is left.",
}
_ROLLBACK_TAKEN_BACK = "Find out why from the output and the log; `releaser list` shows the releases to go to."
_SEE_STATUS = "See the output and the log; `releaser status` tells how the site stands."
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Essence:
    """What a report has to say, each thing once: what happened, what to do about it, and the problems beside that.

    `is_about_a_problem` tells whether the headline names one of the problems, instead of summing them up.
    """

    headline: str
    advice: str
    others: tuple[Problem, ...]
    is_about_a_problem: bool


def essence(report: RunReport) -> Essence:
    """Sort what a report says. The problem that the headline is about may tell more than it, and then stands for it."""
    main = next((one for one in report.problems if _is_about(one, report.headline)), None)
    advice = report.advice or (main.advice if main else "")
    others = dict.fromkeys(one for one in report.problems if one != main)
    if report.exit_code and not advice and (report.exit_code == _TAKEN_BACK or not any(one.advice for one in others)):
        advice = _fallback(report)
    return Essence(
        headline=main.message if main else report.headline,
        advice=advice,
        others=tuple(replace(one, advice="") if one.advice == advice else one for one in others),
        is_about_a_problem=main is not None,
    )


def _is_about(problem: Problem, headline: str) -> bool:
    return problem.message == headline or problem.message.startswith(f"{headline}: ")


def _fallback(report: RunReport) -> str:
    if report.exit_code == _TAKEN_BACK and report.command == "rollback":
        return _ROLLBACK_TAKEN_BACK
    return _WITHOUT_ADVICE.get(report.exit_code, _SEE_STATUS)


def sentences(message: str, advice: str) -> str:
    """Put what is wrong and what to do about it into one string."""
    message, advice = message.strip(), advice.strip()
    if not message or not advice:
        return message or advice
    return f"{message} {advice}" if message.endswith((".", "!", "?", "…", ":", ";")) else f"{message}. {advice}"


def aligned(rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """Lay rows out in columns."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        (indent + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def step_line(outcome: Outcome) -> str:
    """Return one step as one line."""
    detail = f": {outcome.detail}" if outcome.detail else ""
    return f"{outcome.step}: {outcome.status} ({outcome.seconds:.1f} s){detail}"


def last_words(report: RunReport) -> list[str]:
    """Return what must be said at the end of a run: what happened, why, whether live changed, what to do."""
    told = essence(report)
    lines = [f"releaser {report.command}: {one_line(report.project)}: {told.headline}"]
    if told.advice:
        lines.append(f"  what to do: {told.advice}")
    for problem in told.others:
        lines.append(f"problem: {problem.message}")
        if problem.advice:
            lines.append(f"  what to do: {problem.advice}")
    lines += security_text(report)
    lines += answer_lines(report)
    lines += filter(None, (report.recovered, report.noted))
    if report.exit_code:
        lines.append(live_line(report))
    if report.mail:
        lines.append(f"mail: {report.mail}")
    if report.exit_code and report.log_file:
        lines.append(f"log: {report.log_file}")
    return lines


def answer_lines(report: RunReport) -> list[str]:
    """Return what the site answered with each release, if one answer was bad; a page shown elsewhere is left out."""
    lines = []
    for answer in report.bad_answers:
        lines.append(f"answer with {answer.release}: {'good' if answer.good else 'BAD'}: {answer.text}")
        if answer.body and answer.body != report.output:
            lines += [f"  {line}" for line in cap(answer.body, head_lines=5, tail_lines=5).splitlines()]
    return lines


def held_back_lines(held_back: Iterable[HeldBack]) -> list[str]:
    """Return the versions that were left out, a line for each reason."""
    return versions_by_reason(_held_line(asdict(held), show=True) for held in held_back)


def held_back_passages(held_back: Iterable[HeldBack], *, since: datetime) -> list[tuple[str, str]]:
    """Return the same, each line with the end of what the tests printed if that was not before `since`."""
    groups: dict[tuple[str, str], list[HeldBack]] = {}
    for one in held_back:
        output = one.output if _is_new(one, since) else ""
        groups.setdefault((_held_line(asdict(one), show=True)[1], output), []).append(one)
    return [(held_back_lines(group)[0], output) for (_, output), group in groups.items()]


def _is_new(held: HeldBack, since: datetime) -> bool:
    return bool(held.since) and datetime.fromisoformat(held.since) >= since.replace(microsecond=0)


def _held_line(entry: Mapping[str, Any], *, show: bool = False) -> tuple[str, str]:
    """Return what is held back and why, of an entry as it is in JSON; `show` names the command that tells more."""
    together, tests = entry.get("together") or (), entry.get("tests") or ()
    what = f"{entry['name']} {entry['version']}".strip() + (f", with {_some(together)}" if together else "")
    reason = entry["reason"] + (f" in {_some(tests)}" if tests else "")
    why = why_held(reason, by=entry.get("by", "activation"), since=entry.get("since", entry.get("at", "")))
    told = f"; see `releaser show {entry['release']}`" if show and entry.get("release") else ""
    return what, why + told


def why_held(reason: str, *, by: str, since: str) -> str:
    """Say why something is held back, by what and since when; settings speak for themselves."""
    holder = {"tests": "held by the tests", "person": "held by hand"}.get(by, "")
    words = " ".join(filter(None, (holder, f"since {since[:10]}" if since else "")))
    return f"{reason} ({words})" if reason and words else reason or words


def versions_by_reason(versions: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each reason; a backed-out release brings many versions, of which the first ones are named."""
    groups: dict[str, list[str]] = {}
    for version, reason in versions:
        groups.setdefault(reason, []).append(one_line(version, limit=100))
    return [f"{_named(names)}: {one_line(reason)}" for reason, names in groups.items()]


def processes_by_release(processes: Iterable[LeftBehind]) -> list[str]:
    """Return a sentence for each release that processes were left behind on."""
    groups: dict[str, list[str]] = {}
    for one in processes:
        groups.setdefault(one.release, []).append(f"{one.pid} ({one.user}, {one_line(one.command, limit=80)})")
    return [f"on {release}: {_some(names)}" for release, names in groups.items()]


def _some(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"


def _named(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{len(names)} versions ({', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more)"


def live_line(report: RunReport) -> str:
    """Say whether what is live has changed."""
    if report.exit_code == 6:
        if report.live_changed:
            return f"live: it is {report.release} still"
        before = "; THE RELEASE BEFORE FAILS TOO" if report.is_ill_as_before else ""
        return f"live: as before; the new release was live briefly and was taken back{before}"
    return f"live: it is {report.release} now" if report.live_changed else "live: unchanged"


def output_end(report: RunReport) -> list[str]:
    """Return the end of what a failing program printed, indented."""
    return end_of(report.output)


def end_of(output: str) -> list[str]:
    """Return the end of an output, indented; nothing where there is none."""
    if not output:
        return []
    return ["end of the output:", *(f"  {line}" for line in cap(output, head_lines=5, tail_lines=40).splitlines())]


def summary(report: RunReport) -> list[str]:
    """Return a whole run as text."""
    return [*changes_table(report.changes, now=report.started_at).lines, *output_end(report), *last_words(report)]


def release_text(details: Mapping[str, Any]) -> list[str]:
    """Return what `show` prints for people, from what it prints as JSON."""
    facts = (
        "id", "state", "pinned", "created_at", "origin", "python", "group", "tests", "tests_run", "commit", "subject",
        "previous",
        "lock_sha256", "size_bytes", "own_bytes", "path", "in_use_by",
    )  # fmt: skip
    rows = [[f"{fact}:", _word(details[fact])] for fact in facts]
    rows += [["override:", one] for one in details["overrides"]]
    rows += [["staging:", f"{one} (copied)"] for one in details["staging_copied"]]
    rows += [["staging:", f"{one} (linked)"] for one in details["staging_linked"]]
    rows += [["replaces:", details["replaces"]]] if details.get("replaces") else []
    lines = aligned(rows)
    if details["processes"]:
        rows = [[str(one["pid"]), one["user"], one["since"], one["command"]] for one in details["processes"]]
        lines += ["", *aligned([["PROCESS", "USER", "SINCE", "COMMAND"], *rows])]
    if details["changes"]:
        from releaser.locking.diff import Change

        changes = [Change.from_json(change) for change in details["changes"]]
        lines += ["", *changes_table(changes, now=datetime.fromisoformat(details["created_at"])).lines]
    if details["held_back"]:
        held = (_held_line(one) for one in details["held_back"])
        lines += ["", "held back:", *(f"  {line}" for line in versions_by_reason(held))]
    if details["steps"]:
        rows = [[step["step"], step["status"], f"{step['seconds']:.1f} s", step["detail"]] for step in details["steps"]]
        lines += ["", *aligned([["STEP", "STATUS", "TIME", ""], *rows])]
    if details["test_output"].strip():
        lines += [
            "",
            "end of the test output:",
            *(f"  {line}" for line in details["test_output"].strip().splitlines()),
        ]
    return lines


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def history_text(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the runs as a table."""
    rows = [
        [
            str(run.get("started_at", ""))[:19].replace("T", " "),
            str(run.get("command", "")),
            str(run.get("result", "")),
            str(run.get("exit_code", "")),
            f"{float(run.get('seconds') or 0):.1f} s",
            str(run.get("headline", "")),
        ]
        for run in runs
    ]
    return aligned([["WHEN (UTC)", "COMMAND", "RESULT", "CODE", "TIME", "WHAT"], *rows]) if rows else []


def status_text(status: Mapping[str, Any], *, age: str) -> list[str]:
    """Return what `status` prints for people, from what it prints as JSON; `age` is that of the live release."""
    lines = [f"project: {status['project']} ({status['path']})"]
    live = f"{status['live']} ({age} old, Python {status['live_python']})" if status["live"] else "no release"
    lines.append(f"live: {live}")
    taken, free = size(status["releases_bytes"]), size(status["free_bytes"])
    lines.append(f"disk: the releases take {taken}, {free} are free")
    for title, key in (("last run", "last_run"), ("last change", "last_change")):
        if run := status[key]:
            when = str(run["started_at"])[:19].replace("T", " ")
            lines.append(
                f"{title}: {when} UTC, {run['command']}: {run['result']} (code {run['exit_code']}): {run['headline']}"
            )
    if status["running"]:
        holder = status["running"]
        lines.append(f"running now: releaser {holder['command']}, pid {holder['pid']}, since {holder['since']}")
    lines += [
        f"not restarted: {one['pid']} of {one['user']} runs on {one['release']} since {one['since']}: {one['command']}"
        for one in status["left_behind"]
    ]
    if red := status["red_tests"]:
        lines.append(
            f"tests of {red['release']} have been failing since {red['since'][:10]}: {', '.join(red['failing'][:5])}"
        )
    lines += _pending(status)
    lines += [f"held back: {line}" for line in versions_by_reason(_held_line(entry) for entry in status["held_back"])]
    lines += [
        f"quarantined: candidate {entry['release']}: {entry['reason']} (since {entry['at'][:10]})"
        for entry in status["quarantined"]
    ]
    lines += [
        f"held back: commit {entry['commit'][:12]} ({entry['subject']}):"
        f" it {entry['reason']} (since {entry['at'][:10]})"
        for entry in status["rejected_commits"]
    ]
    lines += [
        f"quarantined: Python {entry['version']}: {entry['reason']} (since {entry['at'][:10]})"
        for entry in status["refused_pythons"]
    ]
    lines += [
        f"waiting: candidate {entry['release']}: {entry['reason']} (since {entry['at'][:10]})"
        for entry in status["waiting"]
    ]
    return lines + [f"problem: {problem}" for problem in status["problems"]]


def _pending(status: Mapping[str, Any]) -> list[str]:
    lines = []
    if status["interrupted"]:
        lines.append("pending: an earlier run was cut off; the next one repairs what it left")
    if status["push_pending"]:
        lines.append("pending: a commit is not pushed yet")
    if count := status["mails_pending"]:
        lines.append(f"pending: {count} {'mail is' if count == 1 else 'mails are'} not sent yet")
    return lines
