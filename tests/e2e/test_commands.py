"""The questions: list, show, diff, status, history; as text for people and as JSON for programs."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.scenes import states, steps
from tests.support.commands import run
from tests.support.sites import SampleSite, SiteFactory, variables

pytestmark = pytest.mark.story

SETTINGS = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
News = tuple[SampleSite, str, str]
ASKING = [["list"], ["show", "LIVE"], ["diff", "LIVE"], ["status"], ["history"], ["check"], ["config"]]


def with_news(make_site: SiteFactory) -> News:
    """Make a site with the release it began with and one more; give the ids of both."""
    site = make_site.adopted(prepare=_take_two)
    first, second = site.releases()
    return site, first, second


def _take_two(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")
    site.update_to("beta", "2.0.0")


@pytest.fixture(scope="module")
def news(make_scene: SiteFactory) -> News:
    """What `with_news` makes; here nothing is changed."""
    return with_news(make_scene)


# list


def test_list_as_json(news: News) -> None:
    site, first, second = news
    newest, oldest = site.json("list")
    assert (newest["id"], newest["state"], newest["live"], newest["pinned"]) == (second, "live", True, False)
    assert (oldest["id"], oldest["state"], oldest["live"], oldest["pinned"]) == (first, "previous", False, False)
    changes = [{key: change[key] for key in ("name", "old", "new", "bump")} for change in newest["changes"]]
    assert changes == [
        {"name": "alpha", "old": "1.0.0", "new": "1.1.0", "bump": "minor"},
        {"name": "beta", "old": "1.0.0", "new": "2.0.0", "bump": "major"},
    ]
    assert newest["path"] == str(site.link.resolve())
    assert newest["python"] == site.python("import platform; print(platform.python_version())")
    assert re.fullmatch(r"[0-9a-f]{64}", newest["lock_sha256"])
    assert newest["lock_sha256"] != oldest["lock_sha256"]
    assert newest["size_bytes"] > 10_000
    assert newest["in_use_by"] == []
    created = datetime.fromisoformat(newest["created_at"])
    assert created.utcoffset() == UTC.utcoffset(None)
    assert created.strftime("%Y%m%dT%H%M%SZ") == second[:16]


def test_list_for_people(news: News) -> None:
    site, first, second = news
    heading, newest, oldest = site.releaser("list", check=0).stdout.splitlines()
    assert " ".join(heading.split()) == "RELEASE STATE AGE PYTHON CHANGES SIZE OWN IN USE BY COMMIT"
    begun = r"\d+ KB +\d+ KB +- +[0-9a-f]{7} Begin the site"
    assert re.fullmatch(rf"\*  {second} +live +\d+ \w+ +3\.\S+ +2 +{begun}", newest)
    assert re.fullmatch(rf"   {first} +previous +\d+ \w+ +3\.\S+ +0 +{begun}", oldest)


# show, diff


def test_show_tells_all_about_a_release(news: News) -> None:
    site, first, second = news
    shown, listed = site.json("show", second), site.json("list")[0]
    del listed["lock_differences"]  # which `status` has for people, and `list` for programs
    assert {name: shown[name] for name in listed} == listed
    assert (shown["origin"], shown["tests"], shown["previous"], shown["group"]) == ("built", "passed", first, "local")
    made = ["resolve", "build", "test", "seal", "flip", "python start", "collectstatic", "restart"]
    assert [name for name in steps(shown) if name in made] == made
    assert "test_packages ... ok" in shown["test_output"]
    text = site.releaser("show", second, check=0).stdout
    for words in (second, "tests:", "alpha    1.0.0  1.1.0  minor", "build ", "test_packages ... ok"):
        assert words in text
    adopted = site.json("show", first)
    assert (adopted["origin"], adopted["tests"]) == ("adopted", "not run")


def test_diff_compares_two_releases_or_one_with_the_live_one(news: News) -> None:
    site, first, second = news
    forward = site.json("diff", first)
    assert forward == site.json("diff", first, second) == site.json("list")[0]["changes"]
    backward = [(one["old"], one["new"], one["bump"]) for one in site.json("diff", second, first)]
    assert backward == [("1.1.0", "1.0.0", "minor"), ("2.0.0", "1.0.0", "major")]
    assert "beta     1.0.0  2.0.0  major" in site.releaser("diff", first, check=0).stdout
    assert site.json("diff", second) == []
    same = site.releaser("diff", second, check=0)
    assert (same.stdout, same.stderr) == ("", "no packages differ\n")


def test_a_release_that_is_not_there(news: News) -> None:
    for words in (["show", "20200101T000000Z"], ["diff", "20200101T000000Z"], ["pin", "nothing"]):
        finished = news[0].releaser(*words, check=9)
        assert "there is no release" in finished.stderr
        assert "live: unchanged" not in finished.stderr  # it could not have changed


# status, history


def test_history_and_list_and_status_after_all_that_can_happen(make_site: SiteFactory, dead_port: int) -> None:
    site, first, second = with_news(make_site)
    site.releaser("update", check=0)
    site.releaser("rollback", check=0)
    waited = len(site.outbox_mails())  # of a time without a server
    site.push_from_elsewhere({"notes.txt": "news"})
    site.write_dotenv(variables(smtp_host="127.0.0.1", smtp_port=dead_port, git_pull=False))
    site.publish("localtools", "1.1.0")
    third = site.json("update", check=7)["release"]
    site.publish("localtools", "2.0.0", broken=True)
    failed = site.json("update", check=5)["release"]
    expected = {failed: "failed", third: "live", second: "rolled-back", first: "good"}
    assert list(states(site).items()) == list(expected.items())
    runs = site.json("history")
    assert [(run["command"], run["result"], run["exit_code"]) for run in runs] == [
        ("update", "refused", 5),
        ("update", "updated", 7),
        ("rollback", "rolled-back", 0),
        ("update", "no-changes", 0),
        ("update", "updated", 0),
        ("init", "updated", 0),
    ]
    assert all(run["seconds"] > 0 and datetime.fromisoformat(run["started_at"]) for run in runs)
    heading, *lines = site.releaser("history", check=0).stdout.splitlines()
    assert " ".join(heading.split()) == "RUN (UTC) COMMAND RESULT CODE TIME WHAT"
    assert len(lines) == 6
    assert re.match(r"\d{8}T\d{6}Z-\d+  update +refused +5 +\d+\.\d s +the tests failed", lines[0])
    assert len(site.releaser("history", "-n", "2", check=0).stdout.splitlines()) == 3
    assert len(site.json("history", "--number", "2")) == 2
    status = site.json("status")
    assert (status["push_pending"], status["mails_pending"]) == (True, waited + 2)
    assert [(one["name"], one["version"], one["release"]) for one in status["on_hold"]] == [
        ("alpha", "1.1.0", second),
        ("beta", "2.0.0", second),
        ("localtools", "2.0.0", failed),
    ]
    assert failed in [one["release"] for one in status["failed_candidates"]]
    text = site.releaser("status", check=0).stdout
    assert "a commit is not pushed yet" in text
    assert f"{waited + 2} mails not sent yet" in text
    assert "on hold: alpha 1.1.0, beta 2.0.0: " in text
    assert failed in text
    site.releaser("rebuild", check=7)  # which brings nothing newer
    assert failed in [one["release"] for one in site.json("status")["failed_candidates"]]


def test_status_when_all_is_well(news: News) -> None:
    site, _, second = news
    status = site.json("status")
    assert (status["live"], status["project"], status["path"]) == (second, "site", str(site.path))
    assert status["live_age_seconds"] < 600
    assert status["last_run"]["result"] == "updated"
    assert status["last_change"] == status["last_run"]
    assert (status["running"], status["interrupted"], status["push_pending"]) == (None, False, False)
    assert status["mails_pending"] == 0
    assert status["on_hold"] == status["failed_candidates"] == status["problems"] == []
    text = site.releaser("status", check=0).stdout
    assert re.search(rf"^live: {second} \(\d+ \w+ old, Python 3\.\S+\)$", text, re.MULTILINE)
    assert re.search(r"^last run: \S+ \S+ UTC, update: updated to", text, re.MULTILINE)
    assert "pending" not in text


def test_a_page_shows_the_site_also_where_the_index_does_not_answer(news: News, tmp_path: Path) -> None:
    site, _, second = news
    for words, said in ((["--offline"], "No query was made."), ([], "Every package is at its newest version.")):
        site.releaser("report", "--html", str(tmp_path / "page.html"), *words, check=0)
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert f"<b>{second}</b>live" in page
        assert said in page
    site.releaser("report", "--html", str(tmp_path / "none" / "page.html"), check=3)
    site.releaser("report", check=2)


def test_monitoring_reads_the_status_in_its_own_ways(news: News, tmp_path: Path) -> None:
    site, _, second = news
    line = site.releaser("status", "--nagios", check=0).stdout
    assert line.startswith(f"RELEASER OK - site: {second} is live | last_success=")
    assert site.releaser("status", "--nagios", "--warning", "0", check=1).stdout.startswith("RELEASER WARNING - site: ")
    unknown = site.releaser("status", "--nagios", "--project", str(tmp_path), check=3)
    assert unknown.stdout.startswith("RELEASER UNKNOWN - ")
    for words in (["--warning", "soon"], ["--prometheus"]):  # 2 would be a critical service
        assert site.releaser("status", "--nagios", *words, check=3).stdout.startswith("RELEASER UNKNOWN - --")
    site.releaser("unhold", "nothing", check=2)
    assert site.releaser("status", "--nagios", check=0).stdout.startswith("RELEASER OK - ")
    metrics = site.releaser("status", "--prometheus", check=0).stdout
    assert f'release="{second}"' in metrics
    site.releaser("status", "--textfile", str(tmp_path / "releaser.prom"), check=0)
    assert "\nreleaser_last_deployment_exit_code{" in (tmp_path / "releaser.prom").read_text(encoding="utf-8")
    site.releaser("status", "--textfile", str(tmp_path / "none" / "releaser.prom"), check=3)


def test_config_says_what_counts_and_where_it_comes_from(make_site: SiteFactory, tmp_path: Path) -> None:
    secret = "a hot secret"
    env = variables(keep=3, smtp_password=secret, health_check="http://ann:pw@127.0.0.1/")
    site = make_site(settings={"min_age": "36h"}, dotenv=env)
    told = {one["name"]: one for one in site.json("config")}
    facts = {name: (one["value"], one["origin"]) for name, one in told.items()}
    assert told["keep"]["source"] == f"{site.path.parent / '.env'}: RELEASER_KEEP"
    assert facts["project"] == (str(site.path), "command line")
    assert (facts["keep"], facts["min_age"]) == ((3, ".env"), ("36h", "pyproject.toml"))
    assert (facts["smtp_password"], facts["branch"]) == (("***", ".env"), ("main", "default"))
    assert facts["health_check"] == ("http://***@127.0.0.1/", ".env")
    assert facts["state_dir"] == (str(site.state_dir), "detected")
    documented = re.findall(r"### `(\w+)`\n\n.*Default: detected", SETTINGS.read_text(encoding="utf-8"))
    given = ("environment", ".env", "pyproject.toml")
    assert {one for one in documented if facts[one][1] not in given} == {
        name for name, (_, origin) in facts.items() if origin == "detected"
    }
    text = site.releaser("config", check=0)
    assert re.search(rf"(?m)^keep +3 +{site.path.parent}/.env: RELEASER_KEEP$", text.stdout)
    assert re.search(r"(?m)^python +detected by each run +not set$", text.stdout)
    assert secret not in text.stdout + json.dumps(told)
    one = site.releaser("config", "RELEASER_MIN_AGE", check=0)
    assert (one.stdout, one.stderr) == ("36h\n", f"from: {site.path}/pyproject.toml: tool.releaser.min_age\n")
    assert site.json("config", "test_command")["origin"] == "detected"
    assert "Did you mean `keep`?" in site.releaser("config", "kep", check=2).stderr
    schema = site.releaser("config", "--schema", "--project", str(tmp_path), check=0).stdout
    assert json.loads(schema)["properties"]["keep"]["default"] == 5


def test_bash_completes_commands_releases_and_packages(news: News) -> None:
    site, first, second = news

    def complete(line: str) -> list[str]:
        script = (
            'eval "$(_RELEASER_COMPLETE=bash_source releaser)"; read -ra COMP_WORDS <<< "$1"\n'
            '[[ $1 != *" " ]] || COMP_WORDS+=("")\n'
            'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _releaser_completion releaser; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        shell = ["bash", "-c", script, "bash", line]
        return run(shell, cwd=site.path, env=site.environment(), check=0).stdout.split()

    assert complete("releaser ro") == ["rollback"]
    assert complete("releaser show ") == [second, first]
    assert complete(f"releaser diff --project {site.path} {second[:-1]}") == [second]
    assert complete("releaser hold al") == ["alpha"]
    assert complete("releaser config test_w") == ["test_writable"]
    site.releaser("hold", "alpha", check=0)
    assert complete("releaser unhold ") == ["alpha"]
    site.releaser("unhold", "alpha", check=0)
    assert complete("releaser accept ") == complete("releaser show --project /nowhere ") == []


# All of them


def test_questions_change_nothing_and_answer_in_json(news: News) -> None:
    site, _, second = news
    before = site.snapshot(), (site.state_dir / "history.jsonl").read_bytes()
    for words in ASKING:
        asked = [second if word == "LIVE" else word for word in words]
        text = site.releaser(*asked, check=0)
        answer = site.releaser(asked[0], "--json", *asked[1:], check=0)
        json.loads(answer.stdout)
        assert answer.stderr == ""
        assert text.stdout or text.stderr
    assert (site.snapshot(), (site.state_dir / "history.jsonl").read_bytes()) == before
