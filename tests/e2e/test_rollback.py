"""Going back and forth between releases: instant, and what was left stays out."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from releaser.locks.installed import installed_key
from releaser.locks.lock import LockFile
from tests.e2e.scenes import STEPS, body, changed_files, edit_pyproject, silent, states, step, steps
from tests.support.commands import run
from tests.support.sites import SampleSite, SiteFactory, variables

WELL = "test ! -e static_out/sick.txt"
# Each of these costs as much as much of what is really needed; a rollback is urgent.
SLOW = {"asyncio", "concurrent.futures", "http", "importlib.metadata", "packaging", "rich", "tomlkit"}
IMPORTING = """\
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from releaser.__main__ import main
main()
"""


def with_releases(make_site: SiteFactory, *versions: str, **options: Any) -> tuple[SampleSite, list[str]]:
    """Make a site that was updated to each of these versions of alpha; give the releases, oldest first."""
    site = make_site.adopted(*versions, **options)
    return site, site.releases()


@pytest.mark.story
def test_a_rollback_takes_link_lock_static_files_and_git_back_and_builds_nothing(make_site: SiteFactory) -> None:
    export = {"requirements_export": "requirements.txt"}
    site, (first, second) = with_releases(make_site, "1.1.0", settings=export)
    lock = site.git("show", "HEAD^:uv.lock")
    restarted = site.restarted_at() or 0
    report = site.json("rollback")
    assert (report["result"], report["release"], report["previous"]) == ("rolled-back", first, second)
    assert steps(report) == ["preflight", "flip", *STEPS, "migrations", "export", "commit", "push", "prune"]
    assert site.manage_runs("test") == []
    assert (site.live_id(), site.live_version("alpha")) == (first, "1.0.0")
    assert site.lock_text().rstrip("\n") == lock
    assert (site.static_versions() or {})["alpha"] == "1.0.0"
    assert (site.restarted_at() or 0) > restarted
    assert changed_files(site) == {"uv.lock", "requirements.txt"}
    assert "alpha==1.0.0" in (site.path / "requirements.txt").read_text(encoding="utf-8")
    assert site.git("log", "-1", "--format=%s") == f"Roll back to release {first}"
    assert site.remote_head() == site.head()
    assert site.git("status", "--porcelain") == ""
    assert states(site) == {second: "rolled-back", first: "live"}
    assert site.outbox_mails()[-1]["subject"].startswith(f"↩ site: rolled back to {first}")
    assert f"Rolled back from {second} to {first}" in body(site)
    assert "alpha    1.1.0  1.0.0  ↓ minor" in body(site)
    for name in (first, second):
        manifest, lock_file = site.json("show", name), site.state_dir / "releases" / name / "uv.lock"
        assert manifest["installed_sha256"] == installed_key(LockFile.read(lock_file), python=manifest["python"])
    finished = run([sys.executable, "-c", IMPORTING, "rollback", second], cwd=site.path, env=site.env, check=0)
    assert SLOW.isdisjoint(finished.stderr.splitlines()[-1].split())


def test_a_rollback_needs_no_index_remote_uv_clean_tree_or_right_settings(make_site: SiteFactory) -> None:
    """It is needed most when nothing else works."""
    site, (first, _) = with_releases(make_site, "1.1.0")
    site.index.path.rename(site.outer / "hidden")
    site.remote.rename(site.outer / "hidden.git")
    site.edit("site_settings.py", "# in the middle of something\n")
    site.edit("staged.txt", "")
    site.git("add", "staged.txt")
    site.edit("untracked.txt", "")
    report = site.json("rollback", check=7, env={"RELEASER_UV": "/nowhere/uv", "RELEASER_KEPE": "3"})
    assert "RELEASER_KEPE is not a setting" in str(report["problems"])
    assert (site.live_id(), changed_files(site)) == (first, {"uv.lock"})
    assert step(report, "commit")["status"] == "ok"
    assert step(report, "push")["status"] == "failed"
    assert site.git("status", "--porcelain").splitlines() == [
        "M site_settings.py",  # the first column is stripped
        "A  staged.txt",
        "?? untracked.txt",
    ]
    (site.outer / "hidden").rename(site.index.path)
    (site.outer / "hidden.git").rename(site.remote)
    site.git("reset", "--quiet", "--hard")
    (site.path / "untracked.txt").unlink()
    silent(site.releaser("update"))
    assert site.remote_head() == site.head()


def test_what_cannot_be_gone_back_to_is_refused_and_passed_over(make_site: SiteFactory) -> None:
    site, (first, second) = with_releases(make_site, "1.1.0", settings={"environment_file": "../.env"})
    site.publish("alpha", "2.0.0", broken=True)
    failed = site.json("update", check=5)["release"]
    before = site.snapshot()
    for words, code, said in (
        ([first[:4]], 9, "matches several releases"),
        (["20200101T000000Z"], 9, "there is no release '20200101T000000Z'"),
        ([failed], 9, f"{failed} failed its tests"),
        ([failed, "--force"], 9, f"{failed} failed its tests"),
    ):
        finished = site.releaser("rollback", *words, check=code)
        assert said in finished.stderr
        assert "live: unchanged" in finished.stderr
    silent(site.releaser("rollback", second))
    site.write_dotenv({"PYTHONPATH": str(site.outer)})
    (site.outer / "sitecustomize.py").write_text("raise SystemExit(3)", encoding="utf-8")
    assert f"{first} does not start: " in site.releaser("rollback", check=3).stderr
    (site.outer / "sitecustomize.py").unlink()
    assert site.snapshot() == before
    site.releaser("rollback", check=0)
    assert (site.live_id(), site.live_version("alpha")) == (first, "1.0.0")
    before = site.snapshot()
    assert "no earlier good release exists to roll back to" in site.json("rollback", check=9)["headline"]
    (site.state_dir / "releases" / second / "venv" / "bin" / "python").unlink()
    assert "interpreter" in site.releaser("rollback", second, check=9).stderr
    assert site.snapshot() == before


@pytest.mark.story
def test_a_rollback_that_makes_the_site_ill_returns(make_site: SiteFactory) -> None:
    site, (first, second) = with_releases(make_site, "1.1.0", dotenv=variables(health_check=WELL, health_retries=0))
    site.edit("static_out/sick.txt", "")
    before = site.snapshot()
    report = site.json("rollback", check=6)
    assert report["result"] == "rolled-back"
    after = site.snapshot()
    assert after.pop("(restarted at)") != before.pop("(restarted at)")
    assert after == before
    assert states(site) == {second: "live", first: "good"}
    assert site.json("status")["on_hold"] == []


def test_force_lifts_the_quarantine_as_one_is_told_who_needs_what_was_left(make_site: SiteFactory) -> None:
    site, _ = with_releases(make_site, "1.1.0")
    site.releaser("rollback", check=0)
    before = site.snapshot()
    site.push_from_elsewhere({"pyproject.toml": edit_pyproject(site, '"alpha"', '"alpha>=1.1"')}, lock=True)
    finished = site.releaser("update", check=4)
    assert "--force" in finished.stderr
    assert site.snapshot() == before
    site.releaser("update", "--force", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert site.json("status")["on_hold"] == []
    silent(site.releaser("update"))


def test_with_force_the_older_release_stays_and_the_failure_is_told(make_site: SiteFactory) -> None:
    site, (earlier, later) = with_releases(make_site, "1.1.0", dotenv=variables(health_check="false", health_retries=0))
    report = site.json("rollback", "--force", check=7)
    assert site.live_id() == earlier
    assert (report["result"], report["live_changed"]) == ("rolled-back", True)
    assert "flip back" not in steps(report)
    assert step(report, "health check")["status"] == "failed"
    (problem,) = report["problems"]
    assert problem.startswith("health check failed")
    assert f"{earlier} stays live anyway, because of --force" in problem
    assert "stays live anyway" in " ".join(body(site).split())
    assert states(site)[later] == "rolled-back"
    kills = {"RELEASER_HEALTH_CHECK": "sh -c 'kill -9 $PPID'"}
    assert site.releaser("rollback", later, "--force", env=kills).returncode == -signal.SIGKILL
    site.releaser("init")  # any command finishes first what was begun
    assert site.live_id() == later


def test_a_rollback_is_not_kept_by_what_a_new_commit_may_not_have(make_site: SiteFactory) -> None:
    """A `.python-version` with the path of a program was live; in a commit that is to go live it would be refused."""
    site = make_site.adopted()
    site.push_commit("Name a program", {".python-version": f"{os.path.realpath(sys.executable)}\n"})
    site.update_to("alpha", "1.1.0")
    site.push_from_elsewhere({".python-version": "3.11\n", "notes.txt": "new"})
    site.update_to("alpha", "1.2.0")
    site.releaser("rollback", check=0)
    assert site.live_version("alpha") == "1.1.0"


def test_no_rollback_goes_to_a_release_whose_programs_start_at_the_path_before_a_move(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    before = make_site(venv=True)
    before.releaser("init", check=0)
    for version in ("1.1.0", "1.2.0"):
        before.publish("alpha", version, scripts={"serve": "alpha:__version__.count"})
        before.releaser("update", check=0)
    _, *earlier = before.releases()
    (tmp_path / "new").mkdir()
    before.outer.rename(tmp_path / "new" / before.outer.name)
    site = before.moved(tmp_path / "new")
    site.git("remote", "set-url", "origin", str(site.remote))
    link = f"run `ln -s {site.outer} {before.outer}`"
    seen = site.snapshot()
    refused = site.releaser("rollback", earlier[0], check=9).stderr
    assert f"release {earlier[0]} is damaged: it was moved" in refused
    assert link in refused
    assert site.snapshot() == seen
    site.write_dotenv(variables(health_check="false"))
    failed = site.releaser("update", check=6).stderr  # the live health check is no reason to refuse the repair
    assert site.live_id() == earlier[1], "it was live, and its processes may still run"
    assert f"The rollback to {earlier[1]} was completed anyway. The next update rebuilds it. To let" in failed
    assert failed.count(link) == 2, failed
    site.write_dotenv()
    before.outer.symlink_to(site.outer)
    assert site.json("rollback", earlier[0], check=0)["result"] == "rolled-back"
