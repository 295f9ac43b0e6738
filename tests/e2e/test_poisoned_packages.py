"""Tests that write into their own packages: what they write stays in the venv that they ran in, and nowhere else."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import outer_snapshot, states, steps

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

POISON = "# poisoned"
POISONS = f"""\
import pathlib, shutil, subprocess, sys
import alpha, common
def test_shop(packages):
    with open(common.__file__, "a") as file:  # in place, as an editor may do
        file.write("{POISON}\\n")
    program = shutil.which("prefix")
    if program is not None:
        assert pathlib.Path(program).is_relative_to(sys.prefix), program
        assert subprocess.check_output([program], text=True).strip() == sys.prefix
    assert not getattr(alpha, "BROKEN", ""), "alpha is broken"
"""


@pytest.fixture
def site(make_site: SiteFactory, tmp_path: Path) -> SampleSite:
    """A site whose tests write into their packages; the live venv was copied, and has a program of its own."""
    return poisoning(make_site, tmp_path, "copy")


def poisoning(make_site: SiteFactory, tmp_path: Path, link_mode: str) -> SampleSite:
    """Make that site, with another link mode."""
    packages = {"alpha": "1.0.0", "beta": "1.0.0", "common": "1.0.0"}
    site = make_site(packages=packages, files={"site_tests.py": POISONS})
    site.env["UV_CACHE_DIR"] = str(tmp_path / "cache")
    site.env["UV_LINK_MODE"] = link_mode
    site.make_venv()
    del site.env["UV_LINK_MODE"]
    program = site.link / "bin" / "prefix"
    program.write_text(f"#!{site.link}/bin/python\nimport sys\nprint(sys.prefix)\n", encoding="utf-8")
    program.chmod(0o755)
    site.releaser("init", check=0)
    for name in ("beta", "alpha"):
        site.publish(name, "2.0.0", broken=name == "alpha")
    return site


def poisoned(directory: Path) -> list[str]:
    """Return the modules below a directory into which the tests have written."""
    return [str(path) for path in directory.rglob("common*/**/*.py") if POISON in path.read_text(encoding="utf-8")] + [
        str(path) for path in directory.rglob("common.py") if POISON in path.read_text(encoding="utf-8")
    ]


def test_nothing_is_written_into_what_is_live_nor_into_the_cache_of_uv(site: SampleSite, tmp_path: Path) -> None:
    live = site.live_id()
    report = site.json("update", env={"RELEASER_CULPRITS": "hold"})
    assert "test live release" in steps(report)
    assert "culprit search" in steps(report)
    assert [one["name"] for one in report["changes"]] == ["beta"]
    assert states(site)[live] == "good"
    assert poisoned(site.state_dir / "releases" / live) == []
    assert poisoned(tmp_path / "cache") == []
    site.releaser("verify", live, check=0)
    assert list(site.state_dir.glob(".live-copy*")) == []


def test_the_live_release_is_tested_in_a_copy_whose_programs_are_its_own(site: SampleSite) -> None:
    report = site.json("update", check=5, env={"RELEASER_CULPRITS": "off"})
    assert report["blame"] == "update"


def test_verify_tries_a_copy_and_touches_nothing_of_the_site(make_site: SiteFactory, tmp_path: Path) -> None:
    site = poisoning(make_site, tmp_path, "hardlink")
    litters = "\n    pathlib.Path('litter.txt').write_text('')\n"
    site.commit("UntrackedFiles", {"site_tests.py": POISONS.replace("(packages):\n", f"(packages):{litters}", 1)})
    before = outer_snapshot(site)
    site.releaser("verify", "--tests", check=0)
    (tried,) = site.manage_runs("test")
    assert tried.prefix != str(site.link.resolve())
    assert tried.cwd != str(site.path)
    assert outer_snapshot(site) == before
    assert poisoned(site.link.resolve()) == []
    assert poisoned(tmp_path / "cache") == []
    assert not Path(tried.prefix).exists()


def test_a_copy_that_a_crash_leaves_goes_with_the_next_command(site: SampleSite) -> None:
    dies = "\n    import os, signal\n    if 'live-copy' in sys.prefix: os.kill(os.getppid(), signal.SIGKILL)\n"
    site.commit("Die", {"site_tests.py": POISONS.replace("(packages):\n", f"(packages):{dies}", 1)})
    site.push()
    site.releaser("update", check=-signal.SIGKILL)
    assert list(site.state_dir.glob(".live-copy*")) != []
    site.releaser("prune", check=0)
    assert list(site.state_dir.glob(".live-copy*")) == []
