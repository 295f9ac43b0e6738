"""The subject of a mail begins with the outcome, and names project and host."""

from dataclasses import replace

import pytest

from releaser.errors import Finding
from releaser.locks.blocks import CulpritsSection
from releaser.locks.changes import Change
from releaser.locks.vulnerabilities import SecuritySection, Vulnerability
from releaser.releases.blocks import FailedTestsSection
from releaser.releases.journal import MailSection
from releaser.report import HealthCheckResult, Outcome, RunReport
from releaser.reporting.subject import headline, subject
from releaser.site.site import Pulled
from tests.reporting.makers import (
    BROKEN,
    CHANGES,
    QUIET,
    REFUSED,
    ROLLED_BACK,
    STILL_LIVE,
    UPDATED,
    WENT_BACK,
    failed,
    findings,
)

TWO_COMMITS = Pulled(old="a", new="b", count=2)
FIXED = SecuritySection(fixed=(Vulnerability(name="django", version="5.1.2", id="CVE-2026-1"),))
DOWNGRADE = Change(name="pillow", old="11.1", new="11.0", bump="minor", direct=True)
NEW_DJANGO = replace(UPDATED, changes=CHANGES[:1])
BAD_DJANGO = replace(BROKEN, changes=CHANGES[:1])
ILL_BEFORE = (HealthCheckResult(release="r1", good=False, text="500"),)


def solved(report: RunReport, problem: str) -> RunReport:
    return report.with_section(MailSection(solved=(problem,)))


def without(report: RunReport, *culprits: str) -> RunReport:
    return report.with_section(CulpritsSection(culprits=culprits))


def breaking(*tests: str) -> RunReport:
    return BAD_DJANGO.with_section(FailedTestsSection(failed_tests=tests))


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (QUIET, "✓ mysite: all clear"),
        (replace(QUIET, recovered="a flip was undone", noted="b"), "! mysite: recovered from an interrupted run"),
        (replace(QUIET, noted="The tests of r1 pass again."), "! mysite: The tests of r1 pass again"),
        (solved(QUIET, "build"), "✓ mysite: solved, releases can be built again"),
        (replace(QUIET, noted="ledger.json was lost.", problems=findings("a")), "! mysite: a"),
        (replace(QUIET, problems=findings("git push failed.")), "! mysite: git push failed"),
        (replace(QUIET, problems=findings("a", "b")), "! mysite: 2 problems"),
        (replace(QUIET, exit_code=7), "! mysite: problem"),
        (UPDATED, "✓ mysite: updated django 5.1.2 → 5.2 and 2 more"),
        (replace(UPDATED, changes=(CHANGES[0], DOWNGRADE)), "✓ mysite: updated pillow 11.1 ↓ 11.0 and 1 more"),
        (replace(UPDATED, changes=(DOWNGRADE, replace(CHANGES[0], fixes=("CVE-2026-1",)))),
            "✓ mysite: updated django 5.1.2 → 5.2 and 1 more"),
        (replace(UPDATED, changes=CHANGES[1:2]), "✓ mysite: updated a-longer-name 1.0 (new)"),
        (replace(UPDATED, changes=CHANGES[2:]), "✓ mysite: updated gone 3.0 (removed)"),
        (replace(UPDATED, changes=(), pulled=TWO_COMMITS), "✓ mysite: updated 2 new commits"),
        (replace(UPDATED, changes=()), "✓ mysite: updated"),
        (NEW_DJANGO, "✓ mysite: updated django 5.1.2 → 5.2"),
        (replace(NEW_DJANGO, result="updated-not-restarted", exit_code=7),
            "! mysite: updated, not restarted, django 5.1.2 → 5.2"),
        (replace(NEW_DJANGO, result="updated-not-restarted", exit_code=7,
            problems=(Finding("restart-nothing", "x"), *findings("a", "b"))),
            "! mysite: updated, not restarted, 2 problems, django 5.1.2 …"),
        (solved(replace(UPDATED, changes=()), "tests"), "✓ mysite: updated, solved"),
        (without(UPDATED, "a 2"), "! mysite: updated, a 2 on hold, django 5.1.2 → 5.2 and 2 mo…"),
        (without(NEW_DJANGO, "a 2", "b 3"), "! mysite: updated, 2 on hold, django 5.1.2 → 5.2"),
        (UPDATED.with_section(FIXED), "✓ mysite: updated, security fix, django 5.1.2 → 5.2 and 2 m…"),
        (replace(UPDATED, exit_code=7, problems=findings("git push failed")),
            "! mysite: updated, problem, django 5.1.2 → 5.2 and 2 more"),
        (replace(UPDATED, exit_code=7, live_changed=False, problems=findings("no push")), "! mysite: no push"),
        (replace(UPDATED, live_changed=False, changes=()), "✓ mysite: adopted"),
        (replace(UPDATED, rebuilt="Python 3.11.7 is 3.11.9", changes=()), "✓ mysite: rebuilt, Python 3.11.7 is 3.11.9"),
        (replace(UPDATED, command="adopt", changes=()), "✓ mysite: adopt done"),
        (BROKEN, "✗ mysite: refused, one of 3 packages breaks the tests"),
        (BAD_DJANGO, "✗ mysite: refused, django 5.2 breaks the tests"),
        (breaking("test_a (shop.tests.T.test_a)"), "✗ mysite: refused, django 5.2 breaks test_a"),
        (breaking("tests/test_a.py::T::test_a[x y]"), "✗ mysite: refused, django 5.2 breaks test_a[x y]"),
        (breaking("test_a (a.T)", "test_b (a.T)"), "✗ mysite: refused, django 5.2 breaks 2 tests"),
        (replace(BROKEN, changes=CHANGES[2:]), "✗ mysite: refused, the removal of gone breaks the tests"),
        (replace(BROKEN, changes=(), pulled=TWO_COMMITS), "✗ mysite: refused, 2 new commits break the tests"),
        (replace(BROKEN, blame="before"), "✗ mysite: refused, tests fail without the update too"),
        (replace(BROKEN, command="rebuild", blame="before"),
            "✗ mysite: rebuild refused, tests fail without the update too"),
        (replace(BROKEN, blame="", steps=failed("migrations")), "✗ mysite: refused, migrations not applied"),
        (replace(BROKEN, steps=failed("django check")), "✗ mysite: refused, one of 3 packages breaks django check"),
        (replace(BROKEN, blame="before", steps=failed("test live release")),
            "✗ mysite: refused, tests of the live release fail"),
        (replace(BROKEN, result="failed", exit_code=4, steps=failed("resolve")), "✗ mysite: failed at resolve"),
        (replace(BROKEN, result="failed", exit_code=1), "✗ mysite: failed, a bug in releaser"),
        (replace(BROKEN, exit_code=130, steps=failed("test")), "✗ mysite: interrupted"),
        (ROLLED_BACK, "↩ mysite: rolled back, health check failed"),
        (replace(ROLLED_BACK, answers=ILL_BEFORE), "✗ mysite: rolled back, PREVIOUS RELEASE FAILS TOO"),
        (replace(ROLLED_BACK, command="rollback"), "↩ mysite: rollback failed, health check failed"),
        (STILL_LIVE, "✗ mysite: FAILED RELEASE IS LIVE, health check failed"),
        (WENT_BACK, "↩ mysite: rolled back to r1"),
        (replace(WENT_BACK, release=None), "↩ mysite: rolled back"),
        (replace(WENT_BACK, release="r3"), "↩ mysite: switched to r3"),
        (replace(WENT_BACK, command="update"), "↩ mysite: rolled back to r1"),  # by a channel
        (replace(WENT_BACK, command="update", steps=(Outcome(step="seal", status="ok"),)), "✓ mysite: updated"),
        (replace(WENT_BACK, exit_code=7, problems=findings("no")), "! mysite: rolled back to r1, problem"),
        (replace(WENT_BACK, result="failed", exit_code=4), "✗ mysite: rollback failed at build"),
        (replace(REFUSED, headline="b is checked out", problems=()), "✗ mysite: refused, b is checked out"),
        (replace(REFUSED, headline="/srv/mysite/uv.lock is bad"), "✗ mysite: refused, uv.lock is bad"),
        (replace(REFUSED, problems=(*REFUSED.problems, *findings("a"))), "✗ mysite: refused, the tree is not clean: x"),
        (replace(REFUSED, headline="2 problems found", problems=findings("a", "b")), "✗ mysite: refused, 2 problems"),
        (replace(REFUSED, headline="2 problems found", problems=findings("a", "b", "b")),
            "✗ mysite: refused, 2 problems"),
    ],
)  # fmt: skip
def test_it_begins_with_the_outcome(report: RunReport, said: str) -> None:
    assert subject(replace(report, host="")) == said


@pytest.mark.parametrize("host", ["web1", "a-long-name-of-a-host-for-which-there-is-no-room"])
@pytest.mark.parametrize("project", ["shop", "a_project_with_a_very_long_name_indeed"])
@pytest.mark.parametrize("report", [UPDATED, REFUSED, ROLLED_BACK, BROKEN])
def test_it_names_project_and_host_whatever_has_to_be_cut(report: RunReport, project: str, host: str) -> None:
    long = "x" * 200
    found = subject(replace(report, project=project, host=host, problems=findings(long), headline=long))
    assert len(found) <= 60
    assert found[2:].startswith(project[:19])
    assert found.endswith("]")
    assert f" [{host[:11]}" in found


@pytest.mark.parametrize(("project", "name"), [("", "/srv/mysite"), ("my\r\n\0 site", "my site")])
def test_a_project_goes_by_its_path_or_its_name_without_control_characters(project: str, name: str) -> None:
    assert subject(replace(QUIET, project=project)) == f"✓ {name}: all clear [web1]"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("the disk is full", "The disk is full"),
        ("health: no", "Health: no"),
        ("/srv/mysite is gone", "/srv/mysite is gone"),
        ("uv.lock is bad", "uv.lock is bad"),
        ("git push failed", "git push failed"),
        ("`a` failed", "`a` failed"),
        ("x.example.org does not answer", "x.example.org does not answer"),
    ],
)
def test_a_headline_begins_like_a_sentence_and_keeps_names_and_paths(text: str, first: str) -> None:
    assert headline(replace(QUIET, headline=text)) == first
