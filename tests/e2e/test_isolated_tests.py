"""Tests that cannot run in isolation: they go on without, what is live decides that, and it is told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.scenes import body, silent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

WRITES = """
from pathlib import Path

def test_that_writes(packages):
    Path("../written").write_text("x")
    assert getattr(packages["alpha"], "BROKEN", None) != "test"
"""


def adopted(make_site: SiteFactory, tests: str) -> SampleSite:
    site = make_site.adopted(files={"site_tests.py": tests})
    site.write_dotenv({"RELEASER_TEST_WRITABLE": None})
    del site.env["SAMPLE_SITE_RUNS"]
    return site


def test_isolation_that_does_not_work_is_not_the_candidates_fault(make_site: SiteFactory) -> None:
    site = adopted(make_site, WRITES)
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert report["changes"]
    assert "the tests of the live release do not pass in isolation" in body(site)
    assert "they need ../written" in body(site)
    steps = [one["step"] for one in report["steps"] if one["step"].startswith("test")]
    live = ["test live release", "test live release without isolation"]
    assert steps == ["test", *live, *live, "test without isolation"]
    assert "are not isolated" in " ".join(site.json("check")["warnings"])
    site.publish("alpha", "1.2.0")
    report = site.json("update")
    assert [one["step"] for one in report["steps"] if one["step"].startswith("test")] == ["test"]
    assert "pass in isolation" not in body(site)
    silent(site.releaser("update"))


def test_a_candidate_that_fails_in_isolation_alone_is_to_blame_unless_it_may_write_there(
    make_site: SiteFactory,
) -> None:
    site = adopted(make_site, "def test_it(packages):\n    assert True\n")
    site.push_from_elsewhere({"site_tests.py": WRITES})
    report = site.json("update", check=5)
    assert report["blame"] == "update"
    assert "The tests run in isolation" in report["advice"]
    written = site.outer / "written"
    assert not written.exists()
    assert "`test_writable`: " in site.releaser("check", env={"RELEASER_TEST_WRITABLE": "../written"}, check=3).stderr
    written.touch()
    site.write_dotenv({"RELEASER_TEST_WRITABLE": "../written"})
    report = site.json("update", "--force")
    assert [one["step"] for one in report["steps"] if one["step"].startswith("test")] == ["test"]
    assert written.read_text(encoding="utf-8") == "x"


def test_verify_never_runs_tests_without_the_sandbox_that_works_here(make_site: SiteFactory, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    writes = f"    try:\n        open({str(mark)!r}, 'w')\n    except OSError:\n        pass\n"
    site = adopted(make_site, f"def test_it(packages):\n{writes}")
    assert site.json("verify", "--tests")["ok"]
    assert not mark.exists()
    site.update_to("alpha", "1.1.0")
    assert site.json("verify", "--tests")["ok"]
    assert not mark.exists()


def test_where_bubblewrap_is_not_installed(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "cp", "sh"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    env = {"PATH": str(programs), "RELEASER_ISOLATE": "auto"}
    site.releaser("check", env=env, check=0)
    assert site.json("verify", "--tests", env=env)["problems"] == []
    env["RELEASER_ISOLATE"] = "bwrap"
    assert "bubblewrap is not installed" in site.releaser("check", env=env, check=3).stderr
    (found,) = site.json("verify", "--tests", check=10, env=env)["problems"]
    assert "bubblewrap is not installed" in found["message"]
