"""Processes of earlier releases in the status."""

from datetime import datetime

from releaser.core.status import Service
from releaser.releases.leases import LeftBehind
from releaser.reporting.monitoring import find_alarms, prometheus, usual_ages
from releaser.reporting.text import status_text
from releaser.site.run_lock import Holder
from tests.reporting.makers import BRIEF, WELL, changed, in_words

OLD = LeftBehind(release="A", pid=7, user="www", command="worker", since="yesterday")


def test_processes_of_earlier_releases_are_named_below_the_run_in_progress_and_an_alarm() -> None:
    running = Holder(command="update", pid=42, since="2026-11-20T06:12:00+00:00")
    status = changed(WELL, left_behind=(OLD,), running=running, blocked="red")
    assert status_text(status)[-3:] == [
        "running now: releaser update, pid 42, since 2026-11-20T06:12:00+00:00",
        "not restarted: 7 of www runs on A since yesterday: worker",
        "updates cannot go live: red",
    ]
    found = find_alarms(status, usual_ages(status), datetime.fromisoformat(BRIEF.started_at))
    assert in_words(found)[1:] == [(Service.WARNING, "1 process of an earlier release", "status")]
    assert 'releaser_left_behind_processes{path="/srv/shop",site="shop"} 1.0' in prometheus(status)
