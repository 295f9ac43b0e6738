"""Which packages a failing test names, and what counts as a failure to build."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate import build_and_test
from releaser.candidate.build_and_test import Builder
from releaser.candidate.culprits import suspects
from releaser.errors import BuildError
from tests.candidate.test_output import TRACEBACK

NAMES = ("django", "celery", "paper-printer", "python-dateutil", "six", "pillow")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """Make what the metadata of a venv looks like."""
    for name, module in {"Paper_Printer": "printing", "python-dateutil": "dateutil", "six": "six.py"}.items():
        info = tmp_path / "lib" / "python3.11" / "site-packages" / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        file = module if module.endswith(".py") else f"{module}/__init__.py"
        (info / "RECORD").write_text(f"{file},,\n../../../bin/{name},,\n{info.name}/RECORD,,\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (TRACEBACK.format(module="printing"), ("paper-printer",)),  # known by its files
        (TRACEBACK.format(module="dateutil"), ("python-dateutil",)),
        (TRACEBACK.format(module="six.py"), ("six",)),
        (TRACEBACK.format(module="elsewhere"), ()),
        ("ModuleNotFoundError: No module named 'dateutil.tz'", ()),  # known by its name
        ("ModuleNotFoundError: No module named 'dateutil'", ("python-dateutil",)),
        ("AssertionError: celery is too slow", ("celery",)),
        ("AssertionError: Pillow 12.0.", ("pillow",)),
        ("AssertionError: no salad", ()),
        ("django celery pillow six", ()),  # a crowd is no hint
    ],
)
def test_a_package_is_known_by_its_files_or_its_name(venv: Path, output: str, found: tuple[str, ...]) -> None:
    assert suspects(output, venv, NAMES) == found


def test_garbage_for_metadata_is_no_hint(venv: Path) -> None:
    for file in venv.rglob("METADATA"):
        file.write_bytes(b"\xff\0garbage")
    for file in venv.rglob("RECORD"):
        file.write_bytes(b"\xff,\0")
    assert suspects(TRACEBACK.format(module="printing"), venv, NAMES) == ()


def test_what_goes_wrong_after_the_build_is_not_taken_for_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(*_: object) -> None:
        message = "it cannot be described"
        raise BuildError(message)

    monkeypatch.setattr(build_and_test, "try_to_build", lambda *_: SimpleNamespace(venv=None, lock=None))
    monkeypatch.setattr(build_and_test, "describe_changes_of", describe)
    site = SimpleNamespace(settings=SimpleNamespace(test_groups=()))
    self: Any = SimpleNamespace(work=SimpleNamespace(site=site))
    resolution: Any = None
    with pytest.raises(BuildError, match="cannot be described"):
        Builder.build(self, resolution)
