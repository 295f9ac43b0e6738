"""A run as a whole: what it looks at when it has failed, and what it leaves when it is interrupted at its end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from releaser.core.announcing import Announcer
from releaser.listener import Silence
from releaser.pipelines import session
from releaser.releases.journal import read_history
from releaser.report import RunLog, RunReport
from tests.reporting.makers import UPDATED


def test_a_failure_is_reported_also_where_one_cannot_look_again() -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "site.py")

    log = RunLog(Silence(), command="update", run_id="1", started_at=SimpleNamespace())  # type: ignore[arg-type]
    log.has_tried_code = True
    run: Any = SimpleNamespace(log=log, store=SimpleNamespace(live=lambda: None), find_changes=refused)
    session._note_if_live_differs(run)
    assert (
        "releaser could not check that the live site is unchanged: [Errno 13] Permission denied: 'site.py'"
        in log.findings[0].message
    )


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
