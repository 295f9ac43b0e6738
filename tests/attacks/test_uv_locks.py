"""Other users cannot delay uv by locking its files in a shared temporary directory."""

import fcntl
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from releaser.system.process import Runner
from releaser.tools.uv import Uv
from tests.support.commands import clean_environment, uv_executable
from tests.support.sites import SiteFactory

PROJECT = '[project]\nname = "site"\nversion = "1"\nrequires-python = ">=3.8"\n'
LOCK = 'version = 1\nrequires-python = ">=3.8"\n[[package]]\nname = "site"\nversion = "1"\nsource = { virtual = "." }\n'
SECONDS = 60.0  # that a call may take, where uv would wait for five minutes


def test_uv_does_not_wait_for_a_lock_of_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, venv, shared = tmp_path / "tree", tmp_path / "venv", tmp_path / "shared"
    for place in (tree, shared):
        place.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    (tree / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (tree / "uv.lock").write_text(LOCK, encoding="utf-8")
    environ = clean_environment(tmp_path, tmp_path / "cache") | {"TMPDIR": str(shared)}
    python = Path(os.path.realpath("/proc/self/exe"))
    words = ["sync", "--frozen", "--offline", "--no-install-project"]
    at_first: list[str | Path] = [uv_executable(), *words, "--python", python]
    where = {**environ, "UV_PROJECT_ENVIRONMENT": str(venv)}
    subprocess.run(at_first, cwd=tree, env=where, check=True, capture_output=True)
    with ExitStack() as stack:
        files = [*shared.glob("uv-*.lock")]
        assert files
        for file in files:  # as a stranger does who has made them first
            fcntl.flock(stack.enter_context(file.open()), fcntl.LOCK_EX)
        uv = Uv(runner=Runner(environ=environ), executable=uv_executable(), timeout=SECONDS)
        uv.sync(tree, venv, words, python=python)
    assert {path.name for path in shared.iterdir() if not path.name.startswith("uv-")} == set()


def test_an_update_does_not_wait_for_a_lock_of_a_stranger(make_site: SiteFactory, tmp_path: Path) -> None:
    """Where no sandbox works, which has a temporary directory of its own."""
    site, shared = make_site.adopted(), tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    env = {"TMPDIR": str(shared), "RELEASER_SANDBOX": "off"}
    site.publish("alpha", "1.1.0")
    site.releaser("update", env=env, check=0)
    assert [*shared.glob("uv-*")] == []
    assert site.live_version("alpha") == "1.1.0"
