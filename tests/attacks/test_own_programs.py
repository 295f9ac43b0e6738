"""releaser never takes the programs by which it decides what to trust from a venv, even if PATH names one.

An activated venv, that of a release, any other with a `pyvenv.cfg` and relative directories come first on PATH here.
Packages there bring a `bwrap` that shuts nothing in, an `ssh-keygen` to which every signature is good, and an `ssh`.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from releaser.bundles.trust import Trust
from releaser.errors import PreflightError
from releaser.sandbox.bubblewrap import Bubblewrap, find_bubblewrap
from releaser.system.environment import find_own_program
from releaser.system.process import Runner
from releaser.tools.git import Git
from tests.support.commands import git_executable, run
from tests.support.guards import require
from tests.support.sites import SiteFactory

NAMES = ("bwrap", "ssh-keygen", "ssh", "cp", "crontab", "systemctl", "sendmail")


def activated(venv: Path) -> Mapping[str, str]:
    return {"PATH": f"{venv}/bin", "VIRTUAL_ENV": str(venv)}


def activated_by_a_symlink(venv: Path) -> Mapping[str, str]:
    link = venv.with_name("link")
    link.symlink_to(venv)
    return {"PATH": f"{venv}/bin", "VIRTUAL_ENV": str(link)}


def on_path_alone(venv: Path) -> Mapping[str, str]:
    (venv / "pyvenv.cfg").touch()
    return {"PATH": f"{venv}/bin"}


def by_a_symlink_on_path(venv: Path) -> Mapping[str, str]:
    (venv / "pyvenv.cfg").touch()
    link = venv.with_name("bin")
    link.symlink_to(venv / "bin")
    return {"PATH": str(link)}


def relative(venv: Path) -> Mapping[str, str]:
    return {"PATH": os.path.relpath(venv / "bin")}


WAYS = (activated, activated_by_a_symlink, on_path_alone, by_a_symlink_on_path, relative)


def put_programs(directory: Path, place: Path) -> Path:
    """Write programs to which everything is good; return the file that they would write."""
    marker = place / "started"
    for name in NAMES:
        said = "*@example.org" if name == "ssh-keygen" else ""
        (directory / name).write_text(f"#!/bin/sh\necho $0 $@ >>{marker}; echo '{said}'\n", encoding="utf-8")
        (directory / name).chmod(0o755)
    return marker


def plant(tmp_path: Path, way: Callable[[Path], Mapping[str, str]]) -> tuple[dict[str, str], Path]:
    """Return an environment with programs of a venv before those of the system, and the file that they would write."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    marker = put_programs(venv / "bin", tmp_path)
    env = {**{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}, **way(venv)}
    return {**env, "PATH": os.pathsep.join([env["PATH"], "/usr/local/bin:/usr/bin:/bin:/usr/sbin"])}, marker


@pytest.mark.parametrize("way", WAYS)
def test_releaser_starts_none_of_its_tools_from_a_venv(
    tmp_path: Path, way: Callable[[Path], Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env, marker = plant(tmp_path, way)
    for name in NAMES:
        assert shutil.which(name, path=env["PATH"]) != find_own_program(name, env)
    found = find_bubblewrap(Runner(environ=env), (tmp_path / "outer",))
    assert not isinstance(found, Bubblewrap) or found.program == shutil.which("bwrap")
    signers = tmp_path / "signers"
    signers.touch(mode=0o644)
    with pytest.raises(PreflightError, match="no signer in"):
        Trust(signers=signers).verify(Runner(environ=env), b"data", b"no signature")
    assert not marker.exists()


def test_a_bwrap_of_the_project_is_not_used(tmp_path: Path) -> None:
    program = tmp_path / "outer" / "bin" / "bwrap"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    found = find_bubblewrap(Runner(environ={"PATH": str(program.parent)}), (tmp_path / "outer",))
    assert not isinstance(found, Bubblewrap) or found.program != str(program)


def test_git_does_not_start_an_ssh_from_a_venv(tmp_path: Path) -> None:
    require(bool(shutil.which("ssh", path="/usr/bin:/bin")), "ssh must be installed")
    env, marker = plant(tmp_path, activated)
    run([git_executable(), "init", "-q", tmp_path / "site"], cwd=tmp_path, env=env, check=0)
    run(["git", "remote", "add", "origin", "ssh://127.0.0.1:1/none"], cwd=tmp_path / "site", env=env, check=0)
    git = Git(runner=Runner(environ=env), root=tmp_path / "site", timeout=30)
    with pytest.raises(Exception, match="git"):
        git.fetch("origin", "main")
    assert not marker.exists()


def test_an_update_uses_no_program_of_the_live_release(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.adopted(due="1.1.0")
    marker = put_programs(site.link / "bin", tmp_path)
    site.releaser("update", env={"PATH": f"{site.link.resolve()}/bin:{site.env['PATH']}"})
    assert not marker.exists()
