"""The sections of a report and of a status: what capabilities add to it, and to its JSON."""

from dataclasses import fields
from datetime import datetime

import pytest
from msgspec import ValidationError, convert

from releaser.answers import RunAnswer, SiteFacts, Status
from releaser.capabilities import gather
from releaser.core.status import StatusSection
from releaser.locks.vulnerabilities import Audit, AuditsSoFar, SecuritySection, Vulnerability, unknown
from releaser.releases.journal import report_as_json
from releaser.reporting.monitoring import find_alarms, usual_ages
from releaser.reporting.text import status_text
from releaser.site.conventions import Convention, ConventionsSection
from releaser.site.restart_settings import OutageSection
from releaser.system.files import plain
from releaser.system.sections import Section
from tests.reporting.makers import BRIEF, QUIET, WELL, changed

ALPHA = Vulnerability(name="alpha", version="1.0", id="CVE-1")
BETA = Vulnerability(name="beta", version="1.0", id="CVE-2")
BOTH = Audit(known=True, vulnerabilities=(ALPHA, BETA))
LESS = Audit(known=True, vulnerabilities=(BETA,))
NO_ANSWER = SecuritySection(audit="unknown", audit_reason="NO ANSWER")


def known(*left: Vulnerability, fixed: tuple[Vulnerability, ...] = ()) -> SecuritySection:
    return SecuritySection(audit="known", vulnerabilities=left, fixed=fixed)


def test_the_json_of_a_run_always_has_the_keys_of_all_sections_and_no_two_have_the_same() -> None:
    assert [*report_as_json(QUIET)] == [one.name for one in fields(RunAnswer)]
    assert report_as_json(QUIET)["outage_seconds"] is None
    report = QUIET.with_section(OutageSection(outage_seconds=1.5))
    assert report_as_json(report)["outage_seconds"] == 1.5
    assert OutageSection.of(report) == OutageSection(outage_seconds=1.5)
    assert OutageSection.of(QUIET) == OutageSection()
    sections: tuple[type[Section], ...] = gather("reported")
    names = [one.name for kind in (type(QUIET), *sections) for one in fields(kind)]
    assert len(names) == len({*names})


@pytest.mark.parametrize(
    ("audits", "live_changed", "told"),
    [
        (AuditsSoFar(), True, SecuritySection()),
        (AuditsSoFar(before=BOTH), False, known(ALPHA, BETA)),
        (AuditsSoFar(before=BOTH), True, SecuritySection()),
        (AuditsSoFar(before=BOTH, after=LESS), True, known(BETA, fixed=(ALPHA,))),
        (AuditsSoFar(before=BOTH, after=LESS), False, known(ALPHA, BETA)),
        (AuditsSoFar(after=LESS), True, known(BETA)),
        (AuditsSoFar(before=BOTH, after=unknown("no answer")), True, NO_ANSWER),
    ],
)
def test_vulnerabilities_are_those_of_what_is_live_at_the_end(
    audits: AuditsSoFar, live_changed: bool, told: SecuritySection
) -> None:
    assert audits.at_end(live_changed=live_changed, clean=str.upper) == told


def test_what_was_chosen_is_told_without_secrets() -> None:
    found = ConventionsSection(chosen=(Convention(what="tests", value="x", source="y"),))
    told = found.at_end(live_changed=False, clean=str.upper)
    assert told == ConventionsSection(chosen=(Convention(what="tests", value="X", source="y"),))


def test_the_status_of_an_earlier_version_or_of_a_later_one_is_read_with_defaults() -> None:
    sections: tuple[type[StatusSection], ...] = gather("statuses")
    core = {one.name for one in fields(SiteFacts)}
    own = [one.name for kind in sections for one in fields(kind)]
    assert [len(core & {*own}), len(own)] == [0, len({*own})], "no two have the same key"
    assert {one.name for one in fields(Status)} == core | {*own}
    known = plain(changed(WELL, mails_pending=2))
    earlier = {name: fact for name, fact in known.items() if name in core} | {"a_key_of_tomorrow": 1}
    status = convert(earlier, Status)
    assert status_text(status) == status_text(WELL)
    assert find_alarms(status, usual_ages(status), datetime.fromisoformat(BRIEF.started_at)) == []
    assert (status.on_hold, status.mails_pending) == ((), 0)
    assert convert(known, Status) == changed(WELL, mails_pending=2)
    with pytest.raises(ValidationError):
        convert({**known, "mails_pending": "two"}, Status)
