"""A site may run on any supported Python, however its venv was made: it is adopted, updated twice, and rolled back."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.live.pair import interpreter
from tests.support.commands import run, uv_executable
from tests.support.lockless import UV_TABLE, fill, make_lockless
from tests.support.pythons import SYSTEM
from tests.support.sites import SampleSite, SiteFactory

# What the live interpreter says of itself; on Python 3.10, `sys._base_executable` of a venv is what uv goes by.
FACTS = """\
import json, os, sys
print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "prefix": os.path.realpath(sys.prefix),
    "base_prefix": sys.base_prefix, "base": os.path.realpath(sys._base_executable)}))
"""
SMALL: dict[str, Any] = {
    "requires_python": ">=3.8",
    "packages": {"alpha": "1.0.0"},
    "groups": {"local": ["alpha"]},
    "settings": {"collectstatic": "off", "migrations": "off", "test_command": ["python", "-c", "import alpha"]},
}
NO_DJANGO = f"""{UV_TABLE}
[tool.releaser]
collectstatic = "off"
migrations = "off"
test_command = ["python", "-c", "import alpha"]
"""


def see_that_it_runs(site: SampleSite, python: Path, version: str) -> None:
    """See that the live release is what it should be, on the very interpreter that the site began with."""
    said = json.loads(run([site.link / "bin" / "python", "-c", FACTS], cwd=site.outer, env=site.env, check=0).stdout)
    assert said["prefix"] == str(site.link.resolve())
    assert said["base"] == str(python.resolve())
    assert site.live_version("alpha") == version
    # No link on the way to the interpreter leads through the site's own venv, which leads to the release itself.
    on_the_way = site.link.resolve() / "bin" / "python"
    while on_the_way.is_symlink():
        on_the_way = on_the_way.parent / on_the_way.readlink()
        assert not on_the_way.is_relative_to(site.link)
    config = (site.link / "pyvenv.cfg").read_text(encoding="utf-8")
    assert not any(line.startswith(f"home = {site.link}") for line in config.splitlines())


@pytest.mark.parametrize(("which", "maker"), [("3.8", "uv"), (SYSTEM, "venv")])
def test_adopted_updated_and_rolled_back(make_site: SiteFactory, which: str, maker: Literal["uv", "venv"]) -> None:
    """Of these, only that of the system is on PATH."""
    site, python = make_site(**SMALL), interpreter(which)
    words: list[str | Path] = [uv_executable(), "venv", "--quiet", "--python", python, site.link]
    if maker == "venv":
        words = [python, "-m", "venv", "--without-pip", site.link]
    run(words, cwd=site.path, env=site.env, check=0)
    site.uv("sync", "--quiet", "--frozen", "--group", "local")
    site.releaser("init", check=0)
    see_that_it_runs(site, python, "1.0.0")
    site.update_to("alpha", "1.1.0")
    see_that_it_runs(site, python, "1.1.0")
    site.releaser("rollback", check=0)
    see_that_it_runs(site, python, "1.0.0")


def test_an_older_one_is_refused_before_anything_is_built(make_site: SiteFactory) -> None:
    site = make_site(**SMALL | {"requires_python": ">=3.6"})
    run([interpreter("3.7"), "-m", "venv", "--without-pip", site.link], cwd=site.path, env=site.env, check=0)
    before = site.snapshot()
    for command in ("check", "init", "update"):
        said = site.releaser(command, check=3).stderr
        assert f"{site.link}: Python 3.7." in said
        assert "too old for releaser, which needs 3.8 or newer" in said
        assert "`python`" in said
    assert site.snapshot() == before
    assert not list((site.state_dir / "releases").glob("*"))


def test_the_first_lock_is_built_with_the_base_of_the_venv_that_it_comes_from(make_site: SiteFactory) -> None:
    """Else the release would not start without that venv, or, where that stands at .venv, at all."""
    site, python = make_lockless(make_site, pyproject=NO_DJANGO), interpreter("3.10")
    run([interpreter("3.7"), "-m", "venv", "--without-pip", site.link], cwd=site.path, env=site.env, check=0)
    said = site.releaser("init", "--from-venv", site.link, check=3).stderr
    assert f"{site.link}/bin/python3: Python 3.7." in said
    assert "too old for releaser, which needs 3.8 or newer" in said
    shutil.rmtree(site.link)
    run([uv_executable(), "venv", "--quiet", "--python", python, site.link], cwd=site.path, env=site.env, check=0)
    fill(site, site.link, "alpha==1.0.0")
    site.releaser("init", "--from-venv", site.link, check=0)
    see_that_it_runs(site, python, "1.0.0")
    site.releaser("update", check=0)
    see_that_it_runs(site, python, "1.1.0")
