"""Asking an interpreter what is installed for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.tools.distributions import Distribution, Environment, ask, interpreter_of
from releaser.tools.process import Runner
from tests.live.pair import interpreter
from tests.support.commands import run, uv_executable
from tests.support.wheels import LocalIndex


def make_venv(place: Path, *wheels: Path | str, python: str = sys.executable, options: tuple[str, ...] = ()) -> Path:
    env = {**os.environ, "UV_CACHE_DIR": str(place.parent / "cache")}
    run([uv_executable(), "venv", "--quiet", "--python", python, *options, place], cwd=place.parent, env=env, check=0)
    words = [uv_executable(), "pip", "install", "--quiet", "--python", place / "bin" / "python", "--no-index", *wheels]
    run(words, cwd=place.parent, env=env, check=0)
    return place / "bin" / "python"


def asked(python: Path) -> Environment:
    return ask(Runner(environ=dict(os.environ)), python, timeout=60)


def named(environment: Environment, name: str) -> Distribution:
    (found,) = (one for one in environment.distributions if one.name == name)
    return found


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_a_venv_tells_what_is_in_it(tmp_path: Path, index: LocalIndex, version: str) -> None:
    wheel = index.publish("The_Theme", "1.0.0", requires=["alpha; extra == 'x'"], requires_python=">=3.8",
                          modules={"theme/__init__.py": "", "theme/inner.py": "", "single.py": ""})  # fmt: skip
    python = make_venv(tmp_path / "venv", wheel, python=str(interpreter(version)))
    environment = asked(python)
    assert environment.version.startswith(f"{version}.")
    assert environment.markers["sys_platform"] == sys.platform
    assert environment.versions == {"the-theme": "1.0.0"}
    found = named(environment, "the-theme")
    assert found.requires == ("alpha; extra == 'x'",) or found.requires == ('alpha; extra == "x"',)
    assert found.requires_python == ">=3.8"
    assert found.modules == {"theme", "single"}
    assert found.metadata == "the_theme-1.0.0.dist-info"
    assert (found.installer, found.requested, found.outside, found.by_pip) == ("uv", True, False, False)
    assert found.direct_url is not None
    assert found.direct_url["url"] == wheel.as_uri()


def test_what_lies_below_a_venv_is_outside_and_comes_second(tmp_path: Path, index: LocalIndex) -> None:
    wheel = index.publish("pip", "0.1")
    base = Path(sys.base_prefix) / "bin" / "python3"
    python = make_venv(tmp_path / "venv", wheel, python=str(base), options=("--system-site-packages",))
    environment = asked(python)
    assert environment.versions == {"pip": "0.1"}
    outside = [one.name for one in environment.distributions if one.outside]
    assert "pip" not in outside
    assert len(outside) == len(environment.distributions) - 1


def test_what_was_removed_half_way_and_what_the_directory_holds_do_not_count(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "venv", LocalIndex(tmp_path / "index").publish("alpha", "1.0.0"))
    (place,) = (tmp_path / "venv").glob("lib/*/site-packages")
    (place / "beta-1.0.0.dist-info").mkdir()
    metadata = tmp_path / "gamma-1.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: gamma\nVersion: 1.0.0\n", encoding="utf-8")
    runner = Runner(environ={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ask(runner, python, timeout=60).versions == {"alpha": "1.0.0"}


def test_metadata_from_before_they_had_to_be_utf_8_are_read(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "venv", LocalIndex(tmp_path / "index").publish("alpha", "1.0.0"))
    (place,) = (tmp_path / "venv").glob("lib/*/site-packages")
    info = place / "Old-1.2.egg-info"
    info.mkdir()
    lines = ["Metadata-Version: 1.1", "Name: Old", "Version: 1.2", "Author: Zoë"]
    (info / "PKG-INFO").write_bytes("\r\n".join([*lines, ""]).encode("latin-1"))
    assert asked(python).versions == {"alpha": "1.0.0", "old": "1.2"}


def test_what_is_no_interpreter_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(ToolError, match="does not tell what is installed: no such module"):
        asked(program)


def test_the_interpreter_of_a_place_is_found(tmp_path: Path) -> None:
    assert interpreter_of(tmp_path) is None
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.write_text("", encoding="utf-8")
    assert interpreter_of(tmp_path) is None
    program.chmod(0o755)
    assert interpreter_of(tmp_path) == interpreter_of(program) == program
    other = program.with_name("python")
    other.write_text("", encoding="utf-8")
    other.chmod(0o755)
    assert interpreter_of(tmp_path) == program  # the other one may be Python 2
