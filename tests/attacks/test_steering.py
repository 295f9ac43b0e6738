"""Files that others plant do not misdirect releaser."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.commands import git_executable, run
from tests.support.sites import SiteFactory


def test_a_restart_file_that_leads_out_of_the_site_is_not_touched(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted("1.1.0")
    theirs = tmp_path / "theirs"
    theirs.touch()
    os.utime(theirs, (0, 0))
    file = site.path / "config" / "tmp" / "restart.txt"
    file.unlink(missing_ok=True)
    file.symlink_to(theirs)
    live = site.live_id()
    site.publish("alpha", "1.2.0")
    for command in ("update", "rollback"):
        finished = site.releaser(command, check=3, env={"RELEASER_RESTART": "auto"})
        assert f"is a symlink that leads out of {site.outer}, to {theirs}" in finished.stderr
    file.unlink()
    plant = f"ln -s {theirs} {file}"  # after the last look
    finished = site.releaser("update", check=6, env={"RELEASER_RESTART": "auto", "RELEASER_BEFORE_LIVE": plant})
    assert f"restart failed: {file} is a symlink that leads out of {site.outer}" in finished.stderr
    assert (theirs.stat().st_mtime, site.live_id()) == (0, live)


def test_the_git_and_uv_of_an_activated_venv_are_not_used(make_site: SiteFactory, tmp_path: Path) -> None:
    """Neither those of the site's own venv, nor those of another one."""
    site, marker, other = make_site.adopted(), tmp_path / "started", tmp_path / "env"
    for venv in (site.link, other):
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        for name in ("git", "uv"):
            program = venv / "bin" / name
            program.write_text(f"#!/bin/sh\necho $0 $@ >>{marker}; exit 1\n", encoding="utf-8")
            program.chmod(0o755)
    activated = {"PATH": f"{site.link}/bin:{other}/bin:{site.env['PATH']}", "VIRTUAL_ENV": str(other)}
    for command in ("check", "status", "outdated"):
        site.releaser(command, check=0, env=activated)
    assert not marker.exists()


def test_a_tool_that_only_an_activated_venv_has_is_named(make_site: SiteFactory, tmp_path: Path) -> None:
    site, program = make_site.adopted(), tmp_path / "env" / "bin" / "git"
    program.parent.mkdir(parents=True)
    program.symlink_to(git_executable())
    activated = {"PATH": str(program.parent), "VIRTUAL_ENV": str(tmp_path / "env")}
    finished = site.releaser("check", env=activated)
    assert f"git: {program} (in an activated venv or the project: PATH has no other)" in finished.stderr


@pytest.mark.parametrize("words", [["--version"], ["status"]])
def test_neither_the_command_nor_python_with_its_option_for_that_imports_from_the_current_directory(
    make_site: SiteFactory, words: list[str]
) -> None:
    site = make_site.adopted()
    packages = ("releaser/__init__", "releaser/__main__")
    for name in (*packages, "__future__", "click", "msgspec", "json", "filelock", "jinja2", "rich"):
        planted = site.path / f"{name}.py"
        planted.parent.mkdir(exist_ok=True)
        planted.write_text("raise SystemExit('imported')\n", encoding="utf-8")
    script = Path(sys.executable).with_name("releaser")
    for command in ([sys.executable, "-P", "-m", "releaser"], [script]):
        finished = run([*command, *words], cwd=site.path, env=site.environment(), check=0)
        assert "imported" not in finished.stderr
    # Without a package of that name, and but for what Python itself imports first, nothing there is imported either.
    shutil.rmtree(site.path / "releaser")
    finished = run([sys.executable, "-m", "releaser", *words], cwd=site.path, env=site.environment(), check=0)
    assert "imported" not in finished.stderr
