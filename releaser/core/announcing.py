"""The interface of an announcer: it brings the report of a run to people."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from releaser.capabilities import gather, make
from releaser.errors import ExitCode
from releaser.releases.journal import MailSection, journal_of
from releaser.system.files import UnreadableStateError
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from datetime import datetime

    from releaser.errors import Finding
    from releaser.report import RunLog, RunReport
    from releaser.site.loading import Loaded
    from releaser.site.ownership import Ownership
    from releaser.site.site import Site
    from releaser.system.process import Runner


class Announcer:
    """This one announces nothing. Subclasses override the methods that they need."""

    def began(self, site: Site, command: str) -> None:
        """Announce that a run begins. Never raises."""

    def ended(self, site: Site, command: str, report: RunReport) -> None:
        """Announce that a run has ended. Never raises."""

    def announce(self, site: Site, log: RunLog, report: RunReport, *, mails: bool) -> RunReport:
        """Announce a report that is worth it, if the run `mails`; return the report with the result of that.

        It calls `add_sections`, and `drop_journal` once nothing can lose the report.
        """
        report = add_sections(site, report)
        drop_journal(site, log)
        return report

    def announce_without_state(self, site: Site, report: RunReport) -> RunReport:
        """Announce the report of a run without a usable state directory."""
        return report

    def announce_unopened(self, report: RunReport, loaded: Loaded, trusting: Ownership, runner: Runner) -> RunReport:
        """Announce that no site could be opened at `report.path`, with the settings that could be read there."""
        return report

    def announce_long_holder(self, site: Site, now: datetime) -> str:
        """Announce, once, that the project lock is held for long; return why that failed, or an empty text."""
        return ""

    def has_announced(self, site: Site, run_id: str) -> bool:
        """True if the report of a run is sent, or waits where a crash cannot delete it."""
        return False


@functools.cache
def announcer() -> Announcer:
    """Return the announcer of all runs."""
    return next(iter(make("announcers")), Announcer())


def add_sections(site: Site, report: RunReport) -> RunReport:
    """Add the sections of capabilities, if there is anything to report."""
    for add in gather("sections") if report.noteworthy else ():
        report = add(site, report)
    return report


def add_problem(report: RunReport, problem: Finding) -> RunReport:
    """Add a problem of the end of a run, which its mail does not have, so that the report is printed in any case."""
    exit_code, mail = report.exit_code or ExitCode.FOLLOW_UP, replace(MailSection.of(report), mailed=False)
    return replace(report, exit_code=exit_code).with_problems(problem).with_section(mail)


def drop_journal(site: Site, log: RunLog) -> None:
    """Drop the journal, if only the report was due."""
    with contextlib.suppress(UnreadableStateError, OSError):
        journal = journal_of(site)
        entry = journal.read()
        ours = entry is not None and entry.phase == "reporting" and entry.run_id == log.run_id
        if ours or log.closed:
            journal.drop()
