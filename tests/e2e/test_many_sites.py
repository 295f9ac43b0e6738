"""Commands for many sites: one that fails stops no other, and what fails first holds up the rest."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import eventually
from tests.support.commands import Finished, console_script, run
from tests.support.serving import Quiet, handler_server
from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def three(make_site: SiteFactory) -> list[SampleSite]:
    return [make_site.adopted(name=name, outer=outer) for name, outer in (("one", "a"), ("two", "b"), ("three", "c"))]


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
    file = sites_file(three)
    two.path.joinpath("pyproject.toml").write_text("broken")
    one.publish("alpha", "1.1.0")
    last.publish("alpha", "1.1.0")
    done = releaser(one, "update", "--sites", file, "--jobs", "2", check=3)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["SITE", "CODE", "WHAT"]
    assert [line.split()[:2] for line in lines[1:]] == [
        [str(two.path), "3"],
        [str(one.path), "0"],
        [str(last.path), "0"],
    ]
    assert "pyproject.toml" in lines[1]
    assert all("updated to" in line for line in lines[2:])
    assert "3 sites, 1 failed, 2 updated" in done.stderr
    assert [site.live_version("alpha") for site in (one, last)] == ["1.1.0", "1.1.0"]
    (two.path / "pyproject.toml").write_bytes((one.path / "pyproject.toml").read_bytes().replace(b"one", b"two"))
    quiet = releaser(one, "update", "--sites", file, check=0)
    assert (quiet.stdout, quiet.stderr) == ("", "")
    (two.path / "pyproject.toml").write_text("broken")
    shown = answers(one, "status", "--sites", file, check=10)
    assert [(name, found["exit_code"]) for name, found in shown.items()] == [("two", 10), ("one", 0), ("three", 0)]
    assert shown["one"]["answer"]["live"] == one.live_id()
    assert "pyproject.toml" in " ".join(shown["two"]["answer"]["problems"])
    two.releaser("update", check=3)
    assert answers(one, "status", "--sites", file, check=3)["two"]["exit_code"] == 3
    page = one.outer.parent / "sites.html"
    releaser(one, "report", "--sites", file, "--html", page, check=0)
    assert page.read_text().index(str(two.path)) < page.read_text().index(str(one.path))
    told = releaser(one, "list", "--sites", file, check=0).stdout
    assert told.startswith(f"{one.path}:")
    assert one.live_id() in told


def test_while_a_site_that_goes_first_is_not_well_others_change_no_package(three: list[SampleSite]) -> None:
    one, two, last = three
    file = sites_file(three, first=[one])
    one.publish("alpha", "1.1.0", broken="import")
    two.publish("alpha", "1.1.0")
    last.push_from_elsewhere({"notes.txt": "news"})  # code alone
    before = (two.live_id(), last.live_id())
    found = answers(one, "update", "--sites", file, check=5)
    reason = f"the update of {one.path}, which goes first, did not succeed: its update ended with exit code 5"
    (ready,) = (row["id"] for row in two.json("list") if row["state"] == "candidate")
    waits = f"{ready} is ready and waits: {reason}"
    refused = two.releaser("unhold", ready, check=2).stderr
    assert "is not on hold: it is ready and waits" in refused
    assert "`releaser status` shows the reason" in refused
    assert (found["two"]["waits"], found["two"]["answer"]["headline"], two.live_id()) == (waits, waits, before[0])
    assert (two.json("status")["waiting_reason"], two.json("status")["last_success"]) == (waits, None)
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


def test_settings_and_groups_of_the_file_count(three: list[SampleSite]) -> None:
    one = three[0]
    file = sites_file(three[:2], more='group = "shops"\nsettings = { uv = "/nowhere/uv" }')
    file.write_text(f'{file.read_text()}[[site]]\npath = "{three[2].path}"\n')
    found = answers(one, "check", "--sites", file, "--site-group", "shops", check=3)
    assert sorted(found) == ["one", "two"]
    assert "/nowhere/uv" in " ".join(found["one"]["answer"]["problems"])
    found = answers(one, "check", "--sites", file, check=3)
    assert [*found][-1] == "three"
    assert found["three"]["answer"]["fit"]
    file.write_text(file.read_text().replace('uv = "/nowhere/uv"', 'keep = "many"'))
    assert "sites.toml: [[site]] 1: settings: keep must be a" in releaser(one, "check", "--sites", file, check=3).stderr
    sites_file(three[:2])
    assert "has no site of the group others" in releaser(one, "check", "--sites", file, "--site-group", "others").stderr
    assert "Add --all" in releaser(one, "check", "--site-group", "shops", check=2).stderr
    assert (
        "--project cannot be combined with --all or --sites"
        in releaser(one, "check", "--sites", file, "--project", one.path, check=2).stderr
    )


class Files(Quiet, SimpleHTTPRequestHandler):
    """A web server of a directory."""


def test_a_page_shows_the_sites_of_other_servers_and_what_cannot_be_read(three: list[SampleSite]) -> None:
    one, two, last = three
    web = one.outer.parent / "web"
    web.mkdir()
    page, own = web / "all.html", web / "own.json"
    releaser(two, "report", "--sites", sites_file([two]), "--publish", web / "two.json", check=0)
    releaser(last, "report", "--project", last.path, "--publish", web / "last.json", "--html", page, check=0)
    with handler_server(partial(Files, directory=str(web))) as url:
        file = sites_file([one])
        listed = f'{file.read_text()}[servers]\nweb2 = "{url}/two.json"\n'
        file.write_text(f'{listed}web3 = "{web}/last.json"\n')
        words: list[str | Path] = ["--sites", file, "--html", page, "--publish", own]
        assert releaser(one, "report", *words, check=0).stderr == f"wrote {own}\nwrote {page}\n"
        text = page.read_text(encoding="utf-8")
        assert "<h1>3 sites on 3 servers</h1>" in text
        assert all(str(site.path) in text for site in three)
        assert [row["site"] for row in json.loads(own.read_text())["sites"]] == [str(one.path)]
        file.write_text(f'{listed}web3 = "{web}/none.json"\nweb4 = "{url}/all.html"\n')
        done = releaser(one, "report", *words, check=10)
        assert "warning: web3: its report cannot be read: No such file" in done.stderr
        assert "warning: web4: this is no report" in done.stderr
        assert 'badge-red">broken</span>' in page.read_text(encoding="utf-8")
        file.write_text(f'[servers]\nweb2 = "{url}/two.json"\n')
        releaser(one, "report", *words, check=0)
        assert str(two.path) in page.read_text(encoding="utf-8")
        printed = json.loads(releaser(one, "report", "--sites", file, "--json", check=0).stdout)
        assert (printed["sites"], bool(printed["host"])) == ([], True)
        before = page.read_bytes()
        assert "has no site" in releaser(one, "update", "--sites", file, check=3).stderr
        file.write_text('[servers]\nweb2 = "file:///etc/passwd"\n')
        assert "web2 must be an absolute path, or a URL" in releaser(one, "report", *words, check=3).stderr
        assert "Add `--html FILE`" in releaser(one, "report", "--sites", file, check=2).stderr
        assert page.read_bytes() == before
