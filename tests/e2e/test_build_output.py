"""What `before_build` makes goes live at the flip and comes back with a rollback; a rejected commit changes nothing."""

import os
import sys
from pathlib import Path

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.refusals import unfit
from tests.support.sites import RED_TESTS, TESTS, SampleSite, SiteFactory, variables
from tests.support.templates import write_files

# Makes assets out of what is committed, as a bundler does, in new files and in a file that is there; and a cache.
BUNDLER = """\
import pathlib
version = pathlib.Path("assets.txt").read_text()
for name in ("dist/js/app.js", "dist/index.html", "node_modules/.cache/x"):
    file = pathlib.Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(version)
"""
IGNORED = "dist/\nnode_modules/\n.venv\n__pycache__/\nstatic_out/\n"
OLD = {"index.html": "by hand", "js/app.js": "by hand", "extra.txt": "of a person"}


class Assets:
    """A site whose `before_build` makes an ignored `dist/`, which somebody has made by hand until now."""

    def __init__(self, make_site: SiteFactory, place: Path) -> None:
        self.command = [sys.executable, str(place / "bundle.py")]
        (place / "bundle.py").write_text(BUNDLER, encoding="utf-8")
        self.site: SampleSite = make_site.adopted(files={"assets.txt": "v0", ".gitignore": IGNORED})
        self.write_dotenv("dist")
        write_files(self.dist, OLD)

    def write_dotenv(self, output: str | None) -> None:
        self.site.write_dotenv(variables(before_build=self.command) | {"RELEASER_BUILD_OUTPUT": output})

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


def test_packages_and_assets_are_of_one_release_after_red_tests_a_kill_and_a_rollback(assets: Assets) -> None:
    site = assets.site
    good = (site.path / TESTS).read_text(encoding="utf-8")
    assets.push("v1", **{TESTS: RED_TESTS})
    site.releaser("update", check=5)
    assert (assets.read(), assets.dist.is_symlink()) == (OLD, False)
    assets.push("v2", **{TESTS: good})
    interrupted(site, "update", at=Point(place="releaser.core.change:flip"))
    for command in ("prune", "update"):
        assert assets.read() == made("v2")
        site.releaser(command, check=0)
    assets.push("v3")
    well_with_v2 = {"RELEASER_HEALTH_CHECK": "grep -q v2 dist/index.html", "RELEASER_HEALTH_RETRIES": "0"}
    site.releaser("update", check=6, env=well_with_v2)
    assert assets.read() == made("v2")
    finished = site.releaser("uninstall", "--yes", check=0)
    assert (assets.dist.is_symlink(), assets.read()) == (False, made("v2")), "a real copy"
    assert not (site.path / ".venv" / "share" / "releaser").exists()
    assert (site.outer / ".releaser" / "site" / "output" / "dist" / "extra.txt").is_file()
    assert "output" in finished.stderr + finished.stdout


EDITS = f'{BUNDLER}open("assets.txt", "a").write("!")\n'
REFUSED = [
    ("open('node_modules/bundler')\n", "dist", "The staging tree lacks node_modules"),
    (BUNDLER, None, "before_build made files that git does not track, so they would not go live: dist"),
    (EDITS, "dist", "before_build changed files that git tracks, and the changes would not go live: assets.txt"),
    ("pass\n", "dist", "before_build made nothing at dist, which `build_output` names"),
]


def test_what_would_not_go_live_is_refused_by_name(assets: Assets, tmp_path: Path) -> None:
    site = assets.site
    (site.path / "node_modules").mkdir()
    (site.path / "node_modules" / "bundler").write_bytes(b"x" * 20_000_000)
    assets.push("v1")
    for bundler, output, told in REFUSED:
        (tmp_path / "bundle.py").write_text(bundler, encoding="utf-8")
        assets.write_dotenv(output)
        report = site.json("update", check=4)
        assert told in f"{report['headline']} {report['advice']}"
    assert assets.read() == OLD


def test_a_link_of_a_person_is_in_the_way_and_named(assets: Assets, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assets.dist.rename(tmp_path / "kept")
    assets.dist.symlink_to(tmp_path / "elsewhere")
    command = f"mv {assets.dist} {assets.dist}.before"
    unfit(assets.site).says(f"{assets.dist} is a symlink to {tmp_path}/elsewhere", command)
