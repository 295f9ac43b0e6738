"""A run as a whole: what it looks at when it has failed, and what it leaves when it is interrupted at its end."""

import signal
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from releaser.core.announcing import Announcer
from releaser.errors import Interrupted
from releaser.listener import Silence
from releaser.pipelines import session
from releaser.releases.journal import read_history
from releaser.report import RunLog, RunReport
from tests.reporting.makers import UPDATED


def test_a_failure_is_reported_also_where_one_cannot_look_again() -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "site.py")

    log = RunLog(Silence(), command="update", run_id="1", started_at=datetime.now(UTC))
    log.has_tried_code = True
    run: Any = SimpleNamespace(log=log, store=SimpleNamespace(live=lambda: None), find_changes=refused)
    session._note_if_live_differs(run)
    assert (
        "releaser could not check that the live site is unchanged: [Errno 13] Permission denied: 'site.py'"
        in log.findings[0].message
    )


@pytest.mark.parametrize(("is_orphan", "end"), [(False, ""), (True, " after the process that had started it ended")])
def test_an_interrupt_is_not_blamed_on_its_signal_alone_if_the_process_was_orphaned(
    monkeypatch: pytest.MonkeyPatch, is_orphan: bool, end: str
) -> None:
    monkeypatch.setattr(session, "recover", lambda _: None)
    log: Any = RunLog(Silence(), command="update", run_id="1", started_at=datetime.now(UTC))
    run: Any = SimpleNamespace(log=log, site=None, report=lambda **facts: facts)
    report: Any = session._report_interrupt(run, Interrupted(signal.SIGTERM, is_orphan=is_orphan))
    assert report["headline"] == f"update was interrupted by SIGTERM{end}"


def test_an_interrupt_between_mail_and_history_costs_no_line_of_the_history(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Cut(Announcer):
        def announce(self, site: object, log: object, report: RunReport, *, mails: bool) -> NoReturn:
            raise KeyboardInterrupt

    monkeypatch.setattr(session, "announcer", Cut)
    run: Any = SimpleNamespace(site=SimpleNamespace(state_dir=tmp_path), log=None)
    report = session._announce(run, UPDATED, mails=True)
    assert ([one.code for one in report.problems], report.exit_code) == (["interrupted"], 7)
    assert [one["run_id"] for one in read_history(tmp_path)] == [UPDATED.run_id]
