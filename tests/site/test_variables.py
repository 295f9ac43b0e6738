"""Files with one NAME=value a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from releaser.site.settings import read_variables

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("export A=1", {"A": "1"}),
        ("A='b c'", {"A": "b c"}),
        ('A="b \\"c\\""', {"A": 'b "c"'}),
        ("A='two\nlines'", {"A": "two\nlines"}),
        ("A=$HOME/${B}", {"A": "$HOME/${B}"}),
        ("  # A=1\n;B=2\n ; C=3\n", {}),
        ("A=b;c", {"A": "b;c"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_lines_are_read_much_as_systemd_reads_them(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    (tmp_path / "env").write_text(line, encoding="utf-8", newline="")
    found = read_variables(tmp_path / "env", setting="environment_file")
    assert (dict(found.values), found.findings) == (expected, ())


def test_secrets_are_known_by_their_names_and_in_urls(tmp_path: Path) -> None:
    text = (
        "DJANGO_SETTINGS_MODULE=shop.live\nSECRET_KEY=one\nDB_PASSWORD=two\nAPI_TOKEN=three\nSENTRY_DSN=four\n"
        "DATABASE_URL=postgresql://shop:five@db/shop\nKEYBOARD=six\nCACHE_KEY_PREFIX=seven\n"
    )
    (tmp_path / "env").write_text(text, encoding="utf-8")
    found = read_variables(tmp_path / "env", setting="environment_file")
    assert found.secrets == {
        "one",
        "two",
        "three",
        "four",
        "five",
    }


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"\xff\xfe")
    (finding,) = read_variables(tmp_path / "env", setting="environment_file").findings
    assert finding.message.startswith(f"environment_file {tmp_path / 'env'} cannot be read")
