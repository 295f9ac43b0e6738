"""State that an earlier releaser has left: `tests/data/old_state/` has what it wrote, recorded from real runs."""

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import CODE, changes, hook, make_old, mostly_slow, no_change, refused, says, silent, small_disk
from tests.faults import filling
from tests.support.commands import require
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import mail_server

RECORDED = Path(__file__).parents[1] / "data" / "old_state"
NOW = datetime.now(UTC).replace(microsecond=0)
ADA = "ada@example.org"
#: The values of a manifest that need not be in its file.
LEFT_OUT = {"selection": "", "recipe": "", "changes": [], "failed_gate": "", "failure": "", "was_failing": False}
#: What of `list` and `history` stays as it was.
FACTS = ("id", "state", "live", "pinned", "created_at", "python", "lock_sha256", "changes", "commit")
RUN = ("run", "command", "result", "exit_code", "headline", "release")


def when(moment: datetime) -> str:
    """Write a time as releaser does."""
    return moment.isoformat().replace("+00:00", "Z")


def recorded(name: str, **values: object) -> str:
    """Return a recorded file with values for its placeholders: `"@COMMITS@"` takes any JSON, `to @RELEASE@` text."""
    values["time"] = when(NOW)
    text = (RECORDED / name).read_text(encoding="utf-8")
    text = re.sub(r'"@(\w+)@"', lambda match: json.dumps(values[match[1].lower()]), text)
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1].lower()]), text)


def age(site: SampleSite, files: Mapping[str, str] = {}, states: Mapping[str, str] = {}) -> None:
    """Let the state directory be as an earlier releaser would have left it, with these `files` beside the releases.

    `states` are the recorded states of releases, by their ids, if `list` names others.
    """
    rows = site.json("list")[::-1]
    for number, row in enumerate(rows, 1):
        state = {"live": "good", "previous": "good"}.get(row["state"], row["state"])
        order = number + len(rows) * row["live"]
        age_release(site, site.release(row["id"]), states.get(row["id"], state), order)
    for path in site.state.glob("*.json*"):
        path.unlink()
    pending = recorded("pending.json", commits=[], reason="", remote_head=site.git("rev-parse", "origin/main"))
    for name, text in {"pending.json": pending, **files}.items():
        (site.state / name).write_text(text, encoding="utf-8")


def age_release(site: SampleSite, release: Path, state: str, order: int) -> None:
    """Write the manifest and the state of a release as an earlier releaser would have written them."""
    manifest = json.loads((release / "manifest.json").read_text(encoding="utf-8"))
    for path in release.glob("*.json"):
        path.unlink()
    values = LEFT_OUT | {"run": ""} | manifest["key"] | manifest
    (release / "manifest.json").write_text(recorded("manifest.json", **values), encoding="utf-8")
    commit = find_commit(site, release) if state in ("good", "rolled-back") else ""
    text = recorded(f"state-{state}.json", order=order, commit=commit)
    (release / "state.json").write_text(text, encoding="utf-8")


def find_commit(site: SampleSite, release: Path) -> str:
    """Return the commit with the lock of a release; empty if there is none yet."""
    lock = (release / "uv.lock").read_text(encoding="utf-8").strip()
    commits = site.git("rev-list", "--all", "--topo-order", "--reverse").splitlines()
    return next((commit for commit in commits if site.git("show", f"{commit}:uv.lock") == lock), "")


def nothing_is_set_aside(site: SampleSite) -> None:
    """Assert that no file was one that releaser cannot read."""
    releases = site.state / "releases"
    places = (site.state, releases, *releases.iterdir())
    assert [path for place in places for path in place.glob("*.broken*")] == []


def pick(rows: Iterable[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return these values of each row."""
    return [{name: row[name] for name in names} for row in rows]


def make_history(site: SampleSite, *releases: str, commit: str = "") -> list[str]:
    """Return the lines of a history that ends with a failed update and one whose commit was not pushed."""
    runs = {f"run{number}": release for number, release in enumerate([*releases, *releases, *releases], 1)}
    ids = {f"release{number}": release for number, release in enumerate(releases, 1)}
    values = {"head": site.head()[:12], "commit": commit[:12], "state": site.state}
    return recorded("history.jsonl", **runs, **ids, **values).splitlines(keepends=True)


@pytest.mark.slow
@pytest.mark.parametrize("origin", mostly_slow(["built", "adopted"], "built"))
def test_law_05_old_releases_stay_targets_of_a_rollback(make_site: SiteFactory, origin: str) -> None:
    if origin == "built":
        site = make_site.live("1.1.0", "1.2.0")
    else:
        site = make_site()
        site.make_venv()
        site.releaser("init", check=0)
        site.update_to("1.1.0")
        site.update_to("1.2.0")
    before = pick(site.json("list"), FACTS)
    age(site)
    assert pick(site.json("list"), FACTS) == before
    assert [row["state"] for row in before] == ["live", "previous", "good"]
    third, second, first = (row["id"] for row in before)
    status = site.json("status")
    assert (status["live"], status["previous"], status["well"]) == (third, second, True)
    shown = site.json("show", second)
    assert (shown["id"], shown["state"], changes(shown)) == (second, "previous", {"alpha": ("1.0.0", "1.1.0")})
    assert f"{first}, good" in site.releaser("show", first, check=0).stdout
    silent(site.releaser("update"))
    for release, version in ((second, "1.1.0"), (first, "1.0.0")):
        assert site.json("rollback")["release"] == release == site.live()
        assert (site.version("alpha"), site.remote_head(), site.status()) == (version, site.head(), "")
    nothing_is_set_aside(site)


#: Values for what is on hold, in a file that the next run would write again.
TIDIED: dict[str, dict[str, object]] = {
    "holds.json": {"release": "2026", "commit": "3f2a9c1b2d4e", "code": "key"},
    "pause.json": {"until": when(NOW + timedelta(days=3))},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["an expired hold", *TIDIED])
def test_law_05_a_rollback_on_a_full_disk_needs_no_room_for_what_is_on_hold(make_site: SiteFactory, name: str) -> None:
    require(os.geteuid() == 0 and shutil.which("mount"), "only root mounts a small file system")
    site = make_site.live("1.1.0")
    if name in TIDIED:
        age(site, {name: recorded(name, **TIDIED[name])})
    else:
        site.releaser("pause", "--for", "1h", check=0)
        make_old(site.state / "holds.json", "until", 1)
    with small_disk(site.outer):
        filling.fill(str(site.outer), "ballast", "bytes")
        finished = site.releaser("rollback")
        assert (finished.returncode in {0, 7}, site.version("alpha")) == (True, "1.0.0"), str(finished)
        filling.empty(str(site.outer), "ballast")
        site.releaser("update", check=0)
        status = site.json("status", check=10 if name == "pause.json" else 0)  # a paused update hides no trouble
        held = {hold["name"] for hold in status["on_hold"]}
        assert ("alpha" in held, "beta" in held) == (True, name == "holds.json")
        assert (bool(status["pause"]), (site.state / "pause.json").exists()) == (name == "pause.json", False)
        nothing_is_set_aside(site)


@pytest.mark.slow
def test_law_06_old_holds_are_kept(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    commit = site.push_from_elsewhere(CODE)
    left = site.update_to("1.2.0")
    site.releaser("rollback", check=0)
    site.releaser("hold", "beta", check=0)
    live, remote = site.live(), site.remote_head()
    code = json.loads((site.release(left) / "manifest.json").read_text(encoding="utf-8"))["key"]["code"]
    age(site, {"holds.json": recorded("holds.json", release=live, commit=commit[:12], code=code)})
    status = site.json("status")
    assert sorted(hold["by"] for hold in status["on_hold"]) == ["person", "rollback", "rollback"]
    assert (status["well"], site.states()[left]) == (True, "rolled-back")
    text = site.releaser("status", check=0).stdout
    assert all(word in text for word in ("alpha 1.2.0", "beta", commit[:12])), text
    site.publish("beta", "1.1.0")
    with no_change(site):
        assert site.json("update")["result"] == "no-changes"
    site.releaser("unhold", "beta", check=0)
    assert changes(site.json("update")) == {"beta": ("1.0.0", "1.1.0")}
    assert (site.version("alpha"), site.remote_head()) == ("1.1.0", remote)
    assert "EDITION = 1" in (site.path / "shop.py").read_text(encoding="utf-8")
    assert [hold["by"] for hold in site.json("status")["on_hold"]] == ["rollback", "rollback"]
    nothing_is_set_aside(site)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pause.json", "pause-without-end.json"])
def test_an_old_pause_goes_on_until_it_is_ended(make_site: SiteFactory, name: str) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    until = when(NOW + timedelta(days=3))
    age(site, {"pause.json": recorded(name, until=until)})
    reason = "the sale" if name == "pause.json" else "no end"
    with no_change(site):
        silent(site.releaser("update"))
        says(site.releaser("update", "-v", check=0), "paused", reason, "releaser resume")
    assert reason in " ".join(site.releaser("status", check=0).stdout.split())
    status = site.json("status")
    assert (status["well"], status["paused_until"]) == (True, until if name == "pause.json" else None)
    assert site.json("resume")["result"] == "done"
    assert site.json("status")["paused_until"] is None
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.2.0")}
    nothing_is_set_aside(site)


@pytest.mark.slow
def test_law_03_what_failed_before_is_not_tried_again(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    site.publish("alpha", "1.2.0", broken=True)
    site.releaser("update", check=5)
    failed, second, first = site.states()
    tests = len(site.test_runs())
    age(site, {"history.jsonl": "".join(make_history(site, first, second, failed)[:-1])})
    assert (site.states()[failed], len(site.json("history"))) == ("failed", 6)
    assert site.json("show", failed)["failure"]
    with no_change(site):
        finished = site.releaser("update", check=5)
        assert (finished.stdout, finished.stderr) == ("", "")
        says(refused(site, "rollback", failed, code=9), failed)
    assert (len(site.test_runs()), len(site.releases())) == (tests, 3)
    site.publish("alpha", "1.3.0")
    assert changes(site.json("update")) == {"alpha": ("1.1.0", "1.3.0")}
    nothing_is_set_aside(site)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["ready", "overtaken"])
def test_law_03_an_old_ready_release_goes_live_or_is_built_again(make_site: SiteFactory, state: str) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    prepared = site.json("update", "--prepare")["release"]
    age(site, states={prepared: "failed"} if state == "overtaken" else {})
    if state == "overtaken":
        assert site.json("status")["ready"] is None
        says(refused(site, "rollback", prepared, code=9), prepared)
    answer = site.json("update")
    assert (changes(answer), site.version("alpha")) == ({"alpha": ("1.1.0", "1.2.0")}, "1.2.0")
    assert (site.remote_head(), site.status()) == (site.head(), "")
    assert state == "ready" or site.live() != prepared
    silent(site.releaser("prune", "--quiet"))
    assert (prepared in site.releases()) == (site.live() == prepared)
    nothing_is_set_aside(site)


#: Where a run is killed: the phase in its journal, and True if the next command finishes what it began.
KILLS = {
    "at the tests": ("building", False),
    "before the flip": ("changing", False),
    "after the flip": ("changing", True),
    "on the way back": ("going-back", False),
    "at the push": ("publishing", True),
}
ON_THE_WAY_BACK = "test -e ../../came && exec {program}\ntouch ../../came\nexit 1\n"


@contextlib.contextmanager
def killed(site: SampleSite, place: str) -> Iterator[None]:
    """Kill an update at a place; at the end of the block nothing is in the way of the next one."""
    (site.base / "meet.py").write_text(WAITING_TESTS + "\nunittest.main()\n", encoding="utf-8")
    program = f"{sys.executable} {site.base / 'meet.py'}"
    if place == "at the push":
        hook(site.remote, "pre-receive", f"{program}\nexit 1")
    script = site.base / "restart.sh"
    script.write_text(ON_THE_WAY_BACK.format(program=program), encoding="utf-8")
    restarts = {"after the flip": program, "on the way back": f"sh {script}"}
    site.write_dotenv(restart=restarts.get(place, "auto"))
    if place == "before the flip":  # the checkout is moved already, and has the new lock
        release = site.json("update", "--prepare")["release"]
        site.git("merge", "--quiet", "--ff-only", "origin/main")
        site.edit("uv.lock", (site.release(release) / "uv.lock").read_text(encoding="utf-8"))
    else:
        with meeting() as met, site.starting("update", env=met.env) as process, met.kept_waiting():
            process.kill()
            process.wait(timeout=30)
    yield
    (site.remote / "hooks" / "pre-receive").unlink(missing_ok=True)
    site.write_dotenv()


def write_journal(site: SampleSite, place: str, first: str, link: str, head: str, commit: str) -> str:
    """Return the journal of the update that was killed; `head` and `commit` are those of the checkout."""
    (second,) = {path.name for path in (site.state / "releases").iterdir()} - {first}
    phase, _ = KILLS[place]
    if phase == "building":
        return recorded("journal-building.json", run=second, to=second)
    reason = "The restart failed: `sh` failed (exit status 1)." if phase == "going-back" else ""
    values = {"from": first, "to": second, "link": link, "head": head, "commit": commit}
    return recorded("journal-change.json", phase=phase, run=second, reason=reason, **values)


@pytest.mark.slow
@pytest.mark.parametrize("place", KILLS)
def test_law_08_an_old_journal_is_finished_or_undone(make_site: SiteFactory, place: str) -> None:
    phase, is_finished = KILLS[place]
    site = make_site.live(files={"site_tests.py": WAITING_TESTS} if phase == "building" else {}, due="1.1.0")
    commit = site.push_from_elsewhere(CODE)
    first, link, head, lock = site.live(), os.readlink(site.link), site.head(), site.lock()
    with killed(site, place):
        files = {"journal.json": write_journal(site, place, first, link, head, commit)}
        if phase == "publishing":
            waiting = {"commits": [site.head()], "reason": "no push was tried.", "remote_head": head}
            files["pending.json"] = recorded("pending.json", **waiting)
        second = max(site.releases())
        age(site, files, {second: "ready"})
    assert site.json("status", check=10)["attention"]
    went_back = phase == "going-back"
    site.releaser("prune", check=7 if went_back else 0)
    assert not (site.state / "journal.json").exists()
    assert (site.live(), site.status()) == (second if is_finished else first, "")
    if is_finished:
        assert (site.git("rev-parse", "HEAD^"), site.remote_head()) == (commit, site.head())
        assert site.lock() == (site.release() / "uv.lock").read_text(encoding="utf-8")
        assert site.states() == {second: "live", first: "previous"}
    else:
        assert (site.head(), site.lock(), site.remote_head()) == (head, lock, commit)
    by = [hold["by"] for hold in site.json("status", check=10 if went_back else 0)["on_hold"]]
    assert by == (["rollback", "rollback"] if went_back else [])
    site.releaser("update", check=0)
    assert site.version("alpha") == ("1.0.0" if went_back else "1.1.0")
    assert site.remote_head() == (commit if went_back else site.head())
    assert site.git("fsck", "--no-progress", "--no-dangling") == ""
    nothing_is_set_aside(site)


@pytest.mark.slow
def test_old_commits_are_pushed_and_old_news_is_no_news(make_site: SiteFactory) -> None:
    with mail_server() as server:
        site = make_site.live("1.1.0", dotenv={"ADMINS_JSON": ADA, "RELEASER_SMTP_HOST": server.host})
        refusing = hook(site.remote, "pre-receive", "echo not today >&2\nexit 1")
        site.publish("alpha", "1.2.0")
        site.releaser("update", check=7)
        third, second, first = site.states()
        commit, remote = site.head(), site.remote_head()
        history = make_history(site, first, second, third, commit=commit)
        pending = recorded("pending.json", commits=[commit], reason="not today", remote_head=remote)
        files = {"history.jsonl": "".join(history), "news.json": recorded("news.json"), "pending.json": pending}
        age(site, files)
        server.mails.clear()
        runs = site.json("history")
        assert [run["command"] for run in runs] == ["update", "update", "hold", "rollback", "update", "update", "init"]
        assert pick(runs, RUN) == pick(map(json.loads, history[::-1]), RUN)
        assert third in site.releaser("history", check=0).stdout
        status = site.json("status", check=10)
        assert (status["pending"], status["last_run"]["exit_code"]) == ([commit], 7)
        assert commit[:12] in site.releaser("status", check=10).stdout
        says(site.releaser("update", check=7), commit[:12], "not today")
        assert (server.mails, site.remote_head()) == ([], remote)
        refusing.unlink()
        site.releaser("update", check=0)
        assert (site.remote_head(), site.live()) == (commit, third)
        assert (site.json("status")["pending"], site.json("status")["well"]) == ([], True)
        nothing_is_set_aside(site)
