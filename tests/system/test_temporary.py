"""Temporary directories that a killed run leaves."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from releaser.resolution.aside import project_aside
from releaser.site.site import open_site
from releaser.system import temporary
from releaser.system.environment import nearest_settings_of_uv, settings_of_uv_in_force
from releaser.system.temporary import PREFIX, sweep_temporary, temporary_directory, temporary_tree
from tests.support.commands import clean_environment, uv_executable

_HOLD = """
import sys, time
from releaser.system.temporary import temporary_directory
with temporary_directory() as place:
    (place / "a").write_text("a")
    print(place, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_run_has_left_is_deleted_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary, "_YOUNG", 0.0)
    others = tmp_path / "others"
    others.mkdir()
    (others / "a").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(others)
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}backup-of-mine").mkdir(mode=0o700)
    (tmp_path / f"{PREFIX}abcdefgh").mkdir(mode=0o755)
    if os.geteuid() == 0:
        (tmp_path / f"{PREFIX}strange").mkdir()
        os.chown(tmp_path / f"{PREFIX}strange", 65533, 65534)
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with (
        temporary_directory() as own,
        subprocess.Popen([sys.executable, "-c", _HOLD], env=environ, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        place = process.stdout.readline().strip()
        kept = sorted(os.listdir(tmp_path))
        assert sweep_temporary() == []
        process.kill()
        process.wait()
        monkeypatch.setattr(temporary, "_YOUNG", 60.0)
        assert sweep_temporary() == []
        monkeypatch.setattr(temporary, "_YOUNG", 0.0)
        assert sweep_temporary() == [os.path.basename(place)]
        assert {*kept} - {*os.listdir(tmp_path)} == {os.path.basename(place)}
        assert own.is_dir()
    assert not own.exists()
    assert (others / "a").exists()


def test_uv_takes_neither_settings_nor_a_workspace_of_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any user can put files into the directory of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nindex-url = "https://stranger.example"\n[tool.uv.workspace]\n')
    env = clean_environment(tmp_path / "home", tmp_path / "cache")
    with temporary_tree() as tree:
        place = tree / "srv" / "site"
        place.mkdir(parents=True)
        members = f'members = ["{place.relative_to(tmp_path)}"]\n'
        (tmp_path / "pyproject.toml").write_text(f"{(tmp_path / 'pyproject.toml').read_text()}{members}")
        (place / "pyproject.toml").write_text('[project]\nname = "site"\nversion = "1"\nrequires-python = ">=3.11"\n')
        assert settings_of_uv_in_force(place, env)[0] == {}
        words = [str(uv_executable()), "lock", "--offline", "--python", sys.executable]
        subprocess.run(words, cwd=place, env=env, check=True)
        assert (place / "uv.lock").is_file()


def test_a_project_aside_has_no_settings_of_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pyproject.toml").write_text('[project]\nname = "site"\nversion = "1"\n')
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "uv.toml").write_text('index-url = "https://stranger.example"\n')
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "shared"))
    with project_aside(open_site(tmp_path / "site", {"RELEASER_GIT": "false"})) as aside:
        assert nearest_settings_of_uv(aside.project.root)[1] == {}


@pytest.mark.parametrize("name", ["pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml", "setup.py"])
def test_pytest_loads_nothing_of_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = {"pyproject.toml": "[tool.pytest.ini_options]\n", "setup.cfg": "[tool:pytest]\n", "setup.py": ""}
    addopts = "addopts = '-p strange'\n" if name == "pyproject.toml" else "addopts = -p strange\n"
    (tmp_path / name).write_text(settings.get(name, "[pytest]\n") + ("" if name == "setup.py" else addopts))
    (tmp_path / "conftest.py").write_text("raise SystemExit('strange')\n")
    with temporary_tree() as tree:
        (tree / "test_one.py").write_text("def test_one():\n    pass\n")
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
