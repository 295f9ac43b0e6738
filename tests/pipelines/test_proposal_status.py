"""Proposals, and upgrades that wait, in status and pages."""

from dataclasses import replace

from releaser.answers import OutdatedPackage
from releaser.core.status import Line, Pending, shown
from releaser.releases.key import ReleaseKey
from releaser.releases.proposal import Proposal
from releaser.reporting.hold_status import WaitingCandidate
from releaser.reporting.many_sites import SiteAnswer
from releaser.reporting.monitoring import find_alarms, find_open_questions, usual_ages
from releaser.reporting.page import page_of, page_of_sites
from releaser.system.files import plain
from tests.reporting.makers import changed
from tests.reporting.test_page import NOW, WELL, a_server, assert_harmless, commands_on

KEY = ReleaseKey(lock_sha256="1", code_key="2", python="3.12.1", group=None)
MADE = Proposal(
    name="django", remote="origin", branch="releaser/update-django", target="main", commit="1" * 40, pushed=True
)


def test_a_proposal_that_waits_for_review_is_no_alarm() -> None:
    status = changed(WELL.status, proposal=MADE.summary, proposals=(MADE.facts,))
    assert [*find_alarms(status, usual_ages(status), NOW), *find_open_questions(status)] == []
    assert f"proposal: {MADE.summary}" in [line.text for line in shown(status, Line)]
    assert "1 proposal to review" in [one.text for one in shown(status, Pending)]


def test_proposals_and_waiting_upgrades_are_listed_with_their_commands() -> None:
    waits = Proposal(name="pillow", waits="`propose_limit` permits 1 open proposal")
    status = changed(
        WELL.status,
        waits="an update waits for the maintenance window",
        proposals=(MADE.facts, waits.facts),
        waiting=(WaitingCandidate(key=KEY, release="r1", reason="(`releaser approve r1`)", at=NOW.isoformat()),),
    )
    coming = OutdatedPackage(name="alpha", locked="1.0", latest="1.1", next="1.1")
    page = page_of(replace(WELL, status=status, outdated=(coming,)))
    assert_harmless(page)
    here = ["--project", "/srv/the shop"]
    expected = [
        ["releaser", "update", "--now", *here],
        ["releaser", "update", "alpha", "--now", *here],
        [
            "git",
            "switch",
            "main",
            "&&",
            "git",
            "pull",
            "&&",
            "git",
            "merge",
            "origin/releaser/update-django",
            "&&",
            "git",
            "push",
        ],
        ["releaser", "propose", "--force", *here],
        ["releaser", "approve", "r1", *here],
    ]
    assert [one for one in commands_on(page) if one in expected] == expected
    of_sites = page_of_sites([a_server(SiteAnswer(site=status.path, exit_code=0, answer=plain(status)))], NOW)
    assert_harmless(of_sites)
    assert not any("git" in one for one in commands_on(of_sites))  # another server could write any line
