"""Known vulnerabilities in the status: its text, the page, the table of many sites, and monitoring."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from releaser.core.status import Service
from releaser.reporting.many_sites import SiteAnswer
from releaser.reporting.monitoring import find_alarms, find_open_questions, nagios, prometheus, usual_ages
from releaser.reporting.page import judge, page_of, page_of_sites
from releaser.reporting.text import status_text
from releaser.system.files import plain
from tests.reporting.makers import BRIEF, WELL, changed, in_words
from tests.reporting.test_page import NOW as PAGE_NOW
from tests.reporting.test_page import WELL as WELL_PAGE
from tests.reporting.test_page import a_server, state_of

NOW = datetime.fromisoformat(BRIEF.started_at)
AUDITED, UNKNOWN = changed(WELL, vulnerable=0), changed(WELL, vulnerable=None)
NOT_CHECKED = (Service.WARNING, "the live release was not checked for known vulnerabilities", "audit")


def test_vulnerable_packages_are_an_alarm_everywhere() -> None:
    status = changed(WELL, vulnerable=2, interrupted=True)
    alarms = find_alarms(status, usual_ages(status), NOW)
    assert [one.text for one in alarms] == ["2 packages with known vulnerabilities", "a run was interrupted"]
    assert (judge(status, NOW), alarms[0].command) == (alarms, "audit")
    assert "vulnerable: 2 packages; see `releaser audit`" in status_text(status)
    assert " held=0 vulnerable=2 releases=" in nagios(status, usual_ages(status), now=NOW)[1]
    assert 'releaser_vulnerable_packages{path="/srv/shop",site="shop"} 2.0' in prometheus(status)
    page = page_of_sites([a_server(SiteAnswer(site="/srv/shop", exit_code=0, answer=plain(status)))], PAGE_NOW)
    assert "<td>a run was interrupted, 2 packages vulnerable</td>" in page


@pytest.mark.parametrize(
    ("facts", "questions"),
    [
        ({"vulnerable": None}, [NOT_CHECKED]),
        ({"vulnerable": None, "is_audited": False}, []),
        ({"vulnerable": None, "live": None}, []),
        ({"vulnerable": 0}, []),
    ],
)
def test_the_page_alone_asks_for_a_missing_audit(facts: dict[str, Any], questions: list[object]) -> None:
    status = changed(WELL, **facts)
    assert in_words(find_open_questions(status)) == questions
    assert not any("vulnerab" in one.text for one in find_alarms(status, usual_ages(status), NOW))


def test_numbers_of_monitoring_are_unknown_without_an_audit() -> None:
    assert " vulnerable=U " in nagios(UNKNOWN, usual_ages(UNKNOWN), now=NOW)[1]
    assert "vulnerable_packages" not in prometheus(UNKNOWN)
    assert " vulnerable=0 " in nagios(AUDITED, usual_ages(AUDITED), now=NOW)[1]


def test_what_is_not_known_of_vulnerabilities_is_said() -> None:
    unknown = replace(WELL_PAGE, status=changed(WELL_PAGE.status, vulnerable=None), unanswered="a proxy")
    page = page_of(unknown)
    assert state_of(page) == "needs attention"
    assert "The last query for known vulnerabilities failed: a proxy." in page
    assert "Not known: the last query got no answer." in page
    assert "Not checked since the live release changed." in page_of(replace(unknown, unanswered=""))
    off = page_of(replace(unknown, unanswered="", status=changed(unknown.status, is_audited=False)))
    assert "Not checked: the setting <code>vulnerability_service</code> is <code>none</code>." in off
