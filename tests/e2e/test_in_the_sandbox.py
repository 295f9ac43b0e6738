"""Tests and builds in the sandbox: they write wherever they like, and nothing of that is kept; it is told once."""

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

from tests.e2e.refusals import unfit
from tests.e2e.scenes import body, edit_pyproject, silent
from tests.support.sites import SampleSite, SiteFactory
from tests.support.snapshots import tree
from tests.support.wheels import TELLING, build_sdist, build_wheel, write_sdist

DELETES = """
import os, sqlite3
from pathlib import Path

def test_that_deletes(packages):
    for upload in Path("media").rglob("*.jpg"):
        upload.unlink()
    if Path("db.sqlite3").exists():
        with sqlite3.connect("db.sqlite3") as database:
            database.execute("delete from orders")
"""
WRITES = f"""{DELETES}
def test_that_writes(packages):
    for place in ("../logs/site.log", "../written", os.path.expanduser("~/.rc"), "/var/tmp/releaser-written"):
        with open(place, "a") as file:
            file.write("x")
    Path("../new").mkdir()
    assert getattr(packages["alpha"], "BROKEN", None) != "test"
"""


def adopted(make_site: SiteFactory, tests: str) -> SampleSite:
    ignored = "__pycache__/\n/static_out/\n/media/\n/db.sqlite3\n/data.bin\n"
    site = make_site.adopted(files={"site_tests.py": tests, ".gitignore": ignored})
    site.write_dotenv({"RELEASER_TEST_WRITABLE": None})
    del site.env["SAMPLE_SITE_RUNS"]
    return site


def put_data(site: SampleSite) -> None:
    """Give the site uploads, more than would be copied, and a database, which git ignores."""
    uploads = site.path / "media" / "2026"
    uploads.mkdir(parents=True)
    for number in range(700):
        (uploads / f"{number}.jpg").write_bytes(b"a person's photo")
    with contextlib.closing(sqlite3.connect(site.path / "db.sqlite3")) as database, database:
        database.execute("create table orders (what text)")
        database.executemany("insert into orders values (?)", [("x" * 1000,)] * 2000)


def test_what_tests_write_outside_is_thrown_away_unless_it_is_named_and_told_once(make_site: SiteFactory) -> None:
    """As sites with their logs beside the checkout do: no update fails for that, and no log gets lines of tests."""
    site = adopted(make_site, "def test_it(packages):\n    assert True\n")
    log = site.outer / "logs" / "site.log"
    log.parent.mkdir()
    log.write_text("live\n", encoding="utf-8")
    put_data(site)
    before = tree(site.path, skip=(".git",))
    site.push_from_elsewhere({"site_tests.py": WRITES})
    report = site.json("update")
    assert [one["step"] for one in report["steps"] if one["step"].startswith("test")] == ["test"]
    assert report["problems"] == []
    assert "The tests write outside the staging tree (" in report["noted"]
    assert "../logs/site.log" in report["noted"]
    assert "The tests write outside the staging tree" in body(site)
    assert log.read_text(encoding="utf-8") == "live\n"
    after = tree(site.path, skip=(".git",))
    assert {name for name in before if after.get(name) != before[name]} == {".venv", "site_tests.py"}
    for place in (site.outer / "written", site.outer / "new", Path(site.env["HOME"], ".rc")):
        assert not place.exists()
    assert not Path("/var/tmp/releaser-written").exists()
    written = {"RELEASER_TEST_WRITABLE": "../written"}
    unfit(site, env=written).says("`test_writable`: ")
    (site.outer / "written").touch()
    site.write_dotenv(written)
    site.publish("alpha", "1.1.0")
    assert site.json("update")["noted"] == ""
    assert (site.outer / "written").read_text(encoding="utf-8") == "x", "which is named, and so kept"
    silent(site.releaser("update"))
    answer = site.json("check", "--tests")
    assert any("write outside the staging tree" in one for one in answer["warnings"])
    assert answer["sandbox"] == "bubblewrap (files that it writes outside the staging tree are discarded)"
    assert f"sandbox for tests and builds: {answer['sandbox']}" in site.releaser("check", check=0).stderr


def test_without_a_sandbox_no_command_lets_tests_delete_live_data(make_site: SiteFactory) -> None:
    site = adopted(make_site, DELETES)
    site.write_dotenv({"RELEASER_SANDBOX": "off", "RELEASER_TEST_WRITABLE": None})
    put_data(site)
    before = {name: what for name, what in tree(site.path).items() if name.startswith(("media/", "db."))}
    assert len(before) > 700
    site.publish("alpha", "1.1.0")
    for words in (["update"], ["verify", "--tests"], ["check", "--tests"]):
        site.releaser(*words, check=0)
        now = tree(site.path)
        assert [name for name in before if now.get(name) != before[name]] == [], words
    assert site.live_version("alpha") == "1.1.0"


def test_a_file_is_copied_unless_it_is_large_and_a_kill_leaves_no_layers(make_site: SiteFactory) -> None:
    """A copy of a database of gigabytes could fill the disk of the site."""
    tests = "def test_it(packages):\n    with open('data.bin', 'r+b') as file:\n        file.write(b'x')\n"
    site = adopted(make_site, "def test_it(packages):\n    assert True\n")
    site.push_commit("Tests", {"site_tests.py": tests})
    site.publish("alpha", "1.1.0")
    data = site.path / "data.bin"
    data.touch()
    os.truncate(data, 600_000_000)
    left = site.state_dir / ".layers.releaser-tmp-abcdefgh"  # of a run that was killed
    (left / "0" / "work" / "work").mkdir(parents=True)
    (left / "0" / "work" / "work").chmod(0)  # as overlayfs leaves it, so that a plain user may not look into it
    left.chmod(0o700)
    assert "Read-only file system" in site.json("update", check=5)["output"]
    assert not left.exists()
    os.truncate(data, 2_000_000)
    site.releaser("update", "--force", check=0)
    with data.open("rb") as file:
        assert file.read(1) == b"\0"


def test_where_bubblewrap_is_not_installed(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "cp", "sh"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    env = {"PATH": str(programs), "RELEASER_SANDBOX": "auto"}
    assert site.json("verify", "--tests", env=env)["problems"] == []
    env["RELEASER_SANDBOX"] = "bwrap"
    unfit(site, env=env).says("bubblewrap is not installed")
    assert "bubblewrap is not installed" in site.releaser("verify", "--tests", env=env, check=4).stderr


# Builds

# Needs a package of the same directory to be built, and tells what it needs without a build.
_GAMMA = {
    "pyproject.toml": '[build-system]\nrequires = ["helper"]\nbuild-backend = "own"\nbackend-path = ["."]\n',
    "own.py": "import helper\n" + TELLING.format(mark=os.devnull, name="gamma", version="1.0"),
    "PKG-INFO": "Metadata-Version: 2.2\nName: gamma\nVersion: 1.0\n",
}


def test_packages_are_built_from_a_directory_below_tmp(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.0.0")
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # of which builds have one of their own
        build_wheel(Path(place), "helper", "1.0", modules={"helper.py": ""})
        write_sdist(Path(place), "gamma", "1.0", _GAMMA)
        build_sdist(Path(place), "delta", "1.0", mark=site.outer / "mark")
        site.edit("pyproject.toml", edit_pyproject(site, '"alpha"', '"alpha", "gamma", "delta"'))
        site.edit("pyproject.toml", edit_pyproject(site, "find-links = [", f'find-links = ["{place}", '))
        site.push_commit("Take gamma and delta", lock=True)
        site.releaser("update", check=0)
        assert (site.live_version("gamma"), site.live_version("delta")) == ("1.0", "1.0")
        build_sdist(Path(place), "delta", "2.0", mark=site.outer / "mark")  # built to learn what it needs
        site.releaser("update", check=0)
    assert site.live_version("delta") == "2.0"
