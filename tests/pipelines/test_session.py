"""A run as a whole: what it looks at when it has failed."""

from types import SimpleNamespace
from typing import Any

from releaser.listener import Silence
from releaser.pipelines import session
from releaser.report import RunLog


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
