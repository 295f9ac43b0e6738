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


def mail_settings(port: int) -> dict[str, str]:
    return {"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(port), "RELEASER_SMTP_TIMEOUT": "60s"}


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


def test_a_push_that_is_refused_leaves_the_commit_and_is_tried_again(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(git_pull=False))
    theirs = site.push_from_elsewhere({"notes.txt": "news"})
    site.publish("alpha", "1.1.0")
    report = site.json("update", check=7)
    ours = site.head()
    assert (report["result"], report["live_changed"]) == ("updated", True)
    assert step(report, "push")["status"] == "failed"
    assert any("has commits that this checkout does not have" in problem for problem in report["problems"])
    assert changed_files(site) == {"uv.lock"}
    assert site.live_version("alpha") == "1.1.0"
    assert "push" in body(site)
    assert site.json("status")["push_pending"] is True
    again = site.json("update", check=7)
    assert (again["result"], again["live_changed"]) == ("no-changes", False)
    assert (site.head(), site.remote_head()) == (ours, theirs)
    site.git("pull", "--quiet", "--rebase")
    silent(site.releaser("update"))
    assert site.remote_head() == site.head()
    assert site.git("log", "-1", "--format=%P") == theirs
    assert site.json("status")["push_pending"] is False


def test_a_commit_that_fails_is_made_by_the_next_run(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.env["RELEASER_GIT_HOOKS"] = "true"
    hook = make_hook(site.path / ".git", "pre-commit", "echo this hook refuses everything >&2; exit 1")
    site.publish("alpha", "1.1.0")
    before = site.head()
    report = site.json("update", check=7)
    assert "this hook refuses everything" in report["output"]
    assert "push" not in steps(report)
    assert site.head() == before
    assert site.live_version("alpha") == "1.1.0"
    hook.unlink()
    finished = site.releaser("update")
    assert finished.returncode == 0, str(finished)
    assert changed_files(site) == {"uv.lock"}
    assert site.remote_head() == site.head() != before
    assert site.git("status", "--porcelain") == ""


def test_what_is_mailed_is_not_printed_as_well_unless_asked(make_site: SiteFactory, smtp_server: MailServer) -> None:
    site = make_site.adopted(dotenv=mail_settings(smtp_server.port), due="1.1.0")
    silent(site.releaser("update"))
    site.publish("alpha", "2.0.0", broken=True)
    failed = site.releaser("update", check=5, env={"RELEASER_CULPRITS": "off"})
    assert (failed.stdout, failed.stderr) == ("", "")
    marks = [received.message["subject"][:1] for received in smtp_server.messages]
    assert marks == ["✓", "✗"]
    assert site.json("history")[0]["mailed"]
    site.publish("alpha", "2.0.1")
    assert "mail: sent to ada@example.org" in site.releaser("update", "-v", check=0).stderr
    assert "mail: sent" in site.releaser("rollback").stderr  # a person asked for it


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
