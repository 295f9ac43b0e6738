"""Commands for many sites: one that fails stops no other, and what fails first holds up the rest."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from releaser.site.run_lock import acquire
from tests.e2e.scenes import edit_pyproject, eventually, from_server
from tests.support.commands import Finished, console_script, run
from tests.support.serving import http_server, reply
from tests.support.simple_index import serving
from tests.support.sites import SampleSite, SiteFactory


def make_three(make_site: SiteFactory) -> list[SampleSite]:
    return [make_site.adopted(name=name, outer=name) for name in ("one", "two", "three")]


@pytest.fixture
def three(make_site: SiteFactory) -> list[SampleSite]:
    return make_three(make_site)


@pytest.fixture(scope="module")
def scene(make_scene: SiteFactory) -> list[SampleSite]:
    """Three sites at which tests only look."""
    return make_three(make_scene)


def sites_file(sites: Sequence[SampleSite], *, first: Sequence[SampleSite] = (), more: str = "") -> Path:
    file = sites[0].outer.parent / "sites.toml"
    entries = "".join(f'[[site]]\npath = "{site.path}"\n{more}\n' for site in sites)
    file.write_text(f"first = {json.dumps([str(one.path) for one in first])}\n{entries}")
    return file


def releaser(site: SampleSite, command: str, *words: str | Path, check: int | None = None) -> Finished:
    return run([console_script(), command, *words], cwd=Path("/"), env=site.environment(), check=check, timeout=300)


def answers(site: SampleSite, command: str, *words: str | Path, check: int) -> dict[str, Any]:
    found = json.loads(releaser(site, command, *words, "--json", check=check).stdout)
    return {Path(one["site"]).name: one for one in found}


@pytest.mark.story
def test_one_site_that_fails_stops_no_other_and_the_worst_comes_first(three: list[SampleSite]) -> None:
    one, two, last = three
    file, pyproject = sites_file(three), two.path / "pyproject.toml"
    good = pyproject.read_text()
    pyproject.write_text("broken")
    for site in (one, last):
        site.publish("alpha", "1.1.0")
    done = releaser(one, "update", "--sites", file, "--jobs", "2", check=3)
    heading, failed, *updated = done.stdout.splitlines()
    assert heading.split() == ["SITE", "CODE", "WHAT"]
    assert failed.split()[:2] == [str(two.path), "3"]
    assert "pyproject.toml" in failed
    assert [line.split()[:4] for line in updated] == [[str(site.path), "0", "updated", "to"] for site in (one, last)]
    assert "3 sites, 1 failed, 2 updated" in done.stderr
    assert [site.live_version("alpha") for site in (one, last)] == ["1.1.0", "1.1.0"]
    pyproject.write_text(good)
    quiet = releaser(one, "update", "--sites", file, check=0)
    assert (quiet.stdout, quiet.stderr) == ("", "")
    pyproject.write_text("broken")
    seen = answers(one, "status", "--sites", file, check=10)
    assert [(name, found["exit_code"]) for name, found in seen.items()] == [("two", 10), ("one", 0), ("three", 0)]
    assert seen["one"]["answer"]["live"] == one.live_id()
    assert "pyproject.toml" in " ".join(seen["two"]["answer"]["problems"])
    two.releaser("update", check=3)
    assert answers(one, "status", "--sites", file, check=3)["two"]["exit_code"] == 3
    page = one.outer.parent / "sites.html"
    releaser(one, "report", "--sites", file, "--html", page, check=0)
    assert page.read_text().index(str(two.path)) < page.read_text().index(str(one.path))
    listed = releaser(one, "list", "--sites", file, check=0).stdout
    assert listed.startswith(f"{one.path}:")
    assert one.live_id() in listed


def test_while_a_site_that_goes_first_is_not_well_others_change_no_package(three: list[SampleSite]) -> None:
    one, two, last = three
    file = sites_file(three, first=[one])
    one.publish("alpha", "1.1.0", broken="import")
    two.publish("alpha", "1.1.0")
    last.push_from_elsewhere({"notes.txt": "news"})  # code alone
    before = (two.live_id(), last.live_id())
    found = answers(one, "update", "--sites", file, check=5)
    reason = f"the update of {one.path} (listed in `first`) did not succeed: its update ended with exit code 5"
    (ready,) = (row["id"] for row in two.json("list") if row["state"] == "candidate")
    waits = f"{ready} is ready and waits: {reason}"
    refused = two.releaser("unhold", ready, check=2).stderr
    assert "is not on hold: it is ready and waits" in refused
    assert "`releaser status` shows the reason" in refused
    assert (found["two"]["waits"], found["two"]["answer"]["headline"], two.live_id()) == (waits, waits, before[0])
    status = two.json("status")
    assert (status["waiting_reason"], status["last_success"]) == (waits, None)
    assert (found["three"]["waits"], found["three"]["answer"]["result"]) == ("", "updated")
    assert last.live_id() != before[1]
    again = answers(one, "update", "--sites", file, "--site-group", "nobody's", check=0)
    assert [*again] == ["one"]
    assert two.live_id() == before[0]
    went = answers(one, "update", "--sites", file, check=0)["two"]["answer"]  # the next night: alpha is on hold there
    assert (went["release"], two.live_id(), two.live_version("alpha")) == (ready, ready, "1.1.0")
    assert not {"build", "test"} & {step["step"] for step in went["steps"]}
    assert two.json("status")["waiting_reason"] == ""


def test_an_interrupt_ends_every_run_and_says_what_came_of_the_others(make_site: SiteFactory) -> None:
    one = make_site.adopted(name="one", outer="a")
    two = make_site.adopted(name="two", outer="b", settings={"test_command": ["sleep", "60"], "culprits": "off"})
    for site in (one, two):
        site.publish("alpha", "1.1.0")
    words = [str(console_script()), "update", "--sites", str(sites_file([one, two])), "--json"]
    with subprocess.Popen(words, cwd="/", env=one.environment(), stdout=subprocess.PIPE, text=True) as process:
        eventually(lambda: (two.state_dir / "journal.json").exists(), "the update of the second site")
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert [Path(found["site"]).name for found in json.loads(said)] == ["one"]
    assert (one.live_version("alpha"), two.live_version("alpha")) == ("1.1.0", "1.0.0")
    assert two.json("status")["running"] is None


def test_settings_and_groups_of_the_file_count(scene: list[SampleSite]) -> None:
    one, _, last = scene
    file = sites_file(scene[:2], more='group = "shops"\nsettings = { uv = "/nowhere/uv" }')
    file.write_text(f'{file.read_text()}[[site]]\npath = "{last.path}"\n')
    found = answers(one, "check", "--sites", file, "--site-group", "shops", check=3)
    assert sorted(found) == ["one", "two"]
    assert "/nowhere/uv" in " ".join(found["one"]["answer"]["problems"])
    found = answers(one, "check", "--sites", file, check=3)
    assert ([*found][-1], found["three"]["answer"]["fit"]) == ("three", True)
    for words, code, said in (
        (["--sites", file, "--site-group", "others"], 3, "has no site of the group others"),
        (["--site-group", "shops"], 2, "Add --all"),
        (["--sites", file, "--project", one.path], 2, "--project cannot be combined with --all or --sites"),
    ):
        assert said in releaser(one, "check", *words, check=code).stderr


def test_a_page_shows_the_sites_of_other_servers_and_what_cannot_be_read(scene: list[SampleSite]) -> None:
    one, two, last = scene
    web = one.outer.parent / "web"
    web.mkdir()
    page, own = web / "all.html", web / "own.json"
    releaser(two, "report", "--sites", sites_file([two]), "--publish", web / "two.json", check=0)
    releaser(last, "report", "--project", last.path, "--publish", web / "last.json", "--html", page, check=0)
    with http_server(lambda request: reply(request, 200, (web / request.path[1:]).read_bytes())) as url:
        servers = f'[servers]\nweb2 = "{url}/two.json"\n'
        file = sites_file([one])
        listed = file.read_text()
        words: list[str | Path] = ["--sites", file, "--html", page, "--publish", own]
        file.write_text(f'{listed}{servers}web3 = "{web}/last.json"\n')
        assert releaser(one, "report", *words, check=0).stderr == f"wrote {own}\nwrote {page}\n"
        text = page.read_text(encoding="utf-8")
        assert "<h1>3 sites on 3 servers</h1>" in text
        assert all(str(site.path) in text for site in scene)
        assert [row["site"] for row in json.loads(own.read_text())["sites"]] == [str(one.path)]
        file.write_text(f'{listed}{servers}web3 = "{web}/none.json"\nweb4 = "{url}/all.html"\n')
        done = releaser(one, "report", *words, check=10)
        assert "warning: web3: its report cannot be read: No such file" in done.stderr
        assert "warning: web4: this is no report" in done.stderr
        assert 'badge-red">broken</span>' in page.read_text(encoding="utf-8")
        file.write_text(servers)
        releaser(one, "report", *words, check=0)
        assert str(two.path) in page.read_text(encoding="utf-8")
        assert json.loads(own.read_text())["sites"] == []
        assert "has no site" in releaser(one, "update", "--sites", file, check=3).stderr
        assert "Add `--html FILE`" in releaser(one, "report", "--sites", file, check=2).stderr


def test_a_site_gets_the_same_report_whether_it_runs_alone_or_with_others(make_site: SiteFactory) -> None:
    names = ("news", "quiet", "failing", "held", "locked", "wrong")
    together = [make_site.adopted(name=name, outer=name) for name in names]
    news, _, failing, held, locked, wrong = together
    for site in (news, failing, held):
        site.publish("alpha", "1.1.0", broken=site is failing)
    held.releaser("pause", check=0)
    (wrong.path / "pyproject.toml").write_text("broken")
    alone = [site.copy(site.outer.parent / "alone") for site in together]
    for site in (*together, *alone):
        site.write_dotenv()
    file = sites_file(together)
    with contextlib.ExitStack() as stack:
        for site in (locked, alone[4]):
            stack.enter_context(acquire(site.state_dir, command="update", now=datetime.now(UTC)))
        each = {site.path.name: site.releaser("update", "--json") for site in alone}
        found = answers(together[0], "update", "--sites", file, "--jobs", "2", check=5)
    assert {name: one["exit_code"] for name, one in found.items()} == {
        name: done.returncode for name, done in each.items()
    }
    for name, done in each.items():
        assert plainly(found[name]["answer"]) == plainly(json.loads(done.stdout) if done.stdout else None)


def test_the_index_is_asked_once_about_each_package_and_all_sites_get_what_is_new(make_site: SiteFactory) -> None:
    one = make_site(name="one", outer="one", packages={"alpha": "1.0.0", "beta": "1.0.0", "gamma": "1.0.0"})
    with serving(one.index.path) as index:
        index.lifetime = "max-age=600"
        sites = [one, *(make_site(name=name, outer=name) for name in ("two", "three"))]
        for site in sites:
            from_server(site, index.url)
        more = edit_pyproject(sites[2], '"alpha", ', '"alpha", "gamma", ')  # the third site has another lock
        sites[2].edit("pyproject.toml", more)
        for site in sites:
            site.push_commit("Take packages from a server", lock=True)
            site.releaser("init", check=0)
        one.publish("alpha", "1.1.0")
        index.asked.clear()
        found = answers(one, "update", "--sites", sites_file(sites), check=0)
        assert {name: answer["answer"]["result"] for name, answer in found.items()} == dict.fromkeys(
            ("one", "two", "three"), "updated"
        )
        once = {"beta", "localtools", "prodtools", "stagingtools"}  # releaser asks where upgrades come from, too
        assert sorted(name for name in index.asked if name in once) == sorted(once)
        index.asked.clear()
        answers(one, "update", "--sites", sites_file(sites), check=0)
        assert sorted(index.asked) == sorted({"alpha", "gamma", *once})
    assert [site.live_version("alpha") for site in sites] == ["1.1.0"] * 3


def test_clones_of_one_repository_fetch_once_and_see_what_the_others_push(make_site: SiteFactory) -> None:
    one = make_site.adopted(name="one", outer="one")
    two = one.copy(one.outer.parent / "copy")
    two.write_dotenv()
    lines, script = one.outer / "fetches", one.outer / "upload-pack"
    script.write_text(f'#!/bin/sh\necho >>{lines}\nexec git-upload-pack "$@"\n')
    script.chmod(0o755)
    for site in (one, two):
        site.git("remote", "set-url", "origin", one.remote)
        site.git("config", "remote.origin.uploadpack", script)
    news = one.push_from_elsewhere({"notes.txt": "news"})
    file = sites_file([one, two])
    releaser(one, "update", "--sites", file, check=0)
    assert (one.head(), two.head()) == (news, news)
    assert lines.read_text() == "\n"
    for site in (one, two):
        site.publish("alpha", "1.1.0")
    one.push_from_elsewhere({"notes.txt": "more"})  # seconds later: a command by hand takes it all the same
    releaser(one, "update", "--sites", file, check=0)
    assert [(site.path / "notes.txt").read_text(encoding="utf-8") for site in (one, two)] == ["more"] * 2
    assert one.head() == two.head() != news
    assert [site.live_version("alpha") for site in (one, two)] == ["1.1.0"] * 2


def plainly(report: Any) -> Any:
    """Leave out what is another in each run: times, ids, and the place of the site."""
    if isinstance(report, dict):
        times = ("run_id", "started_at", "seconds", "release", "previous", "commit", "path", "output")
        return {name: plainly(value) for name, value in report.items() if name not in times}
    if isinstance(report, list):
        return [plainly(one) for one in report]
    another = r"\d{4}-\d\d-\d\dT[\d:.+Z]+|\d{8}T\d{6}Z(-\d+)?|[0-9a-f]{12,40}|/\S+|[\d.]+ (s|GB|MB)\b"
    return re.sub(another, "X", report) if isinstance(report, str) else report
