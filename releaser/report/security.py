"""What a report says of known vulnerabilities: what was fixed, what is left, and what keeps the fix out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.links import web_link
from releaser.report.capping import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from releaser.locking.diff import Change
    from releaser.locking.vulnerabilities import Vulnerability
    from releaser.report.outcome import HeldBack, RunReport

COLUMNS = ("PACKAGE", "VERSION", "FIXED IN", "VULNERABILITY", "ABOUT")
_MOST = 30  # vulnerabilities in one list; an old lock may have hundreds


def security_lists(report: RunReport) -> list[tuple[str, list[str]]]:
    """Return titles, each with lines for people; none when nobody was asked, or when there is nothing to tell."""
    lists = []
    if report.fixed:
        lists.append(("Known vulnerabilities fixed by this run", _capped(map(_fixed_line, report.fixed))))
    if report.audit == "unknown" and not report.audit_told:
        reason = one_line(report.audit_reason, limit=150)
        lists.append(("Known vulnerabilities", [f"Not known: {reason}."]))
    if report.vulnerabilities:
        lines = (_left_line(one, report) for one in report.vulnerabilities)
        lists.append(("Known vulnerabilities of what is live", _capped(lines)))
    return lists


def security_text(report: RunReport) -> list[str]:
    """Return the same as lines of plain text."""
    return [line for title, lines in security_lists(report) for line in (f"{title}:", *(f"  {one}" for one in lines))]


def cells(vulnerabilities: Iterable[Vulnerability]) -> list[list[str]]:
    """Return the rows of a table."""
    return [
        [one_line(one.name), one_line(one.version), one.fix or "-", named(one), one_line(one.summary, limit=100) or "-"]
        for one in vulnerabilities
    ]


def fixes_phrase(report: RunReport) -> str:
    """Say in a few words how many vulnerabilities the run has fixed; empty if none."""
    count = len({(one.name, one.id) for one in report.fixed})
    noun = "vulnerability" if count == 1 else "vulnerabilities"
    return f"fixes {count} known {noun}" if count else ""


def named(one: Vulnerability) -> str:
    """Name a vulnerability, with a name that starts with CVE if it has one and goes by another."""
    cve = next((alias for alias in one.aliases if alias.upper().startswith("CVE-")), "")
    also = f" ({cve})" if cve and not one.id.upper().startswith("CVE-") else ""
    return one_line(f"{one.id}{also}", limit=100)


def is_of(held: HeldBack, one: Vulnerability) -> bool:
    """Whether what is held back is of the package that has the vulnerability."""
    return held.name == one.name


def _fixed_line(one: Vulnerability) -> str:
    return _line(one, "")


def _left_line(one: Vulnerability, report: RunReport) -> str:
    return _line(one, f"({_why_left(one, report)})")


def _line(one: Vulnerability, remark: str) -> str:
    summary = f": {one_line(one.summary, limit=150)}" if one.summary else ""
    head = f"{named(one)} of {one.name} {one.version}{summary}"
    return " ".join(filter(None, [one_line(head), one_line(remark, limit=500), web_link(one.link)]))


def _why_left(one: Vulnerability, report: RunReport) -> str:
    if one.fix is None:
        return "not fixed in any version yet"
    fixed = f"fixed in {one.fix}"
    if not report.live_changed and any(_brings(change, one) for change in report.changes):
        return f"{fixed}, which this run could not make live"
    held = next((held for held in report.held_back if is_of(held, one)), None)
    if held is not None:
        return f"{fixed}; {held.version} is held back: {held.reason}"
    return f"{fixed}; `releaser outdated` tells what keeps that out"


def _brings(change: Change, one: Vulnerability) -> bool:
    return change.name == one.name and bool(change.new) and not replace(one, version=change.new or "").fix


def _capped(lines: Iterable[str]) -> list[str]:
    shown = list(lines)
    more = [f"and {len(shown) - _MOST} more; `releaser audit` lists them"] if len(shown) > _MOST else []
    return shown[:_MOST] + more
