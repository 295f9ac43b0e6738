"""Rebuilding on demand: with another Python, and what keeps that from happening."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import silent, states
from tests.support.pythons import give_pythons, need_python
from tests.support.sites import SampleSite, SiteFactory

RUNS_ON = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
NEEDS_OLD = "import sys\ndef test_python(packages):\n    assert sys.version_info < (3, 13), 'too new'\n"


def site_on(make_site: SiteFactory, *minors: str, **options: Any) -> SampleSite:
    """Make an adopted site that can find these Pythons, and runs on the first one."""
    site = make_site(**options)
    give_pythons(site, *map(need_python, minors))
    site.adopt()
    return site


def only_for(site: SampleSite, package: str, tag: str) -> None:
    """Let a package have a wheel for one Python alone, and lock that."""
    pure = site.index.path / f"{package}-1.0.0-py3-none-any.whl"
    pure.rename(pure.with_name(f"{package}-1.0.0-{tag}-none-any.whl"))
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("Lock again")


@pytest.mark.story
def test_the_same_packages_on_another_python(make_site: SiteFactory) -> None:
    new = need_python("3.13")
    site = site_on(make_site, "3.12", "3.13")
    first, lock = site.live_id(), site.lock_text()
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"notes.txt": "not pulled"})
    assert site.json("status")["newer_python"] == new.version
    command = f"`releaser rebuild --python {new.version}`"
    assert command in site.releaser("status", check=0).stdout
    assert command in site.releaser("outdated", check=0).stderr
    planned = site.json("rebuild", "--python", "3.13", "--dry-run")
    assert planned["would"][0].endswith(f"from the lock of {first}, with Python {new.version}, and tested")
    assert site.live_id() == first

    finished = site.releaser("rebuild", "--python", "3.13", check=0)
    live = site.live_id()
    why = f"moved from Python {need_python('3.12').version} to {new.version} on request"
    assert f"rebuilt as {live}, with Python {new.version}: {why}" in finished.stderr
    assert why[:20] in site.outbox_mails()[-1]["subject"]
    assert (site.python(RUNS_ON), site.live_version("alpha"), site.lock_text()) == (new.version, "1.0.0", lock)
    (tested,) = site.manage_runs("test")
    assert tested.prefix == str(site.link.resolve())
    assert site.restarted_at() is not None
    assert not (site.path / "notes.txt").exists()
    assert site.git("status", "--porcelain") == ""
    assert site.json("show", live)["steps"]
    assert site.json("status")["newer_python"] is None

    site.releaser("update", check=0)  # which stays on it
    assert (site.python(RUNS_ON), site.live_version("alpha")) == (new.version, "1.1.0")
    site.releaser("rollback", first, check=0)
    assert site.python(RUNS_ON) == need_python("3.12").version
    assert states(site)[live] == "good"


def test_files_that_came_with_a_bundle_come_along_unless_somebody_has_edited_them(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    (site.path / ".git" / "info" / "exclude").write_text("*.ini\n", encoding="utf-8")

    def beside(name: str) -> Path:
        return site.state_dir / "releases" / site.live_id() / "include" / name

    beside("").mkdir()
    for name in ("a.ini", "b.ini", "gone.ini"):
        beside(name).write_text("as it came", encoding="utf-8")
        (site.path / name).write_text("as it came", encoding="utf-8")
    (site.path / "b.ini").write_text("edited", encoding="utf-8")
    (site.path / "gone.ini").unlink()
    report = site.json("rebuild")
    assert report["problems"] == []
    assert [one.name for one in beside("").iterdir()] == ["a.ini"]
    assert beside("a.ini").read_text(encoding="utf-8") == "as it came"
    assert sorted(one.name for one in site.path.glob("*.ini")) == ["a.ini", "b.ini"]


def test_what_speaks_against_another_python(make_site: SiteFactory) -> None:
    site = site_on(make_site, "3.12", "3.13", files={"site_tests.py": NEEDS_OLD}, settings={"culprits": "off"})
    old, new = need_python("3.12").version, need_python("3.13").version
    before = site.snapshot()

    def refused(*args: str, code: int) -> str:
        said = site.releaser("rebuild", *args, check=code).stderr
        assert "live: unchanged" in said
        assert site.snapshot() == before
        return said

    silent(site.releaser("update"))  # a newer Python is there, and not taken
    assert site.python(RUNS_ON) == old
    said = site.releaser("update", env={"RELEASER_PYTHON": "latest"}, check=3).stderr
    assert "RELEASER_PYTHON must name a Python such as 3.13, or be removed" in said
    said = refused("--python", "3.9", code=3)
    assert "--python 3.9: uv finds no such Python" in said
    assert f"Installed: Python {old}, {new}." in said
    assert "somewhere/none" in refused("--python", "./none", code=3)
    earlier = site.releaser("rebuild", "x", check=2).stderr
    assert "rebuild takes no release ('x'): it rebuilds the live release" in earlier
    red = refused("--python", "3.13", code=5)
    assert f"on the venv that was rebuilt, with Python {new} and passed on the live" in red
    assert "too new" in red
    site.push_commit("Stay", {".python-version": "3.12\n"})
    before = site.snapshot()
    said = refused("--python", "3.13", code=3)
    assert ".python-version is '3.12', so the next update would go back from Python 3.13" in said
    site.git("rm", "--quiet", ".python-version")
    only_for(site, "alpha", "cp312")
    only_for(site, "beta", "cp312")
    before = site.snapshot()
    named = refused("--python", "3.13", code=4)
    assert f"2 packages have no build for Python {new}: alpha 1.0.0, beta 1.0.0" in named
    planned = site.json("rebuild", "--python", "3.13", "--dry-run")["would"]
    assert "alpha 1.0.0, beta 1.0.0 has no build for Python 3.13, so the rebuild would fail" in planned
