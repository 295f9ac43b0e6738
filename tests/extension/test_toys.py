"""What others could add, each in a file of its own, goes through a real update without a change of releaser."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Finished, run
from tests.support.sites import SampleSite, SiteFactory, variables

pytestmark = pytest.mark.spawns

ROOT = Path(__file__).parents[2]


def with_toy(site: SampleSite, toy: str, *words: str, check: int = 0) -> Finished:
    """Run a command of releaser, to which a toy was added."""
    start = f"from tests.extension.{toy} import register; register(); from releaser.__main__ import main; main()"
    argv: list[str | Path] = [sys.executable, "-c", start, *words, "--project", site.path]
    return run(argv, cwd=site.outer, env={**site.env, "PYTHONPATH": str(ROOT)}, check=check)


def answer(site: SampleSite, toy: str, *words: str, check: int = 0) -> Any:
    """Run such a command with --json, and return what it prints."""
    return json.loads(with_toy(site, toy, *words, "--json", check=check).stdout)


def steps(report: Mapping[str, Any]) -> dict[str, str]:
    return {one["step"]: one["detail"] for one in report["steps"]}


def candidate(site: SampleSite) -> str:
    """Return the id of the one release that waits."""
    (ready,) = (row["id"] for row in site.json("list") if row["state"] == "candidate")
    return str(ready)


def test_a_restart(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=variables(restart="ring:restarted"))
    site.publish("alpha", "1.1.0")
    refused = with_toy(site, "toy_restart", "update", check=3)
    assert "there is no bell" in refused.stderr
    (site.outer / "bell").touch()
    report = answer(site, "toy_restart", "update")
    assert steps(report)["restart"] == "rang the bell"
    assert (site.outer / "restarted").read_text(encoding="utf-8") == str(site.link.resolve())
    with_toy(site, "toy_restart", "rollback")
    assert (site.outer / "restarted").read_text(encoding="utf-8") == str(site.link.resolve())
    assert "ring:FILE, or a command" in " ".join(with_toy(site, "toy_restart", "setup", "--help").stdout.split())


def test_an_action(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    first = site.live_id()
    site.publish("alpha", "1.1.0")
    refused = with_toy(site, "toy_action", "update", check=3)
    assert "there is no cache" in refused.stderr
    cache = site.outer / "cache"
    cache.touch()
    report = answer(site, "toy_action", "update")
    assert steps(report)["purge the cache"] == "purged it"
    assert cache.read_text(encoding="utf-8") == f"{site.live_id()}\n"
    cache.write_text(f"{first}\n", encoding="utf-8")
    taken_back = answer(site, "toy_action", "rollback", check=6)
    assert "purge the cache failed: the cache is full" in taken_back["headline"]
    assert (site.live_id(), taken_back["live_changed"]) == (report["release"], False)


@pytest.mark.slow
def test_a_gate(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.releaser("update", check=0)
    door, before, good = site.outer / "door", site.snapshot(), site.json("status")["last_success"]
    site.publish("alpha", "1.1.0")
    door.write_text("locked", encoding="utf-8")
    assert "Find the key." in with_toy(site, "toy_gate", "update", check=3).stderr
    door.write_text("closed", encoding="utf-8")
    waits = answer(site, "toy_gate", "update")
    assert (waits["result"], waits["waits"], site.snapshot()) == ("no-changes", waits["headline"], before)
    assert waits["headline"].endswith(" is ready and waits: the door is closed")
    assert site.json("status")["last_success"] == good
    ready = candidate(site)
    assert ready in waits["headline"]
    kept = {one["release"]: one["reason"] for one in site.json("prune", env={"RELEASER_KEEP_AT_LEAST": "0"})}
    assert kept[ready] == "ready, and waits: the door is closed"
    again = answer(site, "toy_gate", "update")
    assert (again["headline"], {"build", "test"} & {*steps(again)}) == (waits["headline"], set())
    assert "the door is closed" in site.releaser("status").stdout
    site.publish("alpha", "1.1.1")
    site.env["RELEASER_KEEP_AT_LEAST"] = "0"
    with_toy(site, "toy_gate", "update")
    ready = candidate(site)  # in place of the first
    door.unlink()
    went = answer(site, "toy_gate", "update")
    assert (went["release"], site.live_id(), site.live_version("alpha")) == (ready, ready, "1.1.1")
    assert not {"build", "test"} & {*steps(went)}
    door.write_text("locked", encoding="utf-8")
    assert "Find the key." in with_toy(site, "toy_gate", "rebuild", check=3).stderr
    assert site.live_id() == ready
    site.publish("alpha", "1.2.0")
    door.write_text("locked", encoding="utf-8")
    forced = answer(site, "toy_gate", "update", "--force")
    assert (site.live_version("alpha"), "the door is locked" in str(forced["problems"])) == ("1.2.0", True)


def test_a_source(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    artifact, first = site.outer / "artifact.lock", site.live_id()
    site.publish("alpha", "1.1.0")
    lock = site.lock_text()
    site.uv("lock", "--quiet", "--upgrade")
    artifact.write_text(site.lock_text(), encoding="utf-8")
    site.edit("uv.lock", lock)
    site.publish("alpha", "1.2.0")
    head = site.head()
    refused = with_toy(site, "toy_source", "update", "alpha", check=2).stderr
    assert "this site takes what the artifact has, and upgrades no packages" in refused
    with_toy(site, "toy_source", "update")
    assert (site.live_version("alpha"), site.lock_text()) == ("1.1.0", artifact.read_text(encoding="utf-8"))
    assert (site.head(), site.git("status", "--porcelain")) == (head, "M uv.lock"), "others publish it"
    assert with_toy(site, "toy_source", "update").stdout == ""
    found = answer(site, "toy_source", "outdated")
    kept = [(one["name"], one["next"], one["blocked_by"][0]["reason"]) for one in found]
    assert kept == [("alpha", None, "this site takes what the artifact has")]
    with_toy(site, "toy_source", "rollback")
    assert (site.live_id(), site.live_version("alpha")) == (first, "1.0.0")
    artifact.write_text("no lock", encoding="utf-8")
    assert "Publish it again." in with_toy(site, "toy_source", "update", check=4).stderr
    artifact.unlink()
    with_toy(site, "toy_source", "update")
    assert site.live_version("alpha") == "1.2.0"


@pytest.mark.slow
def test_a_rule(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        site.publish("alpha", version)
    site.publish("beta", "1.1.0")
    plan = answer(site, "toy_rule", "update", "--dry-run")
    assert "alpha 1.3.0 would be skipped: 1.3.0 is odd" in plan["would"]
    found = answer(site, "toy_rule", "outdated")
    assert [(one["name"], one["next"], [by["by"] for by in one["blocked_by"]]) for one in found] == [
        ("alpha", "1.2.0", ["odd"]),
        ("beta", None, ["odd"]),
    ]
    report = answer(site, "toy_rule", "update")
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.2.0", "1.0.0")
    told = [(one["name"], one["version"], one["by"], one["reason"]) for one in report["on_hold"]]
    assert told == [("alpha", "1.3.0", "odd", "1.3.0 is odd"), ("beta", "1.1.0", "odd", "1.1.0 is odd")]
    assert "beta 1.1.0: 1.1.0 is odd" in site.releaser("show", site.live_id()).stdout
    assert with_toy(site, "toy_rule", "update").stdout == ""
    site.publish("beta", "1.2.0")
    with_toy(site, "toy_rule", "update")
    assert site.live_version("beta") == "1.2.0"
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.3.0"
    site.publish("beta", "1.3.0")
    assert with_toy(site, "toy_rule", "update").stdout == ""  # what is locked stays
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.3.0", "1.2.0")


def with_capability(site: SampleSite, toy: str, entry: str, place: Path) -> Callable[..., Finished]:
    """Copy the package with a toy in it and its entry in the list; return a function that runs its commands."""
    package = place / "copy" / "releaser"
    shutil.copytree(ROOT / "releaser", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "extension" / f"{toy}.py", package / f"{toy}.py")
    listed = package / "capabilities.py"
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace("CAPABILITIES = (\n", f"CAPABILITIES = (\n    {entry}\n"), encoding="utf-8")

    def call(*words: str, check: int = 0, **env: str) -> Finished:
        argv: list[str | Path] = [sys.executable, "-c", "from releaser.__main__ import main; main()", *words]
        environ = {**site.env, "PYTHONPATH": str(package.parent), **env}
        return run([*argv, "--project", site.path], cwd=site.outer, env=environ, check=check)

    return call


def test_a_section_of_the_status_is_one_file_and_one_entry(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted()
    entry = 'Capability(name="note", statuses=("toy_status.NoteStatus",)),'
    call, note = with_capability(site, "toy_status", entry, tmp_path), site.outer / "note"
    assert json.loads(call("status", "--json").stdout)["note"] == ""
    assert "note" not in call("status").stdout
    note.write_text("closed on Monday", encoding="utf-8")
    assert json.loads(call("status", "--json").stdout)["note"] == "closed on Monday"
    lines = call("status").stdout.splitlines()
    runs = [number for number, line in enumerate(lines) if line.startswith("last ")]
    assert lines.index("the note on the door: closed on Monday") == runs[-1] + 1, "below the runs"
    assert "WARNING - site: read the note on the door | " in (said := call("status", "--nagios", check=1).stdout)
    assert " notes=1 " in said
    call("report", "--offline", "--html", str(site.outer / "page.html"))
    page = (site.outer / "page.html").read_text(encoding="utf-8")
    assert "<p>The note on the door: closed on Monday.</p>" in page
    assert "Read the note on the door." in page
    assert f"releaser status --project {site.path}" in page


def test_a_capability_with_a_setting_of_a_new_kind_is_one_file_and_one_entry(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    entry = 'Capability(name="moon", settings=("toy_setting.MoonSettings",), checks=("toy_setting.moon_findings",)),'
    call = with_capability(site, "toy_setting", entry, tmp_path)
    (site.outer / "moon").write_text("full moon", encoding="utf-8")
    wrong = call("update", check=3, RELEASER_QUIET_MOON="blue moon").stderr
    assert "RELEASER_QUIET_MOON must be a phase of the moon (it is 'blue moon')" in wrong
    (site.outer / ".env").write_text("RELEASER_QUIET_MOON='full moon'\n", encoding="utf-8")
    assert "it is full moon" in call("update", check=3).stderr
    assert "quiet_moon" in json.loads(call("check", "--json", check=3).stdout)["counted_once_live"]
    assert call("config", "quiet_moon").stdout == "full moon\n"
    described = json.loads(call("config", "--schema").stdout)["properties"]["quiet_moon"]
    assert described["description"].endswith("is updated. A phase of the moon, such as `full moon`.")
    (site.outer / "moon").write_text("new moon", encoding="utf-8")
    call("update")
    assert site.live_version("alpha") == "1.1.0"
