"""A site that an earlier version has kept goes on as it was: what became of its releases was in the ledger then."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run
from tests.support.earlier import blocks_as_before
from tests.support.earlier_wheels import FORMS, install_earlier
from tests.support.lockless import fill, make_lockless
from tests.support.sites import SampleSite, SiteFactory

_MARKS = {"live": "good", "previous": "good", "good": "good", "rolled-back": "bad", "failed": "failed"}


def as_before(site: SampleSite) -> None:
    """Put the state of a site into the form that it had when the ledger and the manifests said it all."""
    rows, path = site.json("list"), site.state_dir / "ledger.json"
    ledger = json.loads(path.read_text(encoding="utf-8"))
    earlier = {
        "version": 2,
        "marks": {row["id"]: _MARKS[row["state"]] for row in rows if row["state"] in _MARKS},
        "activations": ledger["activations"],
        "pins": [row["id"] for row in rows if row["pinned"]],
        "last_sequence": ledger["last_sequence"],
    }
    path.write_text(f"{json.dumps(earlier, indent=1)}\n", encoding="utf-8")
    for directory in (site.state_dir / "releases").iterdir():
        (directory / "state.json").unlink()
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        del manifest["start_files"]
        (directory / "manifest.json").write_text(f"{json.dumps(manifest, indent=1)}\n", encoding="utf-8")


def one_of_each_kind(site: SampleSite) -> None:
    """Make a release of each kind: adopted, rolled back, failed, pinned, live, and one to go back to."""
    site.releaser("hold", "gamma", "ask Ada", check=0)
    site.releaser("pin", site.live_id(), check=0)
    site.update_to("alpha", "1.2.0")
    site.update_to("beta", "1.1.0")
    site.releaser("rollback", check=0)
    site.publish("alpha", "1.3.0", broken=True)
    site.releaser("update", check=5)


def states(site: SampleSite) -> dict[str, tuple[str, bool]]:
    return {row["id"]: (row["state"].replace("previous", "good"), row["pinned"]) for row in site.json("list")}


def kept_out(site: SampleSite) -> list[Any]:
    status = site.json("status")
    return [status[name] for name in ("on_hold", "failed_candidates", "commits_on_hold")]


@pytest.mark.spread(1)
@pytest.mark.parametrize("first", ["rollback", "update"])
def test_a_question_changes_nothing_and_all_goes_on_as_it_was(make_site: SiteFactory, first: str) -> None:
    packages = dict.fromkeys(["alpha", "beta", "gamma"], "1.0.0")
    site = make_site.adopted("1.1.0", prepare=one_of_each_kind, packages=packages)
    live, was, before, out = site.live_id(), states(site), site.snapshot(), kept_out(site)
    assert [len(found) for found in out] == [3, 2, 0]
    as_before(site)
    blocks_as_before(site)
    files = {path: path.read_bytes() for path in site.state_dir.rglob("*.json")}
    assert sorted(state for state, _ in was.values()) == ["failed", "good", "good", "live", "rolled-back"]
    (pinned,) = [name for name, (_, is_pinned) in was.items() if is_pinned]
    assert (site.json("status")["problems"], kept_out(site), states(site)) == ([], out, was)
    site.releaser("verify", "--all", check=0)
    assert site.snapshot() == before
    assert {path: path.read_bytes() for path in site.state_dir.rglob("*.json")} == files

    site.publish("beta", "1.2.0")
    report = site.json(first)
    assert "was lost" not in str(report)
    if first == "rollback":
        assert site.live_id() == pinned
        assert states(site) == {**was, live: ("rolled-back", False), pinned: ("live", True)}
    else:
        assert states(site) == {**was, live: ("good", False), site.live_id(): ("live", False)}
        site.releaser("rollback", check=0)
        assert site.live_id() == live
    ledger = json.loads((site.state_dir / "ledger.json").read_text(encoding="utf-8"))
    assert (ledger["marks"], ledger["pins"]) == ({}, [])
    assert {path.parent.name for path in site.state_dir.glob("releases/*/state.json")} == {*states(site)}
    assert {"quarantine.json", "holds.json"}.isdisjoint(os.listdir(site.state_dir))
    site.releaser("unhold", "gamma", check=0)
    assert "gamma" not in [one["name"] for one in site.json("status")["on_hold"]]
    assert {"alpha", "beta"} <= {one["name"] for one in site.json("status")["on_hold"]}
    now = states(site)
    site.releaser("unpin", pinned, check=0)
    assert "was lost" not in str(site.json("prune"))
    assert states(site) == {**now, pinned: (now[pinned][0], False)}
    assert site.json("status")["problems"] == []


def test_a_first_lock_that_was_cut_off_behind_its_flip_is_finished(make_site: SiteFactory) -> None:
    """pyproject.toml came into the checkout after the flip then, out of the release, and was committed last of all."""
    site = make_lockless(make_site)
    fill(site, site.link, "alpha==1.0.0")
    before = site.head()
    origin = site.json("init", "--from-venv", site.link)["release"]
    target = site.json("rebuild")["release"]
    files = {name: (site.path / name).read_bytes() for name in ("pyproject.toml", "uv.lock")}
    for name in (origin, target):
        (site.state_dir / "releases" / name / "pyproject.toml").write_bytes(files["pyproject.toml"])
    site.git("reset", "--quiet", "--hard", before)
    site.git("push", "--quiet", "--force")
    (site.state_dir / "pending.json").unlink(missing_ok=True)
    entry = {
        "version": 2, "command": "init", "run_id": "20261101T030000Z-4711", "phase": "committing", "origin": origin,
        "origin_link": f"../.releaser/shop/releases/{origin}/venv", "target": target, "head_before": before,
        "head_after": before, "creates_pyproject": True, "boot": "earlier",
    }  # fmt: skip
    (site.state_dir / "journal.json").write_text(json.dumps(entry), encoding="utf-8")
    site.releaser("update", env={"RELEASER_UPGRADE": "patch"}, check=0)
    assert site.live_id() == target
    assert {name: (site.path / name).read_bytes() for name in files} == files
    assert (site.git("status", "--porcelain"), site.remote_head()) == ("", site.head())
    assert site.git("show", "--name-only", "--format=", "HEAD").split() == ["pyproject.toml", "uv.lock"]
    assert not (site.state_dir / "journal.json").exists()
    site.releaser("rollback", origin, check=0)
    assert {name: (site.path / name).read_bytes() for name in files} == files


_STATES = {"bad": "rolled-back", "previous": "good"}


@pytest.mark.spread(2)
@pytest.mark.parametrize("commit", FORMS)
def test_the_state_that_an_earlier_wheel_wrote_is_kept(make_site: SiteFactory, tmp_path: Path, commit: str) -> None:
    earlier, site = install_earlier(commit, tmp_path / "earlier"), make_site(venv=True)

    def do(*words: str) -> str:
        return run([earlier, *words, "--project", site.path], cwd=tmp_path, env=site.env, check=0).stdout

    do("init")
    site.publish("alpha", "1.1.0")
    do("update")
    do("hold", "beta")
    do("rollback")
    live, head = site.live_id(), site.head()
    do("pin", live)
    before, listed = site.snapshot(), json.loads(do("list", "--json"))
    was = {row["id"]: (_STATES.get(row["state"], row["state"]), row["pinned"]) for row in listed}
    assert sorted(state for state, _ in was.values()) == ["live", "rolled-back"]
    ran = [entry["run_id"] for entry in json.loads(do("history", "--json"))]

    status = site.json("status")
    assert (status["problems"], status["live"], status["interrupted"]) == ([], live, False)
    assert [one["name"] for one in status["on_hold"]] == ["alpha", "beta"]
    assert (states(site), site.snapshot()) == (was, before)
    site.releaser("verify", "--all", check=0)
    assert site.json("update")["result"] == "no-changes"
    assert (site.live_id(), site.head()) == (live, head)
    site.publish("alpha", "1.2.0")
    site.publish("beta", "1.1.0")
    assert [one["name"] for one in site.json("update")["changes"]] == ["alpha"]
    site.releaser("rollback", check=0)
    assert site.live_id() == live
    site.releaser("unhold", "beta", check=0)
    site.releaser("prune", check=0)
    assert states(site)[live] == ("live", True)
    assert site.json("status")["problems"] == []
    runs = json.loads(site.releaser("history", "--json", check=0).stdout)  # earlier runs lack later fields
    assert [entry["run_id"] for entry in runs][-len(ran) :] == ran
    assert {entry["result"] for entry in runs} <= {"updated", "rolled-back", "no-changes"}
