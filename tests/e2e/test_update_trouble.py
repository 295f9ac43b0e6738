"""Updates that cannot begin, cannot be built, or go live and then meet trouble: codes 4, 7 and 8."""

import json

import pytest

from tests.e2e.scenes import (
    MEETING_TESTS,
    body,
    changed_files,
    edit_pyproject,
    in_background,
    make_hook,
    meeting,
    silent,
    step,
    steps,
)
from tests.support.sites import SiteFactory, variables
from tests.support.smtp import MailServer

# Code 4


@pytest.mark.story
def test_dependencies_without_a_solution(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.push_commit("Ask for a ghost", {"pyproject.toml": edit_pyproject(site, '"beta"', '"beta", "ghost>=7"')})
    before = site.snapshot()
    report = site.json("update", check=4)
    assert (report["result"], report["release"]) == ("failed", None)
    assert report["headline"] == "the dependencies of the project have no solution"
    assert "ghost" in report["output"]
    assert site.snapshot() == before
    assert "ghost" in body(site)
    assert not list(site.outer.glob(".*staging*"))


# Code 7


def test_a_commit_or_a_push_that_is_refused_is_made_by_the_next_run(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(git_pull=False, git_hooks=True), due="1.1.0")
    hook = make_hook(site.path / ".git", "pre-commit", "echo this hook refuses everything >&2; exit 1")
    before = site.head()
    report = site.json("update", check=7)
    assert "this hook refuses everything" in report["output"]
    assert "push" not in steps(report)
    assert (site.head(), site.live_version("alpha")) == (before, "1.1.0")
    hook.unlink()
    theirs = site.push_from_elsewhere({"notes.txt": "news"})
    report = site.json("update", check=7)
    ours = site.head()
    assert changed_files(site) == {"uv.lock"}
    assert step(report, "push")["status"] == "failed"
    assert any("has commits that this checkout does not have" in problem for problem in report["problems"])
    assert "push" in body(site)
    assert site.json("status")["push_pending"] is True
    again = site.json("update", check=7)
    assert (again["result"], again["live_changed"]) == ("no-changes", False)
    assert (site.head(), site.remote_head()) == (ours, theirs)
    site.git("pull", "--quiet", "--rebase")
    silent(site.releaser("update"))
    assert site.remote_head() == site.head()
    assert (site.git("log", "-1", "--format=%P"), site.git("status", "--porcelain")) == (theirs, "")
    assert site.json("status")["push_pending"] is False


def test_what_is_mailed_is_not_printed_as_well_unless_asked(make_site: SiteFactory, smtp_server: MailServer) -> None:
    dotenv = variables(smtp_host="127.0.0.1", smtp_port=smtp_server.port, smtp_timeout="60s", culprits="off")
    site = make_site.adopted(dotenv=dotenv, due="1.1.0")
    silent(site.releaser("update"))
    site.publish("alpha", "2.0.0", broken=True)
    failed = site.releaser("update", check=5)
    assert (failed.stdout, failed.stderr) == ("", "")
    assert [received.message["subject"][:1] for received in smtp_server.messages] == ["✓", "✗"]
    assert site.json("history")[0]["mailed"]
    assert "mail: sent to ada@example.org" in site.releaser("rollback", check=0).stderr  # a person asked for it


# Code 8


@pytest.mark.story
def test_two_runs_at_once(make_site: SiteFactory) -> None:
    """Questions are answered meanwhile."""
    site = make_site.adopted(files={"run_tests.py": MEETING_TESTS})
    live = site.live_id()
    site.publish("alpha", "1.1.0")
    with meeting() as met, in_background(site, "update", env=met.env) as update:
        with met.kept_waiting():
            before = site.snapshot()
            finished = [site.releaser(one, "--json", check=8) for one in ("update", "rollback", "init", "prune")]
            assert site.snapshot() == before
            running = site.json("status")["running"]
            assert f"running now: releaser update, pid {update.pid}" in site.releaser("status", check=0).stdout
            assert site.releaser("run", "--", "python", "-c", "print('here')", check=0).stdout == "here\n"
            site.releaser("show", live, check=0)
            site.releaser("pin", live, check=8)
        assert update.wait(timeout=60) == 0
    assert site.json("status")["running"] is None
    assert running == {"pid": update.pid, "command": "update", "since": running["since"]}
    for one in finished:
        assert f"`releaser update` (pid {update.pid}) has held the lock" in one.stderr
        assert f"since {running['since']}" in one.stderr
        assert ("live: unchanged" in one.stderr) == (one is not finished[-1])  # prune leaves live alone
    report = json.loads(finished[0].stdout)
    assert (report["result"], report["exit_code"], report["release"]) == ("refused", 8, None)
    assert site.live_version("alpha") == "1.1.0"
