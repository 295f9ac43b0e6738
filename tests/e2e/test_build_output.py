"""What `before_build` makes goes live at the flip and comes back with a rollback; a rejected commit changes nothing."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.support.sites import RED_TESTS, TESTS, SampleSite, SiteFactory

# Makes assets out of what is committed, as a bundler does, in new files and in a file that is there.
BUNDLER = """\
import pathlib
version = pathlib.Path("assets.txt").read_text()
for name in ("dist/js/app.js", "dist/index.html"):
    file = pathlib.Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(version)
"""
IGNORED = "dist/\nnode_modules/\n.venv\n__pycache__/\nstatic_out/\n"
WELL_WITH_V2 = {"RELEASER_HEALTH_CHECK": "grep -q v2 dist/index.html", "RELEASER_HEALTH_RETRIES": "0"}
OLD = {"index.html": "by hand", "js/app.js": "by hand", "extra.txt": "of a person"}


class Assets:
    """A site whose `before_build` makes an ignored `dist/`, which somebody has made by hand until now."""

    def __init__(self, make_site: SiteFactory, place: Path, dotenv: dict[str, str | None] | None = None) -> None:
        (place / "bundle.py").write_text(BUNDLER, encoding="utf-8")
        command = shlex.join([sys.executable, str(place / "bundle.py")])
        dotenv = {"RELEASER_BEFORE_BUILD": command, "RELEASER_BUILD_OUTPUT": "dist", **(dotenv or {})}
        files = {"assets.txt": "v0", ".gitignore": IGNORED}
        self.site: SampleSite = make_site.adopted(files=files, dotenv=dotenv)
        for name, text in OLD.items():
            file = self.dist / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    @property
    def dist(self) -> Path:
        return self.site.path / "dist"

    def read(self) -> dict[str, str]:
        """Return what visitors see."""
        files = (one for one in self.dist.rglob("*") if one.is_file())
        return {str(one.relative_to(self.dist)): one.read_text(encoding="utf-8") for one in files}

    def push(self, version: str, **files: str) -> str:
        return self.site.push_from_elsewhere({"assets.txt": version, **files})


def made(version: str) -> dict[str, str]:
    return {"index.html": version, "js/app.js": version}


@pytest.fixture
def assets(make_site: SiteFactory, tmp_path: Path) -> Assets:
    return Assets(make_site, tmp_path)


@pytest.mark.story
def test_assets_go_live_at_the_flip_and_come_back_with_a_rollback(assets: Assets) -> None:
    site = assets.site
    first = site.live_id()
    assets.push("v1")
    report = site.json("update")
    assert assets.read() == made("v1")
    assert os.readlink(assets.dist) == ".venv/share/releaser/output/dist"
    assert site.git("status", "--porcelain") == ""
    kept = site.outer / ".releaser" / "site" / "output" / "dist"
    assert f"the earlier files are in {kept}" in report["noted"]
    second = site.live_id()
    assets.push("v2")
    site.releaser("update", check=0)
    assert assets.read() == made("v2")
    assert site.json("verify")["problems"] == []
    site.releaser("rollback", check=0)
    assert (site.live_id(), assets.read()) == (second, made("v1"))
    site.releaser("rollback", first, check=0)  # what lay there before belongs to what was live then
    assert assets.read() == OLD
    assert (kept / "extra.txt").is_file()
    assert site.json("verify")["problems"] == []


def test_nothing_of_a_rejected_commit_is_live_and_a_good_one_is_whole(assets: Assets) -> None:
    """Also one that is taken back as the site is not well with it."""
    site = assets.site
    good = (site.path / TESTS).read_text(encoding="utf-8")
    assets.push("v1", **{TESTS: RED_TESTS})
    site.releaser("update", check=5)
    assert (assets.read(), assets.dist.is_symlink()) == (OLD, False)
    assets.push("v2", **{TESTS: good})
    site.releaser("update", check=0)
    assert assets.read() == made("v2")
    assets.push("v3")
    site.releaser("update", check=6, env=WELL_WITH_V2)
    assert assets.read() == made("v2")


def test_what_the_command_may_have_missed_is_named(make_site: SiteFactory, tmp_path: Path) -> None:
    assets = Assets(make_site, tmp_path)
    (tmp_path / "bundle.py").write_text("open('node_modules/bundler')\n", encoding="utf-8")
    modules = assets.site.path / "node_modules"
    modules.mkdir()
    (modules / "bundler").write_bytes(b"x" * 20_000_000)
    assets.push("v1")
    report = assets.site.json("update", check=4)
    assert "The staging tree lacks node_modules" in report["advice"]
    assert '`staging_copy = ["node_modules"]`' in report["advice"]


def test_what_is_not_declared_is_refused_by_name_and_the_live_files_stay(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    """Be it new, or in a directory that the checkout has."""
    assets = Assets(make_site, tmp_path, dotenv={"RELEASER_BUILD_OUTPUT": None})
    assets.push("v1")
    report = assets.site.json("update", check=4)
    assert "before_build made files that git does not track, so they would not go live: dist" in report["headline"]
    assert '`build_output = ["dist"]`' in report["advice"]
    assert assets.read() == OLD


def test_caches_are_no_output_and_edits_of_tracked_files_are_refused(make_site: SiteFactory, tmp_path: Path) -> None:
    assets = Assets(make_site, tmp_path)
    bundler = tmp_path / "bundle.py"
    caches = 'import os\nos.makedirs("node_modules/.cache")\nopen("node_modules/.cache/x", "w").close()\n'
    bundler.write_text(BUNDLER + caches, encoding="utf-8")
    assets.push("v1")
    assets.site.releaser("update", check=0)
    bundler.write_text(BUNDLER + 'open("assets.txt", "a").write("!")\n', encoding="utf-8")
    assets.push("v2")
    report = assets.site.json("update", check=4)
    assert (
        "before_build changed files that git tracks, and the changes would not go live: "
        "assets.txt" in report["headline"]
    )
    bundler.write_text("pass\n", encoding="utf-8")
    report = assets.site.json("update", check=4)
    assert "before_build made nothing at dist, which `build_output` names" in report["headline"]
    assert assets.read() == made("v1")


def test_a_kill_at_the_flip_leaves_packages_and_assets_of_one_release(assets: Assets) -> None:
    site = assets.site
    assets.push("v1")
    interrupted(site, "update", at=Point(place="releaser.core.change:flip"))
    assert assets.read() == made("v1")
    site.releaser("prune", check=0)
    assert assets.read() == made("v1")
    site.releaser("update", check=0)
    assert assets.read() == made("v1")


def test_a_link_of_a_person_is_in_the_way_and_named(assets: Assets, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assets.dist.rename(tmp_path / "kept")
    assets.dist.symlink_to(tmp_path / "elsewhere")
    assets.push("v1")
    report = assets.site.json("update", check=3)
    assert f"{assets.dist} is a symlink to {tmp_path}/elsewhere" in str(report["problems"])
    assert f"mv {assets.dist} {assets.dist}.before" in str(report["problems"]) + report["advice"]


def test_uninstall_leaves_a_real_copy_and_what_lay_there_before(assets: Assets) -> None:
    site = assets.site
    assets.push("v1")
    site.releaser("update", check=0)
    finished = site.releaser("uninstall", "--yes", check=0)
    assert (assets.dist.is_symlink(), assets.read()) == (False, made("v1"))
    assert not (site.path / ".venv" / "share" / "releaser").exists()
    assert (site.outer / ".releaser" / "site" / "output" / "dist" / "extra.txt").is_file()
    assert "output" in finished.stderr + finished.stdout
