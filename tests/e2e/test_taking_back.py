"""What is taken back, and how far: half a merge, an activation that cannot be undone, the version of the project."""

import os
import sys
from pathlib import Path

from tests.e2e.scenes import MEETING_TESTS, edit_pyproject, eventually, in_background, meeting, silent, states
from tests.support.sites import SampleSite, SiteFactory, variables

OLD = {"aaa.py": "x = 1\n", "mmm.bin": "old\n", "zzz.py": "x = 1\n", "gone.py": "y = 1\n"}
NEW = {"aaa.py": "x = 2\n", "mmm.bin": "new\n", "zzz.py": "x = 2\n", "bbb/added.py": "z = 1\n", "added.bin": "added\n"}


def test_a_merge_that_is_killed_is_taken_back(make_site: SiteFactory, tmp_path: Path) -> None:
    """It is killed while a file goes through a filter, with some files of the merge there and others not."""
    site = make_site.adopted(files={".gitattributes": "*.bin filter=shout\n", **OLD})
    site.git("config", "filter.shout.required", "true")
    site.env["RELEASER_GIT_HOOKS"] = "true"
    site.git("config", "filter.shout.clean", "tr A-Z a-z")
    site.git("config", "filter.shout.smudge", "tr a-z A-Z")
    site.git("rm", "-q", "--cached", "mmm.bin")
    (site.path / "mmm.bin").unlink()
    site.git("reset", "--quiet", "--hard")
    assert (site.path / "mmm.bin").read_text(encoding="utf-8") == "OLD\n"
    site.push_from_elsewhere(NEW)

    before, program = site.head(), tmp_path / "meet.py"
    program.write_text(MEETING_TESTS, encoding="utf-8")
    site.git("config", "filter.shout.smudge", f"{sys.executable} {program} && tr a-z A-Z")
    with meeting() as met, in_background(site, "update", env=met.env) as update, met.kept_waiting():
        update.kill()
        update.wait()
        eventually(lambda: not (site.path / ".git" / "index.lock").exists(), "the end of git")
    site.git("config", "filter.shout.smudge", "tr a-z A-Z")
    assert site.head() == before
    site.releaser("update", check=0)
    assert site.head() == site.remote_head()
    assert site.git("status", "--porcelain", "--untracked-files=all") == ""
    wanted = {**NEW, "mmm.bin": "NEW\n", "added.bin": "ADDED\n"}
    assert {name: (site.path / name).read_text(encoding="utf-8") for name in wanted} == wanted
    silent(site.releaser("update"))


def test_it_is_said_if_going_back_failed(make_site: SiteFactory) -> None:
    """The health check puts a directory in the place of the link, so that no rename can replace it."""
    barrier = "sh -c 'test ! -e ../sick || { rm .venv; mkdir .venv; touch .venv/in-the-way; exit 1; }'"
    site = make_site.adopted(dotenv=variables(health_check=barrier, health_retries=0))
    live = site.live_id()
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", check=6, env={"RELEASER_TEST_COMMAND": f"touch {site.outer / 'sick'}"})
    (site.outer / "sick").unlink()
    report = site.json("history")[0]
    assert report["live_changed"] is True
    assert f"live: still {report['release']}" in finished.stderr
    assert "the rollback is incomplete" in finished.stderr
    (site.link / "in-the-way").unlink()
    site.link.rmdir()
    site.link.symlink_to(f"../.releaser/site/releases/{report['release']}/venv")
    site.releaser("prune", check=0)
    assert site.live_id() == live
    assert states(site)[report["release"]] == "rolled-back"
    assert site.git("status", "--porcelain") == ""


def test_a_rollback_minds_settings_that_say_where_releases_are(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    before = site.snapshot()
    for name in ("RELEASER_STATE_DIR", "RELEASER_VENV"):
        assert f"{name} must be one line" in site.releaser("rollback", env={name: "\n"}, check=3).stderr
    assert site.snapshot() == before
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    for edited, words in (("state_dir = 5", "tool.releaser.state_dir "), ("venv = 5", "releaser.venv "), ("[", "TOML")):
        site.edit("pyproject.toml", f"{text}\n[tool.releaser]\n{edited}\n")
        before = site.snapshot()
        assert words in site.releaser("rollback", "--force", check=3).stderr
        assert site.snapshot() == before


def push_version(site: SampleSite, version: str, *, healthy: bool) -> None:
    """Push a new version of the project, well or ill; an ill one is so with any release but the one that is live."""
    (site.outer / "well").write_text(os.readlink(site.link), encoding="utf-8")
    text = edit_pyproject(site, 'version = "0.1.0"', f'version = "{version}"')
    health = "exit 0\n" if healthy else 'test "$(readlink .venv)" = "$(cat ../well)"\n'
    site.push_from_elsewhere({"pyproject.toml": text, "health.sh": health}, lock=True)


def test_a_version_of_the_project_that_was_taken_back_can_come_again_with_better_code(make_site: SiteFactory) -> None:
    """It is code, and no package to leave out."""
    settings = {"health_check": "sh health.sh", "health_retries": 0}
    site = make_site(kind="packaged", venv=True, settings=settings, files={"health.sh": "exit 0\n"})
    site.releaser("init", check=0)
    push_version(site, "0.2.0", healthy=False)
    assert site.json("update", check=6)["result"] == "rolled-back"
    assert site.json("status")["on_hold"] == []
    push_version(site, "0.2.0", healthy=True)
    assert site.json("update")["result"] == "updated"
    assert 'version = "0.2.0"' in site.lock_text()
