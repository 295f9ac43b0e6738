"""Start-up files are compared by their content, and files that releases share are read once."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from releaser.site import sealed_python
from releaser.site.sealed_python import look_at_start_files
from releaser.system.files import read_file


def a_venv(place: Path, start: Path) -> str:
    packages = place / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    os.link(start, packages / "start.pth")
    return str(place)


def test_a_start_file_that_releases_share_is_read_once_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "start.pth"
    start.write_text("import one\n", encoding="utf-8")
    monkeypatch.setattr(sealed_python, "_SETTLED", -1)
    with patch.object(sealed_python, "read_file", side_effect=read_file) as reads:
        venvs = [a_venv(tmp_path / name, start) for name in "abc"]
        seen = look_at_start_files(venvs[0])
        before = reads.call_count
        assert [look_at_start_files(venv) for venv in venvs[1:]] == [seen, seen]
        assert reads.call_count == before
        times = start.stat()
        with start.open("r+") as file:
            file.write("import two\n")
        os.utime(start, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert look_at_start_files(venvs[1]) != seen


def test_a_file_that_was_changed_just_now_is_read_again(tmp_path: Path) -> None:
    start = tmp_path / "start.pth"
    start.write_text("import one\n", encoding="utf-8")
    venv = a_venv(tmp_path / "a", start)
    with patch.object(sealed_python, "read_file", side_effect=read_file) as reads:
        look_at_start_files(venv)
        look_at_start_files(venv)
    assert reads.call_count == 2
