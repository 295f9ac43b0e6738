"""What keeps a site from being well; the line and code of a Nagios plugin; metrics that Prometheus can parse."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from releaser.answers import RunBrief
from releaser.core.status import Service, nagios_line
from releaser.locks.origins import Deviation
from releaser.releases.journal import FailingLiveTests
from releaser.releases.listing import DriftAnswer
from releaser.reporting.hold_status import CommitOnHold, OnHold
from releaser.reporting.monitoring import (
    find_alarms,
    find_open_questions,
    nagios,
    prometheus,
    usual_ages,
)
from tests.reporting.makers import BRIEF, WELL, changed, in_words

NOW = datetime(2026, 11, 20, 9, 12, tzinfo=UTC)  # three hours after the last update
WEEKLY: dict[str, Any] = {"interval_seconds": 7 * 86400.0}
WARNING, CRITICAL = Service.WARNING, Service.CRITICAL
RED = FailingLiveTests(release="B", since="", reason="1 failed", failing=())
ELSEWHERE = Deviation(name="a", version="1", what="index", old="x", new="y")
DJANGO = OnHold(name="django", version="6.0", release="", reason="", at="", by="tests")
PILLOW = replace(DJANGO, name="pillow", version="12")
COMMIT = CommitOnHold(commit="abc", code_key="", subject="Sell tea", reason="", at="")


def ago(**age: float) -> RunBrief:
    return replace(BRIEF, started_at=(NOW - timedelta(**age)).isoformat())


@pytest.mark.parametrize(
    ("facts", "level", "text", "command"),
    [
        ({"problems": ("its Python is gone",)}, CRITICAL, "its Python is gone", "check"),
        ({"live": None}, CRITICAL, "no release is live", "init"),
        ({"last_deployment": replace(BRIEF, exit_code=5, headline="red")}, WARNING,
            "the last update ended with exit code 5: red", "history -n 5"),
        ({"blocked": "all failed"}, WARNING, "updates cannot go live: all failed", "outdated"),
        ({"last_success": ago(days=3)}, WARNING, "the last successful update was 3 d ago", "update"),
        ({"last_success": ago(days=8)}, CRITICAL, "the last successful update was 8 d ago", "update"),
        ({"last_success": ago(days=9), **WEEKLY}, WARNING, "the last successful update was 9 d ago", "update"),
        ({"last_success": None, "live_age_seconds": 9 * 86400.0}, CRITICAL, "the last successful update was 9 d ago",
            "update"),
        ({"last_success": None, "live_age_seconds": None}, CRITICAL, "no update has succeeded yet", "update"),
        ({"interrupted": True}, WARNING, "a run was interrupted", "update"),
        ({"push_pending": True}, WARNING, "a commit has not been pushed", "update"),
        ({"mails_pending": 2}, WARNING, "2 mails waiting to be sent", "test-mail"),
        ({"asked": (ELSEWHERE,)}, WARNING, "1 package waiting for `releaser accept`", "status"),
        ({"failing_live_tests": RED}, WARNING, "the tests of the live release fail: 1 failed", "check --tests"),
        ({"not_restarted": "no server"}, WARNING, "updates restart nothing: see `releaser check`", "check"),
        ({"drift": DriftAnswer(packages=(), files=())}, WARNING, "packages or files of the live release were changed",
            "verify"),
    ],
)  # fmt: skip
def test_monitoring_alerts_about_each_problem(facts: dict[str, Any], level: Service, text: str, command: str) -> None:
    status = replace(WELL, **facts)
    assert in_words(find_alarms(status, usual_ages(status), NOW)) == [(level, text, command)]


@pytest.mark.parametrize(
    ("facts", "text", "command"),
    [
        ({"on_hold": (DJANGO, PILLOW)}, "updates skip django 6.0, pillow 12: the tests fail with them", "outdated"),
        ({"on_hold": (replace(DJANGO, by="rollback"),)}, "updates skip django 6.0: the site was rolled back with it",
            "outdated"),
        ({"commits_on_hold": (COMMIT,)}, "1 commit on hold: Sell tea", "status"),
        ({"waiting_reason": "X is ready and waits"}, "X is ready and waits", "status"),
    ],
)  # fmt: skip
def test_what_may_last_for_months_is_for_the_page_alone(facts: dict[str, Any], text: str, command: str) -> None:
    status = replace(WELL, **facts)
    assert in_words(find_open_questions(status)) == [(WARNING, text, command)]
    assert [*find_alarms(status, usual_ages(status), NOW)] == []


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"on_hold": (replace(DJANGO, by="person"),)},
        {"last_success": None},  # the live release is new
        {"last_success": ago(hours=40)},
        {"last_success": ago(days=7, hours=20), **WEEKLY},
        {"waits": "the next update is due on Monday"},
    ],
)
def test_a_site_is_well_without_a_reason_to_act(facts: dict[str, Any]) -> None:
    status = replace(WELL, **facts)
    assert [*find_alarms(status, usual_ages(status), NOW), *find_open_questions(status)] == []


@pytest.mark.parametrize(
    ("facts", "state", "said"),
    [
        ({}, Service.OK, "B is live"),
        ({"mails_pending": 2, "push_pending": True}, WARNING,
            "a commit has not been pushed; 2 mails waiting to be sent"),
        ({"problems": ("its Python is gone", "and more"), "interrupted": True}, CRITICAL,
            "its Python is gone; and more"),
    ],
)  # fmt: skip
def test_the_line_of_a_nagios_plugin_names_the_worst_alone(facts: dict[str, Any], state: Service, said: str) -> None:
    found, line = nagios(replace(WELL, **facts), usual_ages(WELL), now=NOW)
    assert (found, line.replace(" vulnerable=0", "")) == (
        state,
        f"RELEASER {state.name} - shop: {said} | last_success=10800s;172800;604800 held=0 "
        "releases=420000000B free=12300000000B",
    )


def test_no_text_begins_the_performance_data_or_a_second_line() -> None:
    assert nagios_line(Service.UNKNOWN, "a|b\nc") == "RELEASER UNKNOWN - a/b c"


def test_metrics_are_what_prometheus_parses_and_leave_out_what_is_not_known() -> None:
    text = prometheus(changed(WELL, project='a"b', path="/srv/\\n", last_deployment=None, blocked="x"))
    found = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert found["releaser_free_bytes"].labels == {"site": 'a"b', "path": "/srv/\\n"}
    assert found["releaser_free_bytes"].value == 12_300_000_000
    assert found["releaser_updates_blocked"].value == 1
    began = datetime.fromisoformat(BRIEF.started_at).timestamp()
    assert found["releaser_last_success_timestamp_seconds"].value == pytest.approx(began, abs=2)
    assert found["releaser_live_info"].labels["release"] == "B"
    assert "releaser_last_deployment_exit_code" not in found
