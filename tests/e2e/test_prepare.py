"""`update --prepare`, and pauses."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.scenes import CODE, changes, mostly_slow, no_change, says, silent, step_names
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server, read_mail

ADA = "ada@example.org"


def set_back(path: Path, name: str, days: int) -> None:
    """Let every time of a name in a state file be some days ago."""
    moment = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    text, times = re.subn(rf'"{name}": ?"[^"]+"', f'"{name}":"{moment}"', path.read_text(encoding="utf-8"))
    assert times, f"{path} has no {name}"
    path.write_text(text, encoding="utf-8")


def prepare(site: SampleSite) -> str:
    """Prepare a release and return its id; nothing live changes."""
    with no_change(site):
        answer = site.json("update", "--prepare")
    assert (answer["result"], answer["exit_code"]) == ("ready", 0)
    assert site.states()[answer["release"]] == "ready"
    return str(answer["release"])


@pytest.mark.slow
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
        texts = [read_mail(mail) for _, mail, _ in server.mails]
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


@pytest.mark.slow
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
    assert (site.version("alpha"), second in site.states()) == ("1.0.0", False)
    site.releaser("update", check=0)
    assert site.version("alpha") == "1.3.0"


@pytest.mark.slow
def test_law_08_a_kill_right_after_the_seal_leaves_the_release_ready(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    before, release = site.live(), prepare(site)
    entry = {"phase": "building", "command": "update", "run": release, "to": release}
    (site.state / "journal.json").write_text(json.dumps(entry), encoding="utf-8")
    site.releaser("prune", check=0)
    assert site.states() == {release: "ready", before: "live"}
    assert "build" not in step_names(site.json("update"))
    assert site.live() == release


@pytest.mark.slow
def test_law_20_a_site_that_is_only_prepared_is_not_green_after_a_week(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    prepare(site)
    set_back(site.state / "history.jsonl", "ended_at", 8)
    silent(site.releaser("update", "--prepare"))
    site.releaser("pin", "live", check=0)
    assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["old-ready"]
    site.releaser("update", check=0)
    assert site.json("status")["well"]


@pytest.mark.slow
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
    says(site.releaser("update", "--dry-run", check=0), "Would change nothing", "the sale")
    site.releaser("rollback", check=0)
    assert site.version("alpha") == "1.0.0"
    site.releaser("resume", check=0)
    assert (site.json("resume")["result"], site.json("status")["paused_until"]) == ("no-changes", None)
    site.releaser("pause", "--for", "1h", check=0)
    set_back(site.state / "holds.json", "until", 1)  # it has ended
    assert site.json("status")["pause"] is None
    site.releaser("update", check=0)
    assert (site.version("alpha"), "everything" in (site.state / "holds.json").read_text("utf-8")) == ("1.2.0", False)


@pytest.mark.slow
def test_law_20_a_paused_site_is_not_green_after_a_week_nor_hides_trouble(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.publish("alpha", "1.1.0", broken=True)
    site.releaser("update", check=5)
    site.releaser("pause", check=0)
    silent(site.releaser("update"))
    assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["tests"]
    site.releaser("resume", check=0)
    site.publish("alpha", "1.2.0")
    site.releaser("update", check=0)
    site.releaser("pause", "no", "end", check=0)
    status = site.json("status")
    assert (status["well"], status["paused_until"], status["pause"]["reason"]) == (True, None, "no end")
    set_back(site.state / "holds.json", "since", 8)
    site.releaser("pause", "--for", "1d", check=0)  # the same pause
    silent(site.releaser("update"))
    assert [problem["code"] for problem in site.json("status", check=10)["attention"]] == ["old-pause"]
