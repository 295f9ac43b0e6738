"""Temporary directories that a killed run leaves."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from releaser.system import temporary
from releaser.system.temporary import PREFIX, sweep_temporary, temporary_directory

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
