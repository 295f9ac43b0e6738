"""`list`, `status`, `check` and `run`: answers for people and for scripts."""

import re
from datetime import datetime, timedelta

import pytest

from tests.e2e.scenes import no_change
from tests.support.sites import SampleSite, SiteFactory

FIELDS_OF_LIST = {
    "id", "state", "live", "pinned", "created_at", "python", "lock_sha256", "changes", "size_bytes", "own_bytes",
    "commit", "path",
}  # fmt: skip
FIELDS_OF_STATUS = {"live", "previous", "last_run", "last_updated", "well", "attention", "on_hold", "pending"}
FIELDS_OF_A_RUN = {"result", "exit_code", "release", "previous", "changes", "on_hold", "commits", "steps", "problems"}


@pytest.fixture
def updated(make_site: SiteFactory) -> SampleSite:
    """A site that was updated from alpha 1.0.0 to 1.1.0."""
    return make_site.live("1.1.0")


def is_recent(text: str) -> bool:
    """Return True if a time, ISO 8601 in UTC, was in the last hours."""
    time = datetime.fromisoformat(text)
    return time.utcoffset() == timedelta(0) and abs(datetime.now(time.tzinfo) - time) < timedelta(hours=3)


def test_list_as_json(updated: SampleSite) -> None:
    newest, oldest = updated.json("list")
    assert {*newest} >= FIELDS_OF_LIST
    assert (newest["id"], newest["state"], newest["live"], newest["pinned"]) == (updated.live(), "live", True, False)
    assert (oldest["state"], oldest["live"]) == ("previous", False)
    assert newest["changes"] == [{"name": "alpha", "old": "1.0.0", "new": "1.1.0", "bump": "minor"}]
    assert is_recent(newest["created_at"])
    assert re.fullmatch(r"3\.\d+\.\d+", newest["python"])
    assert newest["path"] == str(updated.link.resolve())
    assert re.fullmatch("[0-9a-f]{64}", newest["lock_sha256"])
    assert re.fullmatch("[0-9a-f]{40}", newest["commit"])
    assert newest["size_bytes"] > 0
    assert newest["size_bytes"] >= newest["own_bytes"] >= 0
    assert re.fullmatch(r"\d{8}T\d{6}Z(-\d+)?", newest["id"])


def test_every_answer_has_the_fields_of_the_interface(updated: SampleSite) -> None:
    status = updated.json("status")
    assert {*status} >= FIELDS_OF_STATUS
    assert (status["live"], status["previous"]) == (updated.live(), updated.releases()[0])
    assert (status["well"], status["attention"], status["on_hold"]) == (True, [], [])
    assert is_recent(status["last_updated"])
    updated.publish("beta", "2.0.0")
    for command in ("update", "rollback"):
        answer = updated.json(command)
        assert {*answer} >= FIELDS_OF_A_RUN
        assert all({"step", "status", "seconds", "detail"} <= {*step} for step in answer["steps"])
    (hold,) = updated.json("status")["on_hold"]
    assert {"name", "version", "reason", "by"} <= {*hold}
    updated.edit("shop.py", "")
    refusal = updated.json("update", check=3)
    assert (refusal["result"], refusal["exit_code"], bool(refusal["problems"])) == ("refused", 3, True)
    assert all({"code", "message", "advice"} <= {*problem} for problem in refusal["problems"])


def test_tables_fit_eighty_columns_and_questions_change_nothing(updated: SampleSite) -> None:
    with no_change(updated):
        for command in ("list", "status"):
            finished = updated.releaser(command, check=0, env={"COLUMNS": "80"})
            assert all(len(line) <= 80 for line in finished.stdout.splitlines()), str(finished)
            assert (updated.live() in finished.stdout, "\x1b" in finished.stdout) == (True, False)
            assert finished.stderr == ""


@pytest.mark.slow
def test_status_of_a_site_that_needs_attention(updated: SampleSite) -> None:
    assert updated.releaser("status").returncode == 0
    updated.publish("alpha", "1.2.0", broken=True)
    updated.releaser("update", check=5)
    finished = updated.releaser("status", check=10)
    assert "alpha" in finished.stdout
    status = updated.json("status", check=10)
    assert (status["well"], bool(status["attention"])) == (False, True)
    for words, code in {"pin live": 0, "init": 0, "rollback live": 0, "rollback 20200101": 9}.items():
        command, *args = words.split()
        updated.releaser(command, *args, check=code)
        assert updated.json("status", check=10)["attention"] == status["attention"], words
    updated.update_to("1.3.0")
    assert updated.json("status")["well"] is True


def test_check_reports_every_problem_at_once(updated: SampleSite) -> None:
    assert updated.releaser("check").returncode == 0
    updated.edit("shop.py", "# mine\n")
    updated.git("branch", "--quiet", "--unset-upstream")
    updated.write_dotenv({"RELEASER_KEEEP": "3", "RELEASER_RESTART_FILE": "nowhere/restart.txt"})
    finished = updated.releaser("check", check=3)
    for word in ("shop.py", "upstream", "RELEASER_KEEEP", "RELEASER_KEEP", "nowhere"):
        assert word in finished.stdout + finished.stderr, word
    assert len(updated.json("check", check=3)["problems"]) >= 4
    answer = updated.json("update", check=3)
    assert len(answer["problems"]) >= 4


def test_a_command_runs_in_the_live_release(updated: SampleSite) -> None:
    code = "import alpha, os, sys; print(alpha.__version__, sys.argv[1:], os.environ['VIRTUAL_ENV'])"
    finished = updated.releaser("run", "--", "python", "-c", code, "--json", "a word", check=0)
    assert finished.stdout.strip() == f"1.1.0 ['--json', 'a word'] {updated.link.resolve()}"
    below = updated.path / "config"
    assert updated.releaser("run", "--", "pwd", cwd=below, project=None, check=0).stdout.strip() == str(below)
    assert updated.releaser("run", "--", "sh", "-c", "exit 42").returncode == 42
    assert updated.releaser("run", "--", "no-such-program").returncode not in {0, 1}
    assert updated.releaser("run", "--", "sh", "-c", "kill -TERM $$").returncode in {143, -15}
