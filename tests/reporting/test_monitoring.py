"""What monitoring reads: the line and code of a Nagios plugin, and metrics that Prometheus can parse."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from releaser.answers import OnHold, RunBrief, Status
from releaser.releases.journal import FailingLiveTests
from releaser.reporting.monitoring import Ages, Service, nagios, nagios_line, prometheus
from tests.reporting.test_answers import STATUS

NOW = datetime(2026, 11, 20, 6, 12, tzinfo=UTC)
SINCE = datetime(2026, 11, 20, 3, 12, tzinfo=UTC).timestamp()
AGES = Ages(warning=2 * 86400, critical=7 * 86400)


def run(started_at: str, code: int = 0, headline: str = "") -> RunBrief:
    return RunBrief(
        command="update",
        run_id="1",
        started_at=started_at,
        seconds=1.0,
        result="failed" if code else "no-changes",
        exit_code=code,
        headline=headline,
    )


GOOD = run("2026-11-20T03:12:00+00:00")
WELL = replace(STATUS, live="B", live_python="3.11.7", live_age_seconds=60.0, last_deployment=GOOD, last_success=GOOD)


def test_a_site_that_is_well() -> None:
    state, line = nagios(replace(WELL, vulnerable=0), AGES, now=NOW)
    assert state == Service.OK
    assert line == (
        "RELEASER OK - shop: B is live | last_success=10800s;172800;604800 held=0 vulnerable=0 "
        "releases=420000000B free=12300000000B"
    )


RED = FailingLiveTests(release="B", since="", reason="1 failed", failing=())


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        (replace(WELL, push_pending=True), Service.WARNING, "a commit has not been pushed"),
        (replace(WELL, mails_pending=2), Service.WARNING, "2 mails waiting to be sent"),
        (replace(WELL, live=None), Service.CRITICAL, "no release is live"),
        (replace(WELL, problems=("its Python is gone", "and more")), Service.CRITICAL, "its Python is gone; and more"),
        (
            replace(WELL, live=None, live_age_seconds=None, last_success=None),
            Service.CRITICAL,
            "no update has succeeded yet",
        ),
        (
            replace(WELL, last_success=None, live_age_seconds=9 * 86400),
            Service.CRITICAL,
            "successful update was 9 d ago",
        ),
        (replace(WELL, last_success=None), Service.OK, "B is live"),
        (
            replace(WELL, last_success=run("2026-11-12T03:00:00+00:00")),
            Service.CRITICAL,
            "successful update was 8 d ago",
        ),
        (
            replace(WELL, last_success=run("2026-11-17T03:00:00+00:00")),
            Service.WARNING,
            "successful update was 3 d ago",
        ),
        (replace(WELL, last_deployment=run(GOOD.started_at, 5, "red")), Service.WARNING, "ended with exit code 5: red"),
        (replace(WELL, vulnerable=1), Service.WARNING, "1 package with known vulnerabilities"),
        (replace(WELL, interrupted=True), Service.WARNING, "a run was interrupted"),
        (replace(WELL, failing_live_tests=RED), Service.WARNING, "the tests of the live release fail: 1 failed"),
        (replace(WELL, live=None, interrupted=True), Service.CRITICAL, "shop: no release is live |"),
    ],
)
def test_what_is_wrong_is_said_the_worst_alone(status: Status, state: Service, said: str) -> None:
    found, line = nagios(status, AGES, now=NOW)
    assert found == state
    assert line.startswith(f"RELEASER {state.name} - shop: ")
    assert said in line


def test_a_package_on_hold_and_a_missing_audit_are_for_the_page_alone() -> None:
    held = OnHold(name="alpha", version="2", release="", reason="", at="", by="tests")
    assert nagios(replace(WELL, vulnerable=None, on_hold=(held,)), AGES, now=NOW)[0] == Service.OK


def test_no_text_begins_the_performance_data_or_a_second_line() -> None:
    assert nagios_line(Service.UNKNOWN, "a|b\nc") == "RELEASER UNKNOWN - a/b c"


def test_metrics_are_what_prometheus_parses_and_leave_out_what_is_not_known() -> None:
    text = prometheus(replace(WELL, project='a"b', path="/srv/\\n", last_deployment=None))
    found = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert found["releaser_free_bytes"].labels == {"site": 'a"b', "path": "/srv/\\n"}
    assert found["releaser_free_bytes"].value == 12_300_000_000
    assert found["releaser_last_success_timestamp_seconds"].value == pytest.approx(SINCE, abs=2)
    assert found["releaser_live_info"].labels["release"] == "B"
    assert "releaser_last_deployment_exit_code" not in found
    assert "releaser_vulnerable_packages" not in found
