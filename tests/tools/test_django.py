"""Driving manage.py: what is asked of it, and what is made of the answers."""

import os
import sys
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.site.django_settings import is_django
from releaser.system.process import Runner
from releaser.tools.django import Manage, mark_stale_since
from releaser.tools.django_probe import obstacle, outdate

ENV = {"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": "/other"}
# Stands for Django: `shell -c` runs code that finds these modules.
MANAGE = """\
import sys
from types import ModuleType, SimpleNamespace
PLACE, REASON = "", ""
{settings}
def path(name):
    if REASON:
        raise LookupError(REASON)
    if not PLACE:
        raise NotImplementedError
    return str(PLACE)
if sys.argv[1] == "shell":
    fakes = {{
        "django": {{}},
        "django.apps": {{"apps": SimpleNamespace(
            is_installed=lambda name: name in INSTALLED_APPS,
            get_app_config=lambda label: SimpleNamespace(ignore_patterns=[]),
        )}},
        "django.conf": {{"settings": SimpleNamespace(STATIC_ROOT=STATIC_ROOT)}},
        "django.core.exceptions": {{"ImproperlyConfigured": LookupError}},
        "django.contrib.staticfiles.storage": {{"staticfiles_storage": SimpleNamespace(path=path)}},
        "django.contrib.staticfiles.finders": {{"get_finders": list}},
    }}
    for name, content in fakes.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(content)
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


STATIC = "django.contrib.staticfiles"


@pytest.mark.parametrize(
    ("settings", "place", "meant"),
    [
        (f"import pathlib; INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], 'x'; PLACE = pathlib.Path('y')", "y", True),
        (f"INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], None; PLACE = 'of the storage'", "of the storage", True),
        (f"INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], None; REASON = 'it is\\n not set'", None, False),
        (f"INSTALLED_APPS, STATIC_ROOT = ['{STATIC}'], 'static'", None, True),
        ("INSTALLED_APPS, STATIC_ROOT = [], 'static'; PLACE = STATIC_ROOT", None, False),
    ],
)
def test_it_is_asked_what_there_is_to_collect(venv: Path, settings: str, place: str | None, meant: bool) -> None:
    asked = manage(venv, settings)
    found = asked.static_files()
    assert found.place == (asked.project / place if place else None)
    assert found.has_place is meant
    if "REASON" in settings:
        assert (found.local, found.reason) == (True, "it is not set")


@pytest.mark.parametrize("settings", ["raise SystemExit('settings are broken')", "import sys; sys.exit(3)"])
def test_a_site_that_does_not_answer_says_why(venv: Path, settings: str) -> None:
    with pytest.raises(ToolError, match=r"Django does not answer: (settings are broken|exit status 3)") as caught:
        manage(venv, settings).static_files()
    assert caught.value.returncode is not None


def test_static_files_are_collected_by_the_release_in_the_project(venv: Path) -> None:
    finished = manage(venv, "").collectstatic(None)
    project = venv.parent / "site"
    assert (is_django(project), is_django(venv)) == (True, False)
    assert finished.stdout == f"['collectstatic', '--noinput'] {project} {venv} 1\n"
    assert finished.argv[:2] == (str(venv / "bin" / "python"), "manage.py")


def test_an_interpreter_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    with pytest.raises(ToolError, match="cannot be started"):
        manage(tmp_path / "venv", "").static_files()


def test_a_project_that_hangs_is_ended(venv: Path) -> None:
    hanging = manage(venv, "import time; print('waiting', flush=True); time.sleep(1000)", timeout=1)
    with pytest.raises(ToolError) as caught:
        hanging.static_files()
    assert caught.value.timed_out


def test_static_files_of_a_run_that_was_cut_off_are_collected_again(tmp_path: Path) -> None:
    """Django copies a file only if its source is newer than what is there."""
    (tmp_path / "img").mkdir()
    old, fresh, empty, link = (tmp_path / name for name in ("old.css", "img/fresh.css", "empty.js", "link"))
    for file in (old, fresh):
        file.write_text("words", encoding="utf-8")
    empty.touch()
    link.symlink_to("old.css")
    os.utime(old, (1000, 1000))
    mark_stale_since(tmp_path, since=2000)
    assert [file.lstat().st_mtime for file in (old, fresh, empty, link)] == [1000, 0, 0, 0]


# What the probe does with files; what it asks of Django, the end-to-end tests with the real one tell


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Make a source, and a target that is newer."""
    source, target = tmp_path / "source.css", tmp_path / "target.css"
    source.write_text("old", encoding="utf-8")
    target.write_text("new", encoding="utf-8")
    os.utime(source, (1000, 1000))
    os.utime(target, (2000, 2000))
    return source, target


def test_what_differs_from_its_source_is_made_to_look_old(files: tuple[Path, Path]) -> None:
    source, target = files
    outdate(str(source), str(target))
    assert (source.stat().st_mtime, target.stat().st_mtime) == (1000, 0)
    assert target.read_text(encoding="utf-8") == "new"  # it is sent to browsers until there is another


@pytest.mark.parametrize(("text", "changed"), [("new", 1000), ("old", 3000)])
def test_what_is_like_its_source_or_replaced_anyway_is_let_be(
    files: tuple[Path, Path], text: str, changed: int
) -> None:
    source, target = files
    source.write_text(text, encoding="utf-8")
    os.utime(source, (changed, changed))
    outdate(str(source), str(target))
    assert target.stat().st_mtime == 2000


def test_a_link_and_what_is_not_there_are_let_be(files: tuple[Path, Path]) -> None:
    source, target = files
    link = target.with_name("link.css")
    link.symlink_to(target.name)
    outdate(str(source), str(link))
    outdate(str(source), str(target.with_name("absent.css")))
    assert target.stat().st_mtime == 2000


def test_a_file_of_somebody_else_makes_room(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the owner may date a file back, but whoever can write the directory may remove it."""

    def refuse(*_: object) -> None:
        raise PermissionError

    source, target = files
    monkeypatch.setattr(os, "utime", refuse)
    outdate(str(source), str(target))
    assert not target.exists()


def test_a_directory_that_is_to_be_made_is_no_obstacle(tmp_path: Path) -> None:
    assert obstacle(str(tmp_path / "a" / "b" / "c.css"), str(tmp_path)) == ""
    assert obstacle(str(tmp_path / "c.css"), str(tmp_path)) == ""
    assert obstacle(str(tmp_path / "absent" / "c.css"), str(tmp_path / "absent")) == ""


def test_what_stands_where_a_directory_or_a_file_goes_is_an_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b.css").mkdir()
    assert obstacle(str(tmp_path / "a" / "b" / "c.css"), str(tmp_path)) == str(tmp_path / "a")
    assert obstacle(str(tmp_path / "b.css"), str(tmp_path)) == str(tmp_path / "b.css")
