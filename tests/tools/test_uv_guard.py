"""uv heeds the guard in each file that it may be in, and says what to do instead."""

from pathlib import Path

import pytest

from releaser.releases.uv_guard import NAMES, TEXT
from tests.support.commands import clean_environment, run, uv_executable


@pytest.mark.parametrize("name", NAMES)
def test_uv_stops_and_quotes_the_guard(tmp_path: Path, name: str) -> None:
    venv, env = tmp_path / "venv", clean_environment(tmp_path, tmp_path / "cache")
    run([uv_executable(), "venv", "--quiet", venv], cwd=tmp_path, env=env, check=0)
    (place,) = venv.glob("lib/*/site-packages")
    info = place / "alpha-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text("alpha-1.0.dist-info/METADATA,,\n", encoding="utf-8")
    words = [str(uv_executable()), "pip", "uninstall", "--python", str(venv), "alpha"]
    (info / name).write_text(TEXT, encoding="utf-8")
    said = run(words, cwd=tmp_path, env=env)
    assert (said.returncode, info.exists()) == (2, True)
    assert f"invalid type: string {TEXT}" in " ".join(said.stderr.split())
    (info / name).unlink()
    run(words, cwd=tmp_path, env=env, check=0)
