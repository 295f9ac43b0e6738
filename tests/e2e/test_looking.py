"""`list`, `status`, `check`, `config`, `diff`, `history`, `verify` and `run`: answers for people and for scripts."""

import json
import re
from datetime import datetime, timedelta

import pytest

from tests.e2e.scenes import mostly_slow, no_change, says
from tests.support.sites import SampleSite, SiteFactory

FIELDS_OF_LIST = {"id", "state", "live", "pinned", "created_at", "python", "lock_sha256", "changes", "commit", "path"}
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
        for words in ("list", "status", "history", "verify", "config", "diff @1 live"):
            command, *args = words.split()
            finished = updated.releaser(command, *args, check=0, env={"COLUMNS": "80"})
            assert all(len(line) <= 80 for line in finished.stdout.splitlines()), str(finished)
            assert "\x1b" not in finished.stdout
            assert updated.live() in finished.stdout or command in ("config", "diff")
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


@pytest.mark.slow
def test_law_29_config_names_each_value_and_its_source_but_no_secret(make_site: SiteFactory) -> None:
    site = make_site.live(settings={"test_timeout": "90m", "keep": 3, "restart": "touch 'a b'"})
    secrets = {"RELEASER_SMTP_PASSWORD": "hunter2", "RELEASER_TEST_ENVIRONMENT": '{"KEY": "geheim"}'}
    site.write_dotenv({**secrets, "ADMINS_JSON": '[["Ada", "ada@example.org"]]'}, keep="4")
    env = {"RELEASER_GIT_PUSH": "off", "AUTO_UPDTR__EMAIL_HOST": "mx", "AUTO_UPDTR__EMAIL_HOST_PORT": "26"}
    rows = {row["name"]: row for row in site.json("config", env=env)["settings"]}
    expected = {
        "branch": ("main", "default", "main"), "test_timeout": ("90m", "pyproject.toml", "30m"),
        "restart": ("touch 'a b'", "pyproject.toml", "auto"), "keep": ("4", ".env", "5"),
        "keep_within": ("30d", "default", "30d"), "git_push": ("false", "environment", "true"),
        "group": ("local", "default", ""), "smtp_password": ("***", ".env", ""),
        "test_environment": ("{'KEY': '***'}", ".env", ""),
        "admins": ("Ada <ada@example.org>", ".env (ADMINS_JSON)", ""),
        "smtp_host": ("mx:26", "environment (AUTO_UPDTR__EMAIL_HOST)", "localhost"),
    }  # fmt: skip
    table = site.releaser("config", env=env, check=0).stdout
    for name, (value, source, default) in expected.items():
        assert rows[name]["source"] == source, name
        assert re.search(rf"(?m)^{name} +{re.escape(value)} +{re.escape(source[:11])}", table), f"{name} in\n{table}"
        alone = " ".join(site.releaser("config", name, env=env, check=0).stdout.split())
        for text in (value, source, default, f"RELEASER_{name.upper()}", rows[name]["description"]):
            assert text in alone, f"{text} in {alone}"
    assert (rows["test_timeout"]["value"], rows["keep"]["value"], rows["git_push"]["value"]) == (5400, 4, False)
    for word in ("hunter2", "geheim"):
        assert word not in table + str(rows)
    says(site.releaser("config", "helth_check", check=2), "health_check")
    site.write_dotenv(secrets, kep="4", keep="many")
    for args in ([], ["keep"], ["ADMINS_JSON", "--json"]):
        finished = site.releaser("config", *args, check=3)
        says(finished, "RELEASER_KEP", "`RELEASER_KEEP`", "many")
        assert finished.stdout
        assert "hunter2" not in str(finished)
    assert len(site.json("config", check=3)["problems"]) == 2


@pytest.mark.slow
def test_diff_and_history(updated: SampleSite) -> None:
    change = {"name": "alpha", "old": "1.0.0", "new": "1.1.0", "bump": "minor"}
    assert updated.json("diff", "previous") == [change]
    text = updated.releaser("diff", "@1", check=0).stdout
    assert re.search(r"alpha +1\.0\.0 +1\.1\.0 +minor\n\+ [0-9a-f]+ Update", text), text
    assert re.search(r"1\.1\.0 +1\.0\.0 +other\n- [0-9a-f]+ Update", updated.releaser("diff", "live", "@1").stdout)
    assert updated.json("diff", "live") == []
    assert "20200101" in updated.releaser("diff", "20200101", check=9).stderr
    with (updated.state / "history.jsonl").open("a") as history:
        history.write('{"run": "broken\n[1]\n')
    first, second = updated.json("history")
    assert [(row["command"], row["result"]) for row in (first, second)] == [("update", "updated"), ("init", "updated")]
    assert (first["release"], first["changes"], is_recent(first["ended_at"])) == (updated.live(), [change], True)
    assert 0 < first["seconds"] < 600
    assert updated.json("history", "--count", "1") == [first]
    assert re.search(r"update +updated +\S+Z +[\d.]+ +alpha 1", updated.releaser("history", check=0).stdout)


DAMAGES = {  # a change of a release, and the command that helps
    "an edited file": "update --force", "no Python": "update", "another lock": "rollback",
    "a stray file": "update --force", "a file of the previous one": "",
}  # fmt: skip


@pytest.mark.parametrize("damage", mostly_slow(DAMAGES, "an edited file"))
def test_verify_names_damage_and_the_command_that_helps(updated: SampleSite, damage: str) -> None:
    assert "is as it was built" in updated.releaser("verify", check=0).stdout
    release, command = "previous" if "previous" in damage else "live", DAMAGES[damage]
    directory = updated.release(updated.releases()[0] if release == "previous" else None)
    (packages,) = (directory / "venv").glob("lib/python*/site-packages")
    if damage == "no Python":
        (directory / "venv" / "bin" / "python").unlink()
    elif damage == "another lock":
        (directory / "uv.lock").write_text("version = 1\n")
    else:
        path = packages / ("stray.py" if "stray" in damage else "alpha/__init__.py")
        path.unlink(missing_ok=True)
        path.write_text("'edited'\n")
    finished = updated.releaser("verify", release, check=10)
    fault = {"no Python": "does not start", "another lock": "uv.lock"}.get(
        damage, path.name if "file" in damage else ""
    )
    assert fault in finished.stdout, str(finished)
    assert f"`releaser {command}" in finished.stdout, str(finished)
    answer = updated.json("verify", release, check=10)
    assert (answer["release"], answer["well"], len(answer["faults"])) == (directory.name, False, 1)
    if command:
        words = re.search(r"`releaser ([^`]+)`", finished.stdout)
        assert words
        name, *args = words[1].split()
        assert updated.releaser(name, *args).returncode in (0, 7)
        assert updated.json("verify")["well"] is True


@pytest.mark.slow
def test_verify_says_what_cannot_be_known_of_a_release_that_an_earlier_version_adopted(fresh: SampleSite) -> None:
    fresh.make_venv()
    fresh.releaser("init", check=0)
    manifest = fresh.release() / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    del content["sealed"]
    manifest.write_text(json.dumps(content), encoding="utf-8")
    (path,) = fresh.link.glob("lib/python*/site-packages/alpha/__init__.py")
    path.unlink()
    finished = fresh.releaser("verify", check=0)
    assert re.search(r"adopted.*cannot be\s+told.*alpha/__init__", finished.stdout, re.DOTALL), str(finished)
    assert "alpha" in fresh.json("verify")["unknown"]


def test_a_command_runs_in_the_live_release(updated: SampleSite) -> None:
    code = "import alpha, os, sys; print(alpha.__version__, sys.argv[1:], os.environ['VIRTUAL_ENV'])"
    finished = updated.releaser("run", "--", "python", "-c", code, "--json", "a word", check=0)
    assert finished.stdout.strip() == f"1.1.0 ['--json', 'a word'] {updated.link.resolve()}"
    below = updated.path / "config"
    assert updated.releaser("run", "--", "pwd", cwd=below, project=None, check=0).stdout.strip() == str(below)
    assert updated.releaser("run", "--", "pwd", cwd=below, check=0).stdout.strip() == str(updated.path)
    assert updated.releaser("run", "--", "sh", "-c", "exit 42").returncode == 42
    assert updated.releaser("run", "--", "no-such-program").returncode not in {0, 1}
    assert updated.releaser("run", "--", "sh", "-c", "kill -TERM $$").returncode in {143, -15}
