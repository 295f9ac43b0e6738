"""What a mail about an update lists beside the update: commits that wait, and processes that nothing restarted."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.e2e.scenes import body, eventually
from tests.support.sites import RED_TESTS, TESTS

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

PROCESSES = "Processes that still run on another release"


def test_a_mail_about_an_update_names_commits_that_stay_out_and_those_that_are_not_pushed(
    make_site: SiteFactory,
) -> None:
    site = make_site.adopted("1.1.0", dotenv={"RELEASER_GIT_PUSH": "false"})
    commit = site.push_from_elsewhere({TESTS: RED_TESTS}, message="Close the shop")
    site.releaser("update", check=5)
    site.publish("alpha", "1.2.0")
    updated = site.json("update")
    assert updated["live_changed"]
    mail = site.outbox_mails()[-1]
    assert str(mail["Subject"]).startswith("✓")
    text = " ".join(body(site).split())
    assert f"* commit {commit[:12]} (Close the shop) breaks the tests (since " in text
    assert f"Commits of uv.lock that are not pushed {'-' * 38} * {site.head()[:12]} Update 1 package" in text
    assert [one.split()[0] for one in updated["unpushed"]] == [site.head()[:12]]


def test_processes_that_are_about_to_be_restarted_are_left_to_the_next_run(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", due="1.2.0")
    process = subprocess.Popen([site.link / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        eventually(lambda: _is_seen(site, process.pid), "a process that uses the live release")
        updated = site.json("update")
        assert updated["live_changed"]
        assert updated["left_behind"] == []
        assert PROCESSES not in body(site)
        os.utime(site.link, (0, 0), follow_symlinks=False)  # some time later
        told = site.json("update")
        assert any(f"{process.pid} (" in one for one in told["problems"])
    finally:
        process.communicate(b"\n")


def _is_seen(site: SampleSite, pid: int) -> bool:
    return any(pid in one["in_use_by"] for one in site.json("list"))
