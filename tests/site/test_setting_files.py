"""Settings are written where they belong, and nothing else in the file changes."""

import io
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

from releaser.errors import PreflightError
from releaser.site.loading import read_plain, read_variables
from releaser.site.setting_files import find_mail_settings, set_in_table, set_variables, write_mail_settings

OTHERS = '# of the site\n\nSECRET_KEY = "a\'b${X}"  # keep\nexport DEBUG=1\r\nEMPTY=\n'


@pytest.mark.parametrize(
    "value", ["3", "a b", "it's", 'say "x"', "back\\slash", '[["Ada", "a@b.org"]]', "two\nlines", ""]
)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "B=2\n"),
        ("A=1\n", "B=2\n"),
        ("export A='1'  # why\n", "B=2\n"),
        ("A=0\nA=1 # why\n", "B=2\n"),
        ("A=1", ""),  # without an end of the line
    ],
)
def test_a_variable_gets_a_value_and_the_rest_stays(tmp_path: Path, before: str, after: str, value: str) -> None:
    file = tmp_path / ".env"
    file.write_bytes(f"{OTHERS}{before}{after}".encode())
    set_variables(file, {"A": value}).write()
    text = file.read_bytes().decode()
    assert text.startswith(OTHERS)
    assert dotenv_values(file, interpolate=False)["A"] == value
    assert ("# why" in text, "export A" in text) == ("# why" in before, "export A" in before)
    assert after in text
    assert set_variables(file, {"A": value}).after == text


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
    with pytest.raises(PreflightError, match="was changed at the same time"):
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


CRONTAB = {"RELEASER_SMTP_HOST": "mail.example.org", "RELEASER_SMTP_PASSWORD": "correct horse", "MAILTO": "ada"}
MOVED = {name: value for name, value in CRONTAB.items() if name != "MAILTO"}


@pytest.mark.parametrize("there", ["", "# mine\nRELEASER_SMTP_HOST=mail.example.org # here\nKEY=1\n"])
def test_mail_settings_of_a_crontab_move_into_a_file_that_nobody_else_reads(tmp_path: Path, there: str) -> None:
    file = tmp_path / ".env"
    if there:
        file.write_text(there)
        file.chmod(0o600)
    found = find_mail_settings(CRONTAB, file)
    assert found == {name: value for name, value in MOVED.items() if name not in there}
    write_mail_settings(found, file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith(there)
    assert MOVED.items() <= read_variables(file).values.items()
    assert find_mail_settings(CRONTAB, file) == {}


@pytest.mark.parametrize(
    ("there", "given", "words"),
    [
        ("RELEASER_SMTP_HOST=x", CRONTAB, r"RELEASER_SMTP_HOST differs between .* and the crontab"),
        ("RELEASER_ADMINS=a@example.org", {"ADMINS_JSON": "[]"}, "ADMINS_JSON"),  # the same setting by its other name
        ("KEY=1", CRONTAB, r"which others can read \(640\).*chmod 600 /"),
    ],
)
def test_nothing_is_overwritten_and_no_password_moves_into_a_file_that_others_can_read(
    tmp_path: Path, there: str, given: dict[str, str], words: str
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# mine\n{there}\n")
    file.chmod(0o640)
    with pytest.raises(PreflightError) as caught:
        find_mail_settings(given, file)
    assert re.search(words, str(caught.value.findings[0]))
    assert file.read_text() == f"# mine\n{there}\n"
    assert find_mail_settings({"RELEASER_SMTP_PORT": "25"}, file) == {"RELEASER_SMTP_PORT": "25"}


@given(st.lists(st.text("A=b1'\"$#{} \\;.\r\0\x85é", max_size=9)))
@example(["A=1", "# A=2", "", "B='two words; #3'", "A=b/c:d,e@f%+-.", "C=''", "D="])
@example(["A=1", "B='${A}'"])
@example(["A=${HOME}", "B='\\''"])
def test_plain_variables_have_the_values_that_dotenv_reads(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = read_plain(text)
    if found is not None:
        for interpolates in (True, False):
            assert found == dotenv_values(stream=io.StringIO(text), interpolate=interpolates)


def test_a_usual_file_of_variables_is_plain() -> None:
    assert read_plain('# of the site\nA=1\n\nB=\'[["Ada", "ada@example.org"]]\'') == {
        "A": "1",
        "B": '[["Ada", "ada@example.org"]]',
    }
    assert read_plain("A=$B\n") is None
