"""Driving manage.py: what is asked of it, and what is made of the answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.tools.django import Manage, doubt, is_django
from releaser.tools.process import Runner

ENV = {"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": "/other"}
# Stands for Django: `shell -c` runs code that finds these modules.
MANAGE = """\
import sys
from types import ModuleType, SimpleNamespace
{settings}
if sys.argv[1] == "shell":
    apps, conf = ModuleType("django.apps"), ModuleType("django.conf")
    apps.apps = SimpleNamespace(is_installed=lambda name: name in INSTALLED_APPS)
    conf.settings = SimpleNamespace(STATIC_ROOT=STATIC_ROOT)
    sys.modules |= {{"django": ModuleType("django"), "django.apps": apps, "django.conf": conf}}
    print("starting up")
    exec(sys.argv[3])
else:
    import os
    print(sys.argv[1:], os.getcwd(), os.environ["VIRTUAL_ENV"], os.environ["UV_NO_SYNC"])
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """Make something with an interpreter."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path / "venv"


def manage(venv: Path, settings: str, *, timeout: float = 60) -> Manage:
    project = venv.parent / "site"
    project.mkdir()
    (project / "manage.py").write_text(MANAGE.format(settings=settings), encoding="utf-8")
    return Manage(runner=Runner(environ=ENV), project=project, venv=venv, timeout=timeout)


def test_a_project_with_manage_py_is_one_of_django(tmp_path: Path) -> None:
    assert not is_django(tmp_path)
    (tmp_path / "manage.py").touch()
    assert is_django(tmp_path)


STATIC = "django.contrib.staticfiles"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (f"INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], 'static'", True),
        (f"import pathlib; INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], pathlib.Path('static')", True),
        (f"INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], None", False),
        (f"INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], ''", False),
        ("INSTALLED_APPS, STATIC_ROOT = [], 'static'", False),
        ("raise SystemExit('settings are broken')", False),
        ("import sys; sys.exit(0)", False),
    ],
)
def test_it_is_asked_whether_there_is_anything_to_collect(venv: Path, settings: str, expected: bool) -> None:
    found = manage(venv, settings)
    assert found.static_root() == (found.project / "static" if expected else None)


def test_static_files_are_collected_by_the_release_in_the_project(venv: Path) -> None:
    finished = manage(venv, "").collectstatic(None)
    project = venv.parent / "site"
    assert finished.stdout == f"['collectstatic', '--noinput'] {project} {venv} 1\n"
    assert finished.argv[:2] == (str(venv / "bin" / "python"), "manage.py")


def test_a_failure_is_one_with_its_words(venv: Path) -> None:
    with pytest.raises(ToolError) as caught:
        manage(venv, "raise SystemExit('settings are broken')").collectstatic(None)
    assert caught.value.output == "settings are broken"


def test_an_interpreter_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    with pytest.raises(ToolError, match="cannot be started"):
        manage(tmp_path / "venv", "").static_root()


def test_a_project_that_hangs_is_ended(venv: Path) -> None:
    hanging = manage(venv, "import time; print('waiting', flush=True); time.sleep(1000)", timeout=1)
    with pytest.raises(ToolError) as caught:
        hanging.static_root()
    assert caught.value.timed_out


def test_static_files_of_a_run_that_was_cut_off_are_collected_anew(tmp_path: Path) -> None:
    """Django copies a file only if its source is newer than what is there."""
    (tmp_path / "img").mkdir()
    old, fresh, empty, link = (tmp_path / name for name in ("old.css", "img/fresh.css", "empty.js", "link"))
    for file in (old, fresh):
        file.write_text("words", encoding="utf-8")
    empty.touch()
    link.symlink_to("old.css")
    os.utime(old, (1000, 1000))
    doubt(tmp_path, since=2000)
    assert [file.lstat().st_mtime for file in (old, fresh, empty, link)] == [1000, 0, 0, 0]


def test_without_static_files_there_is_nothing_to_doubt(tmp_path: Path) -> None:
    doubt(tmp_path / "static", since=0)
    assert not (tmp_path / "static").exists()
