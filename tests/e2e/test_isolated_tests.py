"""Tests that cannot run in isolation: they go on without, what is live decides that, and it is told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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


def test_a_candidate_that_fails_in_isolation_alone_is_to_blame(make_site: SiteFactory) -> None:
    site = adopted(make_site, "def test_it(packages):\n    assert True\n")
    site.push_from_elsewhere({"site_tests.py": WRITES})
    report = site.json("update", check=5)
    assert report["blame"] == "update"
    assert "The tests run in isolation" in report["advice"]
    assert not (site.outer / "written").exists()


def test_what_may_be_written_is_no_reason_to_go_without(make_site: SiteFactory) -> None:
    site = adopted(make_site, WRITES)
    (site.outer / "written").touch()
    site.write_dotenv({"RELEASER_TEST_WRITABLE": "../written"})
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert [one["step"] for one in report["steps"] if one["step"].startswith("test")] == ["test"]
    assert (site.outer / "written").read_text(encoding="utf-8") == "x"


def test_a_flaky_test_does_not_switch_isolation_off(make_site: SiteFactory) -> None:
    once = "from pathlib import Path\n\ndef test_it(packages):\n    assert Path('../seen').exists()\n"
    outside = "    try:\n        Path('../seen').touch()\n    except OSError:\n        pass\n"
    site = adopted(make_site, once.replace("    assert", f"{outside}    assert"))
    site.publish("alpha", "1.1.0")
    report = site.json("update", check=5)
    assert report["blame"] == "before"
    assert "are not isolated" not in " ".join(site.json("check")["warnings"])
    site.publish("alpha", "1.2.0")
    steps = [one["step"] for one in site.json("update")["steps"] if one["step"].startswith("test")]
    assert steps == ["test"]


def test_what_fails_either_way_does_not_show_that_isolation_works(make_site: SiteFactory) -> None:
    needs = "packages):\n    assert Path('../database').exists()"
    site = adopted(make_site, WRITES.replace("packages):", needs))
    site.publish("alpha", "1.1.0")
    assert site.json("update", check=5)["blame"] == "before"
    (site.outer / "database").touch()
    site.publish("alpha", "1.2.0")
    assert site.json("update")["changes"]
    assert "the tests of the live release do not pass in isolation" in body(site)


def test_a_site_that_stays_red_is_asked_once_whether_isolation_is_to_blame(make_site: SiteFactory) -> None:
    """It is asked again when the tests fail in another way."""
    site = adopted(make_site, "def test_it(packages):\n    raise OSError(open('../reason').read())\n")
    reason = site.outer / "reason"
    counts = []
    for text, code in (("ill", 5), ("ill", 0), ("worse", 0)):
        reason.write_text(text, encoding="utf-8")
        report = site.json("update", "--force", check=code, env={"RELEASER_TEST_LIVE": "always"})
        counts.append([one["step"] for one in report["steps"]].count("test live release without isolation"))
    assert counts == [1, 0, 1]


def test_verify_isolates_the_tests_where_that_is_known_to_work(make_site: SiteFactory, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    writes = f"    try:\n        open({str(mark)!r}, 'w')\n    except OSError:\n        pass\n"
    site = adopted(make_site, f"def test_it(packages):\n{writes}")
    assert site.json("verify", "--tests")["ok"]
    assert mark.exists()
    mark.unlink()
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0)
    assert site.json("verify", "--tests")["ok"]
    assert not mark.exists()


@pytest.mark.parametrize("way", ["bwrap", "auto"])
def test_where_bubblewrap_is_not_installed(make_site: SiteFactory, tmp_path: Path, way: str) -> None:
    site = make_site.adopted()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "cp", "sh"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    env = {"PATH": str(programs), "RELEASER_ISOLATE": way}
    finished = site.releaser("check", env=env)
    assert ("bubblewrap is not installed" in finished.stderr) == (way == "bwrap")
    assert finished.returncode == (3 if way == "bwrap" else 0)
    found = site.json("verify", "--tests", check=10 if way == "bwrap" else 0, env=env)["problems"]
    assert ["bubblewrap is not installed" in one["message"] for one in found] == ([True] if way == "bwrap" else [])


def test_what_may_be_written_must_be_there(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    finished = site.releaser("check", env={"RELEASER_TEST_WRITABLE": "nowhere"}, check=3)
    assert f"`test_writable`: {site.path / 'nowhere'} does not exist" in finished.stderr
