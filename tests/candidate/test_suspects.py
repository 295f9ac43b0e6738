"""What a failing test says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from releaser.candidate.test_output import complaint, suspects

if TYPE_CHECKING:
    from pathlib import Path

TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/shop/tests.py", line 3, in test_receipt
    print_receipt()
  File "/srv/.releaser/shop/releases/A/venv/lib/python3.11/site-packages/{module}/parser.py", line 7, in parse
    raise ValueError("no such paper")
ValueError: no such paper

FAILED (failures=1)
"""
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
    ("module", "found"),
    [("printing", ("paper-printer",)), ("dateutil", ("python-dateutil",)), ("six.py", ("six",)), ("elsewhere", ())],
)
def test_a_package_is_known_by_its_files(venv: Path, module: str, found: tuple[str, ...]) -> None:
    assert suspects(TRACEBACK.format(module=module), venv, NAMES) == found


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("ModuleNotFoundError: No module named 'dateutil.tz'", ()),
        ("ModuleNotFoundError: No module named 'dateutil'", ("python-dateutil",)),
        ("AssertionError: celery is too slow", ("celery",)),
        ("AssertionError: Pillow 12.0.", ("pillow",)),
        ("AssertionError: no salad", ()),
    ],
)
def test_a_package_is_known_by_its_name(venv: Path, output: str, found: tuple[str, ...]) -> None:
    assert suspects(output, venv, NAMES) == found


def test_a_crowd_is_no_hint(venv: Path) -> None:
    assert suspects("django celery pillow six", venv, NAMES) == ()


def test_garbage_for_metadata_is_no_hint(venv: Path) -> None:
    for file in venv.rglob("METADATA"):
        file.write_bytes(b"\xff\0garbage")
    for file in venv.rglob("RECORD"):
        file.write_bytes(b"\xff,\0")
    assert suspects(TRACEBACK.format(module="printing"), venv, NAMES) == ()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", ""),
        (TRACEBACK, ": ValueError: no such paper"),
        ("E   AssertionError: 1 != 2\n=== 1 failed ===", ": AssertionError: 1 != 2"),
        ('  File "x.py"\n    go()\nshop.NoPaper: x\nbye', ": shop.NoPaper: x"),
        ("shop.NoPaper: x\nbye", ": bye"),
        ("psycopg.errors.UndefinedColumnError: no x\n\nFAILED", ": psycopg.errors.UndefinedColumnError: no x"),
        ("it did not work", ": it did not work"),
    ],
)
def test_what_a_test_complains_of(output: str, said: str) -> None:
    assert complaint(output) == said


def test_a_long_complaint_is_cut() -> None:
    assert len(complaint("ValueError: " + "x" * 1000)) < 210
