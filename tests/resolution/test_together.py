"""Locks of sites that run together: for how long an answer counts, and where it is written."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from releaser.errors import ToolError
from releaser.locks.lock import LockFile
from releaser.resolution import together
from releaser.system import common
from releaser.system.process import Runner
from releaser.tools.uv import Locked, Uv
from tests.support.answers import is_asked
from tests.support.commands import clean_environment, uv_executable
from tests.support.simple_index import serving
from tests.support.wheels import LocalIndex

pytestmark = pytest.mark.spawns
PROJECT = """\
[project]
name = "site"
version = "0"
requires-python = ">=3.11"
dependencies = [{}]

[[tool.uv.index]]
url = "{}"
default = true
"""


@pytest.mark.parametrize("depends_on", ['"alpha"', '"alpha", "beta"'])
def test_a_new_version_is_found_after_ten_minutes_and_a_symlink_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depends_on: str
) -> None:
    """The second site has the same lock as the first, or another one, for which uv's cache is used."""
    (tmp_path / "answers").mkdir()
    monkeypatch.setattr(common, "_place", str(tmp_path / "answers"))
    driver = Uv(
        runner=Runner(environ=clean_environment(tmp_path / "home", tmp_path / "cache")),
        executable=uv_executable(),
        timeout=60,
    )
    wheels = LocalIndex(tmp_path / "index")
    for name in ("alpha", "beta"):
        wheels.publish(name, "1.0.0")
    with serving(wheels.path) as index:
        index.lifetime = "max-age=86400"
        one, two = tmp_path / "one", tmp_path / "two"
        for tree, dependencies in ((one, '"alpha"'), (two, depends_on)):
            tree.mkdir()
            (tree / "pyproject.toml").write_text(PROJECT.format(dependencies, index.url), encoding="utf-8")
            assert isinstance(driver.lock(tree, ["lock"], python=Path(sys.executable)), Locked)
        (two / "uv.lock").rename(tmp_path / "kept.lock")
        (two / "uv.lock").symlink_to("../kept.lock")
        before = {tree: LockFile.parse((tree / "uv.lock").read_bytes()) for tree in (one, two)}

        def found(tree: Path) -> str:
            (tree / "uv.lock").write_bytes(before[tree].data)
            words = ["lock", "--upgrade"]
            locked = together.lock_together(driver, tree, words, before[tree], python=Path(sys.executable))
            assert isinstance(locked, Locked)
            return LockFile.parse((tree / "uv.lock").read_bytes()).versions["alpha"]

        assert found(one) == "1.0.0"
        wheels.publish("alpha", "1.1.0")
        began = time.monotonic()
        assert [found(two), found(one)] == ["1.0.0", "1.0.0"]
        monkeypatch.setattr(together, "time", SimpleNamespace(monotonic=lambda: began + 601))
        assert [found(two), found(one)] == ["1.1.0", "1.1.0"]
        assert os.path.islink(two / "uv.lock")


def test_at_an_index_that_does_not_answer_no_site_waits_for_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (answers := tmp_path / "answers").mkdir()
    monkeypatch.setattr(common, "_place", str(answers))
    environ, waits = clean_environment(tmp_path / "home", tmp_path / "cache"), list[bool]()
    driver = Uv(runner=Runner(environ=environ), executable=uv_executable(), timeout=60)
    text = PROJECT.format("", "http://127.0.0.1:9/")
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert isinstance(driver.lock(tmp_path, ["lock"], python=Path(sys.executable)), Locked)
    before = LockFile.parse((tmp_path / "uv.lock").read_bytes())

    def fail(*_: object, **__: object) -> Locked:
        waits.append(is_asked(answers))
        message = "the index does not answer"
        raise ToolError(message)

    monkeypatch.setattr(Uv, "lock", fail)
    for _ in range(3):
        with pytest.raises(ToolError):
            together.lock_together(driver, tmp_path, ["lock", "--upgrade"], before, python=Path(sys.executable))
    assert waits == [True, False, False]
