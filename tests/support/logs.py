"""Logs of runs that only a test makes."""

from datetime import UTC, datetime

from releaser.listener import Listener, Silence
from releaser.report import RunLog


def a_log(listener: Listener | None = None) -> RunLog:
    """Return the log of an update that has just begun."""
    return RunLog(listener or Silence(), command="update", run_id="a", started_at=datetime(2026, 11, 21, tzinfo=UTC))
