"""Tests in the sandbox: they write wherever they like, nothing of that is kept, and what they wrote is told once."""

import os
from pathlib import Path

from tests.e2e.scenes import body, silent
from tests.support.sites import SampleSite, SiteFactory

WRITES = """
import os
from pathlib import Path

def test_that_writes(packages):
    for place in ("../logs/site.log", "../written", os.path.expanduser("~/.rc"), "/var/tmp/releaser-written"):
        with open(place, "a") as file:
            file.write("x")
    Path("../new").mkdir()
    assert getattr(packages["alpha"], "BROKEN", None) != "test"
"""


def adopted(make_site: SiteFactory, tests: str) -> SampleSite:
    site = make_site.adopted(files={"site_tests.py": tests})
    site.write_dotenv({"RELEASER_TEST_WRITABLE": None})
    del site.env["SAMPLE_SITE_RUNS"]
    return site


def test_what_tests_write_outside_is_thrown_away_and_told_once(make_site: SiteFactory) -> None:
    """As sites with their logs beside the checkout do: no update fails for that, and no log gets lines of tests."""
    site = adopted(make_site, "def test_it(packages):\n    assert True\n")
    log = site.outer / "logs" / "site.log"
    log.parent.mkdir()
    log.write_text("live\n", encoding="utf-8")
    site.push_from_elsewhere({"site_tests.py": WRITES})
    report = site.json("update")
    assert [one["step"] for one in report["steps"] if one["step"].startswith("test")] == ["test"]
    assert report["problems"] == []
    assert "The tests write outside of the staging tree (" in report["noted"]
    assert "../logs/site.log" in report["noted"]
    assert "The tests write outside of the staging tree" in body(site)
    assert log.read_text(encoding="utf-8") == "live\n"
    for place in (site.outer / "written", site.outer / "new", Path(site.env["HOME"], ".rc")):
        assert not place.exists()
    assert not Path("/var/tmp/releaser-written").exists()
    site.publish("alpha", "1.1.0")
    assert site.json("update")["noted"] == ""
    silent(site.releaser("update"))
    answer = site.json("check", "--tests")
    assert any("write outside of the staging tree" in one for one in answer["warnings"])
    assert answer["sandbox"] == "bubblewrap (files that it writes outside of the staging tree are discarded)"
    assert f"sandbox for tests and builds: {answer['sandbox']}" in site.releaser("check", check=0).stderr


def test_what_is_to_be_kept_is_named(make_site: SiteFactory) -> None:
    site = adopted(make_site, WRITES)
    written = site.outer / "written"
    assert "`test_writable`: " in site.releaser("check", env={"RELEASER_TEST_WRITABLE": "../written"}, check=3).stderr
    written.touch()
    (site.outer / "logs").mkdir()
    site.write_dotenv({"RELEASER_TEST_WRITABLE": "../written"})
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert "../written" not in report["noted"]
    assert "../logs/site.log" in report["noted"]
    assert written.read_text(encoding="utf-8") == "x"
    assert os.listdir(site.outer / "logs") == []


def test_a_file_is_copied_for_who_writes_to_it_unless_it_is_large(make_site: SiteFactory) -> None:
    """A copy of a database of gigabytes could fill the disk of the site."""
    tests = "def test_it(packages):\n    with open('data.bin', 'r+b') as file:\n        file.write(b'x')\n"
    site = adopted(make_site, "def test_it(packages):\n    assert True\n")
    ignored = site.path.joinpath(".gitignore").read_text(encoding="utf-8") + "/data.bin\n"
    site.commit("Tests", {"site_tests.py": tests, ".gitignore": ignored})
    site.push()
    site.publish("alpha", "1.1.0")
    data = site.path / "data.bin"
    data.touch()
    os.truncate(data, 600_000_000)
    assert "Read-only file system" in site.json("update", check=5)["output"]
    os.truncate(data, 2_000_000)
    site.releaser("update", "--force", check=0)
    with data.open("rb") as file:
        assert file.read(1) == b"\0"


def test_a_run_that_was_killed_leaves_no_layers(make_site: SiteFactory) -> None:
    """Not even those that a plain user may not look into: overlayfs leaves a directory without any rights."""
    site = adopted(make_site, "def test_it(packages):\n    assert True\n")
    left = site.state_dir / ".layers.releaser-tmp-abcdefgh"
    (left / "0" / "work" / "work").mkdir(parents=True)
    (left / "0" / "work" / "work").chmod(0)
    left.chmod(0o700)
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    assert not left.exists()


def test_where_bubblewrap_is_not_installed(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "cp", "sh"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    env = {"PATH": str(programs), "RELEASER_SANDBOX": "auto"}
    site.releaser("check", env=env, check=0)
    assert site.json("verify", "--tests", env=env)["problems"] == []
    env["RELEASER_SANDBOX"] = "bwrap"
    assert "bubblewrap is not installed" in site.releaser("check", env=env, check=3).stderr
    assert "bubblewrap is not installed" in site.releaser("verify", "--tests", env=env, check=4).stderr
