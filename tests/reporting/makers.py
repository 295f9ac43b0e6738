"""Reports for the tests of what is made of them."""

from datetime import UTC, datetime

from releaser.locks.lock import Change
from releaser.report import RunReport

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUIET = RunReport(
    command="update",
    project="mysite",
    path="/srv/mysite",
    host="web1",
    run_id="20260102-030405",
    started_at=STARTED,
    seconds=75.0,
    result="no-changes",
    exit_code=0,
    headline="Nothing to update.",
)
CHANGES = (
    Change(name="django", old="5.1.2", new="5.2", bump="minor"),
    Change(name="a-longer-name", old=None, new="1.0", bump="added"),
    Change(name="gone", old="3.0", new=None, bump="removed"),
)
