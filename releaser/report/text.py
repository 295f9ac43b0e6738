"""Reports and answers as plain text: for terminals, cron's mail, and pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from releaser.report.capping import cap, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from releaser.locking.diff import Change
    from releaser.report.outcome import Outcome, RunReport


def aligned(rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """Lay rows out in columns."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        (indent + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def changes_table(changes: Iterable[Change]) -> list[list[str]]:
    """Return package changes as rows, the heading first."""
    rows = [[change.name, change.old or "-", change.new or "-", change.bump] for change in changes]
    return [["PACKAGE", "OLD", "NEW", "BUMP"], *rows] if rows else []


def step_line(outcome: Outcome) -> str:
    """Return one step as one line."""
    detail = f": {outcome.detail}" if outcome.detail else ""
    return f"{outcome.step}: {outcome.status} ({outcome.seconds:.1f} s){detail}"


def last_words(report: RunReport) -> list[str]:
    """Return what must be said at the end of a run: what happened, why, whether live changed, what to do."""
    lines = [f"releaser {report.command}: {one_line(report.project)}: {report.headline}"]
    for problem in report.problems:
        if problem.message != report.headline:
            lines.append(f"problem: {problem.message}")
        if problem.advice:
            lines.append(f"  what to do: {problem.advice}")
    if report.recovered:
        lines.append(report.recovered)
    if report.exit_code:
        lines.append(live_line(report))
    if report.mail:
        lines.append(f"mail: {report.mail}")
    if report.exit_code and report.log_file:
        lines.append(f"log: {report.log_file}")
    return lines


def live_line(report: RunReport) -> str:
    """Say whether what is live has changed."""
    if report.exit_code == 6:
        return (
            f"live: it is {report.release} still"
            if report.live_changed
            else "live: as before; it was changed, and back"
        )
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
    return [*aligned(changes_table(report.changes)), *output_end(report), *last_words(report)]


def release_text(details: Mapping[str, Any]) -> list[str]:
    """Return what `show` prints for people, from what it prints as JSON."""
    facts = (
        "id", "state", "pinned", "created_at", "origin", "python", "group", "tests", "commit", "previous",
        "lock_sha256", "size_bytes", "path", "in_use_by",
    )  # fmt: skip
    lines = aligned([[f"{fact}:", _word(details[fact])] for fact in facts])
    if details["changes"]:
        rows = [
            [change["name"], change["old"] or "-", change["new"] or "-", change["bump"]]
            for change in details["changes"]
        ]
        lines += ["", *aligned([["PACKAGE", "OLD", "NEW", "BUMP"], *rows])]
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
    for title, key in (("last run", "last_run"), ("last change", "last_change")):
        if run := status[key]:
            when = str(run["started_at"])[:19].replace("T", " ")
            lines.append(
                f"{title}: {when} UTC, {run['command']}: {run['result']} (code {run['exit_code']}): {run['headline']}"
            )
    if status["running"]:
        holder = status["running"]
        lines.append(f"running now: releaser {holder['command']}, pid {holder['pid']}, since {holder['since']}")
    lines += _pending(status)
    lines += [
        f"held back: {entry['name']} {entry['version']}: {entry['reason']} (since {entry['at'][:10]})"
        for entry in status["held_back"]
    ]
    lines += [
        f"quarantined: candidate {entry['release']}: {entry['reason']} (since {entry['at'][:10]})"
        for entry in status["quarantined"]
    ]
    return lines + [f"problem: {problem}" for problem in status["problems"]]


def _pending(status: Mapping[str, Any]) -> list[str]:
    lines = []
    if status["interrupted"]:
        lines.append("pending: an earlier run was cut off; the next one repairs what it left")
    if status["push_pending"]:
        lines.append("pending: a commit is not pushed yet")
    if status["mails_pending"]:
        lines.append(f"pending: {status['mails_pending']} mails are not sent yet")
    return lines
