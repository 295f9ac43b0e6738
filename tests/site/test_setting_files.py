"""Settings are written where they belong, and nothing else in the file changes."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from dotenv import dotenv_values

from releaser.errors import PreflightError
from releaser.site.setting_files import set_in_table, set_variables

OTHERS = '# of the site\n\nSECRET_KEY = "a\'b${X}"  # keep\nexport DEBUG=1\r\nEMPTY=\n'


@pytest.mark.parametrize(
    "value", ["3", "a b", "it's", 'say "x"', "back\\slash", '[["Ada", "a@b.org"]]', "two\nlines", ""]
)
@pytest.mark.parametrize("line", ["", "A=1\n", "export A='1'  # why\n", "A=0\nA=1 # why\n", "A"])
def test_a_variable_gets_a_value_and_the_rest_stays(tmp_path: Path, line: str, value: str) -> None:
    if line == "A":
        line, before = "A=1", f"{OTHERS}A=1"
    else:
        before = f"{OTHERS}{line}B=2\n"
    (tmp_path / ".env").write_bytes(before.encode())
    edit = set_variables(tmp_path / ".env", {"A": value})
    edit.write()
    after = (tmp_path / ".env").read_bytes().decode()
    assert after.startswith(OTHERS)
    assert dotenv_values(tmp_path / ".env", interpolate=False)["A"] == value
    assert ("# why" in after, "export A" in after) == ("# why" in line, "export A" in line)
    assert "B=2\n" in after or line == "A=1"
    assert set_variables(tmp_path / ".env", {"A": value}).after == after


def test_a_new_file_is_for_its_owner_alone_and_one_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    edit = set_variables(tmp_path / ".env", {"A": "1"})
    edit.write()
    assert ((tmp_path / ".env").read_text(), edit.added) == ("A='1'\n", ("A='1'",))
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    (tmp_path / ".env").rename(tmp_path / "real")
    (tmp_path / ".env").symlink_to("real")
    (tmp_path / "real").chmod(0o640)
    set_variables(tmp_path / ".env", {"A": "2"}).write()
    assert os.readlink(tmp_path / ".env") == "real"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


def test_what_somebody_changes_meanwhile_is_left_alone(tmp_path: Path) -> None:
    edit = set_variables(tmp_path / ".env", {"A": "1"})
    (tmp_path / ".env").write_text("B=1\n")
    with pytest.raises(PreflightError, match="somebody has changed"):
        edit.write()
    assert (tmp_path / ".env").read_text() == "B=1\n"


@pytest.mark.parametrize(("text", "value"), [("not a line\n", "1"), ("", "${B}x")])
def test_what_cannot_be_read_again_is_not_written(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / ".env").write_text(text)
    with pytest.raises(PreflightError):
        set_variables(tmp_path / ".env", {"A": value})


@pytest.mark.parametrize(
    "text",
    [
        '# mine\n[project]\nname = "x"  # y\n',
        '[tool.uv]\npackage = false\n\n[tool.releaser]\n# why\nkeep = 9  # nine\nbranch = "x"\n[tool.other]\na = 1\n',
        'tool.releaser.keep = 9\n[project]\nname = "x"\n',
    ],
)
def test_a_table_gets_values_and_the_rest_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    set_in_table(path, {"keep": 3, "test_command": ("python", "t.py")}).write()
    after, before = tomllib.loads(path.read_text()), tomllib.loads(text)
    expected = before.setdefault("tool", {}).setdefault("releaser", {})
    expected |= {"keep": 3, "test_command": ["python", "t.py"]}
    assert after == before
    assert [
        line for line in text.splitlines() if "keep" not in line and line not in path.read_text().splitlines()
    ] == []


def test_a_file_that_is_no_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool]\nreleaser = 1\n")
    with pytest.raises(PreflightError, match="cannot be written"):
        set_in_table(path, {"keep": 3})
