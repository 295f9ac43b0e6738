"""The tests of a site: those that prove nothing, those of what is live, and what an ill site or its tests can spoil."""

import signal
from pathlib import Path

from tests.e2e.scenes import body, outer_snapshot, silent, states, steps
from tests.support.sites import SiteFactory

TWO_TESTS = "def test_one(packages):\n    pass\ndef test_two(packages):\n    pass\n"


def test_no_test_at_all_is_no_pass_and_the_number_is_kept_and_a_fall_is_told(make_site: SiteFactory) -> None:
    """How other runners say so is in the tests of `candidate.output`."""
    site = make_site.adopted(files={"site_tests.py": ""}, due="1.1.0")
    before = site.live_id()
    report = site.json("update", check=5)
    assert report["headline"] == "no tests ran, and none ran on the live release"
    assert site.live_id() == before
    assert "failed" in states(site).values()
    assert "test_command" in report["problems"][0]
    site.push_from_elsewhere({"site_tests.py": TWO_TESTS})
    first = site.json("update", check=0)
    assert first["problems"] == []
    assert site.json("show", first["release"])["tests_run"] == 2
    site.push_from_elsewhere({"site_tests.py": "def test_one(packages):\n    pass\n"})
    second = site.json("update", check=0)
    (problem,) = second["problems"]
    assert problem.startswith(f"1 test was run with {second['release']}, but 2 with {first['release']}")
    assert site.live_id() == second["release"]


# `test_live = "always"`: the tests of the live release run each night, and a site that turns red is told of


# Red by what stands in a file outside: each word is a test that fails.
TESTS = """\
import pathlib
def failing():
    return pathlib.Path({notes!r}).read_text().split()
def test_basket(packages):
    assert "basket" not in failing()
def test_stock(packages):
    assert "stock" not in failing()
"""


def test_a_site_that_turns_red_is_told_once_and_so_is_its_recovery(make_site: SiteFactory, tmp_path: Path) -> None:
    (notes := tmp_path / "failing").touch()
    files = {"site_tests.py": TESTS.format(notes=str(notes))}
    site = make_site.adopted(files=files, settings={"test_live": "always"})
    notes.write_text("basket", encoding="utf-8")
    before, live = site.snapshot(), site.live_id()
    report = site.json("update", check=5)
    assert (report["result"], report["live_changed"]) == ("refused", False)
    assert f"the tests failed on the live release {live}, although nothing has changed" in report["headline"]
    assert "FAIL: test_basket" in report["output"]
    assert steps(report)[-1] == "test live release"
    assert site.outbox_mails()[-1]["subject"].startswith("✗ site: refused, tests of the live release")
    assert "test_basket" in body(site)
    red = site.json("status")["failing_live_tests"]
    assert (red["release"], red["failing"]) == (live, ["test_basket"])
    assert "test_basket" in site.releaser("status", check=0).stdout
    silent(site.releaser("update"))
    assert (len(site.outbox_mails()), site.snapshot()) == (1, before)
    notes.write_text("basket stock", encoding="utf-8")  # something else fails
    site.releaser("update", check=5)
    assert len(site.outbox_mails()) == 2
    notes.write_text("", encoding="utf-8")
    assert f"The tests of {live} pass again" in site.releaser("update", check=0).stderr
    assert len(site.outbox_mails()) == 3
    assert f": The tests of {live} pass again" in site.outbox_mails()[-1]["subject"]
    assert f"\nSince the last run:\n  The tests of {live} pass again; they had failed since " in body(site)
    assert "interrupted" not in body(site)
    assert site.json("status")["failing_live_tests"] is None
    silent(site.releaser("update"))


# Tests that write into their own packages: what they write stays in the venv that they ran in, and nowhere else


POISON = "# poisoned"
POISONS = f"""\
import pathlib, shutil, subprocess, sys
import alpha, common
def test_shop(packages):
    pathlib.Path("litter.txt").touch()
    with open(common.__file__, "a") as file:  # in place, as an editor may do
        file.write("{POISON}\\n")
    program = shutil.which("prefix")
    if program is not None:
        assert pathlib.Path(program).is_relative_to(sys.prefix), program
        assert subprocess.check_output([program], text=True).strip() == sys.prefix
    assert not getattr(alpha, "BROKEN", ""), "alpha is broken"
"""


def poisoned(directory: Path) -> list[Path]:
    """Return the modules below a directory into which the tests have written."""
    found = {*directory.rglob("common*/**/*.py"), *directory.rglob("common.py")}
    return [path for path in found if POISON in path.read_text(encoding="utf-8")]


def test_nothing_is_written_into_what_is_live_nor_into_the_cache_of_uv(make_site: SiteFactory, tmp_path: Path) -> None:
    """Although the live venv has hard links into the cache, and a program that names it."""
    packages = {"alpha": "1.0.0", "beta": "1.0.0", "common": "1.0.0"}
    site = make_site(packages=packages, files={"site_tests.py": POISONS})
    site.env |= {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_LINK_MODE": "hardlink"}
    site.make_venv()
    del site.env["UV_LINK_MODE"]
    program = site.link / "bin" / "prefix"
    program.write_text(f"#!{site.link}/bin/python\nimport sys\nprint(sys.prefix)\n", encoding="utf-8")
    program.chmod(0o755)
    site.releaser("init", check=0)
    live, before = site.live_id(), outer_snapshot(site)
    site.releaser("verify", "--tests", check=0)
    assert outer_snapshot(site) == before
    (tried,) = site.manage_runs("test")
    assert tried.prefix != str(site.link.resolve())
    assert tried.cwd != str(site.path)
    assert not Path(tried.prefix).exists()

    site.publish("beta", "2.0.0")
    site.publish("alpha", "2.0.0", broken=True)
    report = site.json("update", check=5, env={"RELEASER_CULPRITS": "hold"})
    assert "test live release" in steps(report)
    assert (report["blame"], site.live_id()) == ("before", live)
    site.publish("alpha", "2.0.1")
    report = site.json("update", check=5)
    assert "the tests changed installed files: " in report["headline"]
    assert (report["blame"], site.live_id()) == ("before", live)
    assert poisoned(site.state_dir / "releases" / live) + poisoned(tmp_path / "cache") == []
    site.releaser("verify", live, check=0)
    assert list(site.state_dir.glob(".live-copy*")) == []

    dies = "\n    import os, signal\n    if 'live-copy' in sys.prefix: os.kill(os.getppid(), signal.SIGKILL)\n"
    site.push_commit("Die", {"site_tests.py": POISONS.replace("(packages):\n", f"(packages):{dies}", 1)})
    site.releaser("update", check=-signal.SIGKILL, env={"RELEASER_SANDBOX": "off"})  # else it would not reach releaser
    assert list(site.state_dir.glob(".live-copy*")) != []
    site.releaser("prune", check=0)
    assert list(site.state_dir.glob(".live-copy*")) == []
