"""The variants of an update: `--prepare`, `--follow-remote`, and pauses."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.scenes import (
    CODE,
    changes,
    during_tests,
    eventually,
    mostly_slow,
    no_change,
    refused,
    says,
    silent,
    step_names,
    times_of_tree,
)
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

ADA = "ada@example.org"


def days_ago(days: int) -> str:
    """Return a time as state files have it."""
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def set_back(path: Path, name: str, days: int) -> None:
    """Let every time of a name in a state file be some days ago."""
    text = path.read_text(encoding="utf-8")
    assert name in text, f"{path} has no {name}"
    path.write_text(re.sub(rf'"{name}": ?"[^"]+"', f'"{name}":"{days_ago(days)}"', text), encoding="utf-8")


def prepare(site: SampleSite) -> str:
    """Prepare a release and return its id; nothing live changes."""
    with no_change(site):
        answer = site.json("update", "--prepare")
    assert (answer["result"], answer["exit_code"]) == ("ready", 0)
    assert site.states()[answer["release"]] == "ready"
    return str(answer["release"])


def test_law_07_a_prepared_release_stays_and_goes_live_without_a_build(make_site: SiteFactory) -> None:
    with mail_server() as server:
        site = make_site.live("1.1.0", dotenv={"ADMINS_JSON": ADA, "RELEASER_SMTP_HOST": server.host})
        silent(site.releaser("update", "--prepare"))
        site.publish("alpha", "1.2.0")
        site.push_from_elsewhere(CODE, message="Widen the door")
        release = prepare(site)
        silent(site.releaser("update", "--prepare"))
        site.write_dotenv({"ADMINS_JSON": ADA}, smtp_host=server.host, keep="0", keep_within="0s")
        silent(site.releaser("prune", "--quiet"))
        says(site.releaser("update", "--prepare", "--dry-run", check=0), "Would prepare", "1.2.0", "not built again")
        status = site.json("status")
        assert (status["ready"], status["well"], len(site.test_runs())) == (release, True, 1)
        assert release in site.releaser("status").stdout
        answer = site.json("update")
        assert changes(answer) == {"alpha": ("1.1.0", "1.2.0")}
        assert not {"build", "test"} & {*step_names(answer)}
        assert (site.live(), site.version("alpha"), len(site.test_runs())) == (release, "1.2.0", 1)
        assert (site.remote_head(), site.status(), site.json("status")["ready"]) == (site.head(), "", None)
        subjects = [mail["Subject"].partition(" [")[0] for _, mail, _ in server.mails]
        assert subjects == ["Ready: site, alpha 1.2.0", "Updated: site, alpha 1.2.0"]
        texts = [mail.get_content() for _, mail, _ in server.mails]
        assert all("Widen the door" in text for text in texts)
        assert f"releaser show {release}" in texts[0]


#: What makes a prepared release outdated, and the reason that is named; a setting is one of `.env`.
OUTDATED: dict[str, tuple[Callable[[SampleSite, Path], object], str]] = {
    "lock": (lambda site, release: site.publish("beta", "1.1.0"), "another lock"),
    "commit": (lambda site, release: site.push_from_elsewhere(CODE), "another commit"),
    "damage": (lambda site, release: next(release.glob("venv/lib/*/*/alpha/__init__.py")).unlink(), "is damaged"),
    "group": (lambda site, release: site.write_dotenv(group="staging"), "another group"),
    "test_command": (lambda site, release: site.write_dotenv(test_command="python -B run_tests.py"), "other settings"),
    "test_environment": (lambda site, release: site.write_dotenv(test_environment='{"A": "B"}'), "other settings"),
    "before_build": (lambda site, release: site.write_dotenv(before_build="true"), "other settings"),
}  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(OUTDATED, "lock"))
def test_law_03_a_prepared_release_that_is_outdated_is_named_let_go_and_built_again(
    make_site: SiteFactory, name: str
) -> None:
    site = make_site.live(due="1.1.0")
    release = prepare(site)
    act, reason = OUTDATED[name]
    act(site, site.release(release))
    finished = site.releaser("update", check=0)
    says(finished, f"Release {release} was prepared, but", reason)
    assert (site.version("alpha"), len(site.test_runs())) == ("1.1.0", 2)
    assert release not in site.states()


@pytest.mark.slow
def test_a_prepared_release_is_replaced_by_the_next_one_and_overtaken_by_a_rollback(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    first = prepare(site)
    site.publish("alpha", "1.3.0")
    second = prepare(site)
    assert first not in site.states()
    site.releaser("rollback", check=0)
    assert (site.version("alpha"), site.states()[second]) == ("1.0.0", "failed")
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.3.0"


@pytest.mark.slow
def test_a_candidate_that_cannot_be_prepared_fails_as_an_update_does(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0", broken=True)
    refused(site, "update", "--prepare", code=5)
    assert site.json("update", "--prepare", check=5)["result"] == "failed"
    silent_end = site.releaser("update")
    assert (silent_end.returncode, silent_end.stderr) == (5, "")


@pytest.mark.parametrize("moment", mostly_slow(["tests", "sealed"], "sealed"))
def test_law_08_a_kill_between_prepare_and_update_leaves_the_release_ready_or_nothing(
    make_site: SiteFactory, moment: str
) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    before = site.live()
    if moment == "tests":
        with during_tests(site, "update", "--prepare", code=-9) as run:
            run.process.kill()
            run.process.wait(timeout=30)
    else:
        release = prepare(site)
        entry = {"phase": "building", "command": "update", "run": release, "to": release}  # killed right after the seal
        (site.state / "journal.json").write_text(json.dumps(entry), encoding="utf-8")
    site.releaser("prune", check=0)
    assert (site.live(), [*site.states()]) == (before, [before] if moment == "tests" else [release, before])
    answer = site.json("update")
    assert (site.version("alpha"), "build" in step_names(answer)) == ("1.1.0", moment == "tests")


@pytest.mark.slow
def test_law_20_a_site_that_is_only_prepared_is_not_green_after_a_week(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    prepare(site)
    assert site.json("status")["well"]
    history = site.state / "history.jsonl"
    set_back(history, "ended_at", 8)
    silent(site.releaser("update", "--prepare"))
    assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["old-ready"]
    site.releaser("update", check=0)
    assert site.json("status")["well"]


# --follow-remote


REWRITTEN: dict[str, Callable[[SampleSite], object]] = {
    "moved back": lambda site: site.git("update-ref", "refs/heads/main", "main~1", cwd=site.remote),
    "rewritten": lambda site: (
        site.git("reset", "-q", "--hard", "HEAD~1", cwd=site.elsewhere()),
        site.git("commit", "-q", "--allow-empty", "-m", "Rewritten", cwd=site.base / "elsewhere/outer/site"),
        site.git("push", "-q", "--force", cwd=site.base / "elsewhere/outer/site"),
    ),
}


@pytest.mark.parametrize("name", mostly_slow(REWRITTEN, "moved back"))
def test_law_16_a_rewritten_remote_is_followed_when_asked(site: SampleSite, name: str) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    REWRITTEN[name](site)
    remote, live = site.remote_head(), site.live()
    for _ in range(2):  # the second night, too
        assert site.live() == live
        site.publish("alpha", "1.1.0")
        says(site.releaser("update"), *(["moved back or was rewritten", "--follow-remote"] if _ == 0 else []))
        live = site.live()
    says(site.releaser("update", "--follow-remote", "--dry-run", check=0), f"commit {remote[:12]}")
    site.json("update", "--follow-remote", check=0)
    assert "EDITION = 1" in (site.path / "shop.py").read_text(encoding="utf-8")
    assert site.git("merge-base", remote, "HEAD") == remote
    assert (site.remote_head(), site.status(), site.version("alpha")) == (site.head(), "", "1.1.0")
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_15_16_commits_of_people_are_not_lost_to_a_rewritten_remote(site: SampleSite) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    REWRITTEN["moved back"](site)
    mine = site.commit("Mine", {"mine.py": ""})
    says(refused(site, "update", "--follow-remote"), mine[:12], "git push")
    site.git("push", "-q", "origin", "HEAD:refs/heads/mine")
    site.releaser("update", "--follow-remote", check=0)
    assert not (site.path / "mine.py").exists()


@pytest.mark.slow
def test_law_16_an_unpushed_commit_of_releaser_may_go(site: SampleSite) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    site.write_dotenv(git_push="off")
    site.update_to("1.1.0")
    assert site.head() != site.remote_head()
    REWRITTEN["moved back"](site)
    site.write_dotenv()
    site.json("update", "--follow-remote")
    assert (site.version("alpha"), site.head(), site.json("status")["pending"]) == ("1.1.0", site.remote_head(), [])
    assert "EDITION = 1" in (site.path / "shop.py").read_text(encoding="utf-8")


# pause and resume


def test_a_paused_site_is_not_updated_until_it_is_resumed(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    assert "--for" in site.releaser("pause", "--for", "soon", check=2).stderr
    site.releaser("pause", "--for", "2h", "the", "sale", check=0)
    with no_change(site):
        silent(site.releaser("update"))
        silent(site.releaser("update", "--prepare", "--force"))
    says(site.releaser("update", "-v", check=0), "paused until", "the sale", "releaser resume")
    status = site.json("status")
    until = datetime.fromisoformat(status["paused_until"]) - datetime.now(UTC)
    assert (status["well"], timedelta(hours=1) < until <= timedelta(hours=2)) == (True, True)
    assert "the sale" in site.releaser("status", check=0).stdout
    before = times_of_tree(site.outer)
    says(site.releaser("update", "--dry-run", check=0), "1.2.0", "the sale")
    assert times_of_tree(site.outer) == before
    site.releaser("rollback", check=0)
    assert site.version("alpha") == "1.0.0"
    site.releaser("resume", check=0)
    assert site.json("resume")["result"] == "no-changes"
    site.releaser("update", check=0)
    assert (site.version("alpha"), site.json("status")["paused_until"]) == ("1.2.0", None)


@pytest.mark.slow
def test_a_pause_that_has_ended_is_ignored_and_removed(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.releaser("pause", "--for", "1h", check=0)
    set_back(site.state / "pause.json", "until", 1)
    assert site.json("status")["pause"] is None
    site.releaser("update", check=0)
    assert (site.version("alpha"), (site.state / "pause.json").exists()) == ("1.1.0", False)


@pytest.mark.slow
def test_law_20_a_paused_site_is_not_green_after_a_week_nor_hides_trouble(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.publish("alpha", "1.1.0", broken=True)
    site.releaser("update", check=5)
    site.releaser("pause", check=0)
    silent(site.releaser("update"))
    assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["tests"]
    site.releaser("resume", check=0)
    site.releaser("unhold", "alpha", check=3)
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0)
    site.releaser("pause", "no", "end", check=0)
    status = site.json("status")
    assert (status["well"], status["paused_until"], status["pause"]["reason"]) == (True, None, "no end")
    set_back(site.state / "pause.json", "since", 8)
    site.releaser("pause", "--for", "1d", check=0)  # the same pause
    silent(site.releaser("update"))
    assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["old-pause"]


@pytest.mark.slow
def test_law_08_a_paused_update_finishes_what_was_begun(make_site: SiteFactory) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    with during_tests(site, code=-9) as run:
        run.process.kill()
        run.process.wait(timeout=30)
    eventually(lambda: (site.state / "journal.json").exists(), "the journal")
    (site.state / "pause.json").write_text(json.dumps({"since": days_ago(1)}), encoding="utf-8")
    site.releaser("update", check=0)
    assert not [path.name for path in site.state.iterdir() if path.name.startswith(("shadow-", "journal"))]
