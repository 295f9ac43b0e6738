"""Keeping and using releases: prune, pin, run, and the leases of whoever is in one."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import body, in_background, silent, states, wait_until_used
from tests.support.commands import console_script, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory, variables

FEW = {"RELEASER_KEEP": "0", "RELEASER_KEEP_WITHIN": "0", "RELEASER_KEEP_FAILED": "0"}


def on_disk(site: SampleSite) -> set[str]:
    return {path.name for path in (site.state_dir / "releases").iterdir()}


@pytest.mark.story
def test_prune_keeps_what_the_policy_says_and_tells_why(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", "1.2.0", "1.3.0")
    r1, r2, r3, r4 = site.releases()
    site.publish("alpha", "2.0.0", broken=True)
    failed = site.json("update", check=5, env={"RELEASER_CULPRITS": "off"})["release"]
    for words in (["prune"], ["prune", "--dry-run"]):  # by a default in its place, more might go than was meant
        refused = site.releaser(*words, check=3, env={**FEW, "RELEASER_KEEP": "ten"})
        assert "RELEASER_KEEP must be" in refused.stderr
    few = {**FEW, "RELEASER_KEEP": "1"}
    finished = site.releaser("prune", check=0, env=few)
    goes_to = "the release that a rollback goes to; was live until the last flip; the newest good one"
    assert [line.split(maxsplit=2) for line in finished.stdout.splitlines()[1:]] == [
        ["remove", failed, "failed, and `keep_failed` is 0"],
        ["keep", r4, "live"],
        ["keep", r3, goes_to],
        ["remove", r2, "good, but not the newest good one"],
        ["remove", r1, "good, but not the newest good one"],
    ]
    assert set(states(site)) == on_disk(site) == {r3, r4}
    site.releaser("rollback", check=0)
    assert site.live_id() == r3


@contextlib.contextmanager
def undeletable(place: Path) -> Iterator[None]:
    """Put a file into a directory that not even root may delete, and that moves with it."""
    file = place / "venv" / "obstinate"
    file.touch()
    require(shutil.which("chattr"), "there is no chattr")
    done = subprocess.run(["chattr", "+i", file], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"no file can be made immutable here: {done.stderr}")
    try:
        yield
    finally:
        for found in place.parent.glob("*/venv/obstinate"):
            subprocess.run(["chattr", "-i", found], check=True)


def test_an_update_succeeds_that_cannot_delete_a_release_and_says_so(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", dotenv=variables(keep=0, keep_within=0))
    r1, _ = site.releases()
    with undeletable(site.state_dir / "releases" / r1):
        site.publish("alpha", "1.2.0")
        report = site.json("update")
        assert report["result"] == "updated"
        (problem,) = report["problems"]
        assert problem.startswith(f"release {r1} could not be deleted: Operation not permitted (")
        assert {step["step"]: step["status"] for step in report["steps"]}["prune"] == "warning"
        assert r1 not in states(site)
        silent(site.releaser("update"))  # it was tried again, and there is nothing else to tell
        assert any(f"release {r1} is only partly deleted" in problem for problem in site.json("status")["problems"])
        rows = {row["release"]: row for row in site.json("prune", check=7)}
        assert rows[r1]["reasons"] == ["partly deleted by an earlier run"]
        assert rows[r1]["error"].startswith("Operation not permitted (")
    site.releaser("prune", check=0)
    assert site.json("status")["problems"] == []
    assert not list((site.state_dir / "releases").glob(".*"))


def test_a_pinned_release_is_never_pruned_until_it_is_unpinned(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", "1.2.0")
    r1, r2, r3 = site.releases()
    assert "is pinned now" in site.releaser("pin", r1, check=0).stderr
    silent(site.releaser("pin", r1))
    assert [row["id"] for row in site.json("list") if row["pinned"]] == [r1]
    assert "pinned" in site.releaser("list", check=0).stdout
    site.releaser("prune", check=0, env=FEW)
    assert on_disk(site) == {r1, r2, r3}
    reports = [site.json("pin", r1), site.json("unpin", r1)]
    assert [(report["result"], report["release"]) for report in reports] == [("no-changes", r1), ("updated", r1)]
    site.releaser("prune", check=0, env=FEW)
    assert on_disk(site) == {r2, r3}


@pytest.mark.story
def test_run_becomes_a_program_of_the_live_release_and_hands_options_and_the_exit_status_on(
    make_site: SiteFactory,
) -> None:
    site = make_site.adopted("1.1.0")
    _, r2 = site.releases()
    code = "import alpha, os, sys; print(alpha.__version__, sys.prefix, os.environ['VIRTUAL_ENV'], os.getcwd())"
    words: list[str | Path] = [console_script(), "run", "--project", site.path, "--", "python", "-c", code]
    said = run(words, cwd=site.outer, env=site.environment(), check=0).stdout.split()
    venv = str(site.state_dir / "releases" / r2 / "venv")
    assert said == ["1.1.0", venv, venv, str(site.outer)]
    for exits in (["--", "sh", "-c", "exit 42"], ["sh", "-c", "exit 42"]):
        site.releaser("run", *exits, check=42)
    finished = site.releaser("run", "--", "echo", "--json", "-v", "--project", "x", check=0)
    assert finished.stdout == "--json -v --project x\n"
    assert "no-such-program cannot be started" in site.releaser("run", "--", "no-such-program", check=2).stderr
    site.releaser("run", check=2)
    site.link.unlink()
    shutil.rmtree(site.state_dir)
    assert "no release is live" in site.releaser("run", "--", "true", check=9).stderr


def test_who_still_runs_on_an_earlier_release_is_told_and_long_after_once_more(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    (r1,) = site.releases()
    with in_background(site, "run", "--", "sleep", "600") as sleeper:
        wait_until_used(site, r1, sleeper.pid)
        assert site.json("status")["left_behind"] == []
        site.publish("alpha", "1.1.0")
        report = site.json("update")
        assert report["left_behind"] == []  # right after the restart, most of these are about to end
        (one,) = site.json("status")["left_behind"]
        assert set(one) == {"release", "pid", "user", "command", "since"}
        assert (one["release"], one["pid"], one["command"]) == (r1, sleeper.pid, "sleep 600")
        assert f"not restarted: {sleeper.pid} of " in site.releaser("status", check=0).stdout
        two_hours_ago = time.time() - 7200
        os.utime(site.link, (two_hours_ago, two_hours_ago), follow_symlinks=False)
        finished = site.releaser("update", check=0)
        assert f"processes that the last update did not restart still run on {r1}: {sleeper.pid} (" in finished.stderr
        assert len(site.outbox_mails()) == 2
        assert "Processes that still run on another release" in body(site)
        assert f"{r1}  {sleeper.pid}" in body(site)
        silent(site.releaser("update"))
        assert len(site.outbox_mails()) == 2
        sleeper.kill()
        sleeper.wait(timeout=60)
    assert site.json("status")["left_behind"] == []
